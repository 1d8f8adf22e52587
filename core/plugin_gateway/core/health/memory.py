"""What has to outlive the process, so that a restart does not whitewash a device."""

from collections.abc import Mapping
from typing import NamedTuple

from plugin_gateway.core.devices import DeviceId
from plugin_gateway.core.health import faults
from plugin_gateway.core.health.faults import Fault
from plugin_gateway.core.health.observations import DriverSeen
from plugin_gateway.core.health.state import State


class Memory(NamedTuple):
    """What is held against devices, on which boot and with which driver."""

    boot_id: str
    """The kernel's random/boot_id."""
    driver: DriverSeen | None
    faults: Mapping[DeviceId, Fault]
    taken_out: Mapping[DeviceId, tuple[float, ...]]
    unseen: frozenset[DeviceId]
    """Devices with faults that were not there in this boot; somebody may have taken them out of the machine."""


def remember(state: State, boot_id: str) -> Memory:
    """Take out of the state what has to be kept."""
    return Memory(
        boot_id=boot_id,
        driver=state.driver,
        faults=state.faults,
        taken_out=state.taken_out,
        unseen=state.unseen & state.faults.keys(),
    )


def recall(memory: Memory, boot_id: str) -> State:
    """Begin with what was kept; what another boot did away with is forgotten, and who stayed away all that time."""
    if memory.boot_id != boot_id:
        left = {device: faults.reboot(fault) for device, fault in memory.faults.items() if device not in memory.unseen}
        return State(faults=left, unseen=frozenset(left))
    return State(
        driver=memory.driver,
        faults={device: faults.resume(fault) for device, fault in memory.faults.items()},
        taken_out=memory.taken_out,
        unseen=memory.unseen,
    )
