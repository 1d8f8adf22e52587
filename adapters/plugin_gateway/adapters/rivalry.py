"""Two gateways for one resource: the elder registers, the younger says so and stands by."""

from plugin_gateway.adapters.logs import log
from plugin_gateway.adapters.own_sockets import OwnSockets, Rival
from plugin_gateway.core.resource_names import ResourceName

TAKE_OVER = 1.5
"""Seconds for which the elder must be gone: when a kubelet empties its directory, everybody is gone for a moment."""


class Rivalry:
    """What is known of other gateways for one resource."""

    def __init__(self, own_sockets: OwnSockets, resource: ResourceName) -> None:
        self._own_sockets = own_sockets
        self._resource = resource
        self._known: set[str] = set()
        self._elder_seen: float | None = None

    @property
    def standing_by(self) -> bool:
        """Whether the elder has the resource."""
        return self._elder_seen is not None

    def look(self, now: float) -> float:
        """Tell how many seconds the next registration has to wait for another gateway; 0 where there is none."""
        rivals = self._own_sockets.find_rivals(self._resource)
        self._tell(rivals)
        if any(rival.instance < self._own_sockets.instance for rival in rivals):
            self._elder_seen = now
        if self._elder_seen is None:
            return 0.0
        wait = max(self._elder_seen + TAKE_OVER - now, 0.0)
        if not wait:
            self._elder_seen = None
        return wait

    def _tell(self, rivals: list[Rival]) -> None:
        for rival in rivals:
            if rival.instance in self._known:
                continue
            self._known.add(rival.instance)
            elder = rival.instance < self._own_sockets.instance
            log.warning(
                "another gateway offers this resource, standing by"
                if elder
                else "another gateway offers this resource and has to stand by",
                resource=self._resource,
                socket=rival.socket,
                pid=rival.pid or None,
            )
