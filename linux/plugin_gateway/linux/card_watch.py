"""Decides when to scan and when to read signs, and reports what a model makes of both."""

import errno
import time
from collections.abc import Callable, Collection

from plugin_gateway.core.devices import Inventory
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverUnavailable,
    EventsAwaited,
    FactsSeen,
    InventorySeen,
    Observation,
    PortsSeen,
)
from plugin_gateway.linux.card_model import CardModel, Judged, Signs, Unread
from plugin_gateway.linux.facts import PciFunctions
from plugin_gateway.linux.kernel_events import Heard, KernelEvents
from plugin_gateway.linux.pci_scan import BUS, BUS_TODO, NoBusError
from plugin_gateway.linux.signs import FunctionPlan, KeepingTree, SignReader, plans_of
from plugin_gateway.linux.sysfs import NONE_LEFT
from plugin_gateway.linux.watching import CardPace

_LISTED = (
    BUS,
    "/sys/bus/auxiliary/devices",
    "/sys/class/infiniband",
    "/sys/class/infiniband_mad",
    "/sys/class/infiniband_verbs",
    "/sys/class/misc",
    "/sys/module",
)
"""Folders whose names say that something came or went, where the kernel does not tell it."""
_INTERFACES = "/sys/class/net"
"""The same, but only its interfaces that belong to cards. The others come and go with each pod."""
_VIRTUAL = "/virtual/"
_GONE = frozenset({errno.ENOENT, errno.ENODEV})


BusScan = Callable[[Callable[[], object]], PciFunctions]
"""Returns what is on the bus, or raises NoBusError. It calls what it is given while it works."""


