"""Everything that is known about the devices of a node."""

from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from plugin_gateway.core.devices import (
    NO_LINKS,
    Device,
    FaultId,
    Inventory,
    Links,
    PhysicalDevice,
    PortOfDevice,
    Recipe,
)
from plugin_gateway.core.health.faults import Fault, Stage
from plugin_gateway.core.health.observations import DriverSeen, FactsSeen, KernelLogRead
from plugin_gateway.core.health.policy import EvidenceKind
from plugin_gateway.core.health.repetition import Repeated

MAX_SILENCE = 10.0
"""Seconds without a sign of the driver after which it counts as silent.

It is longer than 5 s, because a backend may wait that long for an event on purpose.
"""


class RequirementState(NamedTuple):
    """Whether the node has what no container with one of the devices may be without."""

    problem: str
    """What it lacks, for people. Empty if it lacks nothing."""
    todo: str
    """What to do about it, for people. Empty if nothing is known."""
    since: float
    """Since when it is so, in seconds since the epoch."""


class DaemonState(NamedTuple):
    """Whether the daemon of a resource is there through which containers share devices."""

    problem: str
    """Why it is not there, for people. Empty if it is."""
    todo: str
    """What to do about it, for people. Empty if nothing is known."""
    since: float
    """Since when it is so, in seconds since the epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything that is known about the devices of the node."""

    inventory: Inventory | None = None
    """The latest inventory. None until the driver was read for the first time."""
    links: Links = NO_LINKS
    """How the physical devices are connected, as far as the driver has said it. It can name others than there are."""
    ports: tuple[PortOfDevice, ...] = ()
    """The ports to networks, as they were seen last."""
    facts: FactsSeen | None = None
    """What else the backend told of node and devices. None if it was not asked, or has not answered yet."""
    faults: Mapping[FaultId, Fault] = field(default_factory=dict)
    """The fault of each physical device, or part of one, that is not healthy. A device is out if either has one.

    A device that vanishes keeps its fault. When it comes back, it is not healthy for that reason alone.
    """
    taken_out: Mapping[FaultId, tuple[float, ...]] = field(default_factory=dict)
    """The times at which each device became unhealthy, within the flap window, on the uptime clock."""
    repeated: Repeated = field(default_factory=dict)
    """When evidence was reported that the policy acts on only when it is repeated."""
    reported: Mapping[FaultId, Mapping[EvidenceKind, str]] = field(default_factory=dict)
    """The lasting problems that the policy only reports.

    They are kept here so that each one is reported only once.
    """
    driver: DriverSeen | None = None
    """The driver that answered last. None if none has answered yet."""
    driver_problem: str | None = None
    """Why the driver could not be asked, until the next inventory. None if there is no problem."""
    driver_todo: str = ""
    """What to do about it, for people. Empty if the cause was not found."""
    restart_may_help: bool = False
    """Whether another process could perhaps use the driver that cannot be asked."""
    unserved: int = 0
    """How many devices the machine has for the driver that cannot be asked."""
    driver_missing_since: float | None = None
    """Since when the driver cannot be asked, on the uptime clock. None if it can be asked."""
    driver_is_gone: bool = False
    """Whether the driver gave no answer for longer than the policy allows."""
    driver_is_silent: bool = False
    """Whether the driver gave no sign for `MAX_SILENCE` seconds or longer."""
    driver_silent_since: float | None = None
    """Since when the driver gives no sign, on the uptime clock. None if it is not silent."""
    events_problem: str | None = None
    """Why the driver's events cannot be waited for. None if they can."""
    kernel_log: KernelLogRead | None = None
    """Whether the kernel's log can be read. None if it is not to be read, or nobody has tried yet."""
    daemons: Mapping[str, DaemonState] = field(default_factory=dict)
    """The daemon of each resource whose devices containers share through one, as it was seen last.

    Only those that were looked for are in it.
    """
    requirement: RequirementState | None = None
    """Whether the node has what no container may be without. None if nothing is required, or nobody has looked."""
    unseen: frozenset[FaultId] = frozenset()
    """Devices with faults from an earlier boot that no inventory of this boot has contained yet."""

    @property
    def devices(self) -> tuple[Device, ...]:
        """The devices of the inventory."""
        return self.inventory.devices if self.inventory is not None else ()

    @property
    def physical(self) -> tuple[PhysicalDevice, ...]:
        """The physical devices of the inventory."""
        return self.inventory.physical if self.inventory is not None else ()

    @property
    def recipes(self) -> Collection[Recipe]:
        """How containers get the devices of the inventory."""
        return self.inventory.recipes.values() if self.inventory is not None else ()

    @property
    def ids(self) -> Collection[FaultId]:
        """The ids of the inventory that can have a fault: of physical devices, and of their parts."""
        return self.inventory.ids if self.inventory is not None else ()

    @property
    def present_faults(self) -> Mapping[FaultId, Fault]:
        """The faults of devices of the inventory. A device that was removed is no problem of the node."""
        return {each: self.faults[each] for each in self.ids if each in self.faults}

    @property
    def is_settled(self) -> bool:
        """Whether the inventory is known, or the driver is known not to answer."""
        return self.inventory is not None or self.driver_problem is not None or self.driver_is_silent

    @property
    def driver_trouble(self) -> str | None:
        """Why the driver cannot be asked, or that it is silent, for people. None if it answers."""
        return self.driver_problem or ("it does not answer" if self.driver_is_silent else None)

    @property
    def driver_away_since(self) -> float | None:
        """Since when the driver cannot be asked or is silent, on the uptime clock. None if it answers."""
        since = (self.driver_missing_since, self.driver_silent_since)
        return min((each for each in since if each is not None), default=None)

    @property
    def is_watched(self) -> bool:
        """Whether a fault of a device would be noticed now."""
        return self.driver_missing_since is None and not self.driver_is_silent and self.events_problem is None

    def stage_of(self, device: FaultId) -> Stage:
        """Return the stage of a physical device, or of a part by itself."""
        fault = self.faults.get(device)
        return Stage.HEALTHY if fault is None else fault.stage

    def is_out(self, device: Device) -> bool:
        """Whether a device is not given out, because it or its physical device has a fault."""
        return device.id in self.faults or device.physical.id in self.faults

    def fault_of(self, device: FaultId) -> FaultId | None:
        """Return whose fault keeps a device out: that of its physical device, or its own, whichever needs more.

        None if it is not out.
        """
        physical = self.inventory.physical_by_id.get(device) if self.inventory is not None else None
        ids: tuple[FaultId, ...] = (device,) if physical is None else (physical.id, device)
        return max(
            (each for each in ids if each in self.faults), key=lambda each: self.faults[each].needs, default=None
        )

    def has(self, device: FaultId) -> bool:
        """Whether the physical device or the part is in the inventory."""
        return device in self.ids

    def generation_of(self, device: FaultId | None) -> str:
        """Return the generation of a device. Empty if the device or its generation is not known."""
        known = self.inventory.physical_by_id if self.inventory is not None else {}
        return known[device].generation if device is not None and device in known else ""

    def with_faults(self, held: Mapping[FaultId, Fault]) -> "State":
        """Return the state with these faults in addition. A fault that the device had is replaced."""
        return replace(self, faults={**self.faults, **held}) if held else self

    def without_faults(self, devices: Container[FaultId]) -> "State":
        """Return the state without the faults of these devices."""
        return replace(self, faults={name: fault for name, fault in self.faults.items() if name not in devices})
