"""Devices that come and go: each of them needs a reset after some times, or has to be quiet for longer and longer."""

from collections.abc import Sequence
from dataclasses import replace

from plugin_gateway.core.devices import FaultId
from plugin_gateway.core.health.faults import Fault, Moment
from plugin_gateway.core.health.policy import DRIVER_GONE, HealthPolicy, Needs
from plugin_gateway.core.health.state import State

MAX_DOUBLINGS = 30
"""How often a quiet time can double. The longest one of any policy is reached earlier."""


def heed_flapping(before: State, after: State, now: Moment, policy: HealthPolicy) -> State:
    """Count the devices that have just become unhealthy. Those that flap need a reset, or are out for longer."""
    new = [device for device, fault in after.faults.items() if _is_new(before.faults.get(device), fault)]
    if not new or _affects_all_devices(before, after, new):
        return after
    taken_out, held = dict(after.taken_out), {}
    for device in new:
        if DRIVER_GONE in after.faults[device].problems:
            continue  # the cause is the driver, not the device
        if after.faults[device].is_drivers_to_decide:
            continue  # the driver decides whether it is a fault at all
        recent = [time for time in taken_out.get(device, ()) if now.uptime - time < policy.flap_window]
        if policy.longest_quiet_time is not None:
            taken_out[device] = (*recent[-MAX_DOUBLINGS:], now.uptime)
            held[device] = _lengthen(after.faults[device], len(taken_out[device]), policy)
            continue
        taken_out[device] = (*recent, now.uptime)
        if len(taken_out[device]) >= policy.flap_count:
            held[device] = _require_reset(after.faults[device])
    return replace(after.with_faults(held), taken_out=taken_out)


def _affects_all_devices(before: State, after: State, new: Sequence[FaultId]) -> bool:
    """Return whether several devices became unhealthy at once, for one reason, and none stayed healthy.

    Then the cause is not a single device.
    """
    is_one_reason = len(new) > 1 and len({after.faults[device].reason for device in new}) == 1
    return is_one_reason and all(before.is_out(device) or after.is_out(device) for device in after.devices)


def _is_new(before: Fault | None, after: Fault) -> bool:
    """Whether the device has just become unhealthy, or has its first evidence that the driver does not decide about."""
    return before is None or (before.is_drivers_to_decide and not after.is_drivers_to_decide and not after.was_reset)


def _require_reset(fault: Fault) -> Fault:
    """Return the fault of a flapping device. It needs a reset in addition."""
    return replace(fault, needs=max(fault.needs, Needs.RESET), is_flapping=True, quiet_from=None)


def _lengthen(fault: Fault, times: int, policy: HealthPolicy) -> Fault:
    """Return the fault of a device that became unhealthy so many times. Its quiet time doubles with each of them."""
    longest = policy.longest_quiet_time
    if longest is None or times <= 1:
        return fault
    return replace(fault, quiet_time=max(min(policy.quiet_time * 2.0 ** (times - 1), longest), policy.quiet_time))
