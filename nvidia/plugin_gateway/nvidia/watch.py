"""What the owner thread does with a session: tells what it sees, waits for events, looks again."""

import ctypes
import threading
import time
from collections.abc import Callable
from pathlib import Path

from plugin_gateway.core.devices import Inventory
from plugin_gateway.core.health.observations import DevicesChecked, EventsAwaited, InventorySeen
from plugin_gateway.core.ports import Report
from plugin_gateway.nvidia import nvml
from plugin_gateway.nvidia.library import DriverMissingError
from plugin_gateway.nvidia.pace import Pace
from plugin_gateway.nvidia.session import Session, driver_seen, open_session

WAIT_ERROR_PAUSE = 1.0
"""Seconds before waiting again after the wait itself failed."""


class Watch:
    """Remembers what was told, from one session to the next."""

    def __init__(
        self,
        *,
        sysfs: str,
        proc: str,
        pace: Pace,
        report: Report,
        give_sign: Callable[[], None],
        stopping: threading.Event,
    ) -> None:
        self.inventory_is_old = True
        """Whether none was told yet, or the driver was away since then."""
        self._sysfs = Path(sysfs)
        self._proc = Path(proc)
        self._pace = pace
        self._report = report
        self._give_sign = give_sign
        self._stopping = stopping
        self._inventory: Inventory | None = None
        self._events_problem: str | None = None
        self._next_checkup = 0.0
        self._is_uneasy = False
        """Whether something happened since the last checkup, or that found a problem."""

    def hold_session(self, library: ctypes.CDLL, init_result: int) -> None:
        """Look once, then watch until the GPUs differ from what was seen.

        Raises:
            DriverMissingError: the driver cannot be reached, now or any more, or has no GPU.
        """
        with open_session(library, init_result, self._sysfs, self._proc, self._inventory, self._give_sign) as session:
            inventory = session.snapshot.inventory
            if not inventory.devices and not inventory.rejected:
                self._miss(inventory)
                return
            self._look(session)
            while not self._stopping.is_set() and self._rest(session):
                pass

    def _look(self, session: Session) -> None:
        """Tell what there is only once it is known how it is: a GPU of which nobody knows is not offered."""
        inventory, driver = session.snapshot.inventory, driver_seen(self._sysfs)
        checkups = self._check_up(session)
        if inventory != self._inventory or self.inventory_is_old:
            self._inventory, self.inventory_is_old = inventory, False
            self._report(InventorySeen(inventory))
        self._report(driver)
        self._report(checkups)

    def _miss(self, empty: Inventory) -> None:
        """Tell that there is no GPU: at first as an inventory, where there were some, and from then on as a problem.

        Not both at once: the reader keeps the newer of two words about the driver.
        """
        if self._inventory is None or self._inventory == empty:
            raise DriverMissingError("the driver is there but has no GPU")
        self._inventory = empty
        self._report(InventorySeen(empty))
        self._stopping.wait(self._pace.rescan)

    def _rest(self, session: Session) -> bool:
        """Wait for events until the next check is due, then make it; False where everything has to be read again."""
        due = time.monotonic() + self._pace.rescan
        deaf = False
        while not self._stopping.is_set() and ((left := due - time.monotonic()) > 0 or deaf):
            self._give_sign()
            try:
                happening = session.wait(min(max(left, 0), self._pace.max_wait), self._stopping)
            except nvml.NvmlError as error:
                # Says nothing against any one GPU: a rescan tells which of them answer. A new session, which loses
                # the events in between, is the last resort.
                self._report_events(str(error))
                if self._differs(session) or left <= 0:
                    return False
                deaf = True
                self._stopping.wait(min(WAIT_ERROR_PAUSE, left))
            else:
                deaf = False
                self._report_events(None)
                if happening is not None:
                    self._is_uneasy = True
                    self._report(happening.observation)
                    if happening.asks_for_check:
                        break
        return not self._stopping.is_set() and not self._differs(session)

    def _report_events(self, problem: str | None) -> None:
        if problem != self._events_problem:
            self._events_problem = problem
            self._report(EventsAwaited(problem))

    def _differs(self, session: Session) -> bool:
        """Look again; True where everything has to be read again."""
        check = session.check()
        if check.fails or self._is_uneasy or time.monotonic() >= self._next_checkup:
            self._report(self._check_up(session))
        return check.differs

    def _check_up(self, session: Session) -> DevicesChecked:
        """Find out how the devices are."""
        checkups = session.check_up()
        self._next_checkup = time.monotonic() + self._pace.checkup
        self._is_uneasy = any(checkup.problems or checkup.unanswered for checkup in checkups.values())
        return DevicesChecked(checkups)
