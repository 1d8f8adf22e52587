"""The opinion of this backend about the facts of a scan, and about the signs that are read each second."""

import time
from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

from plugin_gateway.core.devices import FaultId, Inventory, PhysicalId, PortOfDevice
from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.core.health.policy import EvidenceKind
from plugin_gateway.linux.card_model import Judged, PortId, Seen, Signs, Tree, Unread
from plugin_gateway.linux.facts import Interface, PciFunction, PciFunctions, PortState
from plugin_gateway.linux.pcie import degraded_link
from plugin_gateway.rdma.diagnosis import Link, gone_ports, is_active, judge_card, link_of, port_ids, port_words
from plugin_gateway.rdma.discovery import Card, find_cards
from plugin_gateway.rdma.evidence import LINK_ERRORS, PCIE_DEGRADED
from plugin_gateway.rdma.memory import NOTHING, Memory
from plugin_gateway.rdma.naming import ETHERNET, RECIPES, SIMULATED_RECIPES
from plugin_gateway.rdma.offering import device_of, link_type, physical_device
from plugin_gateway.rdma.port_history import Counters, PortHistory


class _Result(NamedTuple):
    """What was made of a card."""

    shown: object
    """The signs of which it was made."""
    checkup: Checkup
    ports: Sequence[PortOfDevice]


