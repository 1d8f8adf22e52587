"""Reads what labels tell of GPUs and MIG devices, and nothing else needs. It is imported only where asked for.

The driver is asked one question for the node, three for each GPU, and three for each MIG device.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from plugin_gateway.core.devices import Device, FaultId, Inventory, PhysicalDevice
from plugin_gateway.core.health.observations import FactsSeen
from plugin_gateway.nvidia import later_calls, mig_calls, nvml
from plugin_gateway.nvidia.label_words import (
    CAPABILITY,
    CLIQUE,
    CUDA,
    HOST_BRANCH,
    HOST_DRIVER,
    MIG_MODE,
    NO,
    PCI_CLASS,
    VGPU,
    YES,
)
from plugin_gateway.nvidia.pci import PciBus
from plugin_gateway.nvidia.vgpu import host_driver

Between = Callable[[], object]
Words = Mapping[str, str]


class ReadFacts(NamedTuple):
    """What was read."""

    facts: FactsSeen
    is_whole: bool
    """Whether every call was answered. If not, what was known before is in it where it could not be read."""


def read_facts(
    inventory: Inventory,
    handles: Mapping[FaultId, nvml.Handle | None],
    bus: PciBus,
    known: FactsSeen | None,
    between: Between,
) -> ReadFacts:
    """Return the facts about the node and the devices of an inventory.

    ``handles`` has each GPU, with None for one that does not answer. ``known`` was reported last. ``between`` is called
    after each call of the driver.
    """
    reading = _Reading(handles, bus, known, between)
    devices: dict[FaultId, Words] = {gpu.id: reading.of_gpu(gpu) for gpu in inventory.physical}
    devices |= {device.id: reading.of_part(device) for device in inventory.devices if not device.is_whole}
    node = {**reading.of_node(), **read_vgpu(bus)}
    return ReadFacts(FactsSeen(node, devices), reading.is_whole)


def read_vgpu(bus: PciBus) -> Words:
    """Return whether a GPU on the bus is one that a hypervisor made. Nothing if one of them cannot be read."""
    functions = bus.gpus()
    configs = [bus.config(each.address) for each in functions or ()]
    if functions is None or any(config is None for config in configs):
        return {}
    made = [driver for config in configs if config is not None and (driver := host_driver(config)) is not None]
    if not made:
        return {VGPU: NO}
    told = {HOST_DRIVER: made[0].version, HOST_BRANCH: made[0].branch}
    return {VGPU: YES, **{word: text for word, text in told.items() if text}}


class _Reading:
    """Reads facts, and keeps what was known of what cannot be read."""

    def __init__(
        self,
        handles: Mapping[FaultId, nvml.Handle | None],
        bus: PciBus,
        known: FactsSeen | None,
        between: Between,
    ) -> None:
        self._handles = handles
        self._bus = bus
        self._known = known
        self._between = between
        self.is_whole = True

    def of_node(self) -> Words:
        before = self._known.node if self._known is not None else {}
        return self._told({CUDA: later_calls.cuda_version}, before)

    def of_gpu(self, gpu: PhysicalDevice) -> Words:
        handle, before = self._handles.get(gpu.id), self._before(gpu.id)
        pci_class = self._bus.class_of(gpu.pci_address)
        found = {PCI_CLASS: pci_class} if pci_class else {}
        if handle is None:
            self.is_whole = False
            return {**before, **found}
        questions: Mapping[str, Callable[[], str | None]] = {
            CAPABILITY: lambda: _dotted(nvml.compute_capability(handle)),
            MIG_MODE: lambda: _yes_or_no(later_calls.mig_mode(handle)),
            CLIQUE: lambda: later_calls.fabric_clique(handle),
        }
        return {**self._told(questions, before), **found}

    def of_part(self, device: Device) -> Words:
        """Return what a MIG device has. Its slot may have another one by now: that one is in the next inventory."""
        handle, before = self._handles.get(device.physical.id), self._before(device.id)
        if handle is None:
            self.is_whole = False
            return before
        try:
            part = mig_calls.handle_in_slot(handle, device.place[1])
            if part is not None and nvml.uuid_of(part) == device.id:
                return mig_calls.all_attributes(part)
        except (nvml.NvmlError, UnicodeDecodeError):
            pass
        finally:
            self._between()
        self.is_whole = False
        return before

    def _before(self, device: FaultId) -> Words:
        return self._known.devices.get(device, {}) if self._known is not None else {}

    def _told(self, questions: Mapping[str, Callable[[], str | None]], before: Words) -> Words:
        """Return the answers to the questions. One that has no answer is left out, one that failed is as before."""
        found: dict[str, str] = {}
        for word, question in questions.items():
            try:
                answer = question()
            except nvml.NvmlError:
                self.is_whole = False
                answer = before.get(word)
            self._between()
            if answer is not None:
                found[word] = answer
        return found


def _dotted(numbers: Sequence[int] | None) -> str | None:
    return None if numbers is None else ".".join(map(str, numbers))


def _yes_or_no(answer: bool | None) -> str | None:  # noqa: FBT001 - it is an answer
    return None if answer is None else YES if answer else NO
