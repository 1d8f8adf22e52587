"""Reads everything NVML and sysfs tell of the GPUs into one inventory."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from plugin_gateway.core.devices import Device, DeviceId, Inventory, RejectedDevice, parse_device_id
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.nvidia import nvml
from plugin_gateway.nvidia.naming import SHARED_NODES, VISIBILITY_VARIABLE, device_node


class Answer(NamedTuple):
    """What the driver says when asked which GPU has an index."""

    handle: nvml.Handle | None
    uuid: str | bytes | None
    """Bytes where they are no text; None where there was an error instead."""
    error: nvml.NvmlError | None

    def agrees_with(self, other: "Answer") -> bool:
        """Whether the driver said the same another time."""
        return self.uuid == other.uuid and _code(self.error) == _code(other.error)


def _code(error: nvml.NvmlError | None) -> int | None:
    return error.code if error else None


def ask(index: int) -> Answer:
    """Ask which GPU has this index: two cheap calls."""
    handle: nvml.Handle | None = None
    try:
        handle = nvml.handle_by_index(index)
        return Answer(handle, nvml.uuid_of(handle), None)
    except UnicodeDecodeError as error:
        return Answer(handle, error.object, None)
    except nvml.NvmlError as error:
        return Answer(handle, None, error)


class Snapshot(NamedTuple):
    """An inventory, and how the driver answered for it."""

    inventory: Inventory
    answers: Sequence[Answer]
    """By index."""
    by_index: Mapping[int, DeviceId]
    heard: bool
    """Whether any GPU has its XIDs reported."""


def read_snapshot(
    sysfs: Path, known: Inventory | None, events: nvml.EventSet | None, give_sign: Callable[[], None]
) -> Snapshot:
    """Look at every GPU and have its XIDs reported; one that is lost stays as it was known.

    Raises:
        NvmlError: the GPUs cannot even be counted.
    """
    answers = [ask(index) for index in range(nvml.device_count())]
    reading = _Reading(sysfs, events)
    for index, answer in enumerate(answers):
        give_sign()
        reading.read(index, answer)
    reading.keep_lost({device.index: device for device in known.devices} if known else {})
    return reading.snapshot(answers)


class _Reading:
    def __init__(self, sysfs: Path, events: nvml.EventSet | None) -> None:
        self._sysfs = sysfs
        self._events = events
        self._heard = False
        self._devices: dict[DeviceId, Device] = {}
        self._silent: list[tuple[int, str, nvml.NvmlError]] = []
        self._rejected: list[RejectedDevice] = []

    def snapshot(self, answers: Sequence[Answer]) -> Snapshot:
        devices = sorted(self._devices.values(), key=lambda device: device.index)
        inventory = Inventory(
            devices=tuple(devices),
            rejected=tuple(self._rejected),
            shared_nodes=SHARED_NODES,
            visibility_variable=VISIBILITY_VARIABLE,
        )
        return Snapshot(inventory, answers, {device.index: device.id for device in devices}, self._heard)

    def read(self, index: int, answer: Answer) -> None:
        """Take one GPU in; one that cannot be offered is heard all the same."""
        heard = self._listen_to(answer.handle)
        self._heard |= heard
        where = _locate(answer)
        place = f"GPU {index} at {where}" if isinstance(where, str) else f"GPU {index}"
        error = where if isinstance(where, nvml.NvmlError) else answer.error
        if error is not None:
            self._silent.append((index, place, error))
            return
        try:
            device_id = self._parse(answer.uuid)
        except InvalidValueError as refusal:
            self._rejected.append(RejectedDevice(place=place, problem=str(refusal)))
            return
        assert answer.handle is not None
        self._devices[device_id] = self._describe(index, answer.handle, device_id, str(where), reports_faults=heard)

    def _listen_to(self, handle: nvml.Handle | None) -> bool:
        return handle is not None and self._events is not None and nvml.watch_events(handle, self._events)

    def _parse(self, uuid: str | bytes | None) -> DeviceId:
        if not isinstance(uuid, str):
            raise InvalidValueError(f"device id {uuid!r} is not valid UTF-8")
        device_id = parse_device_id(uuid)
        if device_id in self._devices:
            raise InvalidValueError(f"device id {device_id!r} belongs to GPU {self._devices[device_id].index} too")
        return device_id

    def keep_lost(self, known: Mapping[int, Device]) -> None:
        """Keep the devices that had the index of one that does not answer now, unless they answered elsewhere."""
        for index, place, error in self._silent:
            device = known.get(index)
            if device is not None and device.id not in self._devices:
                self._devices[device.id] = device
            else:
                problem = f"the driver does not tell what it is: {error}"
                self._rejected.append(RejectedDevice(place=place, problem=problem))

    def _describe(
        self, index: int, handle: nvml.Handle, device_id: DeviceId, pci_address: str, *, reports_faults: bool
    ) -> Device:
        minor = nvml.minor_number(handle)
        return Device(
            id=device_id,
            index=index,
            minor=minor,
            pci_address=pci_address,
            product=nvml.product_name(handle),
            memory_bytes=nvml.memory_bytes(handle),
            numa_node=_numa_node(self._sysfs, pci_address),
            nodes=() if minor is None else (device_node(minor),),
            reports_faults=reports_faults,
        )


def _locate(answer: Answer) -> str | nvml.NvmlError | None:
    """Find the PCI address, or the reason why there is none; None where the GPU could not be asked at all."""
    if answer.handle is None:
        return None
    try:
        return nvml.pci_address(answer.handle)
    except nvml.NvmlError as error:
        return error


def _numa_node(sysfs: Path, pci_address: str) -> int | None:
    """Read the NUMA node of a PCI device; the kernel writes -1 where there is none."""
    try:
        node = int((sysfs / "bus/pci/devices" / pci_address / "numa_node").read_text())
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None