class RdmaModel:
    """Makes RDMA devices of PCI functions, and judges them. It implements `linux.card_model.CardModel`.

    ``memory`` is what was seen of the cards before. The thread of the backend calls ``save`` with it whenever it has
    changed, and again after a scan as long as it is not kept. A simulated card needs no device nodes. ``clock`` returns
    seconds on a clock that nobody sets.
    """

    def __init__(
        self,
        memory: Memory = NOTHING,
        save: Callable[[Memory], object] = lambda _memory: None,
        is_kept: Callable[[], bool] = lambda: True,
        *,
        is_simulated: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._memory = memory
        self._save = save
        self._is_kept = is_kept
        self._is_simulated = is_simulated
        self._clock = clock
        self._indexes: dict[str, int] = {}
        """The number of each card in the order of their first sight. It stays the same when others come or go."""
        self._cards: tuple[Card, ...] = ()
        self._ports: dict[str, tuple[PortId, ...]] = {}
        """The ports of each card that can be asked, by address."""
        self._parents: dict[str, tuple[PciFunction, tuple[PortId, ...]]] = {}
        """The physical functions of virtual ones, each with its ports."""
        self._degraded: dict[str, str] = {}
        self._history = PortHistory()
        self._lost: frozenset[PortId] = frozenset()
        """Ports that could not be read before the last scan, as if they had gone, and that it found all the same."""
        self._signs: Signs | None = None
        self._latest: dict[str, _Result] = {}
        """What was made of each card last, by address. An event is mostly about one of them."""
        self._judged: Judged | None = None
        """What the same signs mean, which is nearly always so, as long as it does not depend on the time."""

    def see(self, bus: PciFunctions, tree: Tree) -> Seen:
        """Return what a scan means."""
        found = find_cards(bus, tree, self._memory, needs_nodes=not self._is_simulated)
        if found.memory != self._memory or not self._is_kept():
            self._memory = found.memory
            self._save(found.memory)
        for card in found.cards:
            self._indexes.setdefault(card.address, len(self._indexes))
        self._cards = tuple(sorted(found.cards, key=lambda card: self._indexes[card.address]))
        self._ports = {card.address: port_ids(card) for card in self._cards}
        ports = tuple(chain.from_iterable(self._ports.values()))
        self._history.keep_only(set(ports))
        self._lost = gone_ports(self._signs).intersection(ports) if self._signs is not None else frozenset()
        self._judged, self._latest = None, {}
        self._parents = _parents(self._cards, bus)
        physical_functions = [card.address for card in self._cards if not card.is_virtual]
        self._degraded = {each: words for each in physical_functions if (words := degraded_link(tree, each))}
        physical = [physical_device(card, self._indexes[card.address], self._memory) for card in self._cards]
        inventory = Inventory(
            physical=tuple(physical),
            devices=tuple(
                device_of(card, each, has_nodes=not self._is_simulated)
                for card, each in zip(self._cards, physical, strict=True)
            ),
            rejected=found.rejected,
            set_aside=found.set_aside,
            recipes=SIMULATED_RECIPES if self._is_simulated else RECIPES,
        )
        # A driver asks the firmware about each port, and a virtual function is judged by its physical one.
        return Seen(inventory, ports, seldom=frozenset(card.address for card in self._cards if card.is_virtual))

    def judge(self, signs: Signs) -> Judged:
        """Return what these signs mean for the devices of the last scan."""
        if self._judged is None or signs != self._signs or self._history.depends_on_time:
            self._signs, self._judged = signs, self._judge(signs, self._clock())
        return self._judged

    def _judge(self, signs: Signs, now: float) -> Judged:
        links = {address: link_of(function, ports, signs) for address, (function, ports) in self._parents.items()}
        checkups: dict[FaultId, Checkup] = {}
        ports: list[PortOfDevice] = []
        for card in self._cards:
            result = self._result(card, signs, links.get(card.function.parent or ""), now)
            ports += result.ports
            checkups[PhysicalId(card.address)] = result.checkup
        return Judged(checkups, tuple(ports))

    def _result(self, card: Card, signs: Signs, parent: Link | None, now: float) -> "_Result":
        """Return what signs mean for a card. The same ones mean the same, if nothing counts only for a while."""
        address = card.address
        shown = (
            [signs.ports.get(port) for port in self._ports[address]],
            signs.interfaces.get(address),
            signs.unanswered.get(address),
            parent,
        )
        before = self._latest.get(address)
        if before is None or before.shown != shown or any(map(self._history.is_recent, self._ports[address])):
            found = self._look(card, signs, now)
            before = self._latest[address] = _Result(shown, self._checkup(card, signs, parent, now), found)
        return before

    def _checkup(self, card: Card, signs: Signs, parent: Link | None, now: float) -> Checkup:
        checkup = judge_card(card, signs, parent, self._lost)
        further: dict[EvidenceKind, str] = {}
        if not card.is_virtual and not card.problems:
            errors = [words for port in self._ports[card.address] if (words := self._history.errors(port, now))]
            if errors:
                further[LINK_ERRORS] = ", ".join(errors)
        if card.address in self._degraded:
            further[PCIE_DEGRADED] = self._degraded[card.address]
        return checkup._replace(problems={**checkup.problems, **further}) if further else checkup

    def _look(self, card: Card, signs: Signs, now: float) -> list[PortOfDevice]:
        interfaces = signs.interfaces.get(card.address, ())
        layer = link_type(card)
        found = []
        for port in self._ports[card.address]:
            state = signs.ports.get(port)
            if state is None:
                continue
            self._history.look(port, state, _counters(state, interfaces if layer == ETHERNET else ()), now)
            found.append(_port_of_device(port, layer, state, self._history.changes(port)))
        return found


def _parents(cards: tuple[Card, ...], bus: PciFunctions) -> dict[str, tuple[PciFunction, tuple[PortId, ...]]]:
    wanted = {card.function.parent for card in cards}
    ports = {card.address: port_ids(card) for card in cards if card.address in wanted}
    return {each.address: (each, ports.get(each.address, ())) for each in bus.functions if each.address in wanted}


def _counters(state: PortState | Unread, interfaces: tuple[Interface, ...]) -> Counters:
    """Return what is counted. An interface counts for the port if it is the only one of its function."""
    changes = interfaces[0].carrier_changes if len(interfaces) == 1 else None
    if isinstance(state, Unread):
        return Counters(changes, None, None)
    return Counters(changes, state.link_downed, state.symbol_errors)


def _port_of_device(port: PortId, layer: str, state: PortState | Unread, changes: int) -> PortOfDevice:
    is_up = isinstance(state, PortState) and is_active(state)
    return PortOfDevice(
        device=PhysicalId(port.function),
        number=port.number,
        layer=layer,
        is_up=is_up,
        words=port_words(state),
        rate_gbps=state.rate_gbps if isinstance(state, PortState) and is_up else None,
        changes=changes,
    )
