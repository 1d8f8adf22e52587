"""A stand-in for the NVIDIA driver. The test controls it from here, and the library from nvml.c answers accordingly.

Both share a file that is mapped into memory. So the library can be in any process that finds the file.
"""

import atexit
import ctypes
import functools
import mmap
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import UUID

from driver.control import MAX_EVENTS as MAX_EVENTS  # noqa: PLC0414 - tests use it as one of the driver
from driver.control import Call as Call  # noqa: PLC0414 - the same
from driver.control import Control
from driver.mig import Mig
from driver.topology import Topology

DOUBLE_BIT_ECC = 2
XID_CRITICAL = 8
GPU_UNAVAILABLE = 0x4000
RECOVERY_ACTION_CHANGED = 0x8000
MIG_CONFIG_CHANGED = 0x100
EVERY_EVENT = DOUBLE_BIT_ECC | XID_CRITICAL | GPU_UNAVAILABLE | RECOVERY_ACTION_CHANGED
GPU_IS_LOST = 15
FABRIC_COMPLETED = 3
"""The state of a GPU that has joined the fabric."""
FABRIC_HEALTHY = 0x1AA
"""The health mask in which every field says that nothing is wrong."""
NO_INSTANCE = 0xFFFFFFFF
"""The number of an instance in an event that belongs to none."""
STRANGER = -1
"""The index for an event of a device that is in no list."""

SOURCES = tuple(Path(__file__).with_name(name) for name in ("nvml.c", "mig.c", "topology.c"))
CUDA_SOURCE = Path(__file__).with_name("cuda.c")
LIBRARY, CUDA = "libnvidia-ml.so.1", "libcuda.so.1"
VERSION, CUDA_VERSION = "575.57.08", 12090
"""The version of the driver until another is loaded, and the version of CUDA that it supports, as NVML writes it."""
_SYS_FUTEX = {"x86_64": 202, "aarch64": 98}[platform.machine()]
_FUTEX_WAKE = 1
_libc = ctypes.CDLL(None)


def build(folder: Path, *, old: bool = False) -> Path:
    """Compile the library into a folder. ``old`` gives it the function names that drivers before 2018 had."""
    return _compile(folder / LIBRARY, SOURCES, *(["-DOLD_DRIVER"] if old else ()))


def build_cuda(folder: Path) -> Path:
    """Compile the library by which programs compute into a folder. It lists the same GPUs."""
    return _compile(folder / CUDA, (*SOURCES, CUDA_SOURCE))


def _compile(target: Path, sources: Sequence[Path], *options: str) -> Path:
    strict = ("-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", f"-Wl,-soname,{target.name}")
    subprocess.run(["cc", *strict, *options, "-o", str(target), *map(str, sources)], check=True)
    return target