class CardWatch:
    """Watches the cards for one thread, which alone calls it."""

    def __init__(
        self,
        model: CardModel,
        tree: KeepingTree,
        scan_bus: BusScan,
        reader: SignReader,
        events: KernelEvents,
        pace: CardPace,
        report: Callable[[Observation], object],
        give_sign: Callable[[], object],
        is_stopping: Callable[[], bool],
        rest: Callable[[], object],
        facts_wanted: Callable[[], bool] = lambda: False,
    ) -> None:
        """``give_sign`` is called while it works, and ``rest`` before it waits for something to do.

        ``facts_wanted`` returns whether to report what only labels tell.
        """
        self._model = model
        self._tree = tree
        self._scan_bus = scan_bus
        self._reader = reader
        self._events = events
        self._pace = pace
        self._report = report
        self._give_sign = give_sign
        self._is_stopping = is_stopping
        self._rest = rest
        self._facts_wanted = facts_wanted
        self._facts: FactsSeen | None = None
        """The facts that were reported last."""
        self._inventory: Inventory | None = None
        """The latest one that was reported. None if the cards could not be seen since then."""
        self._judged: Judged | None = None
        """What was reported last of the cards of this inventory."""
        self._problem: DriverUnavailable | None = None
        self._events_told: tuple[str | None, ...] = ()
        """The problem of the kernel's events that was reported last. Empty if nothing was."""
        self._plans: tuple[FunctionPlan, ...] = ()
        self._functions: dict[str, str] = {}
        """The address of the function of each interface that is followed."""
        self._missing: frozenset[object] = frozenset()
        """What was to be read at the last look and was not there any more."""
        self._listing: tuple[object, ...] | None = None
        self._is_virtual: dict[str, bool] = {}
        """Whether an interface belongs to no card, by its name."""
        self._asked_since: float | None = None
        """Since when a scan is asked for."""
        self._scan_due = 0.0
        self._poll_due = 0.0
        self._check_due = 0.0

    def watch(self) -> None:
        """Watch the cards until it has to end. No error ends it before."""
        while not self._is_stopping():
            problem: DriverUnavailable | None
            try:
                self._step()
            except NoBusError as error:
                problem = DriverUnavailable(str(error), todo=BUS_TODO)
            except Exception as error:  # noqa: BLE001 - the cards have to be watched after any error
                is_about_us = isinstance(error, OSError) and error.errno in NONE_LEFT
                problem = None if is_about_us else DriverUnavailable(f"{type(error).__name__}: {error}")
            else:
                continue
            if problem is not None:  # without a descriptor to read with, the cards are as they were
                self._say_problem(problem)
            self._scan_due = time.monotonic() + self._pace.retry
            self._wait()

    def _say_problem(self, problem: DriverUnavailable) -> None:
        """Report why the cards cannot be seen. The same problem is reported again only after an inventory."""
        self._inventory, self._judged = None, None
        if problem != self._problem:
            self._problem = problem
            self._report(problem)

    def _step(self) -> None:
        """Do what is due, then wait for what is next.

        Raises:
            NoBusError: the bus cannot be read.
        """
        now = time.monotonic()
        if now >= self._scan_due:
            self._scan()
        elif now >= self._poll_due and self._inventory is not None:
            self._look(None)
            self._look_for_changes()
        self._wait()

    def _wait(self) -> None:
        """Wait until something is due or told, and heed that."""
        due = self._scan_due if self._inventory is None else min(self._scan_due, self._poll_due)
        self._rest()
        heard = self._events.wait(due - time.monotonic(), self._functions)
        self._give_sign()
        self._heed(heard)

    def _heed(self, heard: Heard) -> None:
        if heard.asks_for_scan:
            self._ask_for_scan()
        if heard.asks_for_look:
            self._poll_due = 0.0
        elif heard.interfaces and self._inventory is not None:
            self._look({self._functions[name] for name in heard.interfaces})

    def _ask_for_scan(self) -> None:
        """Scan when nothing more has come for a moment, but not too late."""
        now = time.monotonic()
        if self._asked_since is None:
            self._asked_since = now
        latest = self._asked_since + self._pace.longest_settling
        self._scan_due = min(now + self._pace.settling, latest)

    def _scan(self) -> None:
        """Find the cards, and report them with what they show.

        The signs are read first, so that no card is offered before its health is known.

        Raises:
            NoBusError: the bus cannot be read.
        """
        began = time.monotonic()
        self._asked_since, self._scan_due = None, began + self._pace.scan
        bus = self._scan_bus(self._give_sign)
        seen = self._model.see(bus, self._tree)
        self._give_sign()
        plans = plans_of(self._tree, bus, seen.ports, _addresses(seen.inventory, bus), seen.seldom)
        is_new = bool({plan.address for plan in plans} - {plan.address for plan in self._plans})
        self._plans = plans
        self._functions = {each.name: plan.address for plan in plans for each in plan.interfaces}
        self._reader.follow(plans)
        signs = self._read(None, self._pace.first_patience if is_new else self._pace.patience)
        judged = self._model.judge(signs)
        if seen.inventory != self._inventory:
            self._inventory, self._problem, self._judged = seen.inventory, None, None
            self._report_check(judged, began)  # who reads it before the rest must not take a card for healthy
            self._report(InventorySeen(seen.inventory))
        self._tell(judged, began)
        problem = self._events.problem(self._functions)
        if (problem,) != self._events_told:
            self._events_told = (problem,)
            self._report(EventsAwaited(problem))

    def _look(self, only: Collection[str] | None) -> None:
        """Read the signs of all functions, or of these, and report what differs."""
        began = time.monotonic()
        self._tell(self._model.judge(self._read(only, self._pace.patience)), began)

    def _read(self, only: Collection[str] | None, patience: float) -> Signs:
        if only is None:
            self._poll_due = time.monotonic() + self._pace.poll
        signs = self._reader.look(only, patience=patience)
        self._give_sign()
        missing = _missing(signs, self._plans)
        if missing - self._missing:
            self._ask_for_scan()
        self._missing = missing
        return signs

    def _tell(self, judged: Judged, began: float) -> None:
        """Report what differs from the last report, and a check now and then."""
        before, self._judged, now = self._judged, judged, time.monotonic()
        if before is None or before.ports != judged.ports:
            self._report(PortsSeen(judged.ports))
        self._tell_facts(judged)
        if before is None or before.checkups != judged.checkups or now >= self._check_due:
            self._check_due = now + self._pace.check
            self._report_check(judged, began)

    def _report_check(self, judged: Judged, began: float) -> None:
        self._report(DevicesChecked(judged.checkups, age=time.monotonic() - began))

    def _tell_facts(self, judged: Judged) -> None:
        """Report what only labels tell, if somebody wants it and it differs from the last report."""
        if not self._facts_wanted() or self._inventory is None:
            return
        facts = FactsSeen(judged.facts, {each.id: {} for each in self._inventory.physical})
        if facts != self._facts:
            self._facts = facts
            self._report(facts)

    def _look_for_changes(self) -> None:
        """Notice that something came or went, if the kernel does not tell it."""
        if self._events.hears_devices:
            return
        listing = (*(self._tree.names(folder) for folder in _LISTED), self._genuine_interfaces())
        before, self._listing = self._listing, listing
        if before is not None and before != listing:
            self._ask_for_scan()

    def _genuine_interfaces(self) -> list[str]:
        """Return the interfaces that belong to cards. The kernel is asked about each once."""
        names = self._tree.names(_INTERFACES)
        known, self._is_virtual = self._is_virtual, {}
        for name in () if isinstance(names, Unread) else names:
            is_known = name in known
            self._is_virtual[name] = known[name] if is_known else _VIRTUAL in self._tree.link(f"{_INTERFACES}/{name}")
        return [name for name, is_virtual in self._is_virtual.items() if not is_virtual]


def _addresses(inventory: Inventory, bus: PciFunctions) -> set[str]:
    """Return the functions whose interfaces matter: those of the devices, and their parents."""
    own = {each.pci_address for each in inventory.physical}
    return own | {each.parent for each in bus.functions if each.address in own and each.parent is not None}


def _missing(signs: Signs, plans: Collection[FunctionPlan]) -> frozenset[object]:
    """Return what was to be read and is not there any more."""
    ports = {port for port, state in signs.ports.items() if isinstance(state, Unread) and state.errno in _GONE}
    there = {(address, each.name) for address, found in signs.interfaces.items() for each in found}
    unknown = signs.unanswered.keys()
    planned = {(plan.address, each.name) for plan in plans if plan.address not in unknown for each in plan.interfaces}
    return frozenset(ports | (planned - there))
