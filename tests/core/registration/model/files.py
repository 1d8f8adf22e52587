"""The kubelet's directory, as kubelets and gateways see it: sockets by name, and who listens on them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from core.registration.model.virtual_time import Process

if TYPE_CHECKING:
    from core.registration.model.kubelets import Connection, Kubelet


class Identity(NamedTuple):
    """What tells one kubelet.sock from another."""

    inode: int
    changed: int
    """Stands for the time of the last change."""

    def shares_inode(self, other: "Identity") -> bool:
        return self.inode == other.inode


class Socket:
    """The endpoint of a gateway for one resource."""

    __slots__ = (
        "arrived",
        "attempt",
        "born",
        "connection",
        "ends_lists",
        "instance",
        "is_closing",
        "is_given_up",
        "is_listening",
        "is_marked",
        "made",
        "name",
        "owner",
        "resource",
        "was_claimed",
    )

    def __init__(self, owner: Process, instance: str, resource: str, name: str) -> None:
        self.owner = owner
        self.instance = instance
        self.resource = resource
        self.name = name
        self.born = owner.time.now
        self.attempt: int | None = None
        self.connection: Connection | None = None
        """The kubelet's connection whose stream is open, as the gateway knows it."""
        self.made: list[Connection] = []
        """All connections of kubelets."""
        self.was_claimed = False
        """Whether a kubelet has opened a stream. A second one does not count."""
        self.arrived = 0.0
        """When the last message of a kubelet arrived. They arrive in order."""
        self.is_listening = True
        self.is_given_up = False
        """Whether the gateway has decided to close it."""
        self.is_closing = False
        self.ends_lists = False
        """Whether a stream ends after its first list, because the resource was withdrawn."""
        self.is_marked = False
        """Whether the file shows other gateways that the stream is open."""


class Folder:
    """One device plugin directory. Another one can take its place."""

    def __init__(self) -> None:
        self.exists = True
        self.kubelet: Kubelet | None = None
        """Whose kubelet.sock is in it."""
        self.identity: Identity | None = None
        """None if there is no kubelet.sock."""
        self.sockets: dict[str, Socket] = {}
        self.changes = 0
        self.watchers: list[Callable[[], None]] = []
        self._inodes = 0

    def changed(self) -> None:
        """Wake everybody who watches the directory."""
        self.changes += 1
        for wake in self.watchers:
            wake()

    def has(self, socket: Socket) -> bool:
        return self.sockets.get(socket.name) is socket

    def bind(self, socket: Socket) -> None:
        self.sockets[socket.name] = socket
        self.changed()

    def unlink(self, socket: Socket) -> None:
        if self.has(socket):
            del self.sockets[socket.name]
            self.changed()

    def delete_sockets(self) -> None:
        """Delete the sockets of all gateways."""
        self.sockets.clear()
        self.changed()

    def listen(self, kubelet: "Kubelet", *, reuses_inode: bool) -> None:
        """Make kubelet.sock. The file system can give it the number that the last one had."""
        self._inodes += not reuses_inode
        self.kubelet, self.identity = kubelet, Identity(self._inodes, self.changes)
        self.changed()

    def touch(self) -> None:
        """Change the time of kubelet.sock."""
        if self.identity is not None:
            self.identity = self.identity._replace(changed=self.changes + 1)
            self.changed()

    def move_kubelet_away(self) -> None:
        """Give kubelet.sock another name. Connections to it go on."""
        self.identity = None
        self.changed()

    def move_kubelet_back(self, identity: Identity) -> None:
        """Give it the name again. It is the same file as before."""
        self.identity = identity
        self.changed()

    def remove_kubelet(self) -> None:
        self.identity = self.kubelet = None
        self.changed()

    def vanish(self) -> None:
        """Remove the directory with everything in it."""
        self.exists, self.identity, self.kubelet = False, None, None
        self.sockets.clear()
        self.changed()

    def appear(self) -> None:
        self.exists = True
        self.changed()
