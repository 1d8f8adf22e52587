"""What a backend can report: the inputs of the state function."""

from collections.abc import Hashable, Mapping
from typing import NamedTuple

from plugin_gateway.core.devices import DeviceId, Inventory
from plugin_gateway.core.faults import Checkup
from plugin_gateway.core.health_policy import Source

DRIVER_TOPIC = "driver"


class InventorySeen(NamedTuple):
    """A whole snapshot."""

    inventory: Inventory

    @property
    def topic(self) -> Hashable:
        """What it is about: a later word on the same topic makes this one useless."""
        return DRIVER_TOPIC


class XidReported(NamedTuple):
    """The driver reported an XID."""

    xid: int
    device: DeviceId | None
    """None where the driver named no device that the backend knows."""

    @property
    def topic(self) -> Hashable:
        """Each XID of each device."""
        return self.device, self.xid


class FaultReported(NamedTuple):
    """The driver reported a fault that is no XID."""

    source: Source
    device: DeviceId | None
    """None where the driver named no device that the backend knows."""

    @property
    def topic(self) -> Hashable:
        """Each kind of fault of each device."""
        return self.device, self.source


class DevicesChecked(NamedTuple):
    """What devices answered when they were asked how they are."""

    checkups: Mapping[DeviceId, Checkup]

    @property
    def topic(self) -> Hashable:
        """The same devices."""
        return "checkups", frozenset(self.checkups)


class DriverSeen(NamedTuple):
    """Which driver answers."""

    version: str | None
    """None where it does not say."""
    instance: str | None
    """Another one after the kernel module was loaded again; None where that cannot be told."""

    @property
    def topic(self) -> Hashable:
        """Which driver it is."""
        return "driver version"


class DriverUnavailable(NamedTuple):
    """The driver cannot be asked at all."""

    problem: str

    @property
    def topic(self) -> Hashable:
        """The same as that of an inventory: the newer of the two is true."""
        return DRIVER_TOPIC


class DriverSilence(NamedTuple):
    """For how long the driver has not given any sign."""

    seconds: float

    @property
    def topic(self) -> Hashable:
        """The silence."""
        return "silence"


class EventsAwaited(NamedTuple):
    """Whether the driver's events can be waited for; what it says where they cannot."""

    problem: str | None

    @property
    def topic(self) -> Hashable:
        """The waiting."""
        return "events"


Observation = (
    InventorySeen
    | XidReported
    | FaultReported
    | DevicesChecked
    | DriverSeen
    | DriverUnavailable
    | DriverSilence
    | EventsAwaited
)
