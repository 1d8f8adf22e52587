"""The state function. Devices appear, vanish and change their health only here.

It has the form (state, observation, now, policy) -> (state, changes).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from plugin_gateway.core.devices import Device, DeviceId, Inventory, diff
from plugin_gateway.core.health import faults
from plugin_gateway.core.health.changes import (
    Changes,
    DriverChange,
    EventsChange,
    HealthChange,
    Note,
    Significance,
    SilenceChange,
)
from plugin_gateway.core.health.faults import Fault, Moment, Stage
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverSeen,
    DriverSilence,
    DriverUnavailable,
    EventsAwaited,
    EvidenceReported,
    InventorySeen,
    Observation,
)
from plugin_gateway.core.health.policy import (
    DRIVER_GONE,
    RECOVERY_ACTION,
    Decision,
    EvidenceKind,
    HealthPolicy,
    Needs,
    words_of,
)

MAX_SILENCE = 10.0
"""Seconds without a sign of the driver after which it counts as silent.

It is longer than 5 s, because a backend may wait that long for an event on purpose.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything that is known about the devices of the node."""

    inventory: Inventory | None = None
    """The latest inventory. None until the driver was read for the first time."""
    faults: Mapping[DeviceId, Fault] = field(default_factory=dict)
    """The fault of each device that is not healthy.

    A device that vanishes keeps its fault. When it comes back, it is not healthy for that reason alone.
    """
    taken_out: Mapping[DeviceId, tuple[float, ...]] = field(default_factory=dict)
    """The times at which each device became unhealthy, within the flap window, on the uptime clock."""
    reported: Mapping[DeviceId, Mapping[EvidenceKind, str]] = field(default_factory=dict)
    """The lasting problems that the policy only reports.

    They are kept here so that each one is reported only once.
    """
    driver: DriverSeen | None = None
    """The driver that answered last. None if none has answered yet."""
    driver_problem: str | None = None
    """Why the driver could not be asked, until the next inventory. None if there is no problem."""
    restart_may_help: bool = False
    """Whether another process could perhaps use the driver that cannot be asked."""
    driver_missing_since: float | None = None
    """Since when the driver cannot be asked, on the uptime clock. None if it can be asked."""
    driver_is_gone: bool = False
    """Whether the driver gave no answer for longer than the policy allows."""
    driver_is_silent: bool = False
    """Whether the driver gave no sign for `MAX_SILENCE` seconds or longer."""
    events_problem: str | None = None
    """Why the driver's events cannot be waited for. None if they can."""
    unseen: frozenset[DeviceId] = frozenset()
    """Devices with faults from an earlier boot that no inventory of this boot has contained yet."""

    @property
    def devices(self) -> tuple[Device, ...]:
        """The devices of the inventory."""
        return self.inventory.devices if self.inventory is not None else ()

    @property
    def is_settled(self) -> bool:
        """Whether the inventory is known, or the driver is known not to answer."""
        return self.inventory is not None or self.driver_problem is not None or self.driver_is_silent

    @property
    def is_watched(self) -> bool:
        """Whether a fault of a device would be noticed now."""
        return self.driver_missing_since is None and not self.driver_is_silent and self.events_problem is None

    def stage_of(self, device: DeviceId) -> Stage:
        """Return the stage of a device."""
        fault = self.faults.get(device)
        return Stage.HEALTHY if fault is None else fault.stage


def advance(state: State, observation: Observation, now: Moment, policy: HealthPolicy) -> tuple[State, Changes]:
    """Return the state after an observation, and what changed."""
    after, changes = _apply(state, observation, now, policy)
    silence = observation.seconds if isinstance(observation, DriverSilence) else 0.0
    return _conclude(state, after, changes, now, policy, silence)


def wait(state: State, now: Moment, policy: HealthPolicy, silence: float = 0.0) -> tuple[State, Changes]:
    """Return the state after time has passed without an observation, and what changed.

    ``silence`` is the number of seconds since the driver's last sign.
    """
    after, notes = _miss_driver(state, now, policy)
    return _conclude(state, after, Changes(notes=notes), now, policy, silence)


