"""One life of NVML: from its initialisation to its shutdown. Real NVML shows new GPUs only to a new session."""

import ctypes
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from plugin_gateway.core.devices import DeviceId, Inventory
from plugin_gateway.nvidia import nvml
from plugin_gateway.nvidia.library import DriverMissingError
from plugin_gateway.nvidia.snapshot import Snapshot, read_snapshot


class Event(NamedTuple):
    """An XID, and the device that it came from; None where the driver cannot tell or it is not ours."""

    xid: int
    device: DeviceId | None


class Check(NamedTuple):
    """What a rescan found."""

    differs: bool
    """Whether everything has to be read again."""
    lost: Mapping[DeviceId, str]


class Session:
    """The GPUs of one session, and their events."""

    def __init__(self, snapshot: Snapshot, events: nvml.EventSet, proc: Path) -> None:
        self.snapshot = snapshot
        self._events = events
        self._proc = proc
        self._gpu_folders = self._list_gpu_folders()
        watched = [nvml.watch_xids(handle, events) for handle in snapshot.handles.values()]
        self._has_events = any(watched)

    def wait(self, seconds: float, stopping: threading.Event) -> Event | None:
        """Wait for an event, for so long at most.

        Raises:
            NvmlError: the wait failed, which says nothing against any one GPU.
        """
        if not self._has_events:
            stopping.wait(seconds)
            return None
        event = nvml.wait_for_xid(self._events, int(seconds * 1000) + 1)
        return Event(event.xid, self._device_of(event.handle)) if event is not None else None

    def check(self) -> Check:
        """See whether the GPUs are still those of the snapshot: two calls and one for each GPU.

        Raises:
            NvmlError: the GPUs cannot be counted any more.
        """
        lost: dict[DeviceId, str] = {}
        differs = nvml.device_count() != self._count() or self._list_gpu_folders() != self._gpu_folders
        for device, handle in self.snapshot.handles.items():
            try:
                differs |= nvml.uuid_of(handle) != device
            except nvml.NvmlError as error:
                lost[device] = str(error)
            except UnicodeDecodeError:
                differs = True
        return Check(differs, lost)

    def _count(self) -> int:
        inventory = self.snapshot.inventory
        return len(inventory.devices) + len(inventory.rejected)

    def _device_of(self, handle: nvml.Handle) -> DeviceId | None:
        try:
            found = nvml.uuid_of(handle)
        except (nvml.NvmlError, UnicodeDecodeError):
            return None
        return DeviceId(found) if found in self.snapshot.handles else None

    def _list_gpu_folders(self) -> frozenset[str]:
        """List what the kernel module has bound, which changes before a new session would show it."""
        try:
            return frozenset(path.name for path in (self._proc / "driver/nvidia/gpus").iterdir())
        except OSError:
            return frozenset()


@contextmanager
def open_session(
    library: ctypes.CDLL, sysfs: Path, proc: Path, known: Inventory | None, *, counted: bool
) -> Iterator[Session]:
    """Initialise NVML and read everything; shut it down at the end.

    ``counted`` tells that the driver counts an initialisation already, which is given back.

    Raises:
        DriverMissingError: the driver cannot be reached, or has no GPU.
    """
    nvml.adopt(library)
    if counted:
        nvml.shut_down()
    try:
        snapshot = read_snapshot(sysfs, known)
        if not snapshot.inventory.devices and not snapshot.inventory.rejected and known is None:
            raise DriverMissingError("the driver is there but has no GPU")
        events = nvml.make_event_set()
        try:
            yield Session(snapshot, events, proc)
        finally:
            nvml.free_event_set(events)
    except nvml.NvmlError as error:
        raise DriverMissingError(f"NVML: {error}") from error
    finally:
        nvml.shut_down()
