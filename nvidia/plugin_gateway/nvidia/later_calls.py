"""The calls of NVML that the first check of a session does without."""

import ctypes
import functools
import operator
from enum import Flag

import pynvml

from plugin_gateway.nvidia.fabric import FABRIC_VERSIONS, FabricInfo, FabricStructure
from plugin_gateway.nvidia.nvml import Handle, ask, ask_if_there_is, call, twice_if_needed
from plugin_gateway.nvidia.nvml_error import NvmlError


class Slowdown(Flag):
    """Why the hardware has lowered the clocks of a GPU, with NVML's bit of each."""

    OTHER = pynvml.nvmlClocksThrottleReasonHwSlowdown
    """It is set together with the others, too."""
    TEMPERATURE = pynvml.nvmlClocksThrottleReasonHwThermalSlowdown
    POWER_BRAKE = pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown


_EVERY_SLOWDOWN = functools.reduce(operator.or_, (reason.value for reason in Slowdown))
MAX_LINKS = 36
"""Links of a GPU, at most. GPUs of Hopper and Blackwell have 18."""


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


def is_link_up(handle: Handle, link: int) -> bool | None:
    """Return whether an NVLink is up. None if the GPU has no such link.

    Raises:
        NvmlError: the call failed, which is no answer.
    """
    state = ask_if_there_is("nvmlDeviceGetNvLinkState", handle, link)
    return None if state is None else bool(state)


def is_in_mig_mode(handle: Handle) -> bool:
    """Return whether a GPU is in MIG mode, in which it does not use its NVLinks.

    Raises:
        NvmlError: the call failed, which is no answer.
    """
    modes = ask_if_there_is("nvmlDeviceGetMigMode", handle)
    return modes is not None and bool(modes[0])


def slowdown(handle: Handle) -> Slowdown:
    """Return why the hardware has lowered the clocks of a GPU.

    Raises:
        NvmlError: the driver does not report it.
    """
    return Slowdown(int(ask("nvmlDeviceGetCurrentClocksEventReasons", handle)) & _EVERY_SLOWDOWN)
