"""What the test shares with the stand-in library, byte by byte as in control.h."""

import ctypes
from enum import IntEnum

MAX_GPUS = 64
MAX_EVENTS = 1024
MAX_THREADS = 16
MAX_LINKS = 36
MAX_SLOTS = 8
MAX_PROFILES = 24


class Call(IntEnum):
    """The calls that can be counted, fail or hang. The numbers are those of control.h."""

    INIT = 0
    SHUTDOWN = 1
    COUNT = 2
    HANDLE = 3
    UUID = 4
    INDEX = 5
    MINOR = 6
    PCI = 7
    NAME = 8
    MEMORY = 9
    SUPPORTED = 10
    REGISTER = 11
    CREATE = 12
    WAIT = 13
    FREE = 14
    VERSION = 15
    FIELDS = 16
    REMAPPED = 17
    RETIRED = 18
    FABRIC = 19
    LINK = 20
    MIG = 21
    CLOCKS = 22
    CAPABILITY = 23
    MIG_COUNT = 24
    MIG_HANDLE = 25
    MIG_PARENT = 26
    IS_MIG = 27
    GI_ID = 28
    CI_ID = 29
    ATTRIBUTES = 30
    GI = 31
    GI_INFO = 32
    GI_PROFILE = 33
    GI_PROFILE_V = 34
    LINK_REMOTE = 35
    LINK_TYPE = 36
    ANCESTOR = 37
    CUDA = 38


class Gpu(ctypes.Structure):
    _fields_ = (
        ("present", ctypes.c_uint32),
        ("error", ctypes.c_int32),
        ("has_events", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("memory", ctypes.c_uint64),
        ("uuid", ctypes.c_char * 96),
        ("name", ctypes.c_char * 96),
        ("domain", ctypes.c_uint32),
        ("bus", ctypes.c_uint32),
        ("device", ctypes.c_uint32),
        ("event_types", ctypes.c_uint32),
        ("recovery_action", ctypes.c_int32),
        ("remap_failed", ctypes.c_uint32),
        ("remap_pending", ctypes.c_uint32),
        ("retirement_pending", ctypes.c_uint32),
        ("fabric_state", ctypes.c_int32),
        ("fabric_status", ctypes.c_uint32),
        ("fabric_mask", ctypes.c_uint32),
        ("fabric_summary", ctypes.c_uint32),
        ("cluster", ctypes.c_uint8 * 16),
        ("clique", ctypes.c_uint32),
        ("links", ctypes.c_uint32),
        ("in_mig_mode", ctypes.c_uint32),
        ("pending_mig_mode", ctypes.c_uint32),
        ("max_mig_devices", ctypes.c_uint32),
        ("gi_profiles", ctypes.c_uint32),
        ("links_down", ctypes.c_uint64),
        ("clocks", ctypes.c_uint64),
        ("capability", ctypes.c_uint32 * 2),
        ("link_to", ctypes.c_int8 * MAX_LINKS),
    )


class GiProfile(ctypes.Structure):
    _fields_ = (
        ("id", ctypes.c_uint32),
        ("slices", ctypes.c_uint32),
        ("memory_mb", ctypes.c_uint64),
        ("name", ctypes.c_char * 32),
    )


class MigDevice(ctypes.Structure):
    _fields_ = (
        ("present", ctypes.c_uint32),
        ("error", ctypes.c_int32),
        ("error_call", ctypes.c_int32),
        ("calls_left", ctypes.c_uint32),
        ("gi", ctypes.c_uint32),
        ("ci", ctypes.c_uint32),
        ("profile_id", ctypes.c_uint32),
        ("multiprocessors", ctypes.c_uint32),
        ("copy", ctypes.c_uint32),
        ("decoder", ctypes.c_uint32),
        ("encoder", ctypes.c_uint32),
        ("jpeg", ctypes.c_uint32),
        ("ofa", ctypes.c_uint32),
        ("gi_slices", ctypes.c_uint32),
        ("ci_slices", ctypes.c_uint32),
        ("gpu_instance", ctypes.c_uint32),
        ("memory_mb", ctypes.c_uint64),
        ("uuid", ctypes.c_char * 96),
    )


class Event(ctypes.Structure):
    _fields_ = (
        ("gpu", ctypes.c_int32),
        ("type", ctypes.c_uint32),
        ("data", ctypes.c_uint64),
        ("gi", ctypes.c_uint32),
        ("ci", ctypes.c_uint32),
    )


class Control(ctypes.Structure):
    _fields_ = (
        ("generation", ctypes.c_uint32),
        ("init_delay_ms", ctypes.c_uint32),
        ("hanging", ctypes.c_uint64),
        ("written", ctypes.c_uint32),
        ("read", ctypes.c_uint32),
        ("sessions", ctypes.c_uint32),
        ("version", ctypes.c_char * 32),
        ("cuda", ctypes.c_uint32),
        ("fabric_version", ctypes.c_uint32),
        ("monitor_node", ctypes.c_char * 64),
        ("error_of", ctypes.c_int32 * len(Call)),
        ("errors_left", ctypes.c_uint32 * len(Call)),
        ("count_of", ctypes.c_uint32 * len(Call)),
        ("threads", ctypes.c_int32 * MAX_THREADS),
        ("gpus", Gpu * MAX_GPUS),
        ("events", Event * MAX_EVENTS),
        ("gi_profiles", GiProfile * MAX_PROFILES * MAX_GPUS),
        ("mig_devices", MigDevice * MAX_SLOTS * MAX_GPUS),
        ("ancestors", ctypes.c_uint8 * MAX_GPUS * MAX_GPUS),
    )
