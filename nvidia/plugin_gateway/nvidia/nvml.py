"""NVML as typed functions: the one module that knows pynvml. Called in the owner thread only."""

import contextlib
import ctypes
import functools
import operator
from enum import Enum
from typing import Any, NamedTuple, NewType

import pynvml

from plugin_gateway.nvidia.library import DriverMissingError

Handle = NewType("Handle", object)
EventSet = NewType("EventSet", object)


class NvmlError(Exception):
    """A call that the driver failed; the message is NVML's own."""

    def __init__(self, error: Any) -> None:
        super().__init__(plain(str(error)))
        self.code = int(error.value)

    @property
    def is_gpu_lost(self) -> bool:
        """Whether the GPU fell off the bus."""
        return bool(self.code == pynvml.NVML_ERROR_GPU_IS_LOST)

    @property
    def asks_for_reset(self) -> bool:
        """Whether nothing but a reset helps the GPU."""
        return bool(self.code == pynvml.NVML_ERROR_RESET_REQUIRED)

    @property
    def says_there_is_none(self) -> bool:
        """Whether the GPU or its driver does not have what was asked for, or we may not see it."""
        return self.code in _HAS_NONE

    @property
    def is_timeout(self) -> bool:
        """Whether nothing happened while waiting."""
        return bool(self.code == pynvml.NVML_ERROR_TIMEOUT)


_HAS_NONE = {
    pynvml.NVML_ERROR_NOT_SUPPORTED,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    pynvml.NVML_ERROR_INVALID_ARGUMENT,
    pynvml.NVML_ERROR_NO_PERMISSION,
}
_MAX_WORDS_LENGTH = 200


def plain(words: str) -> str:
    """Make words of the driver fit for one line of a log and of a file."""
    return "".join(each if each.isprintable() else " " for each in words[:_MAX_WORDS_LENGTH])


class EventKind(Enum):
    """The events that say something about a GPU's health, by NVML's bit; not every driver has them all."""

    XID = pynvml.nvmlEventTypeXidCriticalError
    DOUBLE_BIT_ECC = pynvml.nvmlEventTypeDoubleBitEccError
    GPU_UNAVAILABLE = pynvml.nvmlEventTypeGpuUnavailableError
    RECOVERY_ACTION = pynvml.nvmlEventTypeGpuRecoveryAction
    """Field 230 has another value."""


class Event(NamedTuple):
    """One event."""

    handle: Handle
    kind: EventKind
    data: int
    """Of an XID its number."""


_EVERY_KIND = functools.reduce(operator.or_, (kind.value for kind in EventKind))


_OLDER_NAMES = {"nvmlDeviceGetPciInfo_v3": "nvmlDeviceGetPciInfo_v2", "nvmlEventSetWait_v2": "nvmlEventSetWait"}
"""What pynvml calls, and what older drivers have instead; what is read of the answer lies in the same place."""


def _call(name: str, *arguments: Any) -> Any:
    try:
        return getattr(pynvml, name)(*arguments)
    except pynvml.NVMLError as error:
        raise NvmlError(error) from error


def adopt(library: ctypes.CDLL, init_result: int) -> None:
    """Have pynvml use a library that is loaded, and was asked to initialise with this result.

    Raises:
        DriverMissingError: it could not reach the driver.
    """
    pynvml.nvmlLib = library
    pointers = pynvml._nvmlGetFunctionPointer_cache  # noqa: SLF001 - or calls would go on to the library before
    pointers.clear()
    for name, older in _OLDER_NAMES.items():
        if not hasattr(library, name) and hasattr(library, older):
            pointers[name] = getattr(library, older)
    if init_result:
        error = NvmlError(pynvml.NVMLError(init_result))
        abandon()
        raise DriverMissingError(f"NVML cannot be initialised: {error}")


def shut_down() -> None:
    """Close NVML; a driver that is gone does not mind. pynvml then forgets the library, which may be unloaded."""
    with contextlib.suppress(NvmlError):
        _call("nvmlShutdown")
    abandon()


def abandon() -> None:
    """Have pynvml forget the library."""
    pynvml.nvmlLib = None
    pynvml._nvmlGetFunctionPointer_cache.clear()  # noqa: SLF001 - they point into the library


def device_count() -> int:
    """Count the GPUs that this session knows."""
    return int(_call("nvmlDeviceGetCount"))


def handle_by_index(index: int) -> Handle:
    """Find a GPU."""
    return Handle(_call("nvmlDeviceGetHandleByIndex", index))


