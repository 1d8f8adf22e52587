"""Devices: what can break, what a container is given, what the kubelet is told, and the inventory of a backend.

A physical device breaks, is reset and is cleared as a whole. A device is what a container is given: a whole physical
device, which has the same id, or a part of one. An offered id is what the kubelet is told: the id of a device, or that
of one of its replicas, if several containers may share the device.
"""

from collections.abc import KeysView, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple, NewType, TypeAlias

from plugin_gateway.core.errors import InvalidValueError

PhysicalId = NewType("PhysicalId", str)
"""The id of a physical device. `parse_device_id` checks one."""
DeviceId = NewType("DeviceId", str)
"""The id of a device. `parse_device_id` makes one. That of a whole device is the id of its physical device."""
OfferedId = NewType("OfferedId", str)
"""The id under which the kubelet knows a device, or a replica of it. `offered_id` makes one."""
FaultId: TypeAlias = PhysicalId | DeviceId
"""What can have a fault: a physical device, with everything that is a part of it, or one device."""
Kind = NewType("Kind", str)
"""The kind of a device, in a word of its backend."""
DevicePlace: TypeAlias = tuple[int, ...]
"""The index of a physical device, or that and the number of a part of it."""

MAX_ID_LENGTH = 63
"""Characters. The device plugin API asks for ids of at most 63 characters, but no kubelet checks the length."""
REPLICA_MARK = "::"
"""Stands between the id of a device and the number of a replica. Other device plugins write replicas in this form."""
MAX_NAMES = 32
"""Devices that one line names."""


def parse_device_id(text: str) -> DeviceId:
    """Return the text as a device id that every kubelet and every reader of a comma-separated list accepts.

    A comma would split the id in the visibility variable. Kubelets of 1.34 and later end the stream if an id is not
    valid UTF-8.

    Raises:
        InvalidValueError: it is empty, too long, not valid UTF-8, contains blanks, commas or control characters, or
            reads like the id of a replica.
    """
    if not 0 < len(text) <= MAX_ID_LENGTH:
        raise InvalidValueError(f"device id {text!r} has {len(text)} characters; expected 1 to {MAX_ID_LENGTH}")
    if any(not character.isprintable() or character in " ," for character in text):
        raise InvalidValueError(f"device id {text!r} has characters other than printable ones without blank and comma")
    if REPLICA_MARK in text:
        raise InvalidValueError(f"device id {text!r} has {REPLICA_MARK}, which only ids of replicas have")
    return DeviceId(text)


def offered_id(device: DeviceId, replica: int | None) -> OfferedId:
    """Return the id under which a device is offered, or one of its replicas, which are counted from 0."""
    return OfferedId(device if replica is None else f"{device}{REPLICA_MARK}{replica}")


def device_of(offered: str) -> DeviceId:
    """Return the id of the device that an offered id stands for."""
    return DeviceId(offered.partition(REPLICA_MARK)[0])


def is_replica(offered: str) -> bool:
    """Whether an offered id is that of a replica, so that others may have the device too."""
    return REPLICA_MARK in offered


