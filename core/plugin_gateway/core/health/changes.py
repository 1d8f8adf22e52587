"""What an observation changed, as values: for the log, the counters and the reports."""

from enum import Enum
from typing import NamedTuple

from plugin_gateway.core.devices import Device, DeviceId, RejectedDevice
from plugin_gateway.core.health.faults import Stage
from plugin_gateway.core.health.observations import DriverSeen


class HealthChange(NamedTuple):
    """A device that went from one stage to another, and why."""

    device: DeviceId
    before: Stage
    after: Stage
    reason: str
    """What took it out, or ended its probation."""
    lacks: str | None
    """What it waits for; None where it is healthy."""


class Significance(Enum):
    """What an event meant that changed no stage."""

    IGNORED = "ignored by policy"
    REPORTED = "reported by policy, the device stays as it is"
    UNKNOWN_DEVICE = "device not in the inventory"
    FURTHER = "further evidence against a device that is not healthy"


class Note(NamedTuple):
    """An event that changed no stage, and what it meant."""

    device: DeviceId | None
    event: str
    significance: Significance


class DriverChange(NamedTuple):
    """The driver became unavailable for another reason than before, or available (no problem)."""

    problem: str | None


class SilenceChange(NamedTuple):
    """The driver has not answered for so long that somebody should know, or answers again."""

    silent: bool
    seconds: float


class EventsChange(NamedTuple):
    """The driver's events cannot be waited for, for another reason than before, or can again (no problem)."""

    problem: str | None


class Changes(NamedTuple):
    """What one observation changed; every field is empty where it changed nothing."""

    added: tuple[Device, ...] = ()
    removed: tuple[Device, ...] = ()
    altered: tuple[Device, ...] = ()
    """Same id, other attributes; as they are now."""
    rejected: tuple[RejectedDevice, ...] = ()
    """Newly rejected only."""
    health: tuple[HealthChange, ...] = ()
    notes: tuple[Note, ...] = ()
    driver: DriverChange | None = None
    seen: DriverSeen | None = None
    """A driver that is another one than before, or the first."""
    silence: SilenceChange | None = None
    events: EventsChange | None = None
