"""One session of NVML, from its initialisation to its shutdown.

NVML shows a new GPU only in a new session.
"""

import ctypes
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from plugin_gateway.core.devices import DeviceId, Inventory
from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.core.health.observations import DriverSeen, EvidenceReported
from plugin_gateway.core.health.policy import RECOVERY_ACTION
from plugin_gateway.nvidia import nvml
from plugin_gateway.nvidia.checkup import check_up
from plugin_gateway.nvidia.evidence import DOUBLE_BIT_ECC, GPU_UNAVAILABLE, xid_kind
from plugin_gateway.nvidia.library import DriverMissingError
from plugin_gateway.nvidia.snapshot import Snapshot, ask, read_snapshot


class Check(NamedTuple):
    """The result of a rescan."""

    differs: bool
    """Whether the GPUs differ from the snapshot, so that a new session is needed."""
    fails: bool
    """Whether a device of the inventory did not answer."""


class Happening(NamedTuple):
    """The meaning of an event."""

    observation: EvidenceReported
    asks_for_check: bool = False
    """Whether only a check can find out what has happened."""


_FAULTS = {
    nvml.EventKind.DOUBLE_BIT_ECC: DOUBLE_BIT_ECC,
    nvml.EventKind.GPU_UNAVAILABLE: GPU_UNAVAILABLE,
    nvml.EventKind.RECOVERY_ACTION: RECOVERY_ACTION,
}
"""The kind of evidence for each event except XIDs."""


class Session:
    """The GPUs of one session, and their events."""

    def __init__(
        self,
        snapshot: Snapshot,
        events: nvml.EventSet | None,
        proc: Path,
        gpu_folders: frozenset[str],
        give_sign: Callable[[], None],
    ) -> None:
        """Create a session from a snapshot.

        ``give_sign`` records a sign of life. It is called between two GPUs, so the sign gets old only if the driver
        hangs in the calls for one GPU.
        """
        self.snapshot = snapshot
        self._give_sign = give_sign
        self._proc = proc
        self._gpu_folders = gpu_folders
        self._answers = list(snapshot.answers)
        self._latest = list(snapshot.answers)
        self._events = events if snapshot.heard else None
        self._by_address = {
            nvml.address_of(answer.handle): snapshot.by_index.get(index)
            for index, answer in enumerate(snapshot.answers)
            if answer.handle is not None
        }

    def wait(self, seconds: float, stopping: threading.Event) -> Happening | None:
        """Wait for an event, at most ``seconds``. None if none came.

        Raises:
            NvmlError: the wait failed. This says nothing about a single GPU.
        """
        if self._events is None:
            stopping.wait(seconds)
            return None
        event = nvml.wait_for_event(self._events, max(1, int(seconds * 1000)))
        if event is None:
            return None
        device = self._device_of(event.handle)
        place = "" if device is not None else _place_of(event.handle)
        if event.kind is nvml.EventKind.XID:
            return Happening(EvidenceReported(xid_kind(event.data), device, place))
        is_recovery = event.kind is nvml.EventKind.RECOVERY_ACTION
        return Happening(EvidenceReported(_FAULTS[event.kind], device, place), asks_for_check=is_recovery)

    def check(self) -> Check:
        """Compare the GPUs with the snapshot: one call, and two more for each GPU.

        Raises:
            NvmlError: the GPUs can no longer be counted.
        """
        differs = nvml.device_count() != len(self._answers) or list_gpu_folders(self._proc) != self._gpu_folders
        fails = False
        for index, before in enumerate(self._answers):
            self._give_sign()
            now = self._latest[index] = ask(index)
            is_device = index in self.snapshot.by_index
            fails |= is_device and now.error is not None
            if is_device and now.error is not None and now.error.is_gpu_lost:
                self._answers[index] = now  # if it comes back, that is a difference
            elif not now.agrees_with(before):
                differs = True
        return Check(differs, fails)

    def check_up(self) -> Mapping[DeviceId, Checkup]:
        """Check every device of the inventory, with at most three calls for each."""
        checkups: dict[DeviceId, Checkup] = {}
        for index, device in self.snapshot.by_index.items():
            self._give_sign()
            checkups[device] = check_up(self._latest[index])
        return checkups

    def _device_of(self, handle: nvml.Handle) -> DeviceId | None:
        """Return the device of an event. None if it is not in the inventory.

        A GPU that has fallen off the bus still sends its XID but answers no question. The handle is therefore compared
        first.
        """
        address = nvml.address_of(handle)
        if address in self._by_address:
            return self._by_address[address]
        try:
            uuid = nvml.uuid_of(handle)
        except (nvml.NvmlError, UnicodeDecodeError):
            return None
        return next((device for device in self.snapshot.by_index.values() if device == uuid), None)


def _place_of(handle: nvml.Handle) -> str:
    """Return the PCI address of a GPU that is not in the inventory."""
    try:
        return nvml.pci_address(handle)
    except nvml.NvmlError:
        return "an address that the driver does not tell"


def driver_seen(sysfs: Path) -> DriverSeen:
    """Return which driver answers. Its instance is the inode of the kernel module in sysfs."""
    try:
        instance = str((sysfs / "module/nvidia").stat().st_ino)
    except OSError:
        instance = None
    return DriverSeen(nvml.driver_version(), instance)


def list_gpu_folders(proc: Path) -> frozenset[str]:
    """Return the GPUs that the kernel module uses. This list changes before NVML's list does."""
    try:
        return frozenset(path.name for path in (proc / "driver/nvidia/gpus").iterdir())
    except OSError:
        return frozenset()


@contextmanager
def open_session(
    library: ctypes.CDLL,
    init_result: int,
    sysfs: Path,
    proc: Path,
    known: Inventory | None,
    give_sign: Callable[[], None],
) -> Iterator[Session]:
    """Open a session of a driver that was initialised, and shut it down at the end.

    Raises:
        DriverMissingError: the driver cannot be reached, now or later in the session.
    """
    # Read first, so that the first rescan notices a change during the snapshot.
    gpu_folders = list_gpu_folders(proc)
    nvml.adopt(library, init_result)
    try:
        events = nvml.make_event_set()
        try:
            yield Session(read_snapshot(sysfs, known, events, give_sign), events, proc, gpu_folders, give_sign)
        finally:
            if events is not None:
                nvml.free_event_set(events)
    except nvml.NvmlError as error:
        raise DriverMissingError(f"NVML: {error}") from error
    finally:
        nvml.shut_down()
