"""Reads the inventory from NVML and sysfs."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from plugin_gateway.core.devices import (
    Device,
    Inventory,
    PhysicalDevice,
    PhysicalId,
    RejectedDevice,
    parse_device_id,
    whole,
)
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.nvidia import nvml
from plugin_gateway.nvidia.generation import UNKNOWN, generation_of
from plugin_gateway.nvidia.mig_reader import MigReader
from plugin_gateway.nvidia.naming import DISPLAY_PRODUCTS, GPU, RECIPES, device_node
from plugin_gateway.nvidia.pci import PciBus
from plugin_gateway.nvidia.unlisted import find_unlisted

if TYPE_CHECKING:
    from plugin_gateway.nvidia.mig_layout import MigLayout


class Answer(NamedTuple):
    """The driver's answer to the question which GPU has an index."""

    handle: nvml.Handle | None
    uuid: str | bytes | None
    """Bytes if they are not text. None if there was an error."""
    error: nvml.NvmlError | None

    def agrees_with(self, other: "Answer") -> bool:
        """Whether the two answers have the same UUID and the same error."""
        return self.uuid == other.uuid and _code(self.error) == _code(other.error)


def _code(error: nvml.NvmlError | None) -> int | None:
    return error.code if error else None


def ask(index: int) -> Answer:
    """Return which GPU has this index. This takes two fast calls."""
    handle: nvml.Handle | None = None
    try:
        handle = nvml.handle_by_index(index)
        return Answer(handle, nvml.uuid_of(handle), None)
    except UnicodeDecodeError as error:
        return Answer(handle, error.object, None)
    except nvml.NvmlError as error:
        return Answer(handle, None, error)


class Snapshot(NamedTuple):
    """An inventory, together with the driver's answers."""

    inventory: Inventory
    answers: Sequence[Answer]
    """In the order of the index."""
    by_index: Mapping[int, PhysicalId]
    """The GPUs of the inventory by their index."""
    is_complete: bool
    """Whether every call was answered. If not, the GPUs are read again at the next rescan."""
    is_empty: bool
    """Whether the driver has no GPU that could be offered, now or later."""


class Listener:
    """Registers GPUs for the events of one set, each GPU once."""

    def __init__(self, events: nvml.EventSet | None) -> None:
        self.events = events
        self._heard: dict[int, bool] = {}
        """Whether it reports XIDs, for each address of a handle."""

    def listen_to(self, handle: nvml.Handle) -> bool:
        """Register for the events of a GPU. Returns whether it reports XIDs.

        Raises:
            NvmlError: the call failed, which is no answer.
        """
        if self.events is None:
            return False
        address = nvml.address_of(handle)
        if address not in self._heard:
            self._heard[address] = nvml.watch_events(handle, self.events)
        return self._heard[address]

    @property
    def hears(self) -> bool:
        """Whether XIDs are reported for at least one GPU."""
        return any(self._heard.values())

    def forget(self, handle: nvml.Handle) -> None:
        """Register for the events of a GPU again, because it was away."""
        self._heard.pop(nvml.address_of(handle), None)


def read_snapshot(
    bus: PciBus, known: Inventory | None, listener: Listener, mig: MigReader, give_sign: Callable[[], None]
) -> Snapshot:
    """Read every GPU, and register for its events.

    The GPUs on the ``bus`` that the driver does not list are rejected. Afterwards ``mig`` knows the layouts.

    ``known`` is the previous inventory. A GPU that does not answer keeps its entry there, and so does each fact about a
    GPU that could not be read. A GPU that is not known is rejected until its facts can be read, because it would be
    offered without its device node, or as another resource.

    Raises:
        NvmlError: the GPUs cannot be counted.
    """
    answers = []
    for index in range(nvml.device_count()):
        give_sign()
        answers.append(ask(index))
    reading = _Reading(bus, listener, mig, known.physical if known else (), give_sign)
    for index, answer in enumerate(answers):
        give_sign()
        reading.read(index, answer)
    reading.keep_lost()
    mig.known = reading.layouts
    return reading.snapshot(answers)


_Fact = TypeVar("_Fact")


class _UnreadError(Exception):
    """A fact about a GPU could not be read, and is not known."""


