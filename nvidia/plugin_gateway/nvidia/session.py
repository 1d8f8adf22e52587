"""One session of NVML, from its initialisation to its shutdown.

NVML shows a new GPU only in a new session.
"""

import ctypes
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from plugin_gateway.core.devices import DeviceId, FaultId, Inventory, Links, PhysicalId
from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.core.health.observations import DriverSeen, EvidenceReported
from plugin_gateway.core.health.policy import RECOVERY_ACTION, EvidenceKind
from plugin_gateway.nvidia import nvml
from plugin_gateway.nvidia.checkup import answers, check_up, of_part
from plugin_gateway.nvidia.evidence import DOUBLE_BIT_ECC, GPU_UNAVAILABLE, xid_kind
from plugin_gateway.nvidia.library import DriverMissingError
from plugin_gateway.nvidia.mig_reader import MigReader
from plugin_gateway.nvidia.pci import PciBus
from plugin_gateway.nvidia.snapshot import Listener, ask, read_snapshot

if TYPE_CHECKING:
    from plugin_gateway.core.health.observations import FactsSeen
    from plugin_gateway.nvidia.history import Histories
    from plugin_gateway.nvidia.label_facts import ReadFacts


class Check(NamedTuple):
    """The result of a rescan."""

    differs: bool
    """Whether there are other GPUs than in the snapshot, so that a new session is needed."""
    fails: bool
    """Whether a device of the inventory did not answer."""
    is_outdated: bool
    """Whether a GPU answers again, has other MIG devices, a call failed when the snapshot was read, or the kernel shows
    other GPUs on the PCI bus."""
    answers_again: bool
    """Whether a GPU answers that did not answer before."""


