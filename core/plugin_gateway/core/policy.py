"""What the admin decided about the containers that get devices."""

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
