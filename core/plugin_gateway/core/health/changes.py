"""The changes that an observation causes, as values. The log, the counters and the reports use them."""

from enum import Enum
from typing import NamedTuple

from plugin_gateway.core.devices import Device, FaultId, RejectedDevice
from plugin_gateway.core.health.faults import Stage
from plugin_gateway.core.health.observations import DriverSeen, RequirementSeen
from plugin_gateway.core.health.policy import EvidenceKind


class HealthChange(NamedTuple):
    """A change of the stage of a device, and its reason."""

    device: FaultId
    """A physical device, or a part of one."""
    before: Stage
    after: Stage
    reason: str
    """The evidence that made the device unhealthy, or that ended its probation."""
    lacks: str | None
    """What the device still needs, for people. None if it is healthy."""
    kind: EvidenceKind
    """The kind of the evidence in ``reason``. Empty if an earlier version of the gateway did not keep it."""


class Significance(Enum):
    """The meaning of an event that changed no stage."""

    IGNORED = "ignored by policy"
    REPORTED = "reported by policy, the device stays as it is"
    UNKNOWN_DEVICE = "device not in the inventory"
    FURTHER = "further evidence against a device that is not healthy"
    EXPLAINED = "details of evidence that was reported before"
    REPEATED = "the same evidence again, against a device that is not healthy"

    @property
    def token(self) -> str:
        """The meaning as programs read it, in metrics and in the log."""
        return self.name.lower()


class Note(NamedTuple):
    """An event that changed no stage, and its meaning."""

    device: FaultId | None
    kind: EvidenceKind
    event: str
    significance: Significance
    times: int = 1
    """How often it was reported, one after the other."""
    progress: str = ""
    """How often until now, and how often within which time the policy needs it. Empty if it needs no repetition."""


class DriverChange(NamedTuple):
    """The driver became unavailable, is unavailable for a new reason, or is available again.

    ``problem`` is the reason, and None if the driver is available. ``todo`` is what to do about it, if that is known.
    """

    problem: str | None
    todo: str = ""


class SilenceChange(NamedTuple):
    """The driver has not answered for too long, or answers again."""

    silent: bool
    seconds: float


class EventsChange(NamedTuple):
    """The driver's events cannot be waited for, cannot for a new reason, or can be waited for again.

    ``problem`` is the reason, and None if the events can be waited for.
    """

    problem: str | None


class KernelLogChange(NamedTuple):
    """The kernel's log cannot be read, or is read.

    ``problem`` is the reason, and None if it can be read.
    """

    problem: str | None


class DaemonChange(NamedTuple):
    """The daemon of a resource, through which containers share devices, is not there, or is there.

    ``problem`` is why it is not there, and None if it is. ``todo`` is what to do about it, if that is known.
    """

    resource: str
    problem: str | None
    todo: str = ""


class Changes(NamedTuple):
    """Everything that one observation changed. A field is empty or None if nothing changed there."""

    added: tuple[Device, ...] = ()
    removed: tuple[Device, ...] = ()
    altered: tuple[Device, ...] = ()
    """Devices with the same id and other attributes. The values are the new ones."""
    rejected: tuple[RejectedDevice, ...] = ()
    """Only devices that were not rejected before."""
    set_aside: tuple[RejectedDevice, ...] = ()
    """Only devices that were not set aside before."""
    health: tuple[HealthChange, ...] = ()
    notes: tuple[Note, ...] = ()
    driver: DriverChange | None = None
    seen: DriverSeen | None = None
    """The driver, if it is the first one or differs from the one before."""
    silence: SilenceChange | None = None
    events: EventsChange | None = None
    kernel_log: KernelLogChange | None = None
    daemons: tuple[DaemonChange, ...] = ()
    requirement: RequirementSeen | None = None
    """What the node lacks without which no container may be, or that it lacks nothing any more."""
