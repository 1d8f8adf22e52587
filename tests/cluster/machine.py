"""A machine inside this one. It has its own processes, network, ``/run``, ``/var/lib`` and ``/var/log``.

A kubelet looks for device plugins only in ``/var/lib/kubelet``. A kubelet can run here already, so the machine needs
its own folder of that name.
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
"""The addresses of the machine, and of this one on the link between them. RFC 2544 reserves them for tests."""
_LINK = "gpu-node"
_NAMESPACES = ("--mount", "--pid", "--net", "--uts", "--ipc")
_BOOT = Path(__file__).with_name("boot.sh")
CGROUPS = Path("/sys/fs/cgroup")
CGROUP = "plugin-gateway-cluster"
TIMEOUT = 20.0
"""Seconds for what takes less than one on a quiet machine."""
_POLL = 0.02
"""Seconds."""
_KERNEL_SETTINGS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
"""Settings that a kubelet changes for the whole real machine (setupKernelTunables). Not every kernel has all of
them."""
_PROC_SYS = Path("/proc/sys")


class MachineError(Exception):
    """The machine, or something in it, does not do what it should."""


def wait_until(what: Callable[[], object], saying: str | Callable[[], str], limit: float = TIMEOUT) -> None:
    """Wait until ``what`` is true. ``saying`` is for the error message; a function is called only then.

    Raises:
        MachineError: it is not true within the limit, in seconds.
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
        """Send a signal to the process group, which consists of nsenter and the program."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal, and wait for the end."""
        self.send(number)
        self.wait()

    def wait(self) -> None:
        """Wait for the end."""
        self._process.wait(TIMEOUT)

    def leave(self) -> None:
        """Let the program run on after this process ends."""
        self._process.returncode = 0


class Machine:
    """A machine that can be booted and switched off. Its disk stays until it is wiped."""

    def __init__(self, folder: Path) -> None:
        self._disk = folder / "disk"
        self._outside = 0
        """The parent of the machine's first process, as it was found last."""
        self._settings_file = folder / "kernel-settings"
        self._services: dict[str, Service] = {}

    @property
    def is_on(self) -> bool:
        return self._init is not None

    @property
    def _init(self) -> int | None:
        """The first process of the machine, as seen from here. It need not be this process that booted the machine."""
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
        """Check that the machine can be booted.

        Raises:
            MachineError: it runs, or one with the same name that belongs to another checkout.
        """
        if self.is_on:
            raise MachineError("the cluster is up already; make cluster-down ends it")
        if _has_wire():
            raise MachineError(f"a {NAME} is up that belongs to another checkout, whose make cluster-down ends it")

    def boot(self) -> None:
        """Boot the machine. Nothing else runs in it yet.

        Raises:
            MachineError: it runs already, or does not boot.
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
        """Make a network link between the machine and this one. It vanishes with the machine."""
        run("ip", "link", "add", _LINK, "type", "veth", "peer", "name", "eth0", "netns", str(self._init))
        run("ip", "address", "add", f"{OUTSIDE}/30", "dev", _LINK)
        run("ip", "link", "set", _LINK, "up")
        self.run("ip", "address", "add", f"{ADDRESS}/30", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")
        self.run("ip", "route", "add", "default", "via", OUTSIDE)
        self.run("hostname", NAME)

    def inside(self, path: str) -> Path:
        """Return a path of the machine as a path of this one."""
        return Path(f"/proc/{self._init or 0}/root", path.lstrip("/"))

    def disk(self, path: str) -> Path:
        """Return a path below ``/var`` of the machine as a path of this one, whether the machine runs or not."""
        return self._disk / path.removeprefix("/var/")

    def run(self, *command: str) -> str:
        """Run a program in the machine until it ends, and return its output."""
        return run(*self._entering(), *command)

    def start(self, name: str, *command: str) -> Service:
        """Start a program in the machine, with a log of this name."""
        log = self._disk / "log" / f"{name}.log"
        service = self._services[name] = Service((*self._entering(), *command), log)
        return service

    def _entering(self) -> tuple[str, ...]:
        if self._init is None:
            raise MachineError("the machine is off")
        return ("nsenter", f"--target={self._init}", *_NAMESPACES, "--")

    def leave(self) -> None:
        """Let the machine run on after this process ends."""
        for service in self._services.values():
            service.leave()

    def power_off(self) -> None:
        """End the machine and all its processes at once. Do nothing if it is off.

        Raises:
            MachineError: the machine belongs to another checkout, or does not end.
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
        """Delete everything on its disk."""
        shutil.rmtree(self._disk, ignore_errors=True)

    def _make_cgroups(self) -> None:
        for folder in hierarchies():
            (folder / CGROUP).mkdir(exist_ok=True)

    def _remove_cgroups(self) -> None:
        for hierarchy in hierarchies():
            top = hierarchy / CGROUP
            wait_until(lambda top=top: _is_removed(top), f"{top} is gone")  # type: ignore[misc]

    def _note_settings(self) -> None:
        if not self._settings_file.exists():  # otherwise it has the original ones, from before an unclean end
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
    """Yield the folders in which control groups are made: several with cgroup v1, one with v2, or none."""
    if (CGROUPS / "cgroup.controllers").exists():
        yield CGROUPS
    else:
        yield from (path.parent for path in CGROUPS.glob("*/cgroup.procs") if not path.parent.is_symlink())


def _is_removed(group: Path) -> bool:
    """Remove a control group with all groups in it. Return whether the kernel has let all of them go."""
    with contextlib.suppress(OSError):
        for folder, _, _ in os.walk(group, topdown=False):
            Path(folder).rmdir()
    return not group.exists()


def run(*command: str, stdin: str = "", limit: float = 10 * TIMEOUT) -> str:
    """Run a program here until it ends, and return its output.

    Raises:
        MachineError: it failed, or did not end in time. The message has its error output, and then its output.
    """
    try:
        ended = subprocess.run(command, check=False, input=stdin, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired as error:
        raise MachineError(f"{' '.join(command)}: not within {limit:.0f} s") from error
    if ended.returncode:
        raise MachineError(f"{' '.join(command)}: {ended.stderr.strip()}\n{ended.stdout}")
    return ended.stdout
