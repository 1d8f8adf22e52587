"""NVML as typed functions. pynvml is used only by this module, `nvml_error`, `later_calls` and `mig_calls`.

Only the thread that owns NVML may call these functions.
"""

import contextlib
import ctypes
import functools
import operator
import time
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, NamedTuple, NewType, TypeVar

import pynvml

from plugin_gateway.nvidia.nvml_error import NvmlError as NvmlError  # noqa: PLC0414 - others use it as nvml.NvmlError
from plugin_gateway.nvidia.nvml_error import plain

Handle = NewType("Handle", object)
"""NVML's handle of a GPU, valid in one session."""
EventSet = NewType("EventSet", object)
"""NVML's handle of a set of events, valid in one session."""
_Answer = TypeVar("_Answer")


class EventKind(Enum):
    """The events about a GPU, with NVML's bit of each. Not every driver has all of them."""

    XID = pynvml.nvmlEventTypeXidCriticalError
    DOUBLE_BIT_ECC = pynvml.nvmlEventTypeDoubleBitEccError
    GPU_UNAVAILABLE = pynvml.nvmlEventTypeGpuUnavailableError
    RECOVERY_ACTION = pynvml.nvmlEventTypeGpuRecoveryAction
    """The value of field 230 has changed."""
    MIG_CONFIG = pynvml.nvmlEventMigConfigChange
    """The MIG mode or the MIG devices have changed."""


class Event(NamedTuple):
    """One event of a GPU."""

    handle: Handle
    kind: EventKind
    data: int
    """The number of the XID, for an XID."""
    gpu_instance: int | None = None
    """The number of the GPU instance that it belongs to. None if it is about the whole GPU."""
    compute_instance: int | None = None
    """The number of the compute instance within that. None if it is about all of them."""

    @property
    def instances(self) -> str:
        """The instances in words, such as ``GPU instance 1, compute instance 0``."""
        compute = "" if self.compute_instance is None else f", compute instance {self.compute_instance}"
        return f"GPU instance {self.gpu_instance}{compute}"


_EVERY_KIND = functools.reduce(operator.or_, (kind.value for kind in EventKind))
_WAIT = "nvmlEventSetWait_v2"
_NO_INSTANCE = 0xFFFFFFFF
"""The number of an instance in an event that belongs to none. Source: nvml.h, nvmlEventData_t."""
MAX_LINKS = 36
"""NVLinks of a GPU, at most. GPUs of Hopper and Blackwell have 18."""
_OLDER_NAMES = {
    "nvmlDeviceGetPciInfo_v3": "nvmlDeviceGetPciInfo_v2",
    _WAIT: "nvmlEventSetWait",
    "nvmlDeviceGetCurrentClocksEventReasons": "nvmlDeviceGetCurrentClocksThrottleReasons",
}
"""Functions that pynvml calls, and their names in older drivers.

The older functions write the fields that are read here to the same positions.
"""


def call(name: str, *arguments: Any) -> Any:
    """Call a function of pynvml, with its errors as `NvmlError`."""
    try:
        return getattr(pynvml, name)(*arguments)
    except pynvml.NVMLError as error:
        raise NvmlError(error) from error


ASK_AGAIN_PAUSE = 0.01
"""Seconds before the second attempt."""
ASK_AGAIN_LIMIT = 1.0
"""Seconds. If a call took longer than this until it failed, it is not made again now, because others wait."""


def ask(name: str, *arguments: Any) -> Any:
    """Call a function that only reads. If the call fails and that is no answer, it is made once more."""
    return twice_if_needed(lambda: call(name, *arguments))


def twice_if_needed(question: Callable[[], _Answer]) -> _Answer:
    """Ask, and ask once more if that fails and the error is no answer.

    A driver that is busy, for example with the reset of another GPU, can fail single calls.
    """
    began = time.monotonic()
    try:
        return question()
    except NvmlError as error:
        if error.is_an_answer or time.monotonic() - began > ASK_AGAIN_LIMIT:
            raise
    time.sleep(ASK_AGAIN_PAUSE)
    return question()


def explain(library: ctypes.CDLL, error: int) -> str:
    """Return what an error of nvmlInit_v2 means, in words. pynvml uses the library only for this."""
    adopt(library)
    try:
        return str(NvmlError(pynvml.NVMLError(error)))
    finally:
        abandon()


