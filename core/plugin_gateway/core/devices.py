"""Devices, the inventory of a node, and the difference between two inventories."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, NewType

from plugin_gateway.core.errors import InvalidValueError

DeviceId = NewType("DeviceId", str)
"""The id under which the kubelet knows a device. `parse_device_id` makes one."""

MAX_ID_LENGTH = 63
"""Characters. The device plugin API asks for ids of at most 63 characters, but no kubelet checks the length."""


MAX_NAMES = 32
"""Devices that one line names."""


def parse_device_id(text: str) -> DeviceId:
    """Return the text as a device id that every kubelet and every reader of a comma-separated list accepts.

    A comma would split the id in the visibility variable. Kubelets of 1.34 and later end the stream if an id is not
    valid UTF-8.

    Raises:
        InvalidValueError: it is empty, too long, not valid UTF-8, or contains blanks, commas or control characters.
    """
    if not 0 < len(text) <= MAX_ID_LENGTH:
        raise InvalidValueError(f"device id {text!r} has {len(text)} characters, allowed are 1 to {MAX_ID_LENGTH}")
    if any(not character.isprintable() or character in " ," for character in text):
        raise InvalidValueError(f"device id {text!r} has characters other than printable ones without blank and comma")
    return DeviceId(text)


def whole_device(name: str) -> str:
    """Return the id of the device that an id stands for.

    Plugins that offer one device several times add ``::`` and a number to its id.
    """
    return name.partition("::")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device as its driver describes it."""

    id: DeviceId
    index: int
    """The number that the driver gives the device, from 0. People count devices by it."""
    minor: int | None
    """The number of the device node. None if the driver reports none."""
    pci_address: str
    """In the form that sysfs uses, for example 0000:1b:00.0."""
    product: str
    """The product name as the driver reports it. Empty if the driver reports none."""
    memory_bytes: int
    numa_node: int | None
    """None if the machine reports no NUMA node (sysfs shows -1)."""
    nodes: tuple[str, ...]
    """The device nodes that belong to this device alone, as absolute paths."""
    reports_faults: bool = True
    """Whether the driver reports faults of this device as events. If not, only a check finds them."""
    generation: str = ""
    """The generation of the product, in a word of the backend. Empty if it is not known."""

    def __post_init__(self) -> None:
        """Reject an invalid id, relative paths and negative numbers. A missing number has to be None."""
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
    """A device that exists but cannot be offered."""

    place: str
    """Index and PCI address, as far as they are known, so that people can find the device."""
    problem: str
    """Why it cannot be offered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """All devices that a backend sees at one moment."""

    devices: tuple[Device, ...]
    """In the order of their index. No id and no index occurs twice."""
    rejected: tuple[RejectedDevice, ...] = ()
    set_aside: tuple[RejectedDevice, ...] = ()
    """The devices that somebody gave to others on purpose, for example to a virtual machine. That is no problem."""
    shared_nodes: tuple[str, ...] = ()
    """The device nodes that every container with one of the devices needs."""
    optional_nodes: tuple[str, ...] = ()
    """The device nodes that every container with one of the devices gets if they exist."""
    visibility_variable: str
    """The environment variable that names the devices for the vendor's container runtime."""

    @property
    def nodes(self) -> tuple[str, ...]:
        """The device nodes that belong to one device alone."""
        return tuple(node for device in self.devices for node in device.nodes)

    def __post_init__(self) -> None:
        """Reject an inventory with a repeated id, a repeated index or a wrong order."""
        if len({device.id for device in self.devices}) != len(self.devices):
            raise InvalidValueError(f"a device id occurs twice: {', '.join(device.id for device in self.devices)}")
        indexes = [device.index for device in self.devices]
        if any(index >= following for index, following in pairwise(indexes)):
            raise InvalidValueError(f"devices out of order, or one index twice: {indexes}")


class Difference(NamedTuple):
    """The difference between two lists of devices. Each field keeps the order of its list."""

    added: tuple[Device, ...]
    removed: tuple[Device, ...]
    altered: tuple[Device, ...]
    """Devices with the same id but other attributes, as they are in the new list."""


def diff(before: Sequence[Device], after: Sequence[Device]) -> Difference:
    """Return which devices were added, removed or altered. Devices are compared by id."""
    old = {device.id: device for device in before}
    new = {device.id for device in after}
    return Difference(
        added=tuple(device for device in after if device.id not in old),
        removed=tuple(device for device in before if device.id not in new),
        altered=tuple(device for device in after if device.id in old and device != old[device.id]),
    )
