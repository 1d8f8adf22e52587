"""The fault of one device, and the functions that move it from unhealthy to probation.

The package's docstring describes the whole way from evidence to healthy.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.policy import (
    DRIVER_GONE,
    NOT_ANSWERING,
    RECOVERY_ACTION,
    EvidenceKind,
    HealthPolicy,
    Needs,
    Probation,
    recovery_asked_for,
)

MAX_EVIDENCE = 8
"""Number of pieces of evidence kept for a device: the first one and the latest ones."""


class Moment(NamedTuple):
    """One moment on two clocks."""

    uptime: float
    """Seconds since the boot, including suspend. Durations use this clock, because nobody can set it."""
    epoch: float
    """Seconds since the epoch. For people only."""


class Stage(Enum):
    """The stage of a device. The kubelet sees ``Healthy`` only for the first stage."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    PROBATION = "probation"


class Source(Enum):
    """Where evidence came from."""

    UNKNOWN = "unknown"
    """An earlier version of the gateway kept the evidence without its source."""
    EVENT = "driver event"
    CHECK = "check"
    KERNEL_LOG = "kernel log"
    GATEWAY = "gateway"
    """What the gateway noticed by itself, such as a driver that is gone."""


_SOURCES = {source.value: source for source in Source}


def source_of(word: str) -> Source:
    """Return the source that is written so. A word that only another version of the gateway knows is unknown."""
    return _SOURCES.get(word, Source.UNKNOWN)


class Evidence(NamedTuple):
    """One piece of evidence against a device."""

    what: str
    """What was reported or found, for people."""
    at: float
    """When it was reported last, in seconds since the epoch."""
    kind: EvidenceKind = EvidenceKind("")
    """Empty if it is not known: an earlier version of the gateway did not keep it."""
    source: Source = Source.UNKNOWN
    since: float | None = None
    """When it was reported first, in seconds since the epoch. None if it was reported once."""

    @property
    def first(self) -> float:
        """When it was reported first, in seconds since the epoch."""
        return self.at if self.since is None else self.since


