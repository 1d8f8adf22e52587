"""The part of the state that has to survive a restart of the gateway, so that faults are not forgotten."""

import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from plugin_gateway.core.devices import FaultId
from plugin_gateway.core.health import faults
from plugin_gateway.core.health.faults import Fault
from plugin_gateway.core.health.observations import DriverSeen
from plugin_gateway.core.health.repetition import Repeated, up_to
from plugin_gateway.core.health.state import State


class Memory(NamedTuple):
    """The faults of all devices, with the boot and the driver that they belong to."""

    boot_id: str
    """The kernel's random/boot_id. Empty if it is not known."""
    driver: DriverSeen | None
    """The driver that answered last. None if no driver has answered."""
    faults: Mapping[FaultId, Fault]
    taken_out: Mapping[FaultId, tuple[float, ...]]
    """When each device became unhealthy, on the uptime clock of this boot. It is used to detect flapping."""
    unseen: frozenset[FaultId]
    """Devices with faults that have not appeared in this boot. They may have been removed from the machine."""
    repeated: Repeated = MappingProxyType({})
    """When evidence was reported that has to be repeated, on the uptime clock of this boot."""


def remember(state: State, boot_id: str) -> Memory:
    """Return the part of the state that has to be kept. What a restart forgets is not in it, so it changes seldom."""
    return Memory(
        boot_id=boot_id,
        driver=state.driver,
        faults={device: faults.restart(fault) for device, fault in state.faults.items()},
        taken_out=state.taken_out,
        unseen=state.unseen & state.faults.keys(),
        repeated=state.repeated,
    )


def recall(memory: Memory, boot_id: str, uptime: float = math.inf) -> State:
    """Return the state to start with, at this time on the uptime clock.

    After a restart in the same boot, every device that was on probation needs a new check. After a reboot, each fault
    needs only a check. Faults of devices that did not appear in the whole previous boot are dropped.

    Where one of the two boot ids is not known (empty), the memory counts as one of this boot, because a reboot forgives
    much. Times in the future are dropped: they would count as recent for ever.
    """
    if memory.boot_id and boot_id and memory.boot_id != boot_id:
        left = {device: faults.reboot(fault) for device, fault in memory.faults.items() if device not in memory.unseen}
        return State(faults=left, unseen=frozenset(left))
    return State(
        driver=memory.driver,
        faults=memory.faults,
        taken_out={
            device: tuple(time for time in times if time <= uptime) for device, times in memory.taken_out.items()
        },
        unseen=memory.unseen,
        repeated=up_to(memory.repeated, uptime),
    )


def has_only_more_evidence(before: Memory, after: Memory) -> bool:
    """Whether the same faults were reported again and no more, as in a storm."""
    return _without_reports(before) == _without_reports(after)


def _without_reports(memory: Memory) -> Memory:
    """Return the memory without the times of reports, and without evidence that came after the first."""
    first = {device: fault.evidence[0]._replace(at=0.0, since=None) for device, fault in memory.faults.items()}
    bare = {device: replace(fault, evidence=(first[device],)) for device, fault in memory.faults.items()}
    return memory._replace(faults=bare, repeated={})