@dataclass(frozen=True, slots=True, kw_only=True)
class PhysicalDevice:
    """A device of the machine, as its driver describes it."""

    id: PhysicalId
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
    reports_faults: bool = True
    """Whether the driver reports faults of this device as events. If not, only a check finds them."""
    generation: str = ""
    """The generation of the product, in a word of the backend. Empty if it is not known."""
    backend: str = ""
    """The name of the backend that sees the device. Empty if the node has only one backend."""
    pci_path: tuple[str, ...] = ()
    """The host bridge, then the bridges above the device, such as ``("pci0000:3a", "0000:3a:00.0")``. Two devices with
    the same path are on one switch or root port. Empty if it is not known."""
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    """What else selectors can ask of the device, by a word of the backend, such as ``{"driver": ("x_core",)}``."""

    def __post_init__(self) -> None:
        """Reject an invalid id and negative numbers. A missing number has to be None."""
        parse_device_id(self.id)
        if self.memory_bytes < 0:
            raise InvalidValueError(f"device {self.id}: memory {self.memory_bytes}, it may not be negative")
        if self.index < 0 or (self.minor is not None and self.minor < 0):
            raise InvalidValueError(
                f"device {self.id}: index {self.index}, minor {self.minor}; neither may be negative"
            )
        if self.numa_node is not None and self.numa_node < 0:
            raise InvalidValueError(f"device {self.id}: NUMA node {self.numa_node}; no node is None")


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What a container is given: a whole physical device, or a part of one."""

    id: DeviceId
    physical: PhysicalDevice
    kind: Kind
    profile: str = ""
    """The size of a part, in a word of the backend. Empty for a whole device."""
    place: DevicePlace
    """Devices are ordered by it."""
    nodes: tuple[str, ...]
    """The device nodes that a container needs for it, as absolute paths. A part has that of its physical device too."""
    memory_bytes: int
    node_folder: str = ""
    """The folder of the host whose entries are the names of its device nodes at each moment, such as ``card2``.

    The nodes lie beside each other, so only the names can change. Empty if the nodes stay the same.
    """
    requested_nodes: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    """Device nodes that a container gets only where an administrator asks for them, by a word of the backend."""
    values: Mapping[str, str] = field(default_factory=dict, hash=False)
    """How a variable of a container can name the device, by a word of the backend. Its id needs no word."""
    details: Mapping[str, Mapping[str, str]] = field(default_factory=dict, hash=False)
    """What a program in the container can be told of the device: sections with keys and values."""

    def __post_init__(self) -> None:
        """Reject an invalid id, relative paths, negative numbers, and a place in another physical device."""
        if not self.is_whole:
            parse_device_id(self.id)
        if self.memory_bytes < 0 or not all(node.startswith("/") for node in self.nodes):
            raise InvalidValueError(f"device {self.id}: memory {self.memory_bytes}, nodes {self.nodes}")
        if self.place[:1] != (self.physical.index,) or min(self.place) < 0:
            raise InvalidValueError(
                f"device {self.id}: place {self.place}, it begins with the index {self.physical.index} of "
                f"{self.physical.id}, and no number is negative"
            )

    @property
    def is_whole(self) -> bool:
        """Whether it is a whole physical device."""
        return str(self.id) == self.physical.id

    @property
    def place_words(self) -> str:
        """The place as containers and people read it."""
        return place_words(self.place)


def place_words(place: DevicePlace) -> str:
    """Return a place as containers and people read it: ``0`` for a physical device, ``0:1`` for a part."""
    return ":".join(map(str, place))


def whole(physical: PhysicalDevice, kind: Kind, nodes: tuple[str, ...] = ()) -> Device:
    """Return a physical device as the one device that is given out. ``nodes`` are its device nodes."""
    return Device(
        id=DeviceId(physical.id),
        physical=physical,
        kind=kind,
        place=(physical.index,),
        nodes=nodes,
        memory_bytes=physical.memory_bytes,
    )


class Offered(NamedTuple):
    """A device as the kubelet is told of it."""

    id: OfferedId
    device: Device
    replica: int | None = None
    """The number of the replica, from 0. None if only one container at a time gets the device."""
    pool: tuple[Device, ...] = ()
    """The devices that a container gets with this id, if it gets all of the resource. ``device`` is the first one."""

    @property
    def devices(self) -> tuple[Device, ...]:
        """The devices that a container gets with this id."""
        return self.pool or (self.device,)


class RejectedDevice(NamedTuple):
    """A device that exists but cannot be offered."""

    place: str
    """Index and PCI address, as far as they are known, so that people can find the device."""
    problem: str
    """Why it cannot be offered."""
    todo: str = ""
    """What to do about it, for people. Empty if the backend does not know."""
    physical: PhysicalId | None = None
    """The physical device of the inventory that it belongs to, or of which nothing can be offered. None if it is one
    that could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonRecipe:
    """How containers share devices through a daemon of the vendor, which has a folder for each resource below one root.

    In its paths, `RESOURCE_MARK` stands for the name of the resource.
    """

    ready_file: str
    """The file below the root that is there when the daemon has started."""
    socket: str
    """The unix socket below the root on which the daemon takes connections."""
    environment: Mapping[str, str]
    """The variables of a container that say where the daemon is."""
    mounts: Mapping[str, str]
    """The folders below the root that a container gets, each with its path in the container."""
    threads_variable: str
    """The variable that says how many percent of the threads of its devices a container may use."""
    memory_variable: str
    """The variable that says how much memory of each device a container may use, as ``ID=NUMBERM`` with commas."""
    todo: str
    """What to do where the daemon is not there, for people."""


