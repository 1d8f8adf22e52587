"""What each piece of evidence means for a device: NVIDIA's catalog, and what an admin decided otherwise."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum
from typing import NamedTuple

from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.nvidia.xid_catalog import XID_CATALOG, Advice

HIGHEST_XID = 9999
"""The catalog ends at 162; a rule may go far beyond, and is not meant for numbers that no driver has."""


class Needs(IntEnum):
    """What has to happen to an unhealthy device before it may be on probation; a higher one includes the lower."""

    CHECK = 0
    """A check that finds nothing."""
    RESET = 1
    """The driver reports the GPU reset: a new driver instance, or its recovery action back to none."""
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


class Source(Enum):
    """Where evidence comes from, other than XIDs."""

    DOUBLE_BIT_ECC = "double-bit-ecc"
    """NVML event of that name: an error that ECC could not correct."""
    GPU_UNAVAILABLE = "gpu-unavailable"
    """NVML event of that name."""
    RECOVERY_ACTION = "recovery-action"
    """NVML field 230 is anything but none (driver 565 and later)."""
    NOT_ANSWERING = "not-answering"
    """The GPU fell off the bus, or answers with an error."""
    ROW_REMAP_FAILURE = "row-remap-failure"
    """A broken memory row could not be replaced (Ampere and later)."""
    PENDING_RETIREMENT = "pending-retirement"
    """A broken page or row of memory is in use until the next reset."""
    DRIVER_GONE = "driver-gone"
    """The driver has not answered for ``driver_timeout`` seconds."""


def range_name(first: int, last: int) -> str:
    """Write XIDs that follow each other."""
    return str(first) if first == last else f"{first}-{last}"


class Decision(NamedTuple):
    """An action, and where it was decided."""

    action: Action
    origin: str

    @property
    def is_reported(self) -> bool:
        """Whether it is told, and changes nothing."""
        return self.action is Action.REPORT


@dataclass(frozen=True, slots=True)
class XidRule:
    """What an admin decided about a range of XIDs, both ends included."""

    first: int
    last: int
    action: Action
    origin: str

    def __post_init__(self) -> None:
        """Refuse what is no range of XIDs."""
        if not 1 <= self.first <= self.last <= HIGHEST_XID:
            raise InvalidValueError(f"XIDs {self.name}, allowed are 1 to {HIGHEST_XID} and ranges such as 126-135")

    @property
    def name(self) -> str:
        """The range as people write it."""
        return range_name(self.first, self.last)


_ADVISED: Mapping[Advice, Action] = {
    Advice.IGNORE: Action.IGNORE,
    Advice.RESTART_APP: Action.REPORT,
    Advice.WORKFLOW: Action.REPORT,
    Advice.SEE_LINKED_XID: Action.REPORT,
    Advice.CHECK_UVM: Action.REPORT,
    Advice.RESET_GPU: Action.UNTIL_RESET,
    Advice.DOUBLE_BIT_ECC_WORKFLOW: Action.UNTIL_RESET,
    Advice.NVLINK_WORKFLOW: Action.UNTIL_RESET,
    Advice.NVLINK5_WORKFLOW: Action.UNTIL_RESET,
    Advice.UPDATE_SOFTWARE: Action.UNTIL_RESET,
    Advice.CONTACT_SUPPORT: Action.UNTIL_RESET,
    Advice.CHECK_MECHANICALS: Action.UNTIL_REBOOT,
    Advice.REBOOT_NODE: Action.UNTIL_REBOOT,
    Advice.RESTART_VM: Action.UNTIL_REBOOT,
}
_BY_DEFAULT = "default"
_CATALOG = {xid: Decision(_ADVISED[advice], f"NVIDIA's catalog: {advice.value}") for xid, advice in XID_CATALOG.items()}
_UNKNOWN = Decision(Action.UNHEALTHY, _BY_DEFAULT)
_SOURCES = {
    Source.DOUBLE_BIT_ECC: Decision(Action.UNTIL_RESET, _BY_DEFAULT),
    Source.GPU_UNAVAILABLE: Decision(Action.UNTIL_RESET, _BY_DEFAULT),
    Source.RECOVERY_ACTION: Decision(Action.UNHEALTHY, _BY_DEFAULT),
    Source.NOT_ANSWERING: Decision(Action.UNHEALTHY, _BY_DEFAULT),
    Source.ROW_REMAP_FAILURE: Decision(Action.UNHEALTHY, _BY_DEFAULT),
    Source.PENDING_RETIREMENT: Decision(Action.UNHEALTHY, _BY_DEFAULT),
    Source.DRIVER_GONE: Decision(Action.UNHEALTHY, _BY_DEFAULT),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthPolicy:
    """Everything decided about health. Times are seconds."""

    xids: Mapping[int, Decision] = field(default_factory=lambda: _CATALOG)
    """Decisions about XIDs that somebody knows."""
    unknown_xid: Decision = _UNKNOWN
    """The decision about every other XID."""
    sources: Mapping[Source, Decision] = field(default_factory=lambda: _SOURCES)
    quiet_time: float = 60.0
    """How long a device has to be well, and without new evidence, before it is given out again."""
    driver_timeout: float = 30.0
    """How long the driver may give no answer before every device is unhealthy."""
    flap_count: int = 3
    """So many times within the window a device may be taken out; the last time it stays out until it was reset."""
    flap_window: float = 3600.0

    def __post_init__(self) -> None:
        """Refuse times that end before they begin, and a device that would never be taken back."""
        if self.sources.keys() != set(Source):
            raise InvalidValueError(
                f"health: decisions about {', '.join(source.value for source in self.sources)} alone"
            )
        times = (self.driver_timeout, self.flap_window, self.flap_count)
        if not (0 <= self.quiet_time < math.inf and all(0 < each < math.inf for each in times)):
            raise InvalidValueError(
                f"health: quiet time {self.quiet_time}, driver timeout {self.driver_timeout}, "
                f"{self.flap_count} times in {self.flap_window}; all must be positive"
            )

    def about_xid(self, xid: int) -> Decision:
        """Tell what follows from an XID."""
        return self.xids.get(xid, self.unknown_xid)

    def about(self, source: Source) -> Decision:
        """Tell what follows from other evidence."""
        return self.sources[source]

    def with_rules(self, rules: Iterable[XidRule]) -> "HealthPolicy":
        """Decide otherwise about some XIDs.

        Raises:
            InvalidValueError: two rules decide about the same XID.
        """
        decided: dict[int, XidRule] = {}
        xids = dict(self.xids)
        for rule in rules:
            for xid in range(rule.first, rule.last + 1):
                if xid in decided:
                    raise InvalidValueError(f"XID {xid} was decided about before, at {decided[xid].origin}")
                decided[xid] = rule
                xids[xid] = Decision(rule.action, rule.origin)
        return replace(self, xids=xids)

    def with_sources(self, sources: Mapping[Source, Decision]) -> "HealthPolicy":
        """Decide otherwise about evidence that is no XID."""
        return replace(self, sources={**self.sources, **sources})

    def without_checks(self, origin: str) -> "HealthPolicy":
        """Have no evidence mean anything."""
        ignored = Decision(Action.IGNORE, origin)
        return replace(
            self,
            xids=dict.fromkeys(self.xids, ignored),
            unknown_xid=ignored,
            sources=dict.fromkeys(self.sources, ignored),
        )

    def with_xids(self, xids: Iterable[int], action: Action, origin: str) -> "HealthPolicy":
        """Decide about some XIDs."""
        return replace(self, xids={**self.xids, **dict.fromkeys(xids, Decision(action, origin))})

    def enabling(self, xids: Iterable[int], origin: str) -> "HealthPolicy":
        """Have those of these XIDs count that do not: as the catalog has it, or until a check finds nothing."""
        enabled = {
            xid: Decision(self._counting(xid), origin) for xid in xids if self.about_xid(xid).action.needs is None
        }
        return replace(self, xids={**self.xids, **enabled})

    def _counting(self, xid: int) -> Action:
        by_catalog = _CATALOG.get(xid, _UNKNOWN).action
        return by_catalog if by_catalog.needs is not None else Action.UNHEALTHY


DEFAULT_POLICY = HealthPolicy()
"""NVIDIA's catalog, and times that suit a node."""
