"""What labels tell of simulated GPUs. There is no driver, so nothing is told of one."""

from collections.abc import Mapping

from plugin_gateway.core.devices import Device, FaultId, Inventory, PhysicalDevice
from plugin_gateway.core.health.observations import FactsSeen
from plugin_gateway.nvidia.label_words import CAPABILITY, CI_SLICES, GI_SLICES, MIG_MODE, NO, PCI_CLASS, VGPU, YES
from plugin_gateway.nvidia.mig_reader import Layouts
from plugin_gateway.nvidia.simulated import MODELS
from plugin_gateway.nvidia.simulated_mig import has_mig, slices_of

_COMPUTE = "0x030200"
"""The PCI class of a GPU without a display."""
_CAPABILITIES: Mapping[str, tuple[int, int]] = {product: capability for product, _, capability in MODELS.values()}


def simulated_facts(inventory: Inventory, layouts: Layouts) -> FactsSeen:
    """Return the facts about these GPUs and their MIG devices."""
    devices: dict[FaultId, Mapping[str, str]] = {gpu.id: _of_gpu(gpu, layouts) for gpu in inventory.physical}
    devices |= {each.id: _of_part(each) for each in inventory.devices if not each.is_whole}
    return FactsSeen({VGPU: NO}, devices)


def _of_gpu(gpu: PhysicalDevice, layouts: Layouts) -> Mapping[str, str]:
    mode = {MIG_MODE: YES if layouts.get(gpu.id) is not None else NO} if has_mig(gpu) else {}
    return {CAPABILITY: "{}.{}".format(*_CAPABILITIES[gpu.product]), PCI_CLASS: _COMPUTE, **mode}


def _of_part(device: Device) -> Mapping[str, str]:
    slices = str(slices_of(device))
    return {GI_SLICES: slices, CI_SLICES: slices}
