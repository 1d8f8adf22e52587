"""Reads what can change at any moment: states of ports, and carriers of interfaces.

The driver or its firmware answers some of these reads, so that each can hang for a minute.
"""

import errno
import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple, Protocol

from plugin_gateway.linux.card_model import PortId, Signs, Tree, Unread
from plugin_gateway.linux.facts import Interface, PciFunctions, PortState
from plugin_gateway.linux.folder import number_in, printable
from plugin_gateway.linux.pci_scan import folder_of

_WORD = re.compile(r"[0-9]{1,2}: ([A-Za-z_ ]{1,40})", re.ASCII)
"""How the driver tells the state of a port, such as ``4: ACTIVE``."""
_RATE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) Gb/sec.{0,100}", re.ASCII)
_COUNTERS = ("link_downed", "symbol_error")
_MAX_SPEED = 100_000_000
"""Mbit/s. Some drivers say 4294967295 for a speed that they do not know."""
_REPLACED = "\ufffd"
_GONE = frozenset({errno.ENOENT, errno.ENODEV, errno.ENOTDIR})


class KeptText(Protocol):
    """A small file that is read again and again."""

    def read(self) -> str | Unread:
        """Return the content, without the newline at its end."""
        ...

    def close(self) -> None:
        """Give back what it holds open."""
        ...


class KeepingTree(Tree, Protocol):
    """A tree in which files can be kept open."""

    def keep(self, path: str) -> KeptText:
        """Return a small file that is read again and again."""
        ...


class InterfacePlan(NamedTuple):
    """An interface to be read."""

    name: str
    type: int
    folder: str


class FunctionPlan(NamedTuple):
    """What is to be read of a function."""

    address: str
    card: str
    """The functions with the same one hang together: the address of the physical function, without its number."""
    ports: tuple[tuple[PortId, str], ...]
    """Each with its folder."""
    interfaces: tuple[InterfacePlan, ...]
    is_seldom: bool = False
    """Whether it need not be read at each look."""


class FunctionSigns(NamedTuple):
    """What was read of a function."""

    ports: Mapping[PortId, PortState | Unread]
    interfaces: tuple[Interface, ...] = ()
    unanswered: Unread | None = None
    """Why an interface could not be read."""


class SignReader(Protocol):
    """Reads the signs of functions. One thread calls it."""

    def follow(self, plans: Iterable[FunctionPlan]) -> None:
        """Read these functions from now on, and no others."""
        ...

    def look(self, only: Collection[str] | None = None, *, patience: float) -> Signs:
        """Read the functions with these addresses, or all that are due, and return what is known of all of them.

        After ``patience`` seconds without an answer it no longer waits.
        """
        ...

    def stop(self) -> None:
        """End, without a wait."""
        ...

    def join(self, timeout: float | None = None) -> None:
        """Wait for what can end after `stop`, at most this time."""
        ...


def plans_of(
    tree: Tree,
    bus: PciFunctions,
    ports: Iterable[PortId],
    addresses: Collection[str],
    seldom: Collection[str] = frozenset(),
) -> tuple[FunctionPlan, ...]:
    """Return what is to be read: these ports, and the interfaces of the functions with these addresses.

    ``seldom`` are those that need not be read at each look.
    """
    by_function: dict[str, list[PortId]] = {}
    for port in ports:
        by_function.setdefault(port.function, []).append(port)
    known = {each.address: each for each in bus.functions}
    plans = []
    for address in sorted({*addresses, *by_function} & known.keys()):
        function, folder = known[address], folder_of(tree, address)
        plans.append(
            FunctionPlan(
                address,
                (function.parent or address).rpartition(".")[0],
                tuple((port, _port_folder(tree, folder, port)) for port in by_function.get(address, ())),
                tuple(
                    InterfacePlan(each.name, each.type, _below(tree, f"{folder}/net", each.name))
                    for each in function.interfaces
                    if address in addresses
                ),
                address in seldom,
            )
        )
    return tuple(plans)


def _port_folder(tree: Tree, folder: str, port: PortId) -> str:
    return f"{_below(tree, f'{folder}/infiniband', port.device)}/ports/{port.number}"


def _below(tree: Tree, folder: str, name: str) -> str:
    """Return the path of something whose name may have been made printable."""
    if _REPLACED in name:
        names = tree.names(folder)
        listed = () if isinstance(names, Unread) else names
        name = next((each for each in listed if printable(each) == name), name)
    return f"{folder}/{name}"


class FunctionFiles:
    """The files of one function. Those that are read each time stay open."""

    def __init__(self, tree: KeepingTree, plan: FunctionPlan) -> None:
        self._ports = [(port, _PortFiles(tree, folder)) for port, folder in plan.ports]
        self._interfaces = [_InterfaceFiles(tree, each) for each in plan.interfaces]

    def read(self, *, afresh: bool) -> FunctionSigns:
        """Return what the function shows now. ``afresh``: also what hardly ever changes by itself."""
        ports = {port: files.read(afresh=afresh) for port, files in self._ports}
        found = [files.read(afresh=afresh) for files in self._interfaces]
        fails = next((each for each in found if isinstance(each, Unread)), None)
        return FunctionSigns(ports, tuple(each for each in found if isinstance(each, Interface)), fails)

    def close(self) -> None:
        """Close what is open."""
        for _, port in self._ports:
            port.close()
        for interface in self._interfaces:
            interface.close()


