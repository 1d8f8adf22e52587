"""The state of a GPU in the NVLink fabric of a machine with NVSwitches, as NVML reports it, and what it means.

Source: nvml.h, the fabric definitions.
"""

import ctypes
from collections.abc import Mapping
from typing import NamedTuple

_NOT_STARTED, _IN_PROGRESS, _COMPLETED = 1, 2, 3
"""States of the registration of a GPU with the fabric. 0 means that the GPU has no fabric."""
_NOT_SUPPORTED = 3
"""The status of a GPU that has no fabric, although its registration is completed."""
_TRUE = 1
"""The value of a field of two bits that says yes. 0 means not supported, 2 means no."""
_UNHEALTHY, _LIMITED_CAPACITY = 2, 3
"""Values of the summary. 0 means not supported, 1 means healthy."""
_DEGRADED_BANDWIDTH, _ROUTE_RECOVERY, _ROUTE_UNHEALTHY, _ACCESS_TIMEOUT_RECOVERY = 0, 2, 4, 6
"""The first bits of the fields of two bits."""
_CONFIGURATION, _CONFIGURATION_BITS = 8, 0xF
_WRONG_CONFIGURATION: Mapping[int, str] = {
    2: "the system GUID is not the expected one",
    3: "the serial number of the chassis is not the expected one",
    4: "the GPU is in no partition",
    5: "there are not enough NVLinks",
    6: "the firmware of the GPU does not fit",
    7: "the GPU is in a place where it is not allowed",
    8: "the state of the GPU is not valid",
}
"""Values of the field about the configuration. 0 means not supported, 1 means that it is right."""


class FabricStructure(ctypes.Structure):
    """nvmlGpuFabricInfo_v3_t. Version 2 is the same without the summary."""

    _fields_ = (
        ("version", ctypes.c_uint32),
        ("cluster", ctypes.c_uint8 * 16),
        ("status", ctypes.c_uint32),
        ("clique", ctypes.c_uint32),
        ("state", ctypes.c_uint8),
        ("padding", ctypes.c_uint8 * 3),
        ("health", ctypes.c_uint32),
        ("summary", ctypes.c_uint8),
        ("reserve", ctypes.c_uint8 * 63),
    )


FABRIC_VERSIONS = (3 << 24 | 40, 2 << 24 | 36)
"""The versions of the structure, the newest one first. Each contains the size that the driver writes, in bytes."""


class FabricInfo(NamedTuple):
    """What the driver reports about a GPU. The numbers are NVML's."""

    state: int
    status: int = 0
    """The error with which the registration was completed. 0 if there is none."""
    status_words: str = ""
    """NVML's text for the status."""
    health: int = 0
    """Several fields of bits. A driver that knows less has 0 there."""
    summary: int = 0


class FabricView(NamedTuple):
    """What the report of the driver means, in words."""

    broken: tuple[str, ...] = ()
    """Why the GPU cannot use the fabric."""
    unfinished: tuple[str, ...] = ()
    """What will be over soon if all goes well."""
    degraded: tuple[str, ...] = ()
    """Why the GPU can use the fabric less than it should."""


def view(info: FabricInfo) -> FabricView | None:
    """Return what a report means. None if its state is not known here."""
    if info.state == _NOT_STARTED:
        return FabricView(unfinished=("the registration of the GPU has not started",))
    if info.state == _IN_PROGRESS:
        return FabricView(unfinished=("the registration of the GPU is not completed",))
    if info.state not in {0, _COMPLETED}:
        return None
    if info.state == 0 or info.status == _NOT_SUPPORTED:
        return FabricView()
    broken, unfinished, degraded = _broken(info), _unfinished(info.health), _degraded(info)
    if info.summary == _UNHEALTHY and not broken and not unfinished:
        broken = ("the driver calls it unhealthy",)
    return FabricView(broken, unfinished, degraded)


def is_joined(state: int, status: int) -> bool:
    """Whether a GPU has joined a cluster of the fabric."""
    return state == _COMPLETED and status == 0


def _broken(info: FabricInfo) -> tuple[str, ...]:
    configuration = _WRONG_CONFIGURATION.get(info.health >> _CONFIGURATION & _CONFIGURATION_BITS)
    return (
        *((f"the registration of the GPU failed: {info.status_words}",) if info.status else ()),
        *(("a route is unhealthy",) if _says(info.health, _ROUTE_UNHEALTHY) else ()),
        *((f"the configuration is wrong: {configuration}",) if configuration else ()),
    )


def _unfinished(health: int) -> tuple[str, ...]:
    return (
        *(("the recovery of routes is not completed",) if _says(health, _ROUTE_RECOVERY) else ()),
        *(("the recovery from an access timeout is not completed",) if _says(health, _ACCESS_TIMEOUT_RECOVERY) else ()),
    )


def _degraded(info: FabricInfo) -> tuple[str, ...]:
    if _says(info.health, _DEGRADED_BANDWIDTH):
        return ("the bandwidth is degraded",)
    return ("the capacity is limited",) if info.summary == _LIMITED_CAPACITY else ()


def _says(health: int, first_bit: int) -> bool:
    """Whether a field of two bits says yes."""
    return health >> first_bit & 0b11 == _TRUE
