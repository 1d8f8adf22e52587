"""Writes the changes of the state to the log."""

import math
import time
from collections import Counter
from collections.abc import Sequence

from plugin_gateway.adapters.support.logs import log
from plugin_gateway.core.devices import Device
from plugin_gateway.core.health.changes import Changes, HealthChange, Note, Significance, SilenceChange
from plugin_gateway.core.health.faults import Stage

MAX_DEVICES_LOGGED = 32
"""With more devices than this, only their number is logged."""
REPEAT_INTERVAL = 60.0
"""Seconds before the same evidence is logged again."""
MAX_EVIDENCE_REMEMBERED = 1000
"""Number of different pieces of evidence that are logged in a minute. The others are only counted."""


_HARMLESS = (Significance.IGNORED, Significance.EXPLAINED)


class _Evidence:
    """Logs each piece of evidence at most once a minute, because a device can report thousands."""

    def __init__(self) -> None:
        self._logged_at: dict[Note, float] = {}
        """The oldest first."""
        self._repeated: Counter[Note] = Counter()
        self._left_out = 0
        self._left_out_told_at = -math.inf

    def log(self, note: Note) -> None:
        """Log the evidence, or count it if it was logged less than a minute ago."""
        now, times = time.monotonic(), note.times
        note = note._replace(times=1)
        if now - self._logged_at.get(note, -math.inf) < REPEAT_INTERVAL:
            self._repeated[note] += times
            return
        if self._logged_at.pop(note, None) is None and not self._has_room(now):
            self._leave_out(times, now)
            return
        self._logged_at[note] = now
        level = log.info if note.significance in _HARMLESS else log.warning
        level(
            "evidence",
            device=note.device,
            what=note.event,
            meaning=note.significance.value,
            repeated=note.progress or None,
            times_since=self._repeated.pop(note, 0) + times - 1 or None,
        )

    def _has_room(self, now: float) -> bool:
        """Forget what was logged more than a minute ago, and return whether one more can be remembered."""
        while len(self._logged_at) >= MAX_EVIDENCE_REMEMBERED:
            oldest, at = next(iter(self._logged_at.items()))
            if now - at < REPEAT_INTERVAL:
                return False
            del self._logged_at[oldest]
            self._repeated.pop(oldest, None)
        return True

    def _leave_out(self, times: int, now: float) -> None:
        self._left_out += times
        if now - self._left_out_told_at >= REPEAT_INTERVAL:
            log.warning("there is too much evidence to log all of it", left_out=self._left_out)
            self._left_out, self._left_out_told_at = 0, now


_evidence = _Evidence()


def log_changes(changes: Changes) -> None:
    """Write one line for each change."""
    _log_devices("device added", changes.added)
    _log_without_reports(changes.added)
    _log_devices("device removed", changes.removed)
    _log_devices("device changed", changes.altered)
    for rejected in changes.rejected:
        log.error("device cannot be offered", device=rejected.place, problem=rejected.problem)
    for change in changes.health:
        _log_health(change)
    for note in changes.notes:
        _evidence.log(note)
    if changes.seen:
        log.info("driver", version=changes.seen.version)
    if changes.driver:
        _log_driver(changes.driver.problem)
    if changes.silence:
        _log_silence(changes.silence)
    if changes.events:
        _log_events(changes.events.problem)
    if changes.kernel_log:
        _log_kernel_log(changes.kernel_log.problem)


def _log_health(change: HealthChange) -> None:
    level = log.info if change.after is Stage.HEALTHY else log.warning
    level(
        "device changed its health",
        device=change.device,
        health=change.after.value,
        was=change.before.value,
        reason=change.reason,
        needs=change.lacks,
    )


def _log_devices(event: str, devices: Sequence[Device]) -> None:
    """Log each device, or only their number if there are very many."""
    if len(devices) > MAX_DEVICES_LOGGED:
        log.info(event, count=len(devices))
        return
    for device in devices:
        log.info(event, device=device.id, index=device.index, product=device.product, pci_address=device.pci_address)


def _log_without_reports(devices: Sequence[Device]) -> None:
    silent = [device.id for device in devices if not device.reports_faults]
    if silent:
        log.warning(
            "devices whose faults the driver does not report by itself, only a check finds them", devices=silent
        )


def _log_driver(problem: str | None) -> None:
    if problem is None:
        log.info("driver is available")
    else:
        log.warning("waiting for the driver", problem=problem)


def _log_silence(change: SilenceChange) -> None:
    if change.silent:
        log.warning("the driver does not answer, faults of its devices go unseen", seconds=round(change.seconds))
    else:
        log.info("the driver answers again")


def _log_events(problem: str | None) -> None:
    if problem is None:
        log.info("the driver's events are seen again")
    else:
        log.warning("the driver's events cannot be waited for, faults of its devices go unseen", problem=problem)


def _log_kernel_log(problem: str | None) -> None:
    if problem is None:
        log.info("the kernel's log is read")
    else:
        log.warning("the kernel's log cannot be read, only the driver's events count", problem=problem)