@functools.cache
def built(*, old: bool) -> Path:
    """Compile the library once in this process. It is removed when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="nvml-stand-in-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return build(folder, old=old)


class Driver:
    """A driver root with the library and the device nodes, and the machine with its GPUs."""

    def __init__(self, folder: Path, *, gpus: int = 8, old: bool = False) -> None:
        self.root = folder / "driver-root"
        self.proc = folder / "machine/proc"
        self.sysfs = folder / "machine/sys"
        self._old = old
        self._file = folder / "control"
        self._file.write_bytes(bytes(ctypes.sizeof(Control)))
        with self._file.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self._control = Control.from_buffer(self._memory)
        self.mig = Mig(self._control, self._file, self.root, self.proc)
        """What is said about MIG. It is called with a layout."""
        self.topology = Topology(self._control)
        """How the GPUs are connected."""
        (self.root / "dev").mkdir(parents=True)
        for name in ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"):
            (self.root / "dev" / name).touch()
        self.load_module(VERSION)
        self._control.cuda = CUDA_VERSION
        self.know_fabric(3)
        self.install()
        for index in range(gpus):
            self.add(index)

    def close(self) -> None:
        """Release all calls that hang, and unmap the memory. Nothing may use the driver after that."""
        self.release()
        del self._control, self.mig, self.topology
        self._memory.close()

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the environment that a process needs to find the shared file."""
        return {"NVML_STAND_IN": str(self._file)}

    @property
    def _library(self) -> Path:
        return self.root / "usr/lib64" / LIBRARY

    def install(self) -> None:
        """Put the library below the driver root."""
        self._library.parent.mkdir(parents=True, exist_ok=True)
        self._library.symlink_to(built(old=self._old))

    def uninstall(self) -> None:
        """Remove the library. Processes that have loaded it keep it."""
        self._library.unlink()

    def add(
        self,
        index: int,
        *,
        uuid: bytes | None = None,
        name: str | bytes = "NVIDIA H100 80GB HBM3",
        minor: int | None = None,
        has_events: bool = True,
        event_types: int = EVERY_EVENT,
        domain: int = 0,
        numa_node: int | None = None,
        capability: tuple[int, int] = (9, 0),
        in_proc: bool = True,
        links: int = 2,
        memory: int = 80 * 2**30,
    ) -> str:
        """Put a GPU into a slot, and return its UUID. A new session sees it.

        ``numa_node`` is what sysfs contains, which can be -1; with None there is no file. ``in_proc`` says whether the
        kernel module has a folder for the GPU below ``proc``. ``links`` go to switches. ``memory`` is in bytes. The
        name decides whether it has MIG, and which profiles.
        """
        gpu = self._control.gpus[index]
        gpu.uuid = uuid if uuid is not None else b"GPU-5a7d1e00-0000-0000-0000-%012x" % index
        gpu.name = name if isinstance(name, bytes) else name.encode()
        gpu.domain, gpu.bus, gpu.device = domain, index + 16, 0
        gpu.capability = capability
        gpu.minor, gpu.memory = index if minor is None else minor, memory
        gpu.error, gpu.has_events, gpu.event_types, gpu.present = 0, has_events, event_types, 1
        self.topology.connect_to_switches(index, links)
        self.mig.add(index)
        self.recover(index)
        self.join_clique(index, UUID(int=0), 0)
        (self.root / "dev" / f"nvidia{gpu.minor}").touch()
        self.add_function(self._address(index), "nvidia")
        self._write_numa_node(index, numa_node)
        if in_proc:
            self._proc_folder(index).mkdir(parents=True, exist_ok=True)
        return bytes(gpu.uuid).decode(errors="replace")

    def uuid(self, index: int) -> str:
        """Return the UUID of a GPU."""
        return bytes(self._control.gpus[index].uuid).decode()

    def remove(self, index: int) -> None:
        """Remove a GPU. A new session does not see it."""
        self._control.gpus[index].present = 0
        shutil.rmtree(self.sysfs / "bus/pci/devices" / self._address(index))
        if self._proc_folder(index).exists():
            self._proc_folder(index).rmdir()

    def add_function(
        self, address: str, kernel_driver: str | None, *, vendor: str = "0x10de", pci_class: str = "0x030200"
    ) -> Path:
        """Put a PCI function into sysfs, and return its folder. NVML does not get to know it.

        ``kernel_driver`` is the driver that has it; None if none has.
        """
        folder = self.sysfs / "bus/pci/devices" / address
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "vendor").write_text(f"{vendor}\n")
        (folder / "class").write_text(f"{pci_class}\n")
        (folder / "driver").unlink(missing_ok=True)
        if kernel_driver is not None:
            (folder / "driver").symlink_to(f"../../../bus/pci/drivers/{kernel_driver}")
        return folder

    def lose(self, index: int, error: int = GPU_IS_LOST) -> None:
        """Let all calls for a GPU fail at once. By default it has fallen off the bus."""
        self._control.gpus[index].error = error

    def find(self, index: int) -> None:
        """Let a lost GPU answer again."""
        self._control.gpus[index].error = 0

    def ask_for_recovery(self, index: int, action: int) -> None:
        """Set the recovery action of a GPU (field 230), and report the change. -1: the driver has no such field."""
        self._control.gpus[index].recovery_action = action
        self.xid(index, action, RECOVERY_ACTION_CHANGED)

    def fail_memory(self, index: int, *, remap_failed: bool = False, pending: bool = False, old: bool = False) -> None:
        """Set memory errors of a GPU: a row that cannot be remapped, or memory that waits for a reset.

        What waits are rows, or pages of an ``old`` GPU.
        """
        gpu = self._control.gpus[index]
        gpu.remap_failed, gpu.remap_pending, gpu.retirement_pending = remap_failed, pending and not old, pending and old

    def recover(self, index: int) -> None:
        """Remove all errors of a GPU, without an event."""
        gpu = self._control.gpus[index]
        gpu.recovery_action = gpu.remap_failed = gpu.remap_pending = gpu.retirement_pending = 0
        gpu.links_down = gpu.clocks = gpu.in_mig_mode = gpu.pending_mig_mode = 0
        self.set_fabric(index)

    def know_fabric(self, version: int) -> None:
        """Let this version be the newest structure of the fabric's state that the driver knows. 0: it knows none."""
        self._control.fabric_version = version

    def set_fabric(
        self,
        index: int,
        state: int = FABRIC_COMPLETED,
        *,
        status: int = 0,
        mask: int = FABRIC_HEALTHY,
        summary: int = 1,
    ) -> None:
        """Set what a GPU says about the NVLink fabric. A state of -1: it has none."""
        gpu = self._control.gpus[index]
        gpu.fabric_state, gpu.fabric_status, gpu.fabric_mask, gpu.fabric_summary = state, status, mask, summary

    def set_cuda(self, version: int) -> None:
        """Set the version of CUDA that the driver supports, as NVML writes it. 0: it does not tell."""
        self._control.cuda = version

    def join_clique(self, index: int, cluster: UUID, clique: int) -> None:
        """Let a GPU be in a clique of a cluster of the NVLink fabric."""
        gpu = self._control.gpus[index]
        gpu.cluster, gpu.clique = (ctypes.c_uint8 * 16)(*cluster.bytes), clique

    def set_links_down(self, index: int, *links: int) -> None:
        """Set the links of a GPU that are down. All others are up."""
        self._control.gpus[index].links_down = sum(1 << link for link in links)

    def set_mig_mode(self, index: int, *, enabled: bool) -> None:
        """Set whether a GPU is in MIG mode, even if NVML is initialised."""
        gpu = self._control.gpus[index]
        gpu.in_mig_mode = gpu.pending_mig_mode = enabled

    def slow_down(self, index: int, reasons: int) -> None:
        """Set the bits of the reasons why the clocks of a GPU are lower than they can be."""
        self._control.gpus[index].clocks = reasons

    def load_module(self, version: str) -> None:
        """Load another instance of the kernel module with this version; the old one is gone."""
        self._control.version = version.encode()
        folder = self.sysfs / "module/nvidia"
        fresh = folder.with_name("nvidia-loading")
        fresh.mkdir(parents=True)  # before the old one is removed, or it could get the same inode
        if folder.exists():
            folder.rmdir()
        fresh.rename(folder)

    def xid(
        self, index: int, number: int, kind: int = XID_CRITICAL, *, gi: int = NO_INSTANCE, ci: int = NO_INSTANCE
    ) -> None:
        """Report an XID, or an event of another kind. The index can be STRANGER.

        ``gi`` and ``ci`` are the numbers of the GPU instance and the compute instance that it belongs to.
        """
        event = self._control.events[self._control.written % MAX_EVENTS]
        event.gpu, event.type, event.data, event.gi, event.ci = index, kind, number, gi, ci
        self._control.written += 1
        self._wake()

    @property
    def is_full(self) -> bool:
        """Whether one more event would replace one that nobody has read."""
        return int(self._control.written) - int(self._control.read) >= MAX_EVENTS

    def init_delay(self, milliseconds: int) -> None:
        """Let each initialisation take so long."""
        self._control.init_delay_ms = milliseconds

    def fail(self, call: Call, error: int, *, times: int = 0) -> None:
        """Let a call return this error so many times, or until it is told to return 0."""
        self._control.errors_left[call] = times
        self._control.error_of[call] = error
        self._wake()

    def hang(self, *calls: Call) -> None:
        """Let these calls, or all calls, hang until they are released."""
        self._control.hanging = sum(1 << call for call in calls or Call)
        self._wake()

    def release(self) -> None:
        """End all hanging."""
        self._control.hanging = 0
        self._wake()

    def calls(self, call: Call) -> int:
        """Return the number of calls so far, of all processes."""
        return int(self._control.count_of[call])

    @property
    def sessions(self) -> int:
        """Return the number of initialisations that opened a session."""
        return int(self._control.sessions)

    @property
    def threads(self) -> set[int]:
        """Return all threads that ever made a call, by their number in the kernel."""
        return {thread for thread in self._control.threads if thread}

    def _address(self, index: int) -> str:
        gpu = self._control.gpus[index]
        return f"{gpu.domain:04x}:{gpu.bus:02x}:{gpu.device:02x}.0"

    def _proc_folder(self, index: int) -> Path:
        return self.proc / "driver/nvidia/gpus" / self._address(index)

    def _write_numa_node(self, index: int, numa_node: int | None) -> None:
        folder = self.sysfs / "bus/pci/devices" / self._address(index)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "numa_node").unlink(missing_ok=True)
        if numa_node is not None:
            (folder / "numa_node").write_text(f"{numa_node}\n")

    def _wake(self) -> None:
        """Wake all threads that wait in the library, so that they look at the shared memory again."""
        self._control.generation += 1
        address = ctypes.addressof(self._control) + Control.generation.offset
        _libc.syscall(_SYS_FUTEX, ctypes.c_void_p(address), _FUTEX_WAKE, 1 << 30, None, None, 0)