class Checkup(NamedTuple):
    """The result of checking one device."""

    problems: Mapping[EvidenceKind, str]
    """The problems that the check found, by kind, in words. They last until a check no longer finds them."""
    asks_for_recovery: bool | None = None
    """Whether the driver asks for a reset or a reboot of the device. None if it is unknown."""
    unanswered: frozenset[EvidenceKind] = frozenset()
    """The kinds of problems that the device gave no answer about, although it answered other questions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a device is unhealthy, and what it still needs."""

    since: float
    """When the device became unhealthy, in seconds since the epoch."""
    evidence: tuple[Evidence, ...]
    """The evidence that made the device unhealthy, then the latest evidence. At most `MAX_EVIDENCE`."""
    needs: Needs
    """The highest need of all the evidence. What the driver decides about, a check can lower or raise."""
    problems: Mapping[EvidenceKind, str] = field(default_factory=dict)
    """The problems that last: those of the last check, and a driver that is gone."""
    asked_for_recovery: bool = False
    """Whether the driver asked for a reset or a reboot. If it no longer asks, a reset has happened."""
    was_reset: bool = False
    """Whether a reset was reported after the last evidence that requires a reset."""
    was_checked: bool = False
    """Whether a check after the last evidence found no problem."""
    is_flapping: bool = False
    """Whether the device became unhealthy so often that it needs a reset."""
    quiet_time: float | None = None
    """Seconds that the device has to be quiet, if it became unhealthy so often that they are more than usual."""
    quiet_from: float | None = None
    """Since when the device is on probation, on the uptime clock. None if it is not on probation."""
    told_at: float | None = None
    """Until when there can have been evidence, on the uptime clock. None if that is not known any more.

    It is the latest report, or a later moment in which a report could have been missed.
    """
    is_drivers_to_decide: bool = False
    """Whether there is no evidence but such that the driver decides about. Then no quiet time is needed."""
    awaits_word: bool = False
    """Whether only somebody's word ends this probation. The quiet time does not."""
    open_kinds: frozenset[EvidenceKind] | None = None
    """The kinds of evidence that more precise reports can still explain as harmless, if there is no other evidence.

    None if there is other evidence, or if only the driver can answer.
    """

    def __post_init__(self) -> None:
        """Reject a fault that contradicts itself.

        Raises:
            InvalidValueError: it has no evidence, is on probation too early, or has problems after a check that found
                none.
        """
        if not self.evidence:
            raise InvalidValueError("a device is unhealthy for no reason")
        if self.quiet_from is not None and not self.may_be_on_probation:
            raise InvalidValueError(f"a device is on probation although it needs {self.lacks}")
        if self.was_checked and self.problems:
            raise InvalidValueError(f"a check found nothing, and {'; '.join(self.problems.values())}")

    @property
    def reason(self) -> str:
        """The evidence that made the device unhealthy."""
        return self.evidence[0].what

    @property
    def stage(self) -> Stage:
        """Unhealthy, or on probation."""
        return Stage.UNHEALTHY if self.quiet_from is None else Stage.PROBATION

    @property
    def lacks(self) -> str:  # noqa: PLR0911 - one for each need
        """What the device still needs, in words for people."""
        if self.needs >= Needs.REBOOT_OR_RECOVERY:
            is_either = self.needs is Needs.REBOOT_OR_RECOVERY
            return self._one_of("a reboot of the node", *(["a reset if the driver tells of it"] if is_either else []))
        if self.needs is Needs.RESET and not self.was_reset:
            often = " (it was taken out too often)" if self.is_flapping else ""
            if RECOVERY_ACTION in self.problems:
                return f"{self._ends}{often}"
            return self._one_of("a reset that the driver reports", "a reboot") + often
        if self.problems:
            return self._ends
        is_asked = self.asked_for_recovery and not self.was_checked
        if (self.needs is Needs.DRIVER or is_asked) and not self.was_reset:
            return "the driver's answer that it asks for no recovery"
        if not self.was_checked:
            return "a check that finds nothing"
        if self.awaits_word:
            return "an operator's word, or that of a test"
        return (
            "a quiet time" if self.quiet_time is None else f"a quiet time of {self.quiet_time:g} s (it comes and goes)"
        )

    def _one_of(self, *ways: str) -> str:
        """Return the ways in words, with an operator's word where it helps."""
        every = ways if self.problems else (*ways, "an operator's word")
        return ", or ".join(filter(None, (", ".join(every[:-1]), every[-1])))

    @property
    def _ends(self) -> str:
        """What ends the problems that last. If the driver asks for something, in its own words."""
        others = [f"'{what}'" for kind, what in self.problems.items() if kind not in {RECOVERY_ACTION, DRIVER_GONE}]
        ends = ["a driver that answers"] if DRIVER_GONE in self.problems else []
        if (asked := self.problems.get(RECOVERY_ACTION)) is not None:
            ends.append(f"what the driver asks for: {recovery_asked_for(asked)}")
        if others:
            ends.append(f"a check that no longer finds {', '.join(others)}")
        return ", and ".join(ends)

    @property
    def is_clearable(self) -> bool:
        """Whether the device is healthy after an operator's word. Problems that last stay."""
        return not self.problems

    @property
    def hides_reset(self) -> bool:
        """Whether a reset of this device alone can go unseen: one is needed, and the driver has not asked for it."""
        needs_reset = self.needs in {Needs.RESET, Needs.REBOOT_OR_RECOVERY} and not self.was_reset
        return needs_reset and not self.asked_for_recovery

    def quiet_left(self, policy: HealthPolicy, uptime: float) -> float | None:
        """Return the seconds of the quiet time that are left. None if it does not pass, or does not end the fault."""
        until = self.quiet_until(policy)
        return None if until is None else max(until - uptime, 0.0)

    def quiet_until(self, policy: HealthPolicy) -> float | None:
        """Return when the quiet time ends, on the uptime clock. None as above."""
        return None if self.quiet_from is None or self.awaits_word else self.quiet_from + self._quiet_time(policy)

    def _quiet_time(self, policy: HealthPolicy) -> float:
        return policy.quiet_time if self.quiet_time is None else self.quiet_time

    @property
    def may_be_on_probation(self) -> bool:
        """Whether only the quiet time is missing."""
        is_satisfied = self.needs is Needs.CHECK or (self.needs <= Needs.RESET and self.was_reset)
        return is_satisfied and self.was_checked and not self.problems

    def is_over(self, policy: HealthPolicy, uptime: float) -> bool:
        """Whether the device had been quiet for the quiet time at this time of the uptime clock."""
        quiet_time = 0.0 if self.is_drivers_to_decide else self._quiet_time(policy)
        return self.quiet_from is not None and not self.awaits_word and uptime >= self.quiet_from + quiet_time