def address_of(handle: Handle) -> int:
    """Tell which GPU a handle means, without asking the driver: in one session, equal addresses are one GPU."""
    return ctypes.cast(handle, ctypes.c_void_p).value or 0  # type: ignore[arg-type]


def uuid_of(handle: Handle) -> str:
    """Tell the UUID.

    Raises:
        UnicodeDecodeError: the driver gave bytes that are no text.
    """
    return str(_call("nvmlDeviceGetUUID", handle))


def minor_number(handle: Handle) -> int | None:
    """Tell the number of the device node; None where the driver does not say."""
    try:
        return int(_call("nvmlDeviceGetMinorNumber", handle))
    except NvmlError:
        return None


def pci_address(handle: Handle) -> str:
    """Tell the PCI address as sysfs writes it; a GPU is always function 0."""
    info = _call("nvmlDeviceGetPciInfo", handle)
    return f"{int(info.domain):04x}:{int(info.bus):02x}:{int(info.device):02x}.0"


def product_name(handle: Handle) -> str:
    """Tell the product name; '' where the driver does not say."""
    try:
        return plain(str(_call("nvmlDeviceGetName", handle)))
    except (NvmlError, UnicodeDecodeError):
        return ""


def memory_bytes(handle: Handle) -> int:
    """Tell the memory in bytes; 0 where the driver does not say."""
    try:
        return int(_call("nvmlDeviceGetMemoryInfo", handle).total)
    except NvmlError:
        return 0


def make_event_set() -> EventSet | None:
    """Make a set for the events of any number of GPUs; None where the driver has no events.

    Raises:
        NvmlError: it has them, and failed.
    """
    try:
        return EventSet(_call("nvmlEventSetCreate"))
    except NvmlError as error:
        if error.code in {pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND}:
            return None
        raise


def free_event_set(events: EventSet) -> None:
    """Give it back."""
    with contextlib.suppress(NvmlError):
        _call("nvmlEventSetFree", events)


def watch_events(handle: Handle, events: EventSet) -> bool:
    """Have what happens to a GPU reported; False where the GPU or its driver does not even report XIDs."""
    try:
        supported = int(_call("nvmlDeviceGetSupportedEventTypes", handle)) & _EVERY_KIND
        if not supported & EventKind.XID.value:
            return False
        try:
            _call("nvmlDeviceRegisterEvents", handle, supported, events)
        except NvmlError:  # some drivers name kinds that they then refuse
            _call("nvmlDeviceRegisterEvents", handle, EventKind.XID.value, events)
    except NvmlError:
        return False
    return True


def wait_for_event(events: EventSet, milliseconds: int) -> Event | None:
    """Wait for the next event; None where none came in time, or one of another kind.

    Raises:
        NvmlError: the wait itself failed.
    """
    try:
        data = _call("nvmlEventSetWait_v2", events, milliseconds)
    except NvmlError as error:
        if error.is_timeout:
            return None
        raise
    try:
        kind = EventKind(int(data.eventType))
    except ValueError:
        return None
    return Event(Handle(data.device), kind, int(data.eventData))


def recovery_action(handle: Handle) -> int:
    """Read field 230, which drivers have from 565 on.

    Raises:
        NvmlError: it is not told.
    """
    field = pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION
    (value,) = _call("nvmlDeviceGetFieldValues", handle, [field])
    if value.nvmlReturn != pynvml.NVML_SUCCESS:
        raise NvmlError(pynvml.NVMLError(value.nvmlReturn))
    return int(value.value.uiVal)


def row_remapping(handle: Handle) -> tuple[bool, bool]:
    """Tell whether a row of memory could not be remapped, and whether one waits for a reset (Ampere and later).

    Raises:
        NvmlError: it is not told.
    """
    _, _, pending, failed = _call("nvmlDeviceGetRemappedRows", handle)
    return bool(failed), bool(pending)


def is_retirement_pending(handle: Handle) -> bool:
    """Tell whether a page of memory waits for a reset to be retired (before Ampere).

    Raises:
        NvmlError: it is not told.
    """
    return bool(_call("nvmlDeviceGetRetiredPagesPendingStatus", handle))


def driver_version() -> str | None:
    """Tell the driver's version; None where it does not say."""
    try:
        return plain(str(_call("nvmlSystemGetDriverVersion")))
    except (NvmlError, UnicodeDecodeError):
        return None
