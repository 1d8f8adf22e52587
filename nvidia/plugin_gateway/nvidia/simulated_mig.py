"""MIG devices of simulated GPUs, from a text such as ``0:3g.40gb,1g.10gb;1:``. GPU 1 is in MIG mode and has none."""

import uuid
from collections.abc import Iterator, Mapping, Sequence

from plugin_gateway.core.devices import Device, PhysicalDevice, PhysicalId
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.nvidia.mig_layout import MigDevice, MigLayout
from plugin_gateway.nvidia.mig_profile import Attributes, profile_name
from plugin_gateway.nvidia.mig_reader import Layouts

_NAMESPACE = uuid.UUID("3d0c54f0-2f2b-5d0a-9a0c-0f9b6f0d7c11")
"""The UUIDs are derived from it, so that the same device has the same UUID every time."""
_MIB = 2**20
_SLICES = 7
"""Slices of a GPU that has MIG."""
_PROFILES = ((0, 1, 1), (7, 1, 1), (9, 1, 2), (1, 2, 2), (2, 3, 4), (3, 4, 4), (4, 7, 8))
"""NVML's number, the slices and the eighths of the memory of each profile of a GPU with seven slices."""
_WITH_MIG = ("A100", "H100", "H200", "B200")
"""The words in the names of the simulated products that have MIG."""


def parse_layouts(text: str, gpus: Sequence[PhysicalDevice]) -> Layouts:
    """Return the layouts of simulated GPUs.

    Raises:
        InvalidValueError: the message names the value and what is allowed.
    """
    by_index = {str(gpu.index): gpu for gpu in gpus}
    found: dict[PhysicalId, MigLayout | None] = dict.fromkeys((gpu.id for gpu in gpus), None)
    for part in text.split(";"):
        index, colon, names = part.partition(":")
        gpu = by_index.get(index)
        if gpu is None or not colon or found[gpu.id] is not None:
            raise InvalidValueError(
                f"MIG layout {part!r}; expected INDEX:PROFILE,PROFILE once for each GPU, with an index from 0 to "
                f"{len(gpus) - 1}"
            )
        devices = tuple(_devices(gpu, [name for name in names.split(",") if name]))
        found[gpu.id] = MigLayout(devices)
    return found


def _devices(gpu: PhysicalDevice, names: Sequence[str]) -> Iterator[MigDevice]:
    allowed = _profiles_of(gpu)
    unknown = next((name for name in names if name not in allowed), None)
    if unknown is not None or not allowed:
        words = f"expected {', '.join(allowed)}" if allowed else "it has no MIG"
        raise InvalidValueError(f"MIG profile {unknown or ''!r} of a simulated {gpu.product}; {words}")
    if sum(allowed[name].gi_slices for name in names) > _SLICES:
        raise InvalidValueError(f"MIG layout {','.join(names)!r} has more than the {_SLICES} slices of a GPU")
    for slot, name in enumerate(names):
        identity = uuid.uuid5(_NAMESPACE, f"{gpu.id}/{slot}/{name}")
        yield MigDevice(f"MIG-{identity}", slot, slot + 1, 0, name, allowed[name].memory_mb)


def has_mig(gpu: PhysicalDevice) -> bool:
    """Whether a simulated GPU has MIG."""
    return any(word in gpu.product for word in _WITH_MIG)


def slices_of(device: Device) -> int:
    """Return the slices of a MIG device of a simulated GPU."""
    return _profiles_of(device.physical)[device.profile].gi_slices


def _profiles_of(gpu: PhysicalDevice) -> Mapping[str, Attributes]:
    """Return the profiles of a GPU by their names. None if it has no MIG."""
    if not has_mig(gpu):
        return {}
    found: dict[str, Attributes] = {}
    for number, slices, eighths in _PROFILES:
        attributes = Attributes(slices, slices, gpu.memory_bytes * eighths // 8 // _MIB)
        found[profile_name(attributes, number, gpu.memory_bytes)] = attributes
    return found