def add_evidence(
    fault: Fault | None, evidence: Evidence, needs: Needs, uptime: float, *, is_explainable: bool = False
) -> Fault:
    """Return the fault with evidence that does not last by itself, reported now. A probation ends.

    A reset from before this evidence no longer counts if the evidence requires one itself, and neither does a request
    for one. ``is_explainable`` tells whether a more precise report may explain it as harmless.
    """
    open_kinds = frozenset({evidence.kind}) if is_explainable else None
    if fault is None:
        return Fault(
            since=evidence.at,
            evidence=(evidence,),
            needs=needs,
            told_at=uptime,
            is_drivers_to_decide=needs is Needs.DRIVER,
            open_kinds=open_kinds,
        )
    return replace(
        fault,
        told_at=uptime,
        open_kinds=fault.open_kinds | open_kinds if fault.open_kinds is not None and open_kinds is not None else None,
        is_drivers_to_decide=fault.is_drivers_to_decide and needs is Needs.DRIVER,
        evidence=_with(fault.evidence, evidence),
        needs=max(Needs.CHECK if fault.was_reset and fault.needs <= Needs.RESET else fault.needs, needs),
        asked_for_recovery=fault.asked_for_recovery and needs <= Needs.DRIVER,
        was_reset=fault.was_reset and needs is Needs.CHECK,
        was_checked=False,
        quiet_from=None,
    )


def _with(known: tuple[Evidence, ...], latest: Evidence) -> tuple[Evidence, ...]:
    """Return the evidence with the latest piece at the end. It replaces an equal piece, except the first one."""
    others = tuple(each for each in known[1:] if each.what != latest.what)
    since = next((each.first for each in known if each.what == latest.what), latest.since)
    return (known[0], *others[-(MAX_EVIDENCE - 2) :], latest._replace(since=since))


def add_lasting_evidence(fault: Fault | None, evidence: Evidence, needs: Needs, uptime: float) -> Fault:
    """Return the fault with a problem that lasts until a check no longer finds it.

    If the same problem lasts already, no new evidence is added, but a probation still ends.
    """
    if fault is not None and fault.problems.get(evidence.kind) == evidence.what:
        return replace(fault, was_checked=False, quiet_from=None)
    updated = add_evidence(fault, evidence, needs, uptime)
    return replace(updated, problems={**updated.problems, evidence.kind: evidence.what}, was_checked=False)


def examine(
    fault: Fault,
    checkup: Checkup,
    lasting: Mapping[EvidenceKind, str],
    now: Moment,
    asked_at: float,
    policy: HealthPolicy,
) -> Fault:
    """Return the fault after a check.

    ``lasting`` contains the problems of the check that count by the policy. Each of them was added to the fault before.
    ``asked_at`` is the time of the first question on the uptime clock, from which on no evidence was missed.
    Probation begins here if nothing but the quiet time is missing.
    """
    asked = fault.asked_for_recovery if checkup.asks_for_recovery is None else checkup.asks_for_recovery
    examined = replace(
        fault,
        needs=_needs_after(fault, checkup, asked_at, policy.decision_time),
        told_at=now.uptime if fault.told_at is None else fault.told_at,
        is_drivers_to_decide=fault.is_drivers_to_decide and not (fault.asked_for_recovery or asked),
        problems=lasting,
        asked_for_recovery=asked,
        was_reset=fault.was_reset or (fault.asked_for_recovery and not asked),
        was_checked=not lasting,
        quiet_from=None,
    )
    if not examined.may_be_on_probation:
        return examined
    return replace(examined, quiet_from=now.uptime if fault.quiet_from is None else fault.quiet_from)


