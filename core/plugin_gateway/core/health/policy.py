"""The action for each kind of evidence: the defaults of the backend, and the administrator's changes."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum
from typing import NamedTuple, NewType

from plugin_gateway.core.errors import InvalidValueError

EvidenceKind = NewType("EvidenceKind", str)
"""A kind of evidence: a word such as ``link-down``, or a number of a family such as ``code-79``."""

NOT_ANSWERING = EvidenceKind("not-answering")
"""The device does not answer its driver, or answers with an error."""
RECOVERY_ACTION = EvidenceKind("recovery-action")
"""The driver asks for a reset or a reboot."""
DRIVER_GONE = EvidenceKind("driver-gone")
"""The driver has not answered for ``driver_timeout`` seconds."""


_MAX_DIGITS = 18
"""Of a number in a family; a driver has none with more."""


def numbered(family: str, number: int) -> EvidenceKind:
    """Return the kind of evidence for a number of a family."""
    return EvidenceKind(f"{family}-{number}")


def number_of(kind: EvidenceKind, family: str) -> int | None:
    """Return the number of a kind in this family. None if the kind does not belong to the family."""
    return int(kind.removeprefix(family)[1:]) if family_of(kind) == family else None


_ASKS_FOR = "the driver asks for recovery: "
_IN_WORDS = {RECOVERY_ACTION: "the driver's recovery action changed"}
"""What the driver reports without a number, in words for people."""


def family_of(kind: EvidenceKind) -> str | None:
    """Return the family of a kind with a number. None for a kind without a number."""
    family, _, number = kind.rpartition("-")
    is_number = number.isascii() and number.isdigit() and len(number) <= _MAX_DIGITS
    return family if is_number and str(int(number)) == number else None


def words_of(kind: EvidenceKind) -> str:
    """Return the kind in words: ``CODE 79`` for a number of a family, otherwise a sentence or the kind itself."""
    if kind in _IN_WORDS:
        return _IN_WORDS[kind]
    family = family_of(kind)
    return kind if family is None else f"{family.upper()} {kind.removeprefix(family)[1:]}"


def words_of_recovery(action: str) -> str:
    """Return the words of a problem: the driver asks for this recovery action."""
    return f"{_ASKS_FOR}{action}"


def recovery_asked_for(words: str) -> str:
    """Return the recovery action that is asked for in these words."""
    return words.removeprefix(_ASKS_FOR)


def token_of(kind: EvidenceKind) -> str:
    """Return the kind as programs read it, in labels of metrics and fields of the log: ``code_79``, ``link_down``.

    ``unknown`` if an earlier version of the gateway did not keep the kind.
    """
    return kind.replace("-", "_") or "unknown"


class Needs(IntEnum):
    """What has to happen before an unhealthy device may be on probation. A higher need includes the lower ones."""

    CHECK = 0
    """A check that finds no problem."""
    DRIVER = 1
    """The driver's answer that it asks for no recovery, some seconds after the evidence. A reset will do, too."""
    RESET = 2
    """A reset: the driver has a new instance, or it no longer asks for recovery."""
    REBOOT_OR_RECOVERY = 3
    """A reboot of the node. A reset will do if the driver tells whether it asks for recovery."""
    REBOOT = 4
    """A reboot of the node: the kernel has another boot id."""


class Action(Enum):
    """What the gateway does when it sees a kind of evidence."""

    IGNORE = "ignore"
    """Writes a line to the log."""
    REPORT = "report"
    """Writes a warning to the log, and an Event if Events are enabled."""
    UNHEALTHY = "unhealthy"
    """Makes the device unhealthy until a check finds no problem."""
    UNTIL_DRIVER_DECIDES = "unhealthy-until-driver-decides"
    """Makes the device unhealthy until the driver answers that it asks for no recovery.

    If the driver has no such answer, until a reset.
    """
    UNTIL_RESET = "unhealthy-until-reset"
    """Makes the device unhealthy until a reset."""
    UNTIL_REBOOT_OR_RECOVERY = "unhealthy-until-reboot-or-recovery"
    """Makes the device unhealthy until a reboot, or until a reset if the driver tells whether it asks for recovery."""
    UNTIL_REBOOT = "unhealthy-until-reboot"
    """Makes the device unhealthy until a reboot."""

    @property
    def needs(self) -> Needs | None:
        """What the device needs after this action. None if the device stays healthy."""
        return _NEEDS.get(self)


_NEEDS = {
    Action.UNHEALTHY: Needs.CHECK,
    Action.UNTIL_DRIVER_DECIDES: Needs.DRIVER,
    Action.UNTIL_RESET: Needs.RESET,
    Action.UNTIL_REBOOT_OR_RECOVERY: Needs.REBOOT_OR_RECOVERY,
    Action.UNTIL_REBOOT: Needs.REBOOT,
}