def clear(state: State, device: DeviceId, now: Moment, policy: HealthPolicy) -> tuple[State, Changes]:
    """Return the state after an operator's `health clear` for a device, and what changed.

    The flapping count of the device starts again.
    """
    return _conclude(state, _clear(state, device), Changes(), now, policy, silence=math.inf)


def due(state: State, policy: HealthPolicy) -> float | None:
    """Return the time of the next change without an observation, on the uptime clock. None if there is none."""
    times = [fault.quiet_from + policy.quiet_time for fault in state.faults.values() if fault.quiet_from is not None]
    if state.driver_missing_since is not None and not state.driver_is_gone and state.inventory is not None:
        times.append(state.driver_missing_since + policy.driver_timeout)
    return min(times, default=None)


def _apply(  # noqa: PLR0911 - one for each kind
    state: State, observation: Observation, now: Moment, policy: HealthPolicy
) -> tuple[State, Changes]:
    match observation:
        case InventorySeen(inventory):
            return _see(state, inventory)
        case EvidenceReported(kind):
            return _report(state, observation, policy.about(kind), now)
        case DevicesChecked():
            return _check(state, observation, now, policy)
        case DriverSeen():
            return _meet(state, observation)
        case DriverUnavailable():
            return _miss(state, observation, now, policy)
        case DriverSilence(seconds):
            return _listen(state, seconds, now, policy)
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
    after = replace(
        state,
        unseen=state.unseen - {device.id for device in inventory.devices},
        inventory=inventory,
        driver_problem=None,
        restart_may_help=False,
        driver_missing_since=None,
        driver_is_gone=False,
    )
    return after, changes


def _report(state: State, evidence: EvidenceReported, decision: Decision, now: Moment) -> tuple[State, Changes]:
    """Apply evidence that does not last by itself.

    If the driver asked for recovery, the next check finds out whether it still does.
    """
    device, times, needs = evidence.device, evidence.times, decision.action.needs
    what = words_of(evidence.kind) + (f" at {evidence.place}" if evidence.place else "")
    if device is None or not _has(state.inventory, device):
        return state, Changes(notes=(Note(device, what, Significance.UNKNOWN_DEVICE, times),))
    if needs is None:
        return state, Changes(notes=(Note(device, what, _significance(decision), times),))
    before = state.faults.get(device)
    updated = faults.add_evidence(before, what, needs, now)
    held = _with_faults(state, {device: faults.ask(updated) if evidence.kind == RECOVERY_ACTION else updated})
    further = _further(before, device, what)
    is_first = before is None or before.stage is Stage.PROBATION or bool(further)
    again = times - 1 if is_first else times
    repeated = [Note(device, what, Significance.REPEATED, again)] if again else []
    return held, Changes(notes=(*further, *repeated))


def _significance(decision: Decision) -> Significance:
    return Significance.REPORTED if decision.is_reported else Significance.IGNORED


def _check(state: State, check: DevicesChecked, now: Moment, policy: HealthPolicy) -> tuple[State, Changes]:
    """Apply the results of a check. They stay valid until the next check."""
    notes: list[Note] = []
    held: dict[DeviceId, Fault] = {}
    reported = dict(state.reported)
    here = {device.id for device in state.devices} if state.is_watched else set()
    for device, checkup in check.checkups.items():
        decided = {kind: (what, policy.about(kind)) for kind, what in checkup.problems.items()}
        known = reported.pop(device, {})
        if only := {kind: what for kind, (what, decision) in decided.items() if decision.is_reported}:
            reported[device] = only
            notes += [Note(device, what, Significance.REPORTED) for kind, what in only.items() if kind not in known]
        fault = state.faults.get(device)
        lasting = {kind: what for kind, (what, decision) in decided.items() if decision.action.needs is not None}
        for kind, what in lasting.items():
            needs = decided[kind][1].action.needs
            assert needs is not None
            notes += _further(fault, device, what)
            fault = faults.add_lasting_evidence(fault, kind, what, needs, now)
        if fault is not None:
            asked_at = now.uptime - check.age if device in here else -math.inf
            # A question without an answer does not end a problem.
            unsaid = {kind: what for kind, what in fault.problems.items() if kind in checkup.unanswered}
            held[device] = faults.examine(fault, checkup, {**unsaid, **lasting}, now, asked_at)
    after = replace(_with_faults(state, held), reported=reported, driver_missing_since=None, driver_is_gone=False)
    return after, Changes(notes=tuple(notes))


