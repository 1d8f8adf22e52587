"""The state function. Devices appear, vanish and change their health only here.

It has the form (state, observation, now, policy) -> (state, changes).
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from plugin_gateway.core.devices import FaultId
from plugin_gateway.core.health import faults
from plugin_gateway.core.health.changes import Changes, HealthChange
from plugin_gateway.core.health.effects import apply, miss_driver
from plugin_gateway.core.health.faults import Moment, Stage
from plugin_gateway.core.health.flapping import heed_flapping
from plugin_gateway.core.health.observations import DriverSilence, Observation
from plugin_gateway.core.health.policy import HealthPolicy, Needs
from plugin_gateway.core.health.repetition import forget
from plugin_gateway.core.health.state import State

_Key = TypeVar("_Key")


def advance(state: State, observation: Observation, now: Moment, policy: HealthPolicy) -> tuple[State, Changes]:
    """Return the state after an observation, and what changed."""
    after, changes = apply(state, observation, now, policy)
    silence = observation.seconds if isinstance(observation, DriverSilence) else 0.0
    return _conclude(state, after, changes, now, policy, silence)


def wait(state: State, now: Moment, policy: HealthPolicy, silence: float = 0.0) -> tuple[State, Changes]:
    """Return the state after time has passed without an observation, and what changed.

    ``silence`` is the number of seconds since the driver's last sign.
    """
    after, notes = miss_driver(state, now, policy)
    return _conclude(state, after, Changes(notes=notes), now, policy, silence)


def clear(state: State, device: FaultId, now: Moment, policy: HealthPolicy) -> tuple[State, Changes]:
    """Return the state after an operator's `health clear` for a device, and what changed.

    The flapping count of the device starts again, and so do the counts of evidence that has to be repeated.
    """
    return _conclude(state, _clear(state, device), Changes(), now, policy, silence=math.inf)


def adopt(state: State, kept: State) -> tuple[State, Changes]:
    """Return the state with the faults that another gateway kept, and what changed.

    ``kept`` is what `recall` returned. Of two faults of one device, the one that needs more counts.
    """
    was_reset = state.driver is not None and state.driver.is_another_instance_than(kept.driver)
    repeated = kept.repeated if not was_reset else {}
    theirs = {device: faults.reset(fault) if was_reset else fault for device, fault in kept.faults.items()}
    added = {
        device: fault
        for device, fault in theirs.items()
        if device not in state.faults or fault.needs > state.faults[device].needs
    }
    after = replace(
        state.with_faults(added),
        taken_out=_longer(state.taken_out, kept.taken_out),
        repeated={
            device: _longer(state.repeated.get(device, {}), repeated.get(device, {}))
            for device in (*state.repeated, *repeated)
        },
        driver=state.driver if state.driver is not None else kept.driver,
        unseen=(state.unseen | kept.unseen).difference(state.ids),
    )
    return after, Changes(health=_compare(state, after))


def _longer(
    ours: Mapping[_Key, tuple[float, ...]], theirs: Mapping[_Key, tuple[float, ...]]
) -> Mapping[_Key, tuple[float, ...]]:
    """Return the times that one of two gateways counted. Both may have counted the same ones, so they are not added."""
    return {key: max(ours.get(key, ()), theirs.get(key, ()), key=len) for key in (*ours, *theirs)}


def due(state: State, policy: HealthPolicy) -> float | None:
    """Return the time of the next change without an observation, on the uptime clock. None if there is none."""
    times = [until for fault in state.faults.values() if (until := fault.quiet_until(policy)) is not None]
    if state.driver_missing_since is not None and not state.driver_is_gone:
        times.append(state.driver_missing_since + policy.driver_timeout)
    return min(times, default=None)


def _clear(state: State, device: FaultId) -> State:
    """Clear the fault of a device. Lasting problems remain, unless the device is not in the inventory."""
    taken_out = {name: times for name, times in state.taken_out.items() if name != device}
    left = faults.clear(state.faults[device]) if device in state.faults and state.has(device) else None
    cleared = state.without_faults({device}).with_faults({device: left} if left is not None else {})
    return replace(cleared, taken_out=taken_out, repeated=forget(state.repeated, {device}))


def _conclude(
    before: State, after: State, changes: Changes, now: Moment, policy: HealthPolicy, silence: float
) -> tuple[State, Changes]:
    """Apply the rules that are the same for every observation: flapping, end of probation, end of quiet time."""
    after = _hold_decisions(before, _count_anew(before, after), now)
    after = _interrupt(heed_flapping(before, after, now, policy))
    after = _release(_await_word(after, policy), now.uptime - silence, policy)
    return after, changes._replace(health=_compare(before, after))


def _count_anew(before: State, after: State) -> State:
    """Forget the repetitions of evidence from before a reset."""
    if not after.repeated or after.faults is before.faults:
        return after
    reset = {
        device
        for device in after.repeated
        if device in before.faults and device in after.faults
        if after.faults[device].was_reset and not before.faults[device].was_reset
    }
    return replace(after, repeated=forget(after.repeated, reset))


def _hold_decisions(before: State, after: State, now: Moment) -> State:
    """Let the driver decide later about devices whose evidence could have been missed just now."""
    if all(fault.needs is not Needs.DRIVER for fault in after.faults.values()):
        return after
    is_watched = before.is_watched and after.is_watched
    here = set(before.ids).intersection(after.ids) if is_watched else ()
    return after.with_faults(
        {device: faults.wait_for_driver(fault, now) for device, fault in after.faults.items() if device not in here},
    )


def _interrupt(state: State) -> State:
    """End the probation of every device that is not being watched at the moment."""
    on_probation = [device for device, fault in state.faults.items() if fault.stage is Stage.PROBATION]
    if not on_probation:
        return state
    here = state.ids if state.is_watched else ()
    return state.with_faults(
        {device: faults.resume(state.faults[device]) for device in on_probation if device not in here}
    )


def _await_word(state: State, policy: HealthPolicy) -> State:
    """Note for each probation whether the policy lets the quiet time end it."""
    noted = {device: faults.await_word(fault, policy) for device, fault in state.faults.items()}
    changed = {device: fault for device, fault in noted.items() if fault is not state.faults[device]}
    return state.with_faults(changed)


def _release(state: State, last_sign: float, policy: HealthPolicy) -> State:
    """Make devices healthy whose quiet time was over at ``last_sign``, the last moment in which they were watched."""
    over = {device for device, fault in state.faults.items() if fault.is_over(policy, last_sign)}
    return state.without_faults(over) if over else state


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
            cause = explained.evidence[-1 if (was, is_now) == (Stage.PROBATION, Stage.UNHEALTHY) else 0]
            changes.append(HealthChange(device, was, is_now, cause.what, fault.lacks if fault else None, cause.kind))
    return tuple(changes)