class _PortFiles:
    """Reads a port. As long as its state is the same, nothing else is asked."""

    def __init__(self, tree: KeepingTree, folder: str) -> None:
        self._tree = tree
        self._folder = folder
        self._state = tree.keep(f"{folder}/state")
        self.close = self._state.close
        self._text: str | Unread | None = None
        self._known: PortState | Unread | None = None

    def read(self, *, afresh: bool) -> PortState | Unread:
        text = self._state.read()
        if afresh or self._known is None or text != self._text:
            self._text, self._known = text, self._read(text)
        return self._known

    def _read(self, text: str | Unread) -> PortState | Unread:
        if isinstance(text, Unread):
            return text
        state = _word(text)
        if not state:
            return Unread(errno.EBADMSG, f"its state cannot be {text[:40]!a}")
        phys_state, rate = (self._tree.text(f"{self._folder}/{name}") for name in ("phys_state", "rate"))
        found = PortState(state, _word(phys_state) if isinstance(phys_state, str) else "", _rate(rate))
        if self._known is None:
            return found  # a counter says something only beside an earlier one, and the first list waits for this
        link_downed, symbol_errors = (self._tree.text(f"{self._folder}/counters/{name}") for name in _COUNTERS)
        return found._replace(link_downed=_number(link_downed), symbol_errors=_number(symbol_errors))


class _InterfaceFiles:
    """Reads an interface. As long as its carrier is the same, nothing else is asked."""

    def __init__(self, tree: KeepingTree, plan: InterfacePlan) -> None:
        self._tree = tree
        self._plan = plan
        self._carrier = tree.keep(f"{plan.folder}/carrier")
        self.close = self._carrier.close
        self._text: str | Unread | None = None
        self._known: Interface | Unread | None = None

    def read(self, *, afresh: bool) -> Interface | Unread | None:
        """Return the interface. None if it is no longer there."""
        text = self._carrier.read()
        if afresh or text != self._text:
            self._text, self._known = text, self._read(text)
        return self._known

    def _read(self, text: str | Unread) -> Interface | Unread | None:
        if isinstance(text, Unread) and text.errno in _GONE:
            return None
        if isinstance(text, Unread) and text.errno != errno.EINVAL:
            return text
        flags = self._tree.text(f"{self._plan.folder}/flags")
        if isinstance(flags, Unread):
            return None if flags.errno in _GONE else flags
        speed, changes = (
            _number(self._tree.text(f"{self._plan.folder}/{name}")) for name in ("speed", "carrier_changes")
        )
        return Interface(
            name=self._plan.name,
            type=self._plan.type,
            is_switched_on=bool((_number(flags) or 0) & 1),
            carrier={"1": True, "0": False}.get(text) if isinstance(text, str) else None,
            speed=speed if speed is not None and 0 < speed < _MAX_SPEED else None,
            carrier_changes=max(changes or 0, 0),
        )


def _word(text: str) -> str:
    found = _WORD.fullmatch(text.strip())
    return found[1] if found else ""


def _rate(text: str | Unread) -> float | None:
    found = _RATE.fullmatch(text.strip()) if isinstance(text, str) else None
    return float(found[1]) if found else None


def _number(text: str | Unread) -> int | None:
    return number_in(text.strip(), -1, 0xFFFFFFFF) if isinstance(text, str) else None


def joined(found: Iterable[tuple[str, FunctionSigns]]) -> Signs:
    """Return the signs of functions, which come with their addresses, as one."""
    ports: dict[PortId, PortState | Unread] = {}
    interfaces, unanswered = {}, {}
    for address, signs in found:
        ports.update(signs.ports)
        if signs.interfaces:
            interfaces[address] = signs.interfaces
        if signs.unanswered is not None:
            unanswered[address] = signs.unanswered
    return Signs(ports, interfaces, unanswered)


class DirectReader:
    """Reads in the thread that calls it. For trees that cannot hang."""

    def __init__(self, tree: KeepingTree) -> None:
        self._tree = tree
        self._files: dict[FunctionPlan, FunctionFiles] = {}

    def follow(self, plans: Iterable[FunctionPlan]) -> None:
        """Read these functions from now on, and no others."""
        self.stop()
        self._files = {plan: FunctionFiles(self._tree, plan) for plan in plans}

    def look(self, only: Collection[str] | None = None, *, patience: float = 0.0) -> Signs:  # noqa: ARG002 - it is all
        """Read all functions, and return what they show."""
        return joined((plan.address, files.read(afresh=True)) for plan, files in self._files.items())

    def stop(self) -> None:
        """Close what is open."""
        for files in self._files.values():
            files.close()

    def join(self, timeout: float | None = None) -> None:
        """Return at once, because there is no thread."""
