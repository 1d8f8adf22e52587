"""The name of a MIG profile, such as ``1c.3g.40gb+me``, as NVIDIA writes it, from what the driver says of a device.

Source: NVIDIA/go-nvlib, pkg/nvlib/device/mig_profile.go; the numbers of the profiles are those of nvml.h.
"""

from collections.abc import Mapping
from typing import NamedTuple

_GIB, _MIB = 2**30, 2**20
_EIGHTHS = 8
"""The memory of a GPU is divided into so many parts."""


class InvalidProfileError(Exception):
    """What the driver says of a MIG device cannot be named. The message says why."""


class Attributes(NamedTuple):
    """What the driver says of a MIG device."""

    gi_slices: int
    """Slices of the GPU instance."""
    ci_slices: int
    """Slices of the compute instance."""
    memory_mb: int
    """Memory in MiB."""


class _GiProfile(NamedTuple):
    """What NVML's number of a GPU instance profile means."""

    slices: int
    suffix: str = ""


_GI_PROFILES: Mapping[int, _GiProfile] = {
    0x00: _GiProfile(1),
    0x01: _GiProfile(2),
    0x02: _GiProfile(3),
    0x03: _GiProfile(4),
    0x04: _GiProfile(7),
    0x05: _GiProfile(8),
    0x06: _GiProfile(6),
    0x07: _GiProfile(1, "+me"),
    0x08: _GiProfile(2, "+me"),
    0x09: _GiProfile(1),  # with twice the memory, which the name says
    0x0A: _GiProfile(1, "+gfx"),
    0x0B: _GiProfile(2, "+gfx"),
    0x0C: _GiProfile(4, "+gfx"),
    0x0D: _GiProfile(1, "-me"),
    0x0E: _GiProfile(2, "-me"),
    0x0F: _GiProfile(1, "+me.all"),
    0x10: _GiProfile(2, "+me.all"),
    0x11: _GiProfile(3, "+gfx"),
}
"""By NVML's number, which is the same for every GPU. The driver's own id of a profile differs from GPU to GPU."""


def profile_name(attributes: Attributes, gi_profile: int, gpu_memory: int) -> str:
    """Return the name of the profile.

    ``gi_profile`` is NVML's number of the GPU instance's profile, ``gpu_memory`` the memory of the GPU in bytes.

    Raises:
        InvalidProfileError: the number is not known, or the attributes cannot be those of a MIG device. A name without
            the suffix is never returned, because it would be that of another resource.
    """
    if (profile := _GI_PROFILES.get(gi_profile)) is None:
        raise InvalidProfileError(f"the GPU instance profile {gi_profile} of NVML is not known here")
    gi_slices, ci_slices, memory_mb = attributes
    if gi_slices != profile.slices:
        raise InvalidProfileError(
            f"the driver says {gi_slices} slices, and the GPU instance profile {gi_profile} has {profile.slices}"
        )
    if not 1 <= ci_slices <= gi_slices:
        raise InvalidProfileError(f"a compute instance of {ci_slices} slices; expected 1 to {gi_slices}")
    memory = f"{memory_gb(memory_mb, gpu_memory)}gb{profile.suffix}"
    return f"{gi_slices}g.{memory}" if ci_slices == gi_slices else f"{ci_slices}c.{gi_slices}g.{memory}"


def memory_gb(memory_mb: int, gpu_memory: int) -> int:
    """Return the memory as it stands in the name: eighths of the GPU's, rounded up, in GB, rounded half up.

    Raises:
        InvalidProfileError: the memory is none, or more than the GPU has.
    """
    if not 0 < memory_mb * _MIB <= gpu_memory:
        raise InvalidProfileError(f"a memory of {memory_mb} MiB; expected 1 to {gpu_memory // _MIB}, which the GPU has")
    eighths = -(-memory_mb * _MIB * _EIGHTHS // gpu_memory)
    gpu_gb = -(-gpu_memory // _GIB)
    if (gb := (eighths * gpu_gb + _EIGHTHS // 2) // _EIGHTHS) == 0:
        raise InvalidProfileError(f"a memory of {memory_mb} MiB is less than half a GB")
    return gb
