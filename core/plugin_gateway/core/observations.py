"""What a backend can report: the inputs of the state function."""

from collections.abc import Hashable
from typing import NamedTuple

from plugin_gateway.core.devices import DeviceId, Inventory

_DRIVER = "driver"


class InventorySeen(NamedTuple):
    """A whole snapshot."""

    inventory: Inventory

    @property
    def topic(self) -> Hashable:
        """What it is about: a later word on the same topic makes this one useless."""
        return _DRIVER


class XidReported(NamedTuple):
    """The driver reported an XID."""

    xid: int
    device: DeviceId | None
    """None where the driver named no device that the backend knows."""

    @property
    def topic(self) -> Hashable:
        """Each XID of each device."""
        return self.device, self.xid


class DeviceLost(NamedTuple):
    """A device that was seen before no longer answers the driver."""

    device: DeviceId
    error: str
    """The driver's own words."""

    @property
    def topic(self) -> Hashable:
        """Each device."""
        return self.device


class DriverUnavailable(NamedTuple):
    """The driver cannot be asked at all."""

    problem: str

    @property
    def topic(self) -> Hashable:
        """The same as that of an inventory: the newer of the two is true."""
        return _DRIVER


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


Observation = InventorySeen | XidReported | DeviceLost | DriverUnavailable | DriverSilence | EventsAwaited