class Happening(NamedTuple):
    """The meaning of an event."""

    evidence: tuple[EvidenceReported, ...]
    """One for each device that it is about. None if it is no evidence."""
    asks_for_rescan: bool = False
    """Whether only a rescan can find out what has happened."""


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
        listener: Listener,
        bus: PciBus,
        proc: Path,
        known: Inventory | None,
        mig: MigReader,
        gpu_folders: frozenset[str],
        give_sign: Callable[[], None],
    ) -> None:
        """Read the GPUs. ``known`` is the previous inventory.

        ``give_sign`` records a sign of life. It is called between two GPUs, so the sign gets old only if the driver
        hangs in the calls for one GPU.

        Raises:
            NvmlError: the GPUs cannot be counted.
        """
        self._listener = listener
        self._bus = bus
        self._mig = mig
        self._proc = proc
        self._gpu_folders = gpu_folders
        self._give_sign = give_sign
        self._by_address: Mapping[int, PhysicalId | None] = {}
        bus.look()
        mig.begin_session()
        self._functions = bus.settled
        self.snapshot = read_snapshot(bus, known, listener, mig, give_sign)
        self._take_answers()

    def read_again(self) -> None:
        """Read the GPUs again, without a new session.

        Raises:
            NvmlError: the GPUs cannot be counted.
        """
        for before, now in zip(self._answers, self._latest, strict=True):
            if before.error is not None and now.handle is not None:
                self._listener.forget(now.handle)
        self._functions = self._bus.settled
        self.snapshot = read_snapshot(self._bus, self.snapshot.inventory, self._listener, self._mig, self._give_sign)
        self._take_answers()

    def _take_answers(self) -> None:
        self._answers = list(self.snapshot.answers)
        self._latest = list(self.snapshot.answers)
        parts: dict[PhysicalId, list[DeviceId]] = {}
        for device in self.snapshot.inventory.devices:
            if not device.is_whole:
                parts.setdefault(device.physical.id, []).append(device.id)
        self._parts: Mapping[PhysicalId, Sequence[DeviceId]] = parts
        here = set(self.snapshot.by_index.values())
        self._by_address = {
            # A GPU that is lost now has no handle, and can still have events.
            **{address: device for address, device in self._by_address.items() if device in here},
            **{
                nvml.address_of(answer.handle): self.snapshot.by_index.get(index)
                for index, answer in enumerate(self.snapshot.answers)
                if answer.handle is not None
            },
        }

    @property
    def hears(self) -> bool:
        """Whether XIDs are reported for at least one GPU."""
        return self._listener.hears

    def wait(self, seconds: float, stopping: threading.Event) -> Happening | None:
        """Wait for an event, at most ``seconds``. None if none came.

        Raises:
            NvmlError: the wait failed. This says nothing about a single GPU.
        """
        if self._listener.events is None or not self.hears:
            stopping.wait(seconds)
            return None
        event = nvml.wait_for_event(self._listener.events, max(1, int(seconds * 1000)))
        if event is None:
            return None
        if event.kind is nvml.EventKind.MIG_CONFIG:
            return Happening((), asks_for_rescan=True)
        kind = xid_kind(event.data) if event.kind is nvml.EventKind.XID else _FAULTS[event.kind]
        is_recovery = event.kind is nvml.EventKind.RECOVERY_ACTION
        device = self._device_of(event.handle)
        if device is not None and event.gpu_instance is not None:
            found = self._about_instance(kind, device, event, event.gpu_instance)
            return found._replace(asks_for_rescan=found.asks_for_rescan or is_recovery)
        place = "" if device is not None else _place_of(event.handle)
        return Happening((EvidenceReported(kind, device, place),), asks_for_rescan=is_recovery)

    def _about_instance(self, kind: EvidenceKind, gpu: PhysicalId, event: nvml.Event, gpu_instance: int) -> Happening:
        """Return the meaning of an event that names a GPU instance: it is about the devices in it.

        An instance that is not known asks for a rescan. If the GPU is not known to be in MIG mode, the event is about
        the GPU: its fault must not get lost.
        """
        layout = self._mig.known.get(gpu)
        if layout is None:
            return Happening((EvidenceReported(kind, gpu),), asks_for_rescan=True)
        inventory, devices = self.snapshot.inventory, layout.in_instance(gpu_instance, event.compute_instance)
        known = [DeviceId(each) for each in devices if each in inventory.ids]
        evidence = tuple(EvidenceReported(kind, each) for each in known)
        if not devices or len(known) < len(devices):
            place = f"GPU {inventory.physical_by_id[gpu].index}, {event.instances}"
            evidence += (EvidenceReported(kind, None, place),)
        return Happening(evidence, asks_for_rescan=not devices)

    def check(self, between: Callable[[], None]) -> Check:
        """Compare the GPUs with the snapshot: one call, three more for each GPU, and a scan of each in MIG mode.

        A GPU that does not answer is no reason for a new session, because the others would not be watched meanwhile,
        and a new session is not always possible. ``between`` is called after each GPU.

        Raises:
            NvmlError: the GPUs can no longer be counted.
        """
        differs = nvml.device_count() != len(self._answers) or list_gpu_folders(self._proc) != self._gpu_folders
        fails, answers_again, is_outdated = False, False, self._bus_differs() or not self.snapshot.is_complete
        for index, before in enumerate(self._answers):
            now = self._latest[index] = ask(index)
            between()
            if now.error is not None:
                fails |= index in self.snapshot.by_index
                if before.error is None or not before.error.is_gpu_lost:
                    self._answers[index] = now
            elif before.error is not None and not before.error.is_gpu_lost:
                answers_again = True
            elif not now.agrees_with(before):
                differs = True  # a lost GPU that comes back has another handle in a new session only
            else:
                is_outdated |= self._has_another_layout(index, now.handle, between)
        return Check(differs, fails, is_outdated or answers_again, answers_again)

    def _has_another_layout(self, index: int, handle: nvml.Handle | None, between: Callable[[], None]) -> bool:
        """Whether a GPU has other MIG devices than in the snapshot. What cannot be read is taken to be the same."""
        gpu = self.snapshot.by_index.get(index)
        if gpu is None or handle is None:
            return False
        minor = self.snapshot.inventory.physical_by_id[gpu].minor
        try:
            return self._mig.read(gpu, handle, minor, between) != self._mig.known.get(gpu)
        except nvml.NvmlError:
            return False

    def _bus_differs(self) -> bool:
        """Whether the PCI bus has other GPUs than the snapshot, and has had them for two looks."""
        self._bus.look()
        return self._bus.is_quiet and self._bus.settled != self._functions

    def check_up(
        self,
        between: Callable[[], None],
        now: float,
        histories: "Histories | None",
        only: AbstractSet[FaultId] | None = None,
    ) -> Mapping[FaultId, Checkup]:
        """Check the GPUs of the inventory, and the parts of each that answers. Calls ``between`` after each call.

        Without ``histories``, this takes at most three calls for each device. With them, there are two more, and now
        and then one for each link of the device.
        """
        checkups: dict[FaultId, Checkup] = {}
        for index, device in self.snapshot.by_index.items():
            parts = self._parts.get(device, ())
            if only is None or device in only or not only.isdisjoint(parts):
                history = None if histories is None else histories.of(device)
                checkups[device] = checkup = check_up(self._latest[index], between, now, history)
                checkups.update(dict.fromkeys(parts, of_part(checkup)) if answers(checkup) else {})
        return checkups

    def read_links(self, between: Callable[[], None]) -> Links:
        """Return how the GPUs of the inventory are connected. Calls ``between`` after each call of the driver."""
        from plugin_gateway.nvidia.links import read_links  # noqa: PLC0415 - the first list does not need it

        physical = self.snapshot.inventory.physical
        return read_links({device.id: self._latest[device.index].handle for device in physical}, between)

    def read_facts(self, known: "FactsSeen | None", between: Callable[[], None]) -> "ReadFacts":
        """Return what labels tell of the GPUs of the inventory. Calls ``between`` after each call of the driver."""
        from plugin_gateway.nvidia.label_facts import read_facts  # noqa: PLC0415 - only where asked for

        inventory = self.snapshot.inventory
        handles: dict[FaultId, nvml.Handle | None] = {
            device.id: self._latest[device.index].handle for device in inventory.physical
        }
        return read_facts(inventory, handles, self._bus, known, between)

    def _device_of(self, handle: nvml.Handle) -> PhysicalId | None:
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
    bus: PciBus,
    proc: Path,
    known: Inventory | None,
    mig: MigReader,
    give_sign: Callable[[], None],
) -> Iterator[Session]:
    """Open a session of a driver that was initialised, and shut it down at the end.

    Raises:
        DriverMissingError: the driver cannot be reached, now or later in the session.
    """
    # Read first, so that the first rescan notices a change during the snapshot.
    gpu_folders = list_gpu_folders(proc)
    nvml.adopt(library)
    try:
        events = nvml.make_event_set()
        try:
            yield Session(Listener(events), bus, proc, known, mig, gpu_folders, give_sign)
        finally:
            if events is not None:
                nvml.free_event_set(events)
    except nvml.NvmlError as error:
        raise DriverMissingError(f"NVML: {error}") from error
    finally:
        nvml.shut_down()
