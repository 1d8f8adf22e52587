"""A machine inside this one: it has processes, a network, ``/run``, ``/var/lib`` and ``/var/log`` of its own.

A kubelet looks for device plugins in ``/var/lib/kubelet`` and nowhere else, so the folder has to be another one than
that of a kubelet which may run here already.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

NAME = "gpu-node"
ADDRESS, OUTSIDE = "198.18.0.2", "198.18.0.1"
"""Of the machine, and of this one on the wire to it: addresses that RFC 2544 sets apart for tests."""
_LINK = "gpu-node"
_NAMESPACES = ("--mount", "--pid", "--net", "--uts", "--ipc")
_BOOT = Path(__file__).with_name("boot.sh")
CGROUPS = Path("/sys/fs/cgroup")
CGROUP = "plugin-gateway-cluster"
TIMEOUT = 20.0
"""Seconds for what takes a fraction of one on a quiet machine."""
_POLL = 0.02
_KERNEL_SETTINGS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
"""What a kubelet sets, for the whole of the real machine (setupKernelTunables); those that this kernel has."""
_PROC_SYS = Path("/proc/sys")


class MachineError(Exception):
    """It does not do what it should."""


def wait_until(what: Callable[[], object], saying: str | Callable[[], str], limit: float = TIMEOUT) -> None:
    """Wait until something is so; what to say if it is not may be asked for then.

    Raises:
        MachineError: it is not, for so many seconds.
    """
    end = time.monotonic() + limit
    while not what():
        if time.monotonic() > end:
            raise MachineError(f"not within {limit:.0f} s: {saying if isinstance(saying, str) else saying()}")
        time.sleep(_POLL)


class Service:
    """A program that runs in the machine until it is ended."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it; its group is nsenter and itself."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal and wait until it is gone."""
        self.send(number)
        self.wait()

    def wait(self) -> None:
        """Wait for its end."""
        self._process.wait(TIMEOUT)

    def leave(self) -> None:
        """Let it run on after this process."""
        self._process.returncode = 0


class Machine:
    """Booted and switched off again; its disk stays until it is wiped."""

    def __init__(self, folder: Path) -> None:
        self._disk = folder / "disk"
        self._outside = 0
        """The parent of its first process, as found the last time."""
        self._settings_file = folder / "kernel-settings"
        self._services: dict[str, Service] = {}

    @property
    def is_on(self) -> bool:
        return self._init is not None

    @property
    def _init(self) -> int | None:
        """The first process, as seen from here, whoever booted the machine."""
        if not self._is_outside(self._outside):
            running = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
            self._outside = next(filter(self._is_outside, running), 0)
        with contextlib.suppress(OSError, ValueError):
            (inside,) = Path(f"/proc/{self._outside}/task/{self._outside}/children").read_text().split()
            return int(inside)
        return None

    def _is_outside(self, pid: int) -> bool:
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            return words[0] == b"unshare" and os.fsencode(self._disk) in words
        return False

    def require_off(self) -> None:
        """Check that it can be booted.

        Raises:
            MachineError: it is on, or one of that name that is not ours.
        """
        if self.is_on:
            raise MachineError("the cluster is up already; make cluster-down ends it")
        if _has_wire():
            raise MachineError(f"a {NAME} is up that belongs to another checkout, whose make cluster-down ends it")

    def boot(self) -> None:
        """Switch it on: nothing runs in it yet.

        Raises:
            MachineError: it is on already, or does not come up.
        """
        self.require_off()
        self._disk.mkdir(parents=True, exist_ok=True)
        self._note_settings()
        self._make_cgroups()
        boot = Service(
            ("unshare", *_NAMESPACES, "--fork", "--mount-proc", "--", "sh", str(_BOOT), str(self._disk)),
            self._disk.parent / "boot.log",
        )
        self._services["boot"] = boot
        wait_until(lambda: self.inside("/run/booted").exists() or not boot.is_running, "the machine has booted")
        if not boot.is_running:
            raise MachineError(f"cannot boot: {(self._disk.parent / 'boot.log').read_text()}")
        self._connect()

    def _connect(self) -> None:
        """Put a wire between the machine and this one; it goes with the machine."""
        run("ip", "link", "add", _LINK, "type", "veth", "peer", "name", "eth0", "netns", str(self._init))
        run("ip", "address", "add", f"{OUTSIDE}/30", "dev", _LINK)
        run("ip", "link", "set", _LINK, "up")
        self.run("ip", "address", "add", f"{ADDRESS}/30", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")
        self.run("ip", "route", "add", "default", "via", OUTSIDE)
        self.run("hostname", NAME)

    def inside(self, path: str) -> Path:
        """Tell where a path of the machine is seen from here."""
        return Path(f"/proc/{self._init or 0}/root", path.lstrip("/"))

    def disk(self, path: str) -> Path:
        """Tell where something below ``/var`` lies, whether the machine is on or not."""
        return self._disk / path.removeprefix("/var/")

    def run(self, *command: str) -> str:
        """Run a program in it to its end; tells what it wrote."""
        return run(*self._entering(), *command)

    def start(self, name: str, *command: str) -> Service:
        """Start a program in it, with a log of that name."""
        log = self._disk / "log" / f"{name}.log"
        service = self._services[name] = Service((*self._entering(), *command), log)
        return service

    def _entering(self) -> tuple[str, ...]:
        if self._init is None:
            raise MachineError("the machine is off")
        return ("nsenter", f"--target={self._init}", *_NAMESPACES, "--")

    def leave(self) -> None:
        """Let it run on after this process."""
        for service in self._services.values():
            service.leave()

    def power_off(self) -> None:
        """Switch it off with everything in it, at once; nothing where it is off.

        Raises:
            MachineError: there is one that is not ours, or it does not end.
        """
        if (init := self._init) is not None:
            os.kill(init, signal.SIGKILL)
            wait_until(lambda: self._init is None, "the machine is off")
        else:
            self.require_off()
        for service in self._services.values():
            service.wait()
        self._services.clear()
        wait_until(lambda: not _has_wire(), "the wire is gone")
        self._remove_cgroups()
        self._restore_settings()

    def wipe(self) -> None:
        """Forget what is on its disk."""
        shutil.rmtree(self._disk, ignore_errors=True)

    def _make_cgroups(self) -> None:
        for folder in hierarchies():
            (folder / CGROUP).mkdir(exist_ok=True)

    def _remove_cgroups(self) -> None:
        for hierarchy in hierarchies():
            top = hierarchy / CGROUP
            wait_until(lambda top=top: _is_removed(top), f"{top} is gone")  # type: ignore[misc]

    def _note_settings(self) -> None:
        if not self._settings_file.exists():  # else they are those of a kubelet that nobody tidied up after
            found = [name for name in _KERNEL_SETTINGS if (_PROC_SYS / name).exists()]
            self._settings_file.write_text(
                "".join(f"{name} {(_PROC_SYS / name).read_text().strip()}\n" for name in found)
            )

    def _restore_settings(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            for line in self._settings_file.read_text().splitlines():
                name, value = line.split(" ", 1)
                (_PROC_SYS / name).write_text(value)
            self._settings_file.unlink()


def _has_wire() -> bool:
    return Path("/sys/class/net", _LINK).exists()


def hierarchies() -> Iterator[Path]:
    """List the folders below which control groups are made: many of the first kind, one of the second, perhaps none."""
    if (CGROUPS / "cgroup.controllers").exists():
        yield CGROUPS
    else:
        yield from (path.parent for path in CGROUPS.glob("*/cgroup.procs") if not path.parent.is_symlink())


def _is_removed(group: Path) -> bool:
    """Remove a control group with all below it, as far as the kernel is done with them."""
    with contextlib.suppress(OSError):
        for folder, _, _ in os.walk(group, topdown=False):
            Path(folder).rmdir()
    return not group.exists()


def run(*command: str, stdin: str = "", limit: float = 10 * TIMEOUT) -> str:
    """Run a program here to its end; tells what it wrote.

    Raises:
        MachineError: it failed, with what it said, or did not end.
    """
    try:
        ended = subprocess.run(command, check=False, input=stdin, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired as error:
        raise MachineError(f"{' '.join(command)}: not within {limit:.0f} s") from error
    if ended.returncode:
        raise MachineError(f"{' '.join(command)}: {ended.stderr.strip()}")
    return ended.stdout
