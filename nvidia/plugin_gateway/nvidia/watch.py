"""What the thread does in a session: it reports the inventory, waits for events, and rescans."""

import contextlib
import ctypes
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from plugin_gateway.core.devices import FaultId, Inventory, Links
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    EventsAwaited,
    FactsSeen,
    InventorySeen,
    LinksSeen,
)
from plugin_gateway.core.ports import Report
from plugin_gateway.nvidia import nvml
from plugin_gateway.nvidia.evidence import NVLINK_DOWN
from plugin_gateway.nvidia.library import DriverMissingError
from plugin_gateway.nvidia.mig_reader import MigReader
from plugin_gateway.nvidia.naming import MigStrategy
from plugin_gateway.nvidia.pace import Pace
from plugin_gateway.nvidia.pci import PciBus
from plugin_gateway.nvidia.session import Session, driver_seen, open_session

if TYPE_CHECKING:
    from plugin_gateway.core.cdi import DriverFiles, FilesWanted
    from plugin_gateway.nvidia.history import Histories
    from plugin_gateway.nvidia.snapshot import Snapshot

WAIT_ERROR_PAUSE = 1.0
"""Seconds before the next wait for events after a wait failed."""
ASKED_FOR_PAUSE = 1.0
"""Seconds at least between two rescans that events ask for. An application can cause such events without end."""
MAX_EVENTS_AT_ONCE = 100
"""Events that are read between two calls of a slow driver. The others wait for the next pause."""
NEW_SESSION = "a new session of the driver is opened"
LINKS_PAUSE = 0.1
"""Seconds after an inventory until the links are read, so that the first registration does not wait for that."""
FACTS_RETRY = 5.0
"""Seconds until facts are read again, if a call failed."""
FACTS_LOOK = 60.0
"""The same, if none failed. A GPU can join the NVLink fabric in the same session."""
FILES_RETRY = 5.0
"""Seconds until the driver's files are looked for again, if they were not there. They can be installed later."""
FILES_LOOK = 60.0
"""The same, if they were there. They can be replaced or removed, or the rest of them installed, in the same session."""
SLOW = 0.25
"""Seconds. If the calls of a rescan take longer than this, events are read between two of them."""


