"""Writes the changes of the state to the log: one line for what several devices have in common.

What a program reads is a token, such as ``driver_gone``. The words for people are beside it.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from plugin_gateway.adapters.support.logs import log
from plugin_gateway.core.devices import MAX_NAMES, Device, DeviceId, FaultId
from plugin_gateway.core.health.changes import (
    Changes,
    DaemonChange,
    DriverChange,
    HealthChange,
    Note,
    Significance,
    SilenceChange,
)
from plugin_gateway.core.health.faults import Fault, Stage
from plugin_gateway.core.health.observations import RequirementSeen
from plugin_gateway.core.health.policy import token_of

if TYPE_CHECKING:
    from plugin_gateway.adapters.gateway.held_elsewhere import Withheld

REPEAT_INTERVAL = 60.0
"""Seconds before the same evidence is logged again."""
MAX_EVIDENCE_REMEMBERED = 1000
"""Number of different pieces of evidence that are logged in a minute. The others are only counted."""


_HARMLESS = (Significance.IGNORED, Significance.EXPLAINED)
_T = TypeVar("_T")


class _Evidence:
    """Logs each piece of evidence at most once a minute, because a device can report thousands."""

    def __init__(self) -> None:
        self._logged_at: dict[Note, float] = {}
        """The oldest first."""
        self._repeated: Counter[Note] = Counter()
        self._left_out = 0
        self._left_out_told_at = -math.inf

    def log(self, notes: Iterable[Note]) -> None:
        """Log the evidence, or count what was logged less than a minute ago."""
        due = [due for note in notes if (due := self._due(note))]
        for alike in _alike(due, lambda note: note._replace(device=None)):
            note = alike[0]
            level = log.info if note.significance in _HARMLESS else log.warning
            for devices in _named([each.device for each in alike if each.device is not None]) or ({},):
                level(
                    "evidence",
                    **devices,
                    evidence=token_of(note.kind),
                    what=note.event,
                    meaning=note.significance.token,
                    repeated=note.progress or None,
                    times_since=note.times - 1 or None,
                )

    def _due(self, note: Note) -> Note | None:
        """Return the evidence with all that was not logged, or None if it is only counted now."""
        now, times = time.monotonic(), note.times
        note = note._replace(times=1)
        if now - self._logged_at.get(note, -math.inf) < REPEAT_INTERVAL:
            self._repeated[note] += times
            return None
        if self._logged_at.pop(note, None) is None and not self._has_room(now):
            self._leave_out(times, now)
            return None
        self._logged_at[note] = now
        return note._replace(times=self._repeated.pop(note, 0) + times)

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


def log_changes(changes: Changes, backend: str | None = None) -> None:
    """Write one line for each change. Devices that changed in the same way share it.

    Lines about the driver say which ``backend`` it is, where there are several.
    """
    _log_devices("device added", changes.added)
    _log_without_reports(changes.added)
    _log_devices("device removed", changes.removed)
    _log_devices("device changed", changes.altered)
    for rejected in changes.rejected:
        log.error("device cannot be offered", device=rejected.place, problem=rejected.problem, backend=backend)
    for aside in changes.set_aside:
        log.info("device is left to others", device=aside.place, why=aside.problem)
    _log_health(changes.health)
    _evidence.log(changes.notes)
    if changes.seen:
        log.info("driver", version=changes.seen.version, backend=backend)
    if changes.driver:
        _log_driver(changes.driver, backend)
    if changes.silence:
        _log_silence(changes.silence, backend)
    if changes.events:
        _log_events(changes.events.problem, backend)
    if changes.kernel_log:
        _log_kernel_log(changes.kernel_log.problem, backend)
    for daemon in changes.daemons:
        _log_daemon(daemon)
    if changes.requirement:
        _log_requirement(changes.requirement)


def log_recalled(faults: Mapping[FaultId, Fault]) -> None:
    """Log the faults that an earlier instance left."""
    found = [(device, fault.evidence[0], fault.lacks) for device, fault in faults.items()]
    for alike in _alike(found, lambda each: (each[1].kind, each[1].what, each[2])):
        _, cause, lacks = alike[0]
        for devices in _named([device for device, _, _ in alike]):
            log.warning(
                "device was unhealthy before",
                **devices,
                reason=token_of(cause.kind),
                what=cause.what,
                needs=_needs(lacks, cause.what),
            )


def log_withheld(before: "Mapping[DeviceId, Withheld]", now: "Mapping[DeviceId, Withheld]") -> None:
    """Log which devices are not given out because pods hold them in another form, and which are again."""
    known = {device: withheld.reason for device, withheld in before.items()}
    reasons = {device: why for device, (why, _) in now.items() if known.get(device) != why}
    for alike in _alike(reasons.items(), lambda each: each[1]):
        for devices in _named([device for device, _ in alike]):
            log.warning("device is not given out", **devices, reason="held_elsewhere", what=alike[0][1])
    if ended := [device for device in before if device not in now]:
        log.info("devices are not held in another form any more", count=len(ended), devices=ended[:MAX_NAMES])


def _log_health(changes: Iterable[HealthChange]) -> None:
    for alike in _alike(changes, lambda change: change._replace(device=DeviceId(""))):
        change = alike[0]
        level = log.info if change.after is Stage.HEALTHY else log.warning
        for devices in _named([each.device for each in alike]):
            level(
                "device changed its health",
                **devices,
                health=change.after.value,
                was=change.before.value,
                reason=token_of(change.kind),
                what=change.reason,
                needs=_needs(change.lacks, change.reason),
            )


def _needs(lacks: str | None, what: str) -> str | None:
    """Return what a device still needs, without the words that the line has already."""
    return lacks.replace(f"'{what}'", "this") if lacks is not None else None


def _alike(items: Iterable[_T], key: Callable[[_T], Hashable]) -> Iterable[Sequence[_T]]:
    """Return the items with the same key together, in their order."""
    groups: dict[Hashable, list[_T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups.values()


def _named(devices: Sequence[str]) -> Sequence[Mapping[str, Sequence[str]]]:
    """Return the fields that name all devices, for as many lines as are needed."""
    return [{"devices": devices[first : first + MAX_NAMES]} for first in range(0, len(devices), MAX_NAMES)]


def _log_devices(event: str, devices: Sequence[Device]) -> None:
    """Log devices of one product and size together. With very many, only the first ones are named."""
    for alike in _alike(devices, lambda device: (device.physical.product, device.profile)):
        log.info(
            event,
            count=len(alike),
            product=alike[0].physical.product,
            profile=alike[0].profile or None,
            devices=[device.id for device in alike[:MAX_NAMES]],
            pci_addresses=[device.physical.pci_address for device in alike[:MAX_NAMES]],
        )


def _log_without_reports(devices: Sequence[Device]) -> None:
    silent = [device.id for device in devices if not device.physical.reports_faults]
    if silent:
        log.warning(
            "devices whose faults the driver does not report by itself, only a check finds them",
            count=len(silent),
            devices=silent[:MAX_NAMES],
        )


def _log_driver(change: DriverChange, backend: str | None) -> None:
    if change.problem is None:
        log.info("driver is available", backend=backend)
    else:
        log.warning("waiting for the driver", problem=change.problem, todo=change.todo or None, backend=backend)


def _log_silence(change: SilenceChange, backend: str | None) -> None:
    if change.silent:
        log.warning(
            "the driver does not answer, faults of its devices go unseen",
            seconds=round(change.seconds),
            backend=backend,
        )
    else:
        log.info("the driver answers again", backend=backend)


def _log_events(problem: str | None, backend: str | None) -> None:
    if problem is None:
        log.info("the driver's events are seen again", backend=backend)
    else:
        log.warning(
            "the driver's events cannot be waited for, faults of its devices go unseen",
            problem=problem,
            backend=backend,
        )


def _log_daemon(change: DaemonChange) -> None:
    if change.problem is None:
        log.info("the daemon is there through which devices are shared", resource=change.resource)
    else:
        log.warning(
            "devices are not given out, they are shared through a daemon that is not there",
            resource=change.resource,
            problem=change.problem,
            todo=change.todo or None,
        )


def _log_requirement(seen: RequirementSeen) -> None:
    from plugin_gateway.adapters.gateway.required_nodes import NOT_LOOKED_FOR  # noqa: PLC0415 - only where asked for

    if seen == NOT_LOOKED_FOR:
        return  # The look follows at once.
    if seen.problem:
        log.warning(
            "devices are not given out, the node lacks what every container needs",
            problem=seen.problem,
            todo=seen.todo or None,
        )
    else:
        log.info("the node lacks nothing that every container needs")


def _log_kernel_log(problem: str | None, backend: str | None) -> None:
    if problem is None:
        log.info("the kernel's log is read", backend=backend)
    else:
        log.warning("the kernel's log cannot be read, only the driver's events count", problem=problem, backend=backend)
