"""What a backend saw: devices, the whole inventory of a node, and how two inventories differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, NewType

from plugin_gateway.core.errors import InvalidValueError

DeviceId = NewType("DeviceId", str)

MAX_ID_LENGTH = 63
"""The device plugin API asks for ids of at most 63 characters; no kubelet enforces it."""


def parse_device_id(text: str) -> DeviceId:
    """Accept an id that every kubelet and every consumer of a comma list can take.

    Raises:
        InvalidValueError: it is empty, too long, not valid UTF-8, or has blanks, commas or control characters.
    """
    if not 0 < len(text) <= MAX_ID_LENGTH:
        raise InvalidValueError(f"device id {text!r} has {len(text)} characters, allowed are 1 to {MAX_ID_LENGTH}")
    if any(not character.isprintable() or character in " ," for character in text):
        raise InvalidValueError(f"device id {text!r} has characters other than printable ones without blank and comma")
    return DeviceId(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device as its driver describes it."""

    id: DeviceId
    index: int
    """The driver's number for it; the order in which people count."""
    minor: int | None
    """The number of its device node; None where the driver has none."""
    pci_address: str
    """As sysfs writes it: 0000:1b:00.0."""
    product: str
    memory_bytes: int
    numa_node: int | None
    """None where the machine tells no node (sysfs says -1)."""
    nodes: tuple[str, ...]
    """The device nodes of this device alone, as absolute paths."""
    reports_faults: bool = True
    """Whether its driver tells when something goes wrong with it; without, only a check finds it."""

    def __post_init__(self) -> None:
        """Refuse an id that nobody could take, and numbers that only stand for "none" elsewhere."""
        parse_device_id(self.id)
        if self.memory_bytes < 0 or not all(node.startswith("/") for node in self.nodes):
            raise InvalidValueError(f"device {self.id}: memory {self.memory_bytes}, nodes {self.nodes}")
        if self.index < 0 or (self.minor is not None and self.minor < 0):
            raise InvalidValueError(
                f"device {self.id}: index {self.index}, minor {self.minor}; neither may be negative"
            )
        if self.numa_node is not None and self.numa_node < 0:
            raise InvalidValueError(f"device {self.id}: NUMA node {self.numa_node}; no node is None")


class RejectedDevice(NamedTuple):
    """A device that is there and cannot be offered."""

    place: str
    """Which one it is, in words that lead to it: index and PCI address."""
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Everything a backend sees at one moment."""

    devices: tuple[Device, ...]
    """In the order of their index, no id and no index twice."""
    rejected: tuple[RejectedDevice, ...] = ()
    shared_nodes: tuple[str, ...] = ()
    """Device nodes that every container with one of the devices needs, where they exist."""
    visibility_variable: str
    """The environment variable that tells the vendor's container runtime which devices to show."""

    def __post_init__(self) -> None:
        """Refuse an inventory that names one device twice or out of order."""
        if len({device.id for device in self.devices}) != len(self.devices):
            raise InvalidValueError(f"a device id occurs twice: {', '.join(device.id for device in self.devices)}")
        indexes = [device.index for device in self.devices]
        if any(index >= following for index, following in pairwise(indexes)):
            raise InvalidValueError(f"devices out of order, or one index twice: {indexes}")


class Difference(NamedTuple):
    """Devices by what became of them, each in the order of its list."""

    added: tuple[Device, ...]
    removed: tuple[Device, ...]
    altered: tuple[Device, ...]
    """Same id, other attributes; as they are afterwards."""


def diff(before: Sequence[Device], after: Sequence[Device]) -> Difference:
    """Compare by device id."""
    old = {device.id: device for device in before}
    new = {device.id for device in after}
    return Difference(
        added=tuple(device for device in after if device.id not in old),
        removed=tuple(device for device in before if device.id not in new),
        altered=tuple(device for device in after if device.id in old and device != old[device.id]),
    )
