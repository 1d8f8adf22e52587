"""The calls of NVML that the first check of a session does without."""

import ctypes
import functools
import operator
import uuid
from collections.abc import Callable
from enum import Flag
from typing import TypeVar

import pynvml

from plugin_gateway.nvidia.fabric import FABRIC_VERSIONS, FabricInfo, FabricStructure, is_joined
from plugin_gateway.nvidia.nvml import Handle, ask, ask_if_there_is, call, twice_if_needed
from plugin_gateway.nvidia.nvml_error import NvmlError

_Answer = TypeVar("_Answer")


class Slowdown(Flag):
    """Why the hardware has lowered the clocks of a GPU, with NVML's bit of each."""

    OTHER = pynvml.nvmlClocksThrottleReasonHwSlowdown
    """It is set together with the others, too."""
    TEMPERATURE = pynvml.nvmlClocksThrottleReasonHwThermalSlowdown
    POWER_BRAKE = pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown


_EVERY_SLOWDOWN = functools.reduce(operator.or_, (reason.value for reason in Slowdown))


def fabric_info(handle: Handle) -> FabricInfo:
    """Return the state of a GPU in the NVLink fabric. Drivers of 545 and later have it, for GPUs of Hopper and later.

    Raises:
        NvmlError: the driver does not report it, or in no version that is known here.
    """
    return _read_fabric(handle, _fabric_info)


def fabric_clique(handle: Handle) -> str | None:
    """Return the cluster and the clique that a GPU has joined, such as ``UUID.4``. None if it has joined none.

    Raises:
        NvmlError: the call failed, which is no answer.
    """
    try:
        return _read_fabric(handle, _clique)
    except NvmlError as error:
        if error.says_there_is_none:
            return None
        raise


def _read_fabric(handle: Handle, meaning: Callable[[FabricStructure], _Answer]) -> _Answer:
    """Return what the newest structure means that the driver knows.

    Raises:
        NvmlError: it knows none, or the call failed.
    """

    def read() -> _Answer:
        *newer, oldest = FABRIC_VERSIONS
        for version in newer:
            try:
                return meaning(_fabric(handle, version))
            except NvmlError as error:
                if not error.says_there_is_none:
                    raise
        return meaning(_fabric(handle, oldest))

    return twice_if_needed(read)


def _fabric(handle: Handle, version: int) -> FabricStructure:
    info = FabricStructure(version=version)
    call("nvmlDeviceGetGpuFabricInfoV", handle, ctypes.byref(info))
    return info


def _fabric_info(info: FabricStructure) -> FabricInfo:
    words = str(NvmlError(pynvml.NVMLError(info.status))) if info.status else ""
    return FabricInfo(info.state, info.status, words, info.health, info.summary)


def _clique(info: FabricStructure) -> str | None:
    cluster = bytes(info.cluster)
    return f"{uuid.UUID(bytes=cluster)}.{info.clique}" if is_joined(info.state, info.status) and any(cluster) else None


def mig_mode(handle: Handle) -> bool | None:
    """Return whether a GPU is in MIG mode now. None if it has no MIG.

    Raises:
        NvmlError: the call failed, which is no answer.
    """
    modes = ask_if_there_is("nvmlDeviceGetMigMode", handle)
    return None if modes is None else bool(modes[0])


def cuda_version() -> str | None:
    """Return the version of CUDA that the driver supports, such as ``13.0``. None if it does not tell.

    Raises:
        NvmlError: the call failed, which is no answer.
    """
    version = ask_if_there_is("nvmlSystemGetCudaDriverVersion")
    return None if version is None else f"{int(version) // 1000}.{int(version) % 1000 // 10}"


def slowdown(handle: Handle) -> Slowdown:
    """Return why the hardware has lowered the clocks of a GPU.

    Raises:
        NvmlError: the driver does not report it.
    """
    return Slowdown(int(ask("nvmlDeviceGetCurrentClocksEventReasons", handle)) & _EVERY_SLOWDOWN)