RESOURCE_MARK = "{resource}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """What a container can get besides its devices, where an administrator asks for it."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """The variables that every container gets for it."""
    names: Mapping[str, str] = field(default_factory=dict)
    """The variables that name it, where a variable names the devices as well."""
    mount: str = ""
    """Its name below the folder in which mounts name the devices. Empty if it has none."""
    nodes: tuple[str, ...] = ()
    """Its device nodes. A star at the end stands for all that begin like this. Containers get those that are there."""
    needs_nodes: bool = False
    """Whether there is nothing to be had of it where none of its device nodes is there."""
    todo: str = ""
    """What to do where none of its device nodes is there, for people. Empty if the backend does not know."""
    cdi_kind: str = ""
    """Vendor and class of it in a CDI spec of its own. Empty if it is in none."""
    cdi_name: str = "all"
    """The name of its only device there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a container gets devices of one kind."""

    visibility_variable: str | None = None
    """The environment variable that names the devices for the vendor's container runtime. None if there is none."""
    shared_nodes: tuple[str, ...] = ()
    """The device nodes that every container with one of the devices needs."""
    optional_nodes: tuple[str, ...] = ()
    """The device nodes that every container with one of the devices gets if they exist."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Further variables, the same for every container with one of the devices."""
    permissions: str = "rw"
    """The permissions of each device node in the container, as the device plugin API writes them."""
    cdi_kind: str = ""
    """Vendor and class of the devices in a CDI spec. Empty if they are in none."""
    daemons: Mapping[str, DaemonRecipe] = field(default_factory=dict)
    """The daemons through which containers can share one of the devices, by a word of the backend."""
    mounts_folder: str = ""
    """The folder in the container in which a mount for each device names it for the vendor's container runtime. The
    visibility variable then has the name of this folder. Empty if that runtime does not look for mounts."""
    extras: Mapping[str, Extra] = field(default_factory=dict)
    """What a container can get besides one of the devices, by a word of the backend."""
    is_complete: bool = False
    """Whether a device without one of its nodes is of no use: an allocation is refused then.

    The nodes are those of the host's own /dev, and every container gets them, whatever the policy says of others.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """All devices that a backend sees at one moment."""

    physical: tuple[PhysicalDevice, ...]
    """All that could be read, also those of which no device is given out. In the order of their index."""
    devices: tuple[Device, ...]
    """In the order of their place. No id and no place occurs twice."""
    rejected: tuple[RejectedDevice, ...] = ()
    set_aside: tuple[RejectedDevice, ...] = ()
    """The devices that somebody gave to others on purpose, for example to a virtual machine. That is no problem."""
    recipes: Mapping[Kind, Recipe]
    """One for each kind of device."""
    physical_by_id: Mapping[FaultId, PhysicalDevice] = field(init=False, repr=False, compare=False)
    """The physical device of every id: of itself, and of each device that is a part of it."""

    def __post_init__(self) -> None:
        """Reject repeated ids, a wrong order, and a device without its physical device or its recipe."""
        _check_order(self.physical, self.devices)
        by_id: dict[FaultId, PhysicalDevice] = {each.id: each for each in self.physical}
        if len(by_id) != len(self.physical) or len({device.id for device in self.devices}) != len(self.devices):
            raise InvalidValueError(f"a device id occurs twice: {_ids(self.physical)}; {_ids(self.devices)}")
        for device in self.devices:
            physical = by_id.get(device.physical.id)
            if physical is None or (physical is not device.physical and physical != device.physical):
                raise InvalidValueError(f"device {device.id} is a part of {device.physical.id}, which is not listed")
            if by_id.setdefault(device.id, physical) is not physical:
                raise InvalidValueError(f"device {device.id} is no part of the physical device with this id")
            if device.kind not in self.recipes:
                raise InvalidValueError(f"device {device.id}: there is no recipe for its kind {device.kind!r}")
        object.__setattr__(self, "physical_by_id", by_id)

    @property
    def ids(self) -> KeysView[FaultId]:
        """The ids of all physical devices, then those of their parts."""
        return self.physical_by_id.keys()

    @property
    def nodes(self) -> tuple[str, ...]:
        """The device nodes that belong to devices, each once."""
        return tuple(dict.fromkeys(node for device in self.devices for node in device.nodes))

    @property
    def shared_nodes(self) -> tuple[str, ...]:
        """The device nodes that every container with some device needs, each once."""
        return tuple(dict.fromkeys(node for recipe in self.recipes.values() for node in recipe.shared_nodes))


def seen_by(backend: str, inventory: Inventory) -> Inventory:
    """Return the inventory with the name of its backend in each physical device."""
    known = {each.id: replace(each, backend=backend) for each in inventory.physical}
    devices = tuple(replace(device, physical=known[device.physical.id]) for device in inventory.devices)
    return replace(inventory, physical=tuple(known.values()), devices=devices)


def _check_order(physical: Sequence[PhysicalDevice], devices: Sequence[Device]) -> None:
    indexes = [each.index for each in physical]
    if any(index >= following for index, following in pairwise(indexes)):
        raise InvalidValueError(f"devices out of order, or one index twice: {indexes}")
    if any(device.place >= following.place for device, following in pairwise(devices)):
        places = ", ".join(device.place_words for device in devices)
        raise InvalidValueError(f"devices out of order, or one place twice: {places}")


def _ids(devices: Sequence[PhysicalDevice] | Sequence[Device]) -> str:
    return ", ".join(device.id for device in devices)


class Pair(NamedTuple):
    """How two physical devices are connected."""

    nearness: int
    """From 10, on different NUMA nodes, to 60, on one board. 0 if it is not known."""
    links: int
    """The direct links between the two that are up. Links to a switch are none."""


@dataclass(frozen=True, slots=True)
class Links:
    """How the physical devices of a machine are connected, as far as it is known."""

    ids: tuple[PhysicalId, ...] = ()
    """Empty if nothing is known of any device."""
    pairs: tuple[tuple[Pair, ...], ...] = ()
    """A row and a column for each device, in the order of `ids`. What is on the diagonal says nothing."""

    def __post_init__(self) -> None:
        """Reject an id that occurs twice, and pairs that are no square, or differ in the two directions."""
        if len(set(self.ids)) != len(self.ids):
            raise InvalidValueError(f"links of a device are listed twice: {', '.join(self.ids)}")
        if [len(row) for row in self.pairs] != [len(self.ids)] * len(self.ids):
            raise InvalidValueError(f"links of {len(self.ids)} devices, which need as many rows with as many pairs")
        if any(tuple(column) != row for column, row in zip(zip(*self.pairs, strict=True), self.pairs, strict=True)):
            raise InvalidValueError("links that differ in the two directions of a pair")


NO_LINKS = Links()
"""Where nothing is known."""


class PortOfDevice(NamedTuple):
    """A port through which a physical device is connected to a network."""

    device: PhysicalId
    number: int
    """From 1."""
    layer: str
    """What it connects to, in a word of the backend."""
    is_up: bool
    words: str
    """Its state in words of the driver, for people."""
    rate_gbps: float | None
    """None if it is not known, as without a link."""
    changes: int
    """How often it lost its connection or got one, as far as it was seen."""
