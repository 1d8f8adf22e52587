"""What the owner thread does with a session: tells what it sees, waits for events, looks again."""

import ctypes
import threading
import time
from pathlib import Path

from plugin_gateway.core.devices import DeviceId, Inventory
from plugin_gateway.core.observations import DeviceLost, InventorySeen, XidReported
from plugin_gateway.core.ports import Report
from plugin_gateway.nvidia import nvml
from plugin_gateway.nvidia.session import Session, open_session

WAIT_ERROR_PAUSE = 1.0
"""Seconds before waiting again after the wait itself failed."""


class Watch:
    """Remembers what was told, from one session to the next."""

    def __init__(self, sysfs: Path, proc: Path, rescan_seconds: float, tell: Report, stopping: threading.Event) -> None:
        self.inventory_is_old = False
        """Whether the driver was away since the inventory was told."""
        self._sysfs = sysfs
        self._proc = proc
        self._rescan_seconds = rescan_seconds
        self._tell = tell
        self._stopping = stopping
        self._inventory: Inventory | None = None
        self._lost: set[DeviceId] = set()

    def hold_session(self, library: ctypes.CDLL, *, counted: bool) -> None:
        """Look once, then watch until the GPUs differ from what was seen.

        Raises:
            DriverMissingError: the driver cannot be reached, now or any more.
        """
        with open_session(library, self._sysfs, self._proc, self._inventory, counted=counted) as session:
            self._look(session)
            while not self._stopping.is_set() and self._rest(session):
                pass

    def _look(self, session: Session) -> None:
        inventory = session.snapshot.inventory
        if inventory != self._inventory or self.inventory_is_old:
            self._inventory, self.inventory_is_old = inventory, False
            self._tell(InventorySeen(inventory))
        self._lost &= set(session.snapshot.lost)
        for device, error in session.snapshot.lost.items():
            self._tell_lost(device, error)

    def _rest(self, session: Session) -> bool:
        """Wait for events until the next rescan is due, then make it; False where everything has to be read again."""
        due = time.monotonic() + self._rescan_seconds
        while not self._stopping.is_set() and (left := due - time.monotonic()) > 0:
            try:
                event = session.wait(left, self._stopping)
            except nvml.NvmlError:
                # Says nothing against any one GPU: the rescan tells which of them answer.
                self._stopping.wait(min(WAIT_ERROR_PAUSE, left))
                break
            if event is not None:
                self._tell(XidReported(event.xid, event.device))
        check = session.check()
        for device, error in check.lost.items():
            self._tell_lost(device, error)
        return not check.differs

    def _tell_lost(self, device: DeviceId, error: str) -> None:
        if device not in self._lost:
            self._lost.add(device)
            self._tell(DeviceLost(device, error))