def adopt(library: ctypes.CDLL) -> None:
    """Make pynvml use a library that is already loaded and initialised."""
    pynvml.nvmlLib = library
    pointers = pynvml._nvmlGetFunctionPointer_cache  # noqa: SLF001 - it refers to the library before
    pointers.clear()
    for name, older in _OLDER_NAMES.items():
        if not hasattr(library, name) and hasattr(library, older):
            pointers[name] = getattr(library, older)


def shut_down() -> None:
    """Shut NVML down. pynvml then no longer refers to the library, which may be unloaded."""
    with contextlib.suppress(NvmlError):
        call("nvmlShutdown")
    abandon()


def abandon() -> None:
    """Make pynvml forget the library and its functions."""
    pynvml.nvmlLib = None
    pynvml._nvmlGetFunctionPointer_cache.clear()  # noqa: SLF001 - it refers to the library


def device_count() -> int:
    """Return the number of GPUs in this session."""
    return int(ask("nvmlDeviceGetCount"))


def handle_by_index(index: int) -> Handle:
    """Return the handle of the GPU with this index."""
    return Handle(ask("nvmlDeviceGetHandleByIndex", index))


def address_of(handle: Handle) -> int:
    """Return a number that identifies the GPU of a handle within one session.

    This asks the driver nothing, so it works even if the GPU is lost.
    """
    return ctypes.cast(handle, ctypes.c_void_p).value or 0  # type: ignore[arg-type]


def uuid_of(handle: Handle) -> str:
    """Return the UUID.

    Raises:
        UnicodeDecodeError: the bytes from the driver are not text.
    """
    return str(ask("nvmlDeviceGetUUID", handle))


def minor_number(handle: Handle) -> int | None:
    """Return the number of the device node. None if the driver does not report it.

    Raises:
        NvmlError: the call failed, which is no answer.
    """
    number = ask_if_there_is("nvmlDeviceGetMinorNumber", handle)
    return None if number is None else int(number)


def pci_address(handle: Handle) -> str:
    """Return the PCI address in the form that sysfs uses. The function of a GPU is always 0."""
    return address_in(ask("nvmlDeviceGetPciInfo", handle))


def address_in(info: Any) -> str:
    """Return the PCI address in NVML's description of a PCI device."""
    return f"{int(info.domain):04x}:{int(info.bus):02x}:{int(info.device):02x}.0"


def product_name(handle: Handle) -> str:
    """Return the product name. Empty if the driver does not report it, or not as text.

    Raises:
        NvmlError: the call failed, which is no answer.
    """
    try:
        return plain(str(ask_if_there_is("nvmlDeviceGetName", handle) or ""))
    except UnicodeDecodeError:
        return ""


def memory_bytes(handle: Handle) -> int:
    """Return the size of the memory in bytes. 0 if the driver does not report it.

    Raises:
        NvmlError: the call failed, which is no answer.
    """
    info = ask_if_there_is("nvmlDeviceGetMemoryInfo", handle)
    return 0 if info is None else int(info.total)


def compute_capability(handle: Handle) -> tuple[int, int] | None:
    """Return the compute capability, such as (9, 0). None if the driver does not report it.

    Raises:
        NvmlError: the call failed, which is no answer.
    """
    capability = ask_if_there_is("nvmlDeviceGetCudaComputeCapability", handle)
    return None if capability is None else (int(capability[0]), int(capability[1]))


def is_in_mig_mode(handle: Handle) -> bool:
    """Return whether a GPU is in MIG mode now. Then it does not use its NVLinks.

    Raises:
        NvmlError: the call failed, which is no answer.
    """
    modes = ask_if_there_is("nvmlDeviceGetMigMode", handle)
    return modes is not None and bool(modes[0])


def is_link_up(handle: Handle, link: int) -> bool | None:
    """Return whether an NVLink is up. None if the GPU has no such link.

    Raises:
        NvmlError: the call failed, which is no answer.
    """
    state = ask_if_there_is("nvmlDeviceGetNvLinkState", handle, link)
    return None if state is None else bool(state)


def ask_if_there_is(name: str, *arguments: Any) -> Any:
    """Call a function that only reads. None if the GPU or the driver does not support it."""
    try:
        return ask(name, *arguments)
    except NvmlError as error:
        if error.says_there_is_none:
            return None
        raise