def _further(fault: Fault | None, device: DeviceId, what: str) -> list[Note]:
    is_new = fault is not None and all(evidence.what != what for evidence in fault.evidence)
    return [Note(device, what, Significance.FURTHER)] if is_new else []


def _meet(state: State, driver: DriverSeen) -> tuple[State, Changes]:
    """Apply which driver answers. A new instance of the driver has reset every device."""
    before = state.driver.instance if state.driver is not None else None
    is_new = None not in {before, driver.instance} and before != driver.instance
    held = {device: faults.reset(fault) for device, fault in state.faults.items()} if is_new else {}
    seen = driver if driver != state.driver else None
    return replace(_with_faults(state, held), driver=driver), Changes(seen=seen)


def _miss(state: State, driver: DriverUnavailable, now: Moment, policy: HealthPolicy) -> tuple[State, Changes]:
    change = None if driver.problem == state.driver_problem else DriverChange(problem=driver.problem)
    since = now.uptime if state.driver_missing_since is None else state.driver_missing_since
    missing = replace(
        state,
        driver_problem=driver.problem,
        driver_missing_since=since,
        restart_may_help=driver.restart_may_help,
    )
    after, notes = _miss_driver(missing, now, policy)
    return after, Changes(driver=change, notes=notes)


def _miss_driver(state: State, now: Moment, policy: HealthPolicy) -> tuple[State, tuple[Note, ...]]:
    since = state.driver_missing_since
    if since is None or now.uptime - since < policy.driver_timeout:
        return state, ()
    return _lose_driver(state, f"the driver is gone: {state.driver_problem}", now, policy)


def _listen(state: State, seconds: float, now: Moment, policy: HealthPolicy) -> tuple[State, Changes]:
    silent = seconds >= MAX_SILENCE
    change = None if silent == state.driver_is_silent else SilenceChange(silent=silent, seconds=seconds)
    heard = replace(state, driver_is_silent=silent)
    notes: tuple[Note, ...] = ()
    if seconds >= policy.driver_timeout:
        heard, notes = _lose_driver(heard, "the driver does not answer", now, policy)
    return heard, Changes(silence=change, notes=notes)


def _lose_driver(state: State, what: str, now: Moment, policy: HealthPolicy) -> tuple[State, tuple[Note, ...]]:
    """Make every device unhealthy because the driver is gone.

    Without the driver, no fault of a device would be noticed.
    """
    if state.inventory is None:
        return state, ()
    decision = policy.about(DRIVER_GONE)
    notes = () if state.driver_is_gone or not decision.is_reported else (Note(None, what, Significance.REPORTED),)
    known = {device.id: state.faults.get(device.id) for device in state.inventory.devices}
    if (needs := decision.action.needs) is None:
        return replace(state, driver_is_gone=True), notes
    held = {
        device: faults.add_lasting_evidence(fault, DRIVER_GONE, what, needs, now)
        for device, fault in known.items()
        if fault is None or DRIVER_GONE not in fault.problems
    }
    return replace(_with_faults(state, held), driver_is_gone=True), notes


def _clear(state: State, device: DeviceId) -> State:
    """Clear the fault of a device. Lasting problems remain, unless the device is not in the inventory."""
    taken_out = {name: times for name, times in state.taken_out.items() if name != device}
    held = {name: fault for name, fault in state.faults.items() if name != device}
    left = faults.clear(state.faults[device]) if device in state.faults and _has(state.inventory, device) else None
    if left is not None:
        held[device] = left
    return replace(state, faults=held, taken_out=taken_out)


