"""What the admin decided about the devices of a resource: what a container gets, and how a list begins."""

from enum import Enum
from typing import NamedTuple


class DeviceIdStrategy(Enum):
    """How the visibility variable names a device."""

    UUID = "uuid"
    INDEX = "index"


class AllocationPolicy(NamedTuple):
    """What every container gets that was given devices."""

    pass_device_specs: bool = True
    device_id_strategy: DeviceIdStrategy = DeviceIdStrategy.UUID
    dev_root: str = "/"
    """The folder on the host below which the device nodes lie."""


class UnhealthyFirst(Enum):
    """On which streams every device is unhealthy for a moment."""

    AUTO = "auto"
    """Where the kubelet may be one of these releases and may know the resource."""
    ALWAYS = "always"
    """On every one of a dialect that these releases speak."""
    NEVER = "never"

    def applies(self, *, forgetful_agent: str | None, user_agent: str, may_be_known: bool) -> bool:
        """Tell for a stream that the kubelet with this user agent has just opened."""
        if self is UnhealthyFirst.NEVER or forgetful_agent is None:
            return False
        return self is UnhealthyFirst.ALWAYS or (may_be_known and user_agent.startswith(forgetful_agent))
