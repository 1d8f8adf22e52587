"""Reads everything NVML and sysfs tell of the GPUs into one inventory."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from plugin_gateway.core.devices import Device, DeviceId, Inventory, RejectedDevice, parse_device_id
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.nvidia import nvml
from plugin_gateway.nvidia.naming import SHARED_NODES, VISIBILITY_VARIABLE, device_node


class Snapshot(NamedTuple):
    """An inventory, the handles of its devices, and those that are lost."""

    inventory: Inventory
    handles: Mapping[DeviceId, nvml.Handle]
    lost: Mapping[DeviceId, str]
    """Known devices that did not answer, with the driver's words."""


def read_snapshot(sysfs: Path, known: Inventory | None) -> Snapshot:
    """Look at every GPU; one that is lost stays as it was known.

    Raises:
        NvmlError: the GPUs cannot even be counted.
    """
    reading = _Reading(sysfs, {device.index: device for device in known.devices} if known else {})
    for index in range(nvml.device_count()):
        reading.read(index)
    return reading.snapshot()


class _Reading:
    def __init__(self, sysfs: Path, known: Mapping[int, Device]) -> None:
        self._sysfs = sysfs
        self._known = known
        self._devices: dict[DeviceId, Device] = {}
        self._handles: dict[DeviceId, nvml.Handle] = {}
        self._rejected: list[RejectedDevice] = []
        self._lost: dict[DeviceId, str] = {}

    def snapshot(self) -> Snapshot:
        inventory = Inventory(
            devices=tuple(self._devices.values()),
            rejected=tuple(self._rejected),
            shared_nodes=SHARED_NODES,
            visibility_variable=VISIBILITY_VARIABLE,
        )
        return Snapshot(inventory, self._handles, self._lost)

    def read(self, index: int) -> None:
        place = f"GPU {index}"
        try:
            handle = nvml.handle_by_index(index)
            pci_address = nvml.pci_address(handle)
            place = f"GPU {index} at {pci_address}"
            device_id = parse_device_id(nvml.uuid_of(handle))
        except nvml.NvmlError as error:
            self._missing(index, place, error)
        except UnicodeDecodeError as error:
            self._reject(place, f"device id {error.object!r} is not valid UTF-8")
        except InvalidValueError as error:
            self._reject(place, str(error))
        else:
            if device_id in self._devices:
                self._reject(place, f"device id {device_id!r} belongs to GPU {self._devices[device_id].index} too")
                return
            self._handles[device_id] = handle
            self._devices[device_id] = self._describe(index, handle, device_id, pci_address)

    def _missing(self, index: int, place: str, error: nvml.NvmlError) -> None:
        known = self._known.get(index)
        if known is None or known.id in self._devices:
            self._reject(place, f"the driver does not tell what it is: {error}")
            return
        self._devices[known.id] = known
        self._lost[known.id] = str(error)

    def _reject(self, place: str, problem: str) -> None:
        self._rejected.append(RejectedDevice(place=place, problem=problem))

    def _describe(self, index: int, handle: nvml.Handle, device_id: DeviceId, pci_address: str) -> Device:
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
        )


def _numa_node(sysfs: Path, pci_address: str) -> int | None:
    """Read the NUMA node of a PCI device; the kernel writes -1 where there is none."""
    try:
        node = int((sysfs / "bus/pci/devices" / pci_address / "numa_node").read_text())
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None