def _needs_after(fault: Fault, checkup: Checkup, asked_at: float, decision_time: float) -> Needs:
    """Return what the device needs after a check. What the driver decides about, a check can lower or raise."""
    if fault.needs is Needs.REBOOT_OR_RECOVERY and checkup.asks_for_recovery is not None:
        return Needs.RESET
    if fault.needs is not Needs.DRIVER or NOT_ANSWERING in checkup.problems or RECOVERY_ACTION in checkup.unanswered:
        return fault.needs
    if fault.told_at is None or asked_at - fault.told_at < decision_time or checkup.asks_for_recovery:
        return Needs.DRIVER
    return Needs.RESET if checkup.asks_for_recovery is None else Needs.CHECK


def wait_for_driver(fault: Fault, now: Moment) -> Fault:
    """Return the fault after a moment in which evidence could have been missed. The driver's answer has to be later."""
    return replace(fault, told_at=now.uptime, open_kinds=None) if fault.needs is Needs.DRIVER else fault


def explain(fault: Fault, kind: EvidenceKind) -> Fault | None:
    """Return the fault after all its evidence of a kind was explained as harmless.

    None if there is no other evidence, so the device is healthy.
    """
    is_open = fault.needs is Needs.DRIVER and not fault.problems and not fault.asked_for_recovery
    if fault.open_kinds is None or not is_open or kind not in fault.open_kinds:
        return fault
    left = fault.open_kinds - {kind}
    return replace(fault, open_kinds=left) if left else None


def doubt(fault: Fault) -> Fault:
    """Return the fault after a report that only the driver can answer whether there is a fault."""
    return replace(fault, open_kinds=None)


def ask(fault: Fault) -> Fault:
    """Return the fault with the note that the driver asked for a reset or a reboot, even if only briefly.

    That is no reset where one is needed: a check has to find the request first, and then its end.
    """
    return fault if fault.needs >= Needs.RESET else replace(fault, asked_for_recovery=True)


def reset(fault: Fault) -> Fault:
    """Return the fault after a reset that the driver reported. The next check decides whether the reset helped."""
    return replace(
        fault, was_reset=True, was_checked=False, quiet_from=None, is_drivers_to_decide=False, open_kinds=None
    )


def reboot(fault: Fault) -> Fault:
    """Return the fault after a reboot of the node. Only a check is still needed."""
    return replace(
        fault,
        needs=Needs.CHECK,
        problems={},
        asked_for_recovery=False,
        was_reset=True,
        was_checked=False,
        is_flapping=False,
        quiet_time=None,
        quiet_from=None,
        is_drivers_to_decide=False,
        open_kinds=None,
    )


def resume(fault: Fault) -> Fault:
    """Return the fault after a time without observation. It needs another check and the whole quiet time."""
    return replace(fault, was_checked=False, quiet_from=None, awaits_word=False)


def await_word(fault: Fault, policy: HealthPolicy) -> Fault:
    """Return the fault with what ends its probation by this policy, which can have changed meanwhile."""
    is_external = policy.probation is Probation.EXTERNAL and not fault.is_drivers_to_decide
    awaits_word = is_external and fault.stage is Stage.PROBATION
    return fault if awaits_word is fault.awaits_word else replace(fault, awaits_word=awaits_word)


def restart(fault: Fault) -> Fault:
    """Return the fault after a restart of the gateway. Evidence could be missed meanwhile, until the first look."""
    return replace(resume(fault), told_at=None, open_kinds=None)


def clear(fault: Fault) -> Fault | None:
    """Return the fault after an operator's `health clear`. None if no problem lasts, so the device is healthy."""
    if not fault.problems:
        return None
    lasting = tuple(each for each in fault.evidence if each.what in fault.problems.values())
    return replace(fault, evidence=lasting or fault.evidence, needs=Needs.CHECK, is_flapping=False, quiet_time=None)
