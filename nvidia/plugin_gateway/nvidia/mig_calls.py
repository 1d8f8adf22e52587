"""The calls of NVML about MIG."""

from collections.abc import Mapping
from typing import NewType

import pynvml

from plugin_gateway.nvidia.label_words import CI_SLICES, ENGINES, GI_SLICES, MULTIPROCESSORS
from plugin_gateway.nvidia.mig_profile import Attributes
from plugin_gateway.nvidia.nvml import Handle, ask, call
from plugin_gateway.nvidia.nvml_error import NvmlError

MigHandle = NewType("MigHandle", Handle)
"""NVML's handle of a MIG device. It becomes invalid when the device is destroyed, and can then stand for another."""
_MAX_DEVICES = 64
"""MIG devices of a GPU, at most. GPUs of 2025 have 7."""
_MAX_PROFILES = 64
"""Numbers of profiles that are asked for, at most. Drivers of 2025 have 18."""


def max_device_count(gpu: Handle) -> int:
    """Return how many MIG devices a GPU can have.

    Raises:
        NvmlError: the driver does not tell.
    """
    return min(int(ask("nvmlDeviceGetMaxMigDeviceCount", gpu)), _MAX_DEVICES)


def handle_in_slot(gpu: Handle, slot: int) -> MigHandle | None:
    """Return the handle of the MIG device in a slot. None if the slot is empty.

    Raises:
        NvmlError: the call failed.
    """
    try:
        return MigHandle(call("nvmlDeviceGetMigDeviceHandleByIndex", gpu, slot))
    except NvmlError as error:
        if error.code in {pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_ERROR_INVALID_ARGUMENT}:
            return None
        raise


def instance_ids(device: MigHandle) -> tuple[int, int]:
    """Return the numbers of the GPU instance and the compute instance of a MIG device.

    Raises:
        NvmlError: a call failed.
    """
    return int(ask("nvmlDeviceGetGpuInstanceId", device)), int(ask("nvmlDeviceGetComputeInstanceId", device))


def attributes(device: MigHandle) -> Attributes:
    """Return what the driver says of a MIG device.

    Raises:
        NvmlError: the call failed.
    """
    told = ask("nvmlDeviceGetAttributes_v2", device)
    return Attributes(int(told.gpuInstanceSliceCount), int(told.computeInstanceSliceCount), int(told.memorySizeMB))


def all_attributes(device: MigHandle) -> Mapping[str, str]:
    """Return what a MIG device has of its GPU, but for memory, in the words of labels.

    Raises:
        NvmlError: the call failed.
    """
    told = ask("nvmlDeviceGetAttributes_v2", device)
    engines = (
        told.sharedCopyEngineCount,
        told.sharedDecoderCount,
        told.sharedEncoderCount,
        told.sharedJpegCount,
        told.sharedOfaCount,
    )
    return {
        MULTIPROCESSORS: str(int(told.multiprocessorCount)),
        GI_SLICES: str(int(told.gpuInstanceSliceCount)),
        CI_SLICES: str(int(told.computeInstanceSliceCount)),
        **{word: str(int(count)) for word, count in zip(ENGINES, engines, strict=True)},
    }


def gi_profile_id(gpu: Handle, gi: int) -> int:
    """Return the driver's id of the profile of a GPU instance. It needs the right to see that instance.

    Raises:
        NvmlError: a call failed.
    """
    return int(ask("nvmlGpuInstanceGetInfo", ask("nvmlDeviceGetGpuInstanceById", gpu, gi)).profileId)


def gi_profiles(gpu: Handle) -> dict[int, int]:
    """Return NVML's numbers of the GPU instance profiles of a GPU, by the driver's ids of them.

    Version 1 of the structure has the id, and every driver with MIG knows it.

    Raises:
        NvmlError: a call failed.
    """
    found: dict[int, int] = {}
    for number in range(_MAX_PROFILES):
        try:
            info = ask("nvmlDeviceGetGpuInstanceProfileInfo", gpu, number, 1)
        except NvmlError as error:
            if error.code == pynvml.NVML_ERROR_NOT_SUPPORTED:
                continue
            if error.code == pynvml.NVML_ERROR_INVALID_ARGUMENT:  # the first number that the driver does not know
                break
            raise
        found.setdefault(int(info.id), number)
    return found


def forbids(error: NvmlError) -> bool:
    """Whether the process lacks the right to make the call."""
    return bool(error.code == pynvml.NVML_ERROR_NO_PERMISSION)
