"""The one place where devices appear, vanish and change their health: (state, observation, now) -> (state, changes)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

from plugin_gateway.core.devices import Device, DeviceId, Inventory, RejectedDevice
from plugin_gateway.core.differ import diff
from plugin_gateway.core.health import Condition, Health, is_application_error
from plugin_gateway.core.observations import (
    DeviceLost,
    DriverSilence,
    DriverUnavailable,
    EventsAwaited,
    InventorySeen,
    Observation,
    XidReported,
)

LONGEST_SILENCE = 10.0
"""Seconds without any sign of the driver after which it is said not to answer; it is waited for 5 s on purpose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is known of the node's devices."""

    inventory: Inventory | None = None
    """None until the driver was read for the first time."""
    unhealthy: Mapping[DeviceId, Condition] = field(default_factory=dict)
    """Kept for a device that vanished, so that coming back is not mistaken for being well."""
    driver_problem: str | None = None
    driver_is_silent: bool = False
    events_problem: str | None = None
    """Why the driver's events cannot be waited for."""


class HealthChange(NamedTuple):
    """A device that changed its health, and why."""

    device: DeviceId
    health: Health
    reason: str


class Dismissal(Enum):
    """Why an event changed nothing."""

    APPLICATION_ERROR = "application error"
    UNKNOWN_DEVICE = "device not in the inventory"
    ALREADY_UNHEALTHY = "device is unhealthy already"


class DismissedEvent(NamedTuple):
    """An event that changed nothing, and why."""

    device: DeviceId | None
    event: str
    dismissal: Dismissal


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
    health: HealthChange | None = None
    dismissed: DismissedEvent | None = None
    driver: DriverChange | None = None
    silence: SilenceChange | None = None
    events: EventsChange | None = None


def advance(state: State, observation: Observation, now: float) -> tuple[State, Changes]:
    """Apply one observation; ``now`` is seconds since the epoch."""
    match observation:
        case InventorySeen(inventory):
            return _see(state, inventory)
        case XidReported(xid, device):
            return _report_xid(state, xid, device, now)
        case DeviceLost(device, error):
            return _condemn(state, device, f"lost: {error}", now)
        case DriverUnavailable(problem):
            change = None if problem == state.driver_problem else DriverChange(problem=problem)
            return replace(state, driver_problem=problem), Changes(driver=change)
        case DriverSilence(seconds):
            return _listen(state, seconds)
        case EventsAwaited(problem):
            events = None if problem == state.events_problem else EventsChange(problem=problem)
            return replace(state, events_problem=problem), Changes(events=events)


def _see(state: State, inventory: Inventory) -> tuple[State, Changes]:
    before = state.inventory
    difference = diff(before.devices if before else (), inventory.devices)
    known_rejections = before.rejected if before else ()
    changes = Changes(
        added=difference.added,
        removed=difference.removed,
        altered=difference.altered,
        rejected=tuple(item for item in inventory.rejected if item not in known_rejections),
        driver=DriverChange(problem=None) if state.driver_problem is not None else None,
    )
    return replace(state, inventory=inventory, driver_problem=None), changes


def _listen(state: State, seconds: float) -> tuple[State, Changes]:
    silent = seconds >= LONGEST_SILENCE
    change = None if silent == state.driver_is_silent else SilenceChange(silent=silent, seconds=seconds)
    return replace(state, driver_is_silent=silent), Changes(silence=change)


def _report_xid(state: State, xid: int, device: DeviceId | None, now: float) -> tuple[State, Changes]:
    if is_application_error(xid):
        return _dismiss(state, device, f"XID {xid}", Dismissal.APPLICATION_ERROR)
    return _condemn(state, device, f"XID {xid}", now)


def _condemn(state: State, device: DeviceId | None, reason: str, now: float) -> tuple[State, Changes]:
    if device is None or not _has(state.inventory, device):
        return _dismiss(state, device, reason, Dismissal.UNKNOWN_DEVICE)
    if device in state.unhealthy:
        return _dismiss(state, device, reason, Dismissal.ALREADY_UNHEALTHY)
    unhealthy = {**state.unhealthy, device: Condition(reason=reason, since=now)}
    change = HealthChange(device=device, health=Health.UNHEALTHY, reason=reason)
    return replace(state, unhealthy=unhealthy), Changes(health=change)


def _dismiss(state: State, device: DeviceId | None, event: str, dismissal: Dismissal) -> tuple[State, Changes]:
    return state, Changes(dismissed=DismissedEvent(device=device, event=event, dismissal=dismissal))


def _has(inventory: Inventory | None, device: DeviceId) -> bool:
    return inventory is not None and any(known.id == device for known in inventory.devices)