class Probation(Enum):
    """What ends the probation of a device."""

    QUIET_TIME = "quiet-time"
    """The quiet time of the policy."""
    EXTERNAL = "external"
    """Somebody's word that the device is well: an operator's, or that of a test."""


class Decision(NamedTuple):
    """An action and its origin."""

    action: Action
    origin: str
    """Where the decision was made, for people: the default, a flag, a variable or the file."""
    times: int = 1
    """From how many reports within ``window`` on the action applies. The earlier ones are only reported."""
    window: float = 0.0
    """Seconds. 0 where one report is enough."""
    is_refinable: bool = False
    """Whether a more precise report about the same evidence overrules it. Not for decisions of an administrator."""

    @property
    def is_reported(self) -> bool:
        """Whether the evidence is reported and the health stays the same."""
        return self.action is Action.REPORT


_BY_DEFAULT = Decision(Action.UNHEALTHY, "default")


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthPolicy:
    """All decisions about health. Times are in seconds."""

    kinds: Mapping[EvidenceKind, Decision] = field(default_factory=dict)
    """Decisions about single kinds of evidence."""
    families: Mapping[str, Decision] = field(default_factory=dict)
    """For each family, the decision about the numbers that are not in ``kinds``."""
    others: Decision = _BY_DEFAULT
    """The decision about all other evidence."""
    by_generation: Mapping[str, Mapping[EvidenceKind, Decision]] = field(default_factory=dict)
    """For each `PhysicalDevice.generation`, the decisions that differ from those in ``kinds``.

    They hold only where nobody else has decided. A device whose generation is not known has the decision in ``kinds``.
    """
    events: tuple[EvidenceKind, ...] = ()
    """The kinds that are only reported as events. These and the numbers of families can be counted, others last."""
    quiet_time: float = 60.0
    """How long a device has to stay without new evidence before it is healthy again."""
    probation: Probation = Probation.QUIET_TIME
    """What ends a probation. A question that the driver alone decides never needs somebody's word."""
    decision_time: float = 5.0
    """How long after evidence the driver's answer counts that it asks for no recovery. It needs time to decide."""
    driver_timeout: float = 30.0
    """How long the driver may give no answer before all devices become unhealthy."""
    flap_count: int = 3
    """A device that becomes unhealthy this many times within ``flap_window`` needs a reset."""
    flap_window: float = 3600.0
    longest_quiet_time: float | None = None
    """If given, a device that flaps needs no reset. Its quiet time doubles with each fault in the flap window, up to
    this."""

    def __post_init__(self) -> None:
        """Reject negative and infinite numbers. Only the quiet time may be 0.

        Raises:
            InvalidValueError: one of the numbers is not allowed.
        """
        longest = 1.0 if self.longest_quiet_time is None else self.longest_quiet_time
        times = (self.decision_time, self.driver_timeout, self.flap_window, self.flap_count, longest)
        if not (0 <= self.quiet_time < math.inf and all(0 < each < math.inf for each in times)):
            raise InvalidValueError(
                f"health: quiet time {self.quiet_time}, decision time {self.decision_time}, "
                f"driver timeout {self.driver_timeout}, {self.flap_count} times in {self.flap_window}, "
                f"longest quiet time {self.longest_quiet_time}; "
                "all must be positive"
            )

    def about(self, kind: EvidenceKind, generation: str = "") -> Decision:
        """Return the decision about a kind of evidence against a device of this generation."""
        decision = self.by_generation.get(generation, {}).get(kind) or self.kinds.get(kind)
        return decision if decision is not None else self.families.get(family_of(kind) or "", self.others)

    def with_decisions(self, decisions: Mapping[EvidenceKind, Decision]) -> "HealthPolicy":
        """Return a copy of the policy with these decisions, for every generation."""
        left = {
            generation: {kind: decision for kind, decision in kinds.items() if kind not in decisions}
            for generation, kinds in self.by_generation.items()
        }
        return replace(self, kinds={**self.kinds, **decisions}, by_generation=left)

    def without_checks(self, origin: str) -> "HealthPolicy":
        """Return a copy of the policy that ignores all evidence."""
        ignored = Decision(Action.IGNORE, origin)
        return replace(
            self,
            kinds=dict.fromkeys(self.kinds, ignored),
            families=dict.fromkeys(self.families, ignored),
            others=ignored,
            by_generation={},
        )

    def enabling(self, kinds: Iterable[EvidenceKind], origin: str, by_default: "HealthPolicy") -> "HealthPolicy":
        """Return a copy in which evidence of these kinds makes a device unhealthy.

        A kind that already does so keeps its decision. For the others, the action of ``by_default`` applies if it makes
        a device unhealthy. Otherwise the device is unhealthy until a check finds no problem.
        """

        def counting(kind: EvidenceKind) -> Action:
            action = by_default.about(kind).action
            return action if action.needs is not None else Action.UNHEALTHY

        return self.with_decisions(
            {kind: Decision(counting(kind), origin) for kind in kinds if self.about(kind).action.needs is None}
        )
