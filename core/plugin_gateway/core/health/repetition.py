"""Counts evidence that the policy acts on only when it is repeated within a window."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from plugin_gateway.core.devices import FaultId
from plugin_gateway.core.health.policy import Decision, EvidenceKind

MAX_COUNT = 100
"""The largest number of repetitions that a decision may ask for. So many times are kept for one kind of evidence."""

Times = Mapping[EvidenceKind, tuple[float, ...]]
"""When evidence against one device was reported, on the uptime clock: for each kind, the latest times in its window."""
Repeated = Mapping[FaultId, Times]
"""The times of all devices, only for evidence that has to be repeated."""


class Progress(NamedTuple):
    """How often evidence was reported until now, within its window."""

    kind: EvidenceKind
    times: int
    needed: int
    window: float
    """Seconds."""

    def __str__(self) -> str:
        return f"{self.times} of {self.needed} within {self.window:g} s"


def progress(known: Times, uptime: float, about: Callable[[EvidenceKind], Decision]) -> tuple[Progress, ...]:
    """Return how far each kind of evidence is against one device. ``about`` returns the decision about a kind."""
    recent = ((kind, about(kind), _recent(times, about(kind), uptime)) for kind, times in known.items())
    return tuple(Progress(kind, len(times), each.times, each.window) for kind, each, times in recent if times)


def count(
    known: Times, kind: EvidenceKind, times: int, uptime: float, about: Callable[[EvidenceKind], Decision]
) -> tuple[Times, bool]:
    """Count evidence that was reported so many times, and return whether its action now applies.

    ``about`` returns the decision about a kind. Times that are outside of their window are dropped.
    """
    told = {**known, kind: (*known.get(kind, ()), *(uptime for _ in range(min(times, MAX_COUNT))))}
    recent = {each: _recent(reports, about(each), uptime) for each, reports in told.items()}
    return {each: reports for each, reports in recent.items() if reports}, len(recent[kind]) >= about(kind).times


def _recent(times: tuple[float, ...], decision: Decision, uptime: float) -> tuple[float, ...]:
    latest = times[-min(decision.times, MAX_COUNT) :]
    return tuple(time for time in latest if uptime - time < decision.window)


def forget(repeated: Repeated, devices: set[FaultId]) -> Repeated:
    """Return the times without those of some devices, which count anew."""
    return {device: kinds for device, kinds in repeated.items() if device not in devices}


def up_to(repeated: Repeated, uptime: float) -> Repeated:
    """Return the times without those in the future, which would stay in the window for ever."""
    return {
        device: {kind: tuple(time for time in times if time <= uptime) for kind, times in kinds.items()}
        for device, kinds in repeated.items()
    }
