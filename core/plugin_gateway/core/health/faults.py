"""What is held against a device, and how it comes to be given out again: Healthy, Unhealthy, Probation, Healthy."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.policy import EvidenceKind, HealthPolicy, Needs

MAX_EVIDENCE = 8
"""Pieces that are kept of a device: the first, and the latest."""


class Moment(NamedTuple):
    """A time on two clocks."""

    uptime: float
    """Seconds since the boot, in which durations are measured: nobody sets this clock."""
    epoch: float
    """Seconds since the epoch, for people."""


class Stage(Enum):
    """How far a device is from being given out. The kubelet is told Healthy of the first alone."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    PROBATION = "probation"


class Evidence(NamedTuple):
    """One thing that speaks against a device."""

    what: str
    at: float
    """Seconds since the epoch."""


class Checkup(NamedTuple):
    """What a device answered when it was asked how it is."""

    problems: Mapping[EvidenceKind, str]
    """What speaks against it for as long as it lasts, in words."""
    asks_for_recovery: bool | None = None
    """Whether its driver asks for a reset or a reboot; None where that cannot be told."""
    unanswered: frozenset[EvidenceKind] = frozenset()
    """What it was asked about and did not say, although it says other things."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a device is not given out, and what it still needs."""

    since: float
    """When it was taken out, in seconds since the epoch."""
    evidence: tuple[Evidence, ...]
    """What took it out first, then what came last."""
    needs: Needs
    """Of what took it out, the most that has to happen."""
    problems: Mapping[EvidenceKind, str] = field(default_factory=dict)
    """What the last check found, or lasts for other reasons."""
    asked_for_recovery: bool = False
    """Whether the driver asked for a reset or a reboot when it last told; to ask no more is to report one."""
    was_reset: bool = False
    """Whether the driver reported a reset after the evidence that asks for one."""
    was_checked: bool = False
    """Whether a check after all evidence found nothing."""
    is_flapping: bool = False
    """Whether it was taken out so often that more than a quiet time is needed."""
    quiet_from: float | None = None
    """Since when it is on probation, on the clock of the uptime; None where it is not."""

    def __post_init__(self) -> None:
        """Refuse a fault without a reason, and a probation that nothing allows."""
        if not self.evidence:
            raise InvalidValueError("a device is unhealthy for no reason")
        if self.quiet_from is not None and not self.may_be_on_probation:
            raise InvalidValueError(f"a device is on probation although it needs {self.lacks}")
        if self.was_checked and self.problems:
            raise InvalidValueError(f"a check found nothing, and {'; '.join(self.problems.values())}")

    @property
    def reason(self) -> str:
        """What took the device out."""
        return self.evidence[0].what

    @property
    def stage(self) -> Stage:
        """Unhealthy or on probation."""
        return Stage.UNHEALTHY if self.quiet_from is None else Stage.PROBATION

    @property
    def lacks(self) -> str:
        """Tell what it waits for, for people."""
        if self.needs is Needs.REBOOT:
            return "a reboot of the node, or an operator's word"
        if self.needs is Needs.RESET and not self.was_reset:
            often = " (it was taken out too often)" if self.is_flapping else ""
            return f"a reset that the driver reports, a reboot, or an operator's word{often}"
        if self.problems:
            return f"an end of: {'; '.join(self.problems.values())}"
        return "a check that finds nothing" if not self.was_checked else "a quiet time"

    @property
    def may_be_on_probation(self) -> bool:
        """Whether nothing but time is wanting."""
        is_satisfied = self.needs is Needs.CHECK or (self.needs is Needs.RESET and self.was_reset)
        return is_satisfied and self.was_checked and not self.problems

    def is_over(self, policy: HealthPolicy, uptime: float) -> bool:
        """Whether the device had been quiet for long enough at this time on the clock of the uptime."""
        return self.quiet_from is not None and uptime - self.quiet_from >= policy.quiet_time


def add_evidence(fault: Fault | None, what: str, needs: Needs, now: Moment) -> Fault:
    """Add evidence that does not last by itself; a probation ends."""
    evidence = Evidence(what, now.epoch)
    if fault is None:
        return Fault(since=now.epoch, evidence=(evidence,), needs=needs)
    return replace(
        fault,
        evidence=_with(fault.evidence, evidence),
        needs=max(fault.needs, needs),
        was_reset=fault.was_reset and needs is Needs.CHECK,
        was_checked=False,
        quiet_from=None,
    )


def _with(known: tuple[Evidence, ...], latest: Evidence) -> tuple[Evidence, ...]:
    """Add the latest, in the place of what said the same before; the first one stays."""
    others = tuple(each for each in known[1:] if each.what != latest.what)
    return (known[0], *others[-(MAX_EVIDENCE - 2) :], latest)


def add_lasting_evidence(fault: Fault | None, kind: EvidenceKind, what: str, needs: Needs, now: Moment) -> Fault:
    """Add a problem that lasts until a check does not find it any more; one that lasts already is nothing new."""
    if fault is not None and fault.problems.get(kind) == what:
        return replace(fault, was_checked=False, quiet_from=None)
    updated = add_evidence(fault, what, needs, now)
    return replace(updated, problems={**updated.problems, kind: what}, was_checked=False)


def examine(fault: Fault, checkup: Checkup, lasting: Mapping[EvidenceKind, str], now: Moment) -> Fault:
    """Draw the conclusion from a check, of which these problems count; each of them was added before."""
    asked = fault.asked_for_recovery if checkup.asks_for_recovery is None else checkup.asks_for_recovery
    examined = replace(
        fault,
        problems=lasting,
        asked_for_recovery=asked,
        was_reset=fault.was_reset or (fault.asked_for_recovery and not asked),
        was_checked=not lasting,
        quiet_from=None,
    )
    if not examined.may_be_on_probation:
        return examined
    return replace(examined, quiet_from=now.uptime if fault.quiet_from is None else fault.quiet_from)


def ask(fault: Fault) -> Fault:
    """Note that the driver asked for a reset or a reboot, however briefly."""
    return replace(fault, asked_for_recovery=True)


def reset(fault: Fault) -> Fault:
    """Note that the driver reported a reset; what it did is for the next check to say."""
    return replace(fault, was_reset=True, was_checked=False, quiet_from=None)


def reboot(fault: Fault) -> Fault:
    """Note that the node booted; all clocks and the driver began anew."""
    return replace(
        fault,
        needs=Needs.CHECK,
        problems={},
        asked_for_recovery=False,
        was_reset=True,
        was_checked=False,
        is_flapping=False,
        quiet_from=None,
    )


def resume(fault: Fault) -> Fault:
    """Go on after a time in which nobody watched: what was quiet before has to be quiet again."""
    return replace(fault, was_checked=False, quiet_from=None)


def clear(fault: Fault) -> Fault | None:
    """Take an operator's word for it; only what still lasts is held against the device."""
    if not fault.problems:
        return None
    lasting = tuple(each for each in fault.evidence if each.what in fault.problems.values())
    return replace(fault, evidence=lasting or fault.evidence, needs=Needs.CHECK, is_flapping=False)


def require_reset(fault: Fault) -> Fault:
    """Have it stay out until more than a quiet time has passed."""
    return replace(fault, needs=max(fault.needs, Needs.RESET), is_flapping=True, quiet_from=None)
