"""What follows from each kind of evidence: the backend's defaults, and what an admin decided otherwise."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum
from typing import NamedTuple, NewType

from plugin_gateway.core.errors import InvalidValueError

EvidenceKind = NewType("EvidenceKind", str)
"""What speaks against a device, in a word such as ``link-down``, or as one of a numbered family: ``code-79``."""

NOT_ANSWERING = EvidenceKind("not-answering")
"""The device does not answer its driver, or answers with an error."""
RECOVERY_ACTION = EvidenceKind("recovery-action")
"""The driver asks for a reset or a reboot."""
DRIVER_GONE = EvidenceKind("driver-gone")
"""The driver has not answered for ``driver_timeout`` seconds."""


def numbered(family: str, number: int) -> EvidenceKind:
    """Return the kind of this number in a family."""
    return EvidenceKind(f"{family}-{number}")


def number_of(kind: EvidenceKind, family: str) -> int | None:
    """Return the number of a kind in a family; None where it belongs to none or another one."""
    of_family, _, number = kind.rpartition("-")
    return int(number) if of_family == family and number.isdecimal() else None


def family_of(kind: EvidenceKind) -> str | None:
    """Return the family of a kind with a number; None for one without."""
    family, _, number = kind.rpartition("-")
    return family if number.isdecimal() else None


def words_of(kind: EvidenceKind) -> str:
    """Return the kind as people write it: ``CODE 79`` for a number of a family, else the word itself."""
    family = family_of(kind)
    return kind if family is None else f"{family.upper()} {kind.removeprefix(family)[1:]}"


class Needs(IntEnum):
    """What has to happen to an unhealthy device before it may be on probation; a higher one includes the lower."""

    CHECK = 0
    """A check that finds nothing."""
    RESET = 1
    """The driver reports a reset: a new driver instance, or its recovery action back to none."""
    REBOOT = 2
    """Another boot id."""


class Action(Enum):
    """What follows from evidence."""

    IGNORE = "ignore"
    REPORT = "report"
    UNHEALTHY = "unhealthy"
    UNTIL_RESET = "unhealthy-until-reset"
    UNTIL_REBOOT = "unhealthy-until-reboot"

    @property
    def needs(self) -> Needs | None:
        """What the device needs then; None where it stays healthy."""
        return _NEEDS.get(self)


_NEEDS = {Action.UNHEALTHY: Needs.CHECK, Action.UNTIL_RESET: Needs.RESET, Action.UNTIL_REBOOT: Needs.REBOOT}


class Decision(NamedTuple):
    """An action, and where it was decided."""

    action: Action
    origin: str

    @property
    def is_reported(self) -> bool:
        """Whether it is told, and changes nothing."""
        return self.action is Action.REPORT


_BY_DEFAULT = Decision(Action.UNHEALTHY, "default")


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthPolicy:
    """Everything decided about health. Times are seconds."""

    kinds: Mapping[EvidenceKind, Decision] = field(default_factory=dict)
    """Decisions about kinds that somebody knows."""
    families: Mapping[str, Decision] = field(default_factory=dict)
    """The decision about every other number of a family."""
    others: Decision = _BY_DEFAULT
    """The decision about whatever is left."""
    quiet_time: float = 60.0
    """How long a device has to be well, and without new evidence, before it is given out again."""
    driver_timeout: float = 30.0
    """How long the driver may give no answer before every device is unhealthy."""
    flap_count: int = 3
    """So many times within the window a device may be taken out; the last time it stays out until it was reset."""
    flap_window: float = 3600.0

    def __post_init__(self) -> None:
        """Refuse times that end before they begin, and a device that would never be taken back."""
        times = (self.driver_timeout, self.flap_window, self.flap_count)
        if not (0 <= self.quiet_time < math.inf and all(0 < each < math.inf for each in times)):
            raise InvalidValueError(
                f"health: quiet time {self.quiet_time}, driver timeout {self.driver_timeout}, "
                f"{self.flap_count} times in {self.flap_window}; all must be positive"
            )

    def about(self, kind: EvidenceKind) -> Decision:
        """Return what follows from evidence of this kind."""
        decision = self.kinds.get(kind)
        return decision if decision is not None else self.families.get(family_of(kind) or "", self.others)

    def with_decisions(self, decisions: Mapping[EvidenceKind, Decision]) -> "HealthPolicy":
        """Return a policy that decides otherwise about some kinds."""
        return replace(self, kinds={**self.kinds, **decisions})

    def without_checks(self, origin: str) -> "HealthPolicy":
        """Return a policy in which no evidence means anything."""
        ignored = Decision(Action.IGNORE, origin)
        return replace(
            self,
            kinds=dict.fromkeys(self.kinds, ignored),
            families=dict.fromkeys(self.families, ignored),
            others=ignored,
        )

    def enabling(self, kinds: Iterable[EvidenceKind], origin: str, by_default: "HealthPolicy") -> "HealthPolicy":
        """Return a policy in which those of these kinds count that do not: as by default, or until a check is clean."""

        def counting(kind: EvidenceKind) -> Action:
            action = by_default.about(kind).action
            return action if action.needs is not None else Action.UNHEALTHY

        return self.with_decisions(
            {kind: Decision(counting(kind), origin) for kind in kinds if self.about(kind).action.needs is None}
        )
