"""The test's hand on the stand-in driver: what it writes here, the library in nvml.c answers with, in any process."""

import ctypes
import hashlib
import mmap
import os
import platform
import subprocess
import tempfile
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path

MAX_GPUS = 64
MAX_EVENTS = 1024
MAX_THREADS = 16
XID_CRITICAL = 8
STRANGER = -1
"""An event of a device that is in no list."""

SOURCE = Path(__file__).with_name("nvml.c")
_SYS_FUTEX = {"x86_64": 202, "aarch64": 98}[platform.machine()]
_FUTEX_WAKE = 1
_libc = ctypes.CDLL(None)


class Call(IntEnum):
    """The calls that can be counted, fail or hang, in the order of nvml.c."""

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


class _Gpu(ctypes.Structure):
    _fields_ = (
        ("present", ctypes.c_uint32),
        ("lost", ctypes.c_uint32),
        ("has_events", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("memory", ctypes.c_uint64),
        ("uuid", ctypes.c_char * 96),
        ("name", ctypes.c_char * 96),
        ("bus_id", ctypes.c_char * 32),
    )


class _Event(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_int32), ("type", ctypes.c_uint32), ("data", ctypes.c_uint64))


class _Control(ctypes.Structure):
    _fields_ = (
        ("init_delay_ms", ctypes.c_uint32),
        ("hanging", ctypes.c_uint32),
        ("written", ctypes.c_uint32),
        ("read", ctypes.c_uint32),
        ("error_of", ctypes.c_int32 * len(Call)),
        ("count_of", ctypes.c_uint32 * len(Call)),
        ("threads", ctypes.c_int32 * MAX_THREADS),
        ("sessions", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),
        ("gpus", _Gpu * MAX_GPUS),
        ("events", _Event * MAX_EVENTS),
    )


def build() -> Path:
    """Compile the library, once for each state of its source, and tell where it is."""
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    target = Path(tempfile.gettempdir()) / f"nvml-stand-in-{os.getuid()}-{digest}" / "libnvidia-ml.so.1"
    if not target.exists():
        target.parent.mkdir(mode=0o700, exist_ok=True)
        fresh = target.with_suffix(f".{os.getpid()}")
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(fresh), str(SOURCE)], check=True
        )
        fresh.rename(target)
    return target


class Driver:
    """A driver root with the library and device nodes, and the machine behind it."""

    def __init__(self, folder: Path, *, gpus: int = 8) -> None:
        self.root = folder / "driver-root"
        self._file = folder / "control"
        self._file.write_bytes(bytes(ctypes.sizeof(_Control)))
        with self._file.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self._control = _Control.from_buffer(self._memory)
        (self.root / "dev").mkdir(parents=True)
        for name in ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"):
            (self.root / "dev" / name).touch()
        self.install()
        for index in range(gpus):
            self.add(index)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process needs to find the control file."""
        return {"NVML_STAND_IN": str(self._file)}

    @property
    def _library(self) -> Path:
        return self.root / "usr/lib64/libnvidia-ml.so.1"

    def install(self) -> None:
        """Put the library below the driver root."""
        self._library.parent.mkdir(parents=True, exist_ok=True)
        self._library.symlink_to(build())

    def uninstall(self) -> None:
        """Take the library away; who has it loaded keeps it."""
        self._library.unlink()

    def add(
        self, index: int, *, uuid: bytes | None = None, name: str = "NVIDIA H100 80GB HBM3", has_events: bool = True
    ) -> str:
        """Put a GPU into a slot; a new session sees it. Tells its UUID."""
        gpu = self._control.gpus[index]
        gpu.uuid = uuid if uuid is not None else b"GPU-5a7d1e00-0000-0000-0000-%012x" % index
        gpu.name, gpu.bus_id = name.encode(), b"00000000:%02X:00.0" % (index + 16)
        gpu.minor, gpu.memory, gpu.lost, gpu.has_events = index, 80 * 2**30, 0, has_events
        gpu.present = 1
        (self.root / "dev" / f"nvidia{index}").touch()
        return bytes(gpu.uuid).decode(errors="replace")

    def remove(self, index: int) -> None:
        """Take a GPU out; a new session does not see it any more."""
        self._control.gpus[index].present = 0

    def lose(self, index: int) -> None:
        """Have a GPU fall off the bus: its calls fail at once."""
        self._control.gpus[index].lost = 1

    def find(self, index: int) -> None:
        """Have a lost GPU answer again."""
        self._control.gpus[index].lost = 0

    def xid(self, index: int, number: int, kind: int = XID_CRITICAL) -> None:
        """Report an XID of a GPU, or of a stranger."""
        event = self._control.events[self._control.written % MAX_EVENTS]
        event.gpu, event.type, event.data = index, kind, number
        self._control.written += 1
        self._wake("written")

    def init_delay(self, milliseconds: int) -> None:
        """Have every initialisation take so long."""
        self._control.init_delay_ms = milliseconds

    def fail(self, call: Call, error: int) -> None:
        """Have a call return this error; 0 ends it."""
        self._control.error_of[call] = error
        self._wake("written")

    def hang(self, *calls: Call) -> None:
        """Have these calls, or all, not return until they are released."""
        self._control.hanging = sum(1 << call for call in calls or Call)
        self._wake("written")

    def release(self) -> None:
        """End the hanging."""
        self._control.hanging = 0
        self._wake("hanging")

    def calls(self, call: Call) -> int:
        """Count the calls so far, from all processes."""
        return int(self._control.count_of[call])

    @property
    def sessions(self) -> int:
        """Count the initialisations that opened a session."""
        return int(self._control.sessions)

    @property
    def threads(self) -> set[int]:
        """Tell which threads ever called."""
        return {thread for thread in self._control.threads if thread}

    def _wake(self, word: str) -> None:
        address = ctypes.addressof(self._control) + getattr(_Control, word).offset
        _libc.syscall(_SYS_FUTEX, ctypes.c_void_p(address), _FUTEX_WAKE, 1 << 30, None, None, 0)
