"""How a gateway finds the sockets of other gateways, as the adapter does."""

from collections.abc import Collection

from core.registration.model.files import Folder, Socket
from plugin_gateway.core.registration.precedence import OtherGateway

LEFTOVER_AGE = 1.0


class Neighbours:
    """The other gateways in the directory, as one gateway sees them."""

    def __init__(self, folder: Folder, instance: str) -> None:
        self._folder = folder
        self._instance = instance
        self._seen: set[str] = set()

    def has_newcomers(self, resources: Collection[str]) -> bool:
        """Whether there are sockets for these resources that `find` has not found."""
        names = {each.name for each in self._others() if each.resource in resources}
        self._seen &= names
        return names > self._seen

    def find(self, resource: str, now: float) -> list[OtherGateway]:
        """Return the other gateways of a resource. Sockets that nobody listens on are removed after a second."""
        found: list[OtherGateway] = []
        for socket in self._others():
            if not socket.is_listening:
                if now - socket.born > LEFTOVER_AGE:
                    self._folder.unlink(socket)
            elif socket.resource == resource:
                self._seen.add(socket.name)
                found.append(OtherGateway(socket.instance, socket.name, 1, has_stream=socket.is_marked))
        return sorted(found)

    def _others(self) -> list[Socket]:
        return [each for each in self._folder.sockets.values() if each.instance != self._instance]
