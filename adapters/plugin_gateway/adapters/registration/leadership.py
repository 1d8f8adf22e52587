"""Which of several gateways on one node writes what is known of the health of the devices.

They may have one state directory, and each watches the devices itself. If all wrote the same file, the faults of the
one that serves the kubelet could be overwritten by one that stands by and knows less.
"""

from collections.abc import Collection

from plugin_gateway.adapters.kubelet.plugin_sockets import OwnSockets
from plugin_gateway.core.resources.names import ResourceName


class Leadership:
    """Decides whether this gateway is the one that writes."""

    def __init__(self, own_sockets: OwnSockets) -> None:
        self._own_sockets = own_sockets
        self._leads: bool | None = None
        """The last decision. None before the first one."""

    def decide(self, resources: Collection[ResourceName], *, has_stream: bool) -> bool:
        """Return whether this gateway, which offers these resources, writes.

        The one with a stream does. While no gateway has a stream, because the kubelet is away, it is the one that did
        before. If none did, it is the oldest one.
        """
        others = [other for name in resources or (None,) for other in self._own_sockets.find_others(name)]
        if has_stream or not others:
            self._leads = True
        elif any(other.has_stream for other in others):
            self._leads = False
        elif self._leads is None:
            return all(self._own_sockets.instance < other.instance for other in others)
        return self._leads