class _Reading:
    """Collects the GPUs of one snapshot."""

    def __init__(
        self,
        bus: PciBus,
        listener: Listener,
        mig: MigReader,
        known: Sequence[PhysicalDevice],
        give_sign: Callable[[], None],
    ) -> None:
        self._bus = bus
        self._listener = listener
        self._mig = mig
        self._known = known
        self._give_sign = give_sign
        self.layouts: dict[PhysicalId, MigLayout | None] = {}
        """What each GPU has of MIG."""
        self._is_complete = True
        self._devices: dict[PhysicalId, PhysicalDevice] = {}
        self._silent: list[tuple[int, str, nvml.NvmlError]] = []
        self._rejected: list[RejectedDevice] = []
        self._set_aside: list[RejectedDevice] = []
        self._addresses: set[str] = set()

    def snapshot(self, answers: Sequence[Answer]) -> Snapshot:
        """Return the snapshot of all GPUs that were read, and of those on the PCI bus that were not listed."""
        devices = sorted(self._devices.values(), key=lambda device: device.index)
        listed = self._addresses | {device.pci_address for device in devices}
        unlisted, set_aside = find_unlisted(self._bus.settled, listed, len(answers) - len(listed), os.environ)
        offered, not_offered = self._offer([whole(device, GPU, _nodes(device)) for device in devices])
        inventory = Inventory(
            physical=tuple(devices),
            devices=offered,
            rejected=(*self._rejected, *not_offered, *unlisted),
            set_aside=(*self._set_aside, *set_aside),
            recipes=RECIPES,
        )
        by_index = {device.index: device.id for device in devices}
        is_empty = not devices and not self._rejected
        return Snapshot(inventory, answers, by_index, self._is_complete, is_empty)

    def _offer(self, gpus: Sequence[Device]) -> tuple[tuple[Device, ...], tuple[RejectedDevice, ...]]:
        """Return what is given out of the GPUs, and what is not because of MIG."""
        if all(layout is None for layout in self.layouts.values()):
            return tuple(gpus), ()
        from plugin_gateway.nvidia.mig_offer import offer  # noqa: PLC0415 - only where a GPU is in MIG mode

        return offer(gpus, self.layouts, self._mig.strategy)

    def read(self, index: int, answer: Answer) -> None:
        """Read one GPU. Its events are registered even if it cannot be offered."""
        heard = self._listen_to(answer)
        address = _address_of(answer.handle)
        if address:
            self._addresses.add(address)
        place = f"GPU {index} at {address}" if address else f"GPU {index}"
        if answer.error is not None:
            self._silent.append((index, place, answer.error))
            return
        assert answer.handle is not None
        try:
            device_id = self._parse(answer.uuid)
            device = self._describe(index, answer.handle, device_id, reports_faults=heard)
            layout = self._read_layout(device, answer.handle)
        except InvalidValueError as refusal:
            self._rejected.append(RejectedDevice(place=place, problem=str(refusal)))
        except _UnreadError as error:
            self._rejected.append(RejectedDevice(place=place, problem=str(error)))
        else:
            if device.product in DISPLAY_PRODUCTS:
                self._set_aside.append(RejectedDevice(place, f"{device.product} only drives screens"))
            else:
                self._devices[device_id] = device
                self.layouts[device_id] = layout

    def _read_layout(self, device: PhysicalDevice, handle: nvml.Handle) -> "MigLayout | None":
        """Return what a GPU has of MIG.

        Raises:
            _UnreadError: it could not be read, and is not known.
        """
        known = [self._mig.known[device.id]] if device.id in self._mig.known else []
        return self._fact(lambda: self._mig.read(device.id, handle, device.minor, self._give_sign), known)

    def _listen_to(self, answer: Answer) -> bool:
        """Register for the events of a GPU. Returns whether it reports XIDs."""
        if answer.handle is None:
            return False
        try:
            return self._listener.listen_to(answer.handle)
        except nvml.NvmlError:
            self._is_complete &= answer.error is not None  # one that answers nothing else is not asked again
            return False

    def _parse(self, uuid: str | bytes | None) -> PhysicalId:
        """Return the UUID as a device id.

        Raises:
            InvalidValueError: it is not a valid device id, or another GPU has it too.
        """
        if not isinstance(uuid, str):
            raise InvalidValueError(f"device id {uuid!r} is not valid UTF-8")
        device_id = PhysicalId(parse_device_id(uuid))
        if device_id in self._devices:
            raise InvalidValueError(f"device id {device_id!r} belongs to GPU {self._devices[device_id].index} too")
        return device_id

    def keep_lost(self) -> None:
        """Keep the known device for each index that does not answer now.

        It is not kept if the device answered at another index. An unknown device is rejected.
        """
        known = {device.index: device for device in self._known}
        for index, place, error in self._silent:
            device = known.get(index)
            if device is not None and device.id not in self._devices:  # a lost GPU must not vanish: it is unhealthy
                self._devices[device.id] = device
                self.layouts[device.id] = self._mig.known.get(device.id)
            else:
                self._rejected.append(RejectedDevice(place=place, problem=_untold(error)))

    def _describe(
        self, index: int, handle: nvml.Handle, device_id: PhysicalId, *, reports_faults: bool
    ) -> PhysicalDevice:
        """Describe a GPU.

        Raises:
            _UnreadError: a fact could not be read, and is not known.
        """
        known = [device for device in self._known if device.id == device_id]
        pci_address = self._fact(lambda: nvml.pci_address(handle), [each.pci_address for each in known])
        minor = self._fact(lambda: nvml.minor_number(handle), [each.minor for each in known])
        product = self._fact(lambda: nvml.product_name(handle), [each.product for each in known])
        return PhysicalDevice(
            id=device_id,
            index=index,
            minor=minor,
            pci_address=pci_address,
            product=product,
            memory_bytes=self._fact(lambda: nvml.memory_bytes(handle), [each.memory_bytes for each in known] or [0]),
            numa_node=self._bus.numa_node(pci_address),
            pci_path=self._bus.path(pci_address),
            reports_faults=reports_faults,
            generation=self._fact(
                lambda: generation_of(nvml.compute_capability(handle), product),
                [each.generation for each in known] or [UNKNOWN],
            ),
        )

    def _fact(self, read: Callable[[], _Fact], known: Sequence[_Fact]) -> _Fact:
        """Read a fact. If the call fails, return what is known.

        Raises:
            _UnreadError: the call failed, and nothing is known.
        """
        try:
            return read()
        except nvml.NvmlError as error:
            self._is_complete = False
            if not known:
                raise _UnreadError(_untold(error)) from error
            return known[0]


def _nodes(device: PhysicalDevice) -> tuple[str, ...]:
    return () if device.minor is None else (device_node(device.minor),)


def _untold(error: nvml.NvmlError) -> str:
    return f"the driver does not tell what it is: {error}"


def _address_of(handle: nvml.Handle | None) -> str:
    """Return the PCI address. Empty if it is not known."""
    try:
        return nvml.pci_address(handle) if handle is not None else ""
    except nvml.NvmlError:
        return ""