def make_event_set() -> EventSet | None:
    """Return a new set for the events of any number of GPUs. None if the driver does not support events.

    Raises:
        NvmlError: it supports them, but the call failed.
    """
    try:
        return EventSet(ask("nvmlEventSetCreate"))
    except NvmlError as error:
        if error.code in {pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND}:
            return None
        raise


def free_event_set(events: EventSet) -> None:
    """Free the set."""
    with contextlib.suppress(NvmlError):
        call("nvmlEventSetFree", events)


def watch_events(handle: Handle, events: EventSet) -> bool:
    """Add the events of a GPU to the set. Returns False if the GPU or the driver does not report XIDs.

    Raises:
        NvmlError: a call failed, which is no answer.
    """
    try:
        supported = int(ask("nvmlDeviceGetSupportedEventTypes", handle)) & _EVERY_KIND
        if not supported & EventKind.XID.value:
            return False
        # Some drivers list kinds of events that they then refuse.
        fewer = (supported, supported & ~EventKind.MIG_CONFIG.value, EventKind.XID.value)
        _first_that_is_taken(handle, tuple(dict.fromkeys(fewer)), events)
    except NvmlError as error:
        if error.says_there_is_none:
            return False
        raise
    return True


def _first_that_is_taken(handle: Handle, choices: Sequence[int], events: EventSet) -> None:
    """Register for the first choice of kinds of events that the driver does not refuse."""
    for kinds in choices:
        try:
            ask("nvmlDeviceRegisterEvents", handle, kinds, events)
        except NvmlError as error:
            if not error.says_there_is_none or kinds == choices[-1]:
                raise
        else:
            return


def wait_for_event(events: EventSet, milliseconds: int) -> Event | None:
    """Return the next event. None if none came in time, or it is of another kind.

    Raises:
        NvmlError: the wait failed.
    """
    try:
        data = call(_WAIT, events, milliseconds)
    except NvmlError as error:
        if error.is_timeout:
            return None
        raise
    try:
        kind = EventKind(int(data.eventType))
    except ValueError:
        return None
    gpu_instance, compute_instance = _instances(data)
    return Event(Handle(data.device), kind, int(data.eventData), gpu_instance, compute_instance)


def _instances(data: Any) -> tuple[int | None, int | None]:
    """Return the numbers of the instances of an event. Drivers from before MIG leave them unwritten."""
    if not hasattr(pynvml.nvmlLib, _WAIT):
        return None, None
    gpu_instance, compute_instance = int(data.gpuInstanceId), int(data.computeInstanceId)
    return (
        None if gpu_instance == _NO_INSTANCE else gpu_instance,
        None if compute_instance == _NO_INSTANCE else compute_instance,
    )


def recovery_action(handle: Handle) -> int:
    """Return field 230, the recovery action that the driver asks for. Drivers of 565 and later have it.

    Raises:
        NvmlError: the driver does not report it.
    """

    def read() -> int:
        (value,) = call("nvmlDeviceGetFieldValues", handle, [pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION])
        if value.nvmlReturn != pynvml.NVML_SUCCESS:
            raise NvmlError(pynvml.NVMLError(value.nvmlReturn))
        return int(value.value.uiVal)

    return twice_if_needed(read)


def row_remapping(handle: Handle) -> tuple[bool, bool]:
    """Return whether a row of memory could not be remapped, and whether one waits for a reset.

    GPUs of Ampere and later have row remapping.

    Raises:
        NvmlError: the driver does not report it.
    """
    _, _, pending, failed = ask("nvmlDeviceGetRemappedRows", handle)
    return bool(failed), bool(pending)


def is_retirement_pending(handle: Handle) -> bool:
    """Return whether a page of memory waits for a reset to be retired. For GPUs before Ampere.

    Raises:
        NvmlError: the driver does not report it.
    """
    return bool(ask("nvmlDeviceGetRetiredPagesPendingStatus", handle))


def driver_version() -> str | None:
    """Return the version of the driver. None if it does not report it."""
    try:
        return plain(str(ask("nvmlSystemGetDriverVersion")))
    except (NvmlError, UnicodeDecodeError):
        return None