def _with_faults(state: State, held: Mapping[DeviceId, Fault]) -> State:
    return replace(state, faults={**state.faults, **held}) if held else state


def _conclude(
    before: State, after: State, changes: Changes, now: Moment, policy: HealthPolicy, silence: float
) -> tuple[State, Changes]:
    """Apply the rules that are the same for every observation: flapping, end of probation, end of quiet time."""
    after = _hold_decisions(before, after, now)
    after = _release(_interrupt(_require_reset_of_flapping(before, after, now, policy)), now.uptime - silence, policy)
    return after, changes._replace(health=_compare(before, after))


def _hold_decisions(before: State, after: State, now: Moment) -> State:
    """Let the driver decide later about devices whose evidence could have been missed just now."""
    if all(fault.needs is not Needs.DRIVER for fault in after.faults.values()):
        return after
    is_watched = before.is_watched and after.is_watched
    here = {device.id for device in before.devices} & {device.id for device in after.devices} if is_watched else set()
    return _with_faults(
        after,
        {device: faults.wait_for_driver(fault, now) for device, fault in after.faults.items() if device not in here},
    )


def _interrupt(state: State) -> State:
    """End the probation of every device that is not being watched at the moment."""
    on_probation = [device for device, fault in state.faults.items() if fault.stage is Stage.PROBATION]
    if not on_probation:
        return state
    here = {device.id for device in state.devices} if state.is_watched else frozenset()
    return _with_faults(
        state, {device: faults.resume(state.faults[device]) for device in on_probation if device not in here}
    )


def _require_reset_of_flapping(before: State, after: State, now: Moment, policy: HealthPolicy) -> State:
    """Count the devices that have just become unhealthy. Require a reset for those that flap."""
    new = [device for device, fault in after.faults.items() if faults.is_new(before.faults.get(device), fault)]
    if not new or _affects_all_devices(before, after, new):
        return after
    taken_out, held = dict(after.taken_out), {}
    for device in new:
        if DRIVER_GONE in after.faults[device].problems:
            continue  # the cause is the driver, not the device
        if after.faults[device].is_drivers_to_decide:
            continue  # the driver decides whether it is a fault at all
        recent = (time for time in taken_out.get(device, ()) if now.uptime - time < policy.flap_window)
        taken_out[device] = (*recent, now.uptime)
        if len(taken_out[device]) >= policy.flap_count:
            held[device] = faults.require_reset(after.faults[device])
    return replace(_with_faults(after, held), taken_out=taken_out)


def _affects_all_devices(before: State, after: State, new: Sequence[DeviceId]) -> bool:
    """Return whether several devices became unhealthy at once, for one reason, and none stayed healthy.

    Then the cause is not a single device.
    """
    well_before = {device.id for device in after.devices} - before.faults.keys()
    return len(new) > 1 and well_before <= set(new) and len({after.faults[device].reason for device in new}) == 1


def _release(state: State, last_sign: float, policy: HealthPolicy) -> State:
    """Make devices healthy whose quiet time was over at ``last_sign``, the last moment in which they were watched."""
    over = {device for device, fault in state.faults.items() if fault.is_over(policy, last_sign)}
    if not over:
        return state
    return replace(state, faults={device: fault for device, fault in state.faults.items() if device not in over})


def _compare(before: State, after: State) -> tuple[HealthChange, ...]:
    """Return the devices whose stage changed."""
    if before.faults is after.faults:
        return ()
    changes = []
    for device in dict.fromkeys((*before.faults, *after.faults)):
        was, is_now = before.stage_of(device), after.stage_of(device)
        if was is not is_now:
            fault = after.faults.get(device)
            explained = fault if fault is not None else before.faults[device]
            reason = (
                explained.evidence[-1].what if (was, is_now) == (Stage.PROBATION, Stage.UNHEALTHY) else explained.reason
            )
            changes.append(HealthChange(device, was, is_now, reason, fault.lacks if fault else None))
    return tuple(changes)


def _has(inventory: Inventory | None, device: DeviceId) -> bool:
    return inventory is not None and any(known.id == device for known in inventory.devices)
