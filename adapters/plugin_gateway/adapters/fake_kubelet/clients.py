"""Which connections the registration server of 1.25 and later holds for a resource, and how it loses track of them."""

from pathlib import Path

from plugin_gateway.adapters.fake_kubelet.endpoint import PluginEndpoint


class Clients:
    """To 1.36 one for each resource: the newest. In 1.37 any number, told apart by the path of their socket."""

    def __init__(self, *, by_path: bool) -> None:
        self.connected: dict[Path, PluginEndpoint] = {}
        """What the device manager itself holds (1.37); the end of the stream is noticed through the others."""
        self._by_path = by_path
        self._known: list[PluginEndpoint] = []

    def add(self, endpoint: PluginEndpoint) -> None:
        """Know one more, before it is dialed."""
        self._known = [*self._known, endpoint] if self._by_path else [endpoint]

    def forget(self, failed: PluginEndpoint) -> None:
        """Give a connection up that could not be made, and with it whatever goes by the same name."""
        self._known = [each for each in self._known if self._by_path and each.path != failed.path]

    def connect(self, endpoint: PluginEndpoint) -> None:
        """Hold one that could be made."""
        if self._by_path:
            self.connected[endpoint.path] = endpoint

    def take(self, ended: PluginEndpoint) -> PluginEndpoint | None:
        """Find the one that goes by the name of one whose stream ended, and forget it; None where there is none."""
        found = next((each for each in self._known if not self._by_path or each.path == ended.path), None)
        self.forget(ended)
        return found

    def disconnect(self, known: PluginEndpoint) -> tuple[PluginEndpoint | None, bool]:
        """Tell who answers for the resource from now on, and whether the end of this one matters at all."""
        if not self._by_path:
            return None, True
        was_connected = self.connected.pop(known.path, None) is not None
        return next(iter(self.connected.values()), None) if was_connected else None, was_connected
