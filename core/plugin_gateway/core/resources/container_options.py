"""What every container with devices of a resource gets besides what the devices themselves need."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class DeviceVariable(NamedTuple):
    """A variable of the container that names its devices, with commas between them."""

    name: str
    value: str = ""
    """The word of `Device.values` with which it names each device. Empty for the id. One without it is left out."""
    prefix: str = ""
    """What stands before the first name."""


class FileMounts(NamedTuple):
    """Files of one folder of the host that are mounted into the container, read-only."""

    folder: str
    patterns: tuple[str, ...]
    """Shell patterns for the names. Each has to match a file, or the allocation is refused."""
    container_folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerOptions:
    """What every container with devices of a resource gets. An administrator decides it."""

    requested_nodes: tuple[str, ...] = ()
    """Words of `Device.requested_nodes`."""
    variables: tuple[DeviceVariable, ...] = ()
    details_variable: str = ""
    """The variable with the details of the devices, as a JSON object by their ids. Empty if there is none."""
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)
    files: tuple[FileMounts, ...] = ()


NO_OPTIONS = ContainerOptions()
NAMES = {ContainerOptions.__name__: ContainerOptions}
"""What other modules import for type checkers only, because making the class takes 0.6 ms of each start."""
