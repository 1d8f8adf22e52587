"""What a backend can report: the inputs of the state function."""

from dataclasses import dataclass

from plugin_gateway.core.devices import DeviceId, Inventory


@dataclass(frozen=True, slots=True)
class InventorySeen:
    """A whole snapshot."""

    inventory: Inventory


@dataclass(frozen=True, slots=True)
class XidReported:
    """The driver reported an XID."""

    xid: int
    device: DeviceId | None
    """None where the driver named no device that the backend knows."""


@dataclass(frozen=True, slots=True)
class DeviceLost:
    """A device that was seen before no longer answers the driver."""

    device: DeviceId
    error: str
    """The driver's own words."""


@dataclass(frozen=True, slots=True)
class DriverUnavailable:
    """The driver cannot be asked at all."""

    problem: str


Observation = InventorySeen | XidReported | DeviceLost | DriverUnavailable
