"""The calls of NVML that the first check of a session does without."""

import ctypes
import functools
import operator
from enum import Flag

import pynvml

from plugin_gateway.nvidia.fabric import FABRIC_VERSIONS, FabricInfo, FabricStructure
from plugin_gateway.nvidia.nvml import Handle, ask, call, twice_if_needed
from plugin_gateway.nvidia.nvml_error import NvmlError


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

    def read() -> FabricInfo:
        *newer, oldest = FABRIC_VERSIONS
        for version in newer:
            try:
                return _fabric_info(handle, version)
            except NvmlError as error:
                if not error.says_there_is_none:
                    raise
        return _fabric_info(handle, oldest)

    return twice_if_needed(read)


def _fabric_info(handle: Handle, version: int) -> FabricInfo:
    info = FabricStructure(version=version)
    call("nvmlDeviceGetGpuFabricInfoV", handle, ctypes.byref(info))
    words = str(NvmlError(pynvml.NVMLError(info.status))) if info.status else ""
    return FabricInfo(info.state, info.status, words, info.health, info.summary)


def slowdown(handle: Handle) -> Slowdown:
    """Return why the hardware has lowered the clocks of a GPU.

    Raises:
        NvmlError: the driver does not report it.
    """
    return Slowdown(int(ask("nvmlDeviceGetCurrentClocksEventReasons", handle)) & _EVERY_SLOWDOWN)
