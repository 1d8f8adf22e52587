"""Reads the inventory from NVML and sysfs."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from plugin_gateway.core.devices import Device, DeviceId, Inventory, RejectedDevice, parse_device_id
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.nvidia import nvml
from plugin_gateway.nvidia.naming import SHARED_NODES, VISIBILITY_VARIABLE, device_node


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
    by_index: Mapping[int, DeviceId]
    """The devices of the inventory by their index."""
    heard: bool
    """Whether XIDs are reported for at least one GPU."""


def read_snapshot(
    sysfs: Path, known: Inventory | None, events: nvml.EventSet | None, give_sign: Callable[[], None]
) -> Snapshot:
    """Read every GPU, and register for its events.

    ``known`` is the previous inventory. A GPU that does not answer keeps its entry there.

    Raises:
        NvmlError: the GPUs cannot be counted.
    """
    answers = [ask(index) for index in range(nvml.device_count())]
    reading = _Reading(sysfs, events)
    for index, answer in enumerate(answers):
        give_sign()
        reading.read(index, answer)
    reading.keep_lost({device.index: device for device in known.devices} if known else {})
    return reading.snapshot(answers)


class _Reading:
    """Collects the GPUs of one snapshot."""

    def __init__(self, sysfs: Path, events: nvml.EventSet | None) -> None:
        self._sysfs = sysfs
        self._events = events
        self._heard = False
        self._devices: dict[DeviceId, Device] = {}
        self._silent: list[tuple[int, str, nvml.NvmlError]] = []
        self._rejected: list[RejectedDevice] = []

    def snapshot(self, answers: Sequence[Answer]) -> Snapshot:
        """Return the snapshot of all GPUs that were read."""
        devices = sorted(self._devices.values(), key=lambda device: device.index)
        inventory = Inventory(
            devices=tuple(devices),
            rejected=tuple(self._rejected),
            shared_nodes=SHARED_NODES,
            visibility_variable=VISIBILITY_VARIABLE,
        )
        return Snapshot(inventory, answers, {device.index: device.id for device in devices}, self._heard)

    def read(self, index: int, answer: Answer) -> None:
        """Read one GPU. Its events are registered even if it cannot be offered."""
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
        """Register for the events of a GPU. Returns whether it reports XIDs."""
        return handle is not None and self._events is not None and nvml.watch_events(handle, self._events)

    def _parse(self, uuid: str | bytes | None) -> DeviceId:
        """Return the UUID as a device id.

        Raises:
            InvalidValueError: it is not a valid device id, or another GPU has it too.
        """
        if not isinstance(uuid, str):
            raise InvalidValueError(f"device id {uuid!r} is not valid UTF-8")
        device_id = parse_device_id(uuid)
        if device_id in self._devices:
            raise InvalidValueError(f"device id {device_id!r} belongs to GPU {self._devices[device_id].index} too")
        return device_id

    def keep_lost(self, known: Mapping[int, Device]) -> None:
        """Keep the known device for each index that does not answer now.

        It is not kept if the device answered at another index. An unknown device is rejected.
        """
        for index, place, error in self._silent:
            device = known.get(index)
            if device is not None and device.id not in self._devices:  # a lost GPU must not vanish: it is unhealthy
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
    """Return the PCI address, or the error of the call. None if there is no handle to ask with."""
    if answer.handle is None:
        return None
    try:
        return nvml.pci_address(answer.handle)
    except nvml.NvmlError as error:
        return error


def _numa_node(sysfs: Path, pci_address: str) -> int | None:
    """Return the NUMA node of a PCI device. None if there is none (sysfs shows -1) or it is unknown."""
    try:
        node = int((sysfs / "bus/pci/devices" / pci_address / "numa_node").read_text())
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None
