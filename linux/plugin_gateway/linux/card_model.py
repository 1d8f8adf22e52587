"""What a backend for network cards has to say of the facts. `card_backend` reads them, in threads of its own."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from plugin_gateway.core.devices import FaultId, Inventory, PortOfDevice
from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.linux.facts import Interface, PciFunctions, PortState


class Unread(NamedTuple):
    """Why something could not be read."""

    errno: int | None
    """The kernel's error. None if it does not answer."""
    words: str
    """For people, such as ``ENODEV`` or ``no answer for 3 s``."""


class Tree(Protocol):
    """The files of a host, below any root. A path is that of the host, such as ``/sys/module/ib_core``.

    No method raises an `OSError` unless there is no descriptor left to read with. None follows a link out of the root.
    """

    def text(self, path: str) -> str | Unread:
        """Return the content of a small file, without the newline at its end."""
        ...

    def names(self, path: str) -> tuple[str, ...] | Unread:
        """Return the names in a folder, in order."""
        ...

    def link(self, path: str) -> str | Unread:
        """Return where a link leads, as it is written in it."""
        ...

    def exists(self, path: str) -> bool:
        """Whether there is something at this path."""
        ...

    def seen_at(self, path: str) -> str:
        """Return a path as this process sees it, for people."""
        ...


class PortId(NamedTuple):
    """A port of an RDMA device."""

    function: str
    """The address of its PCI function."""
    device: str
    """The name of its RDMA device."""
    number: int


class Signs(NamedTuple):
    """What is read each second, and after each event of a link, of the devices of the last scan and their parents."""

    ports: Mapping[PortId, PortState | Unread]
    interfaces: Mapping[str, tuple[Interface, ...]]
    """The interfaces of each function, by its address. A function that has none is not in it."""
    unanswered: Mapping[str, Unread] = MappingProxyType({})
    """The functions whose interfaces could not be read, by address. What was read of them last is still there."""


class Seen(NamedTuple):
    """What a model makes of one scan."""

    inventory: Inventory
    ports: tuple[PortId, ...]
    """The ports whose state is to be read."""
    seldom: frozenset[str] = frozenset()
    """The addresses of functions whose signs are for people only, and need not be read at each look."""


class Judged(NamedTuple):
    """What a model makes of signs."""

    checkups: Mapping[FaultId, Checkup]
    """One for each physical device of the inventory. What does not answer is among its problems."""
    ports: tuple[PortOfDevice, ...]
    facts: Mapping[str, str] = MappingProxyType({})
    """What the node has besides that only labels tell, in words of the backend, see `FactsSeen`."""


class CardModel(Protocol):
    """The opinion about the facts. Only the thread of its backend calls it.

    What it reads comes from the kernel's memory. What can ask a driver is read for it.
    """

    def see(self, bus: PciFunctions, tree: Tree) -> Seen:
        """Return what a scan means. It is called for each scan, before `judge`."""
        ...

    def judge(self, signs: Signs) -> Judged:
        """Return what these signs mean for the devices of the last scan."""
        ...
