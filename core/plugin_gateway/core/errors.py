"""The errors of the device model."""

from collections.abc import Sequence


class GatewayError(Exception):
    """Whatever the gateway itself can say is wrong."""


class InvalidValueError(GatewayError):
    """A value from outside that no rule allows; the message names the value and what is allowed."""


class AllocationError(GatewayError):
    """An allocation that cannot be granted; the message names the device ids."""

    problem = "cannot be allocated"

    def __init__(self, ids: Sequence[str]) -> None:
        super().__init__(f"{self.problem}: {', '.join(ids)}")
        self.ids = tuple(ids)


class UnknownDeviceError(AllocationError):
    """Ids that the resource does not have."""

    problem = "no such device in this resource"


class RepeatedDeviceError(AllocationError):
    """Ids that were asked for more than once for one container."""

    problem = "device asked for more than once"


class UnhealthyDeviceError(AllocationError):
    """Ids of devices that are unhealthy at the moment."""

    problem = "device is unhealthy"