class Watch:
    """Reports the observations, and remembers from one session to the next what was reported."""

    def __init__(
        self,
        *,
        sysfs: str,
        proc: str,
        pace: Pace,
        report: Report,
        give_sign: Callable[[], None],
        stopping: threading.Event,
        decision_time: Callable[[], float],
        mig_strategy: MigStrategy,
        driver_root: str,
        files_wanted: "Callable[[], FilesWanted | None]",
        facts_wanted: Callable[[], bool],
    ) -> None:
        """``decision_time`` returns the seconds that the driver needs to decide about an event.

        ``files_wanted`` returns what to find of the driver's files, and ``driver_root`` is where they are seen.
        ``facts_wanted`` returns whether to report what labels tell of the GPUs.
        """
        self.inventory_is_old = True
        """Whether no inventory was reported yet, or the driver has been missing since the last one."""
        self._sysfs = Path(sysfs)
        self._bus = PciBus(sysfs)
        self._proc = Path(proc)
        self._mig = MigReader(mig_strategy, proc)
        self._pace = pace
        self._report = report
        self._give_sign = give_sign
        self._stopping = stopping
        self._decision_time = decision_time
        self._driver_root = driver_root
        self._files_wanted = files_wanted
        self._files_told: object = None
        """What was wanted of the driver's files and for which GPUs, when they were looked for last."""
        self._files: tuple[DriverFiles, ...] = ()
        """What was reported of them last, and what has been found since then, if it differs."""
        self._files_due = math.inf
        """When to look for them again."""
        self._facts_wanted = facts_wanted
        self._facts: FactsSeen | None = None
        """The facts that were reported last."""
        self._facts_of: Snapshot | None = None
        """Of which snapshot they were read last."""
        self._facts_due = math.inf
        """When to read them again, although the snapshot is the same."""
        self._histories: Histories | None = None
        """What the checks have seen over time. None before the second one."""
        self._inventory: Inventory | None = None
        self._events_problem: str | None = None
        self._next_checkup = 0.0
        self._needs_checkup = False
        """Whether an event has come since the last check, or that check found a problem."""
        self._looked_at = 0.0
        """When the last rescan began."""
        self._waited_at = 0.0
        """When events were read last."""
        self._told_meanwhile: set[FaultId] = set()
        """The devices with an event since the present check began."""
        self._rescan_is_asked_for = False
        """Whether an event has asked for a rescan since the last one began."""
        self._links: Links | None = None
        """The links that were reported last."""
        self._links_due = math.inf
        """When to read the links. Infinite if they were read since the last inventory."""
        self._settled_at = 0.0
        """When the driver has decided about the latest event."""

    @property
    def has_seen_devices(self) -> bool:
        """Whether an inventory with devices was reported."""
        return self._inventory is not None and bool(self._inventory.physical)

    def hold_session(self, library: ctypes.CDLL) -> None:
        """Report the GPUs, then watch them until they differ from the snapshot.

        Raises:
            DriverMissingError: the driver cannot be reached, now or later, or has no GPU.
        """
        with open_session(library, self._bus, self._proc, self._inventory, self._mig, self._give_sign) as session:
            inventory = session.snapshot.inventory
            if session.snapshot.is_empty:
                self._report_bus()
                self._report_none(inventory)
                return
            self._look(session)
            try:
                while not self._stopping.is_set() and self._rest(session):
                    pass
            finally:
                self._leave(session)

    def _leave(self, session: Session) -> None:
        """Read what events there are before the session ends, and report that later ones are lost."""
        if not session.hears:
            return
        self._read_events(session)
        if self._events_problem is None:
            self._report_events(NEW_SESSION)

    def _look(self, session: Session) -> None:
        """Report the inventory, the driver and the result of a check.

        The check runs first, so that no GPU is offered before its health is known. Events are read after it, because
        they count only against devices that were reported, and after a reset that was reported. This check asks only
        what is fast, because the kubelet waits for the inventory. The next rescan asks the rest.
        """
        if self._histories is not None:
            self._histories.begin_session()
        driver = driver_seen(self._sysfs)
        is_first = self._inventory is None
        checkups = self._check_up(session, self._give_sign, None)
        self._report_inventory(session.snapshot.inventory)
        self._report(driver)
        self._report_new_session()
        self._report(checkups)
        self._files_told = None
        self._report_files(session)
        self._links_due = time.monotonic() + LINKS_PAUSE
        if is_first:  # an event from before the start can be one that the driver has to decide about
            self.expect_decision()

    def _report_new_session(self) -> None:
        """Report that events are read again, if only the change of the session was in the way."""
        if self._events_problem == NEW_SESSION:
            self._report_events(None)
            self.expect_decision()

    def expect_decision(self) -> None:
        """Check when the driver has decided about evidence that was no event, or missed. Any thread may call it."""
        self._settled_at = self._decided_at(time.monotonic())
        self._needs_checkup = True

    def _decided_at(self, told_at: float) -> float:
        """Return when to check after an event at this time."""
        return told_at + self._decision_time() + self._pace.settling

    def _report_inventory(self, inventory: Inventory) -> None:
        """Report the inventory if it differs from the last one."""
        if inventory != self._inventory or self.inventory_is_old:
            self._inventory, self.inventory_is_old = inventory, False
            self._report(InventorySeen(inventory))

    def _report_none(self, empty: Inventory) -> None:
        """Report that there is no GPU.

        If there were GPUs before, an empty inventory is reported now. The next session then raises the error.

        Raises:
            DriverMissingError: there was no GPU before either.
        """
        if self._inventory is None or self._inventory == empty:
            raise DriverMissingError("the driver is there but has no GPU")
        self._inventory = empty
        self._report(InventorySeen(empty))
        self._report_new_session()
        self._stopping.wait(self._pace.rescan)

    def _rest(self, session: Session) -> bool:
        """Wait for events until the next rescan, then rescan. Returns False if a new session is needed."""
        due = self._next_look(time.monotonic() + self._pace.rescan)
        waits_failed = False
        while not self._stopping.is_set() and ((left := due - time.monotonic()) > 0 or waits_failed):
            self._give_sign()
            self._report_files(session)
            self._report_links(session)
            self._report_facts(session)
            until_links = self._links_due - time.monotonic()
            try:
                self._read_event(session, max(min(left, self._pace.max_wait, until_links), 0))
            except nvml.NvmlError as error:
                # The error does not belong to a single GPU. A rescan finds out which GPUs answer. A new session is
                # only started if this does not help, because the events between two sessions are lost.
                self._report_events(str(error))
                if self._differs(session) or left <= 0:
                    return False
                waits_failed = True
                self._stopping.wait(min(WAIT_ERROR_PAUSE, left))
            else:
                waits_failed = False
                self._report_events(None)
                due = self._next_look(due)
        return not self._stopping.is_set() and not self._differs(session)

    def _report_links(self, session: Session) -> None:
        """Read the links if it is time, and report them if they differ from the last ones."""
        if time.monotonic() < self._links_due:
            return
        self._links_due = math.inf
        links = session.read_links(lambda: self._between_calls(session))
        if links != self._links:
            self._links = links
            self._report(LinksSeen(links))

    def _report_facts(self, session: Session) -> None:
        """Read what labels tell of the GPUs, if somebody wants it and it can be another one. Report it if it is.

        It comes after the links, so that it delays nothing that pods need.
        """
        now = time.monotonic()
        is_read = self._facts_of is session.snapshot and now < self._facts_due
        if not self._facts_wanted() or is_read or self._links_due < math.inf:
            return
        found = session.read_facts(self._facts, lambda: self._between_calls(session))
        self._facts_of, self._facts_due = session.snapshot, now + (FACTS_LOOK if found.is_whole else FACTS_RETRY)
        self._tell_facts(found.facts)

    def _report_bus(self) -> None:
        """Report what labels tell of a machine whose driver has no GPU."""
        if self._facts_wanted():
            from plugin_gateway.nvidia.label_facts import read_vgpu  # noqa: PLC0415 - only where asked for

            self._facts_of = None
            self._tell_facts(FactsSeen(read_vgpu(self._bus), {}))

    def _tell_facts(self, facts: FactsSeen) -> None:
        if facts != self._facts:
            self._facts = facts
            self._report(facts)

    def _report_files(self, session: Session) -> None:
        """Find the driver's files if they are wanted, and look now and then whether they are still these.

        It comes after the inventory, so that a resource is registered meanwhile.
        """
        wanted, inventory, now = self._files_wanted(), session.snapshot.inventory, time.monotonic()
        if wanted is None or (self._files_told == (wanted, inventory.devices) and now < self._files_due):
            return
        from plugin_gateway.nvidia.injection import files_of  # noqa: PLC0415 - only where asked for

        found = files_of(wanted, self._driver_root, str(self._sysfs), driver_seen(self._sysfs)[:2], inventory)
        is_known = self._files_told == (wanted, inventory.devices) and not self._files[0].problem
        if is_known and found not in self._files:
            self._files, self._files_due = (self._files[0], found), now + FILES_RETRY  # somebody may be at it just now
            return
        is_news = not is_known or found != self._files[0]
        self._files, self._files_told = (found,), (wanted, inventory.devices)
        self._files_due = now + (FILES_RETRY if found.problem else FILES_LOOK)
        if is_news and not self._stopping.is_set():
            wanted.report(found)

    def _next_look(self, due: float) -> float:
        """Return when the next rescan is due: earlier than ``due`` if an event asks for it."""
        earliest = self._looked_at + ASKED_FOR_PAUSE
        if self._rescan_is_asked_for:
            return min(due, earliest)
        return min(due, max(self._settled_at, earliest)) if time.monotonic() < self._settled_at else due

    def _read_event(self, session: Session, seconds: float) -> bool:
        """Wait for an event and report it. Returns whether there was one.

        Raises:
            NvmlError: the wait failed.
        """
        happening = session.wait(seconds, self._stopping)
        self._waited_at = time.monotonic()
        if happening is None:
            return False
        self._rescan_is_asked_for |= happening.asks_for_rescan
        if happening.evidence:
            self._needs_checkup = True
            self._settled_at = self._decided_at(self._waited_at)
        for evidence in happening.evidence:
            if evidence.scope is not None:
                self._told_meanwhile.add(evidence.scope)
            self._report(evidence)
        return True

    def _read_events(self, session: Session) -> None:
        """Report the events that are there, without a wait, and not without end."""
        with contextlib.suppress(nvml.NvmlError):  # the next wait reports it
            for _ in range(MAX_EVENTS_AT_ONCE):
                self._give_sign()
                if self._stopping.is_set() or not self._read_event(session, 0):
                    return

    def _between_calls(self, session: Session) -> None:
        """Give a sign of life. If the driver is slow, report the events of the other GPUs."""
        self._give_sign()
        if session.hears and time.monotonic() - self._waited_at > SLOW:
            self._read_events(session)

    def _report_events(self, problem: str | None) -> None:
        """Report whether events can be received, if that has changed."""
        if problem != self._events_problem:
            self._events_problem = problem
            self._report(EventsAwaited(problem))

    def _differs(self, session: Session) -> bool:
        """Rescan, and check the GPUs if it is time. Returns whether a new session is needed."""
        self._looked_at = time.monotonic()
        self._rescan_is_asked_for = False
        check = session.check(lambda: self._between_calls(session))
        if check.is_outdated and not check.differs:
            before = session.snapshot.inventory.physical
            session.read_again()
            self._needs_checkup = True
            self._report_inventory(session.snapshot.inventory)
            if check.answers_again or session.snapshot.inventory.physical != before:
                self._links_due = 0.0
        if check.fails or self._needs_checkup or time.monotonic() >= self._next_checkup:
            self._report(self._check_up(session, lambda: self._between_calls(session), self._remember()))
        return check.differs

    def _remember(self) -> "Histories":
        """Return what the checks have seen over time."""
        if self._histories is None:
            from plugin_gateway.nvidia.history import Histories  # noqa: PLC0415 - the first check does not need it

            self._histories = Histories(self._pace)
        return self._histories

    def _check_up(self, session: Session, between: Callable[[], None], histories: "Histories | None") -> DevicesChecked:
        """Check all devices.

        A device with an event meanwhile is asked again, because its answers can be older than the event. No event is
        read during that.
        """
        began = time.monotonic()
        self._needs_checkup = False
        self._told_meanwhile.clear()
        checkups = dict(session.check_up(between, began, histories))
        if self._told_meanwhile:
            checkups.update(session.check_up(self._give_sign, began, histories, self._told_meanwhile))
        self._next_checkup = time.monotonic() + self._pace.checkup
        self._needs_checkup |= began < self._settled_at or any(
            checkup.problems or checkup.unanswered - {NVLINK_DOWN} for checkup in checkups.values()
        )
        return DevicesChecked(checkups, age=time.monotonic() - began)
