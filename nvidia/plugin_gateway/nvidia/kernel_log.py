"""Reads the kernel's log in a thread of its own, from the moment of its start on."""

import errno
import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from plugin_gateway.nvidia.kernel_lines import MARK, SxidLine, XidLine, parse

RECORD_SIZE = 16 * 1024
"""Bytes. The kernel's records have at most half of it."""
BATCH = 256
"""Records that are read before the other threads get their turn."""
PAUSE = 0.001
"""Seconds between two full batches."""
REOPEN_PAUSE = 30.0
"""Seconds before the log is opened again if that failed, or if it ended."""
_LOSSES = (errno.EPIPE, errno.EINVAL)
"""Errors of a read: records were overwritten, or one was too long. The next read goes on after them."""
_CAP_SYSLOG = 34
"""The bit of CAP_SYSLOG, see capability.h of the kernel."""


class Batch(NamedTuple):
    """What a part of the log says, in its order."""

    lines: tuple[XidLine | SxidLine, ...] = ()
    has_gap: bool = False
    """Whether records before these were lost."""


class LogListener(NamedTuple):
    """Who hears what was read. The functions are called in the reader's thread."""

    hear: Callable[[Batch], object]
    due: Callable[[], float | None]
    """Returns when ``hear`` wants to be called even without a line, on the monotonic clock. None for never."""
    say_problem: Callable[[str | None], object]
    """Called with why the log cannot be read, and with None when it is read, both also the first time."""


class _Found(Enum):
    """How a batch ended."""

    MORE = 0
    EMPTY = 1
    END = 2


class KernelLog:
    """Reads the log until `stop`. No error ends the thread."""

    def __init__(self, path: str, listener: LogListener, *, reopen_pause: float = REOPEN_PAUSE) -> None:
        """Start the thread."""
        self._path = path
        self._listener = listener
        self._reopen_pause = reopen_pause
        self._problem: str | None = ""
        """What was told last. Empty if nothing was."""
        self._waking = threading.Lock()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="kernel log", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread after what it does at present. Another call has no effect."""
        with self._waking:
            if not self._stopping:
                self._stopping = True
                os.eventfd_write(self._wake, 1)

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the thread, at most ``timeout`` seconds. Returns False if it has not ended by then."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        has_gap = False
        while not self._stopping:
            try:
                self._read_from_now_on(has_gap=has_gap)
                self._say(f"{self._path} ended")
            except OSError as error:
                self._say(problem_of(self._path, error))
            except Exception as error:  # noqa: BLE001 - the log has to be read after any error
                self._say(f"{type(error).__name__}: {error}")
            has_gap = True
            self._wait(None, self._reopen_pause)
        with self._waking:
            self._stopping = True
            os.close(self._wake)

    def _say(self, problem: str | None) -> None:
        """Tell a problem once, and its end."""
        if problem != self._problem and not self._stopping:
            self._problem = problem
            self._listener.say_problem(problem)

    def _read_from_now_on(self, *, has_gap: bool) -> None:
        """Open the log and read it until it ends or the thread has to.

        Raises:
            OSError: the log cannot be opened or read.
        """
        log = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            with suppress(OSError):  # what cannot be sought has no past either
                os.lseek(log, 0, os.SEEK_END)
            self._say(None)
            self._listener.hear(Batch(has_gap=has_gap))
            while not self._stopping:
                batch, found = _read_batch(log)
                if batch.lines or batch.has_gap or self._left() == 0:
                    self._listener.hear(batch)
                if found is _Found.END:
                    return
                if found is _Found.EMPTY:
                    self._wait(log, self._left())
                else:
                    time.sleep(PAUSE)
        finally:
            os.close(log)

    def _left(self) -> float | None:
        """Return the seconds until the listener wants to be called. None for never."""
        due = self._listener.due()
        return None if due is None else max(due - time.monotonic(), 0.0)

    def _wait(self, log: int | None, seconds: float | None) -> None:
        """Wait for a record, for `stop`, or for this time."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if log is not None:
            poll.register(log, select.POLLIN)
        poll.poll(None if seconds is None else seconds * 1000)


def _read_batch(log: int) -> tuple[Batch, _Found]:
    """Read what there is, without a wait, and not without end.

    Raises:
        OSError: the log cannot be read any more.
    """
    lines: list[XidLine | SxidLine] = []
    has_gap, found = False, _Found.MORE
    for _ in range(BATCH):
        try:
            record = os.read(log, RECORD_SIZE)
        except BlockingIOError:
            found = _Found.EMPTY
            break
        except OSError as error:
            if error.errno not in _LOSSES:
                raise
            has_gap = True
            continue
        if not record:
            found = _Found.END
            break
        if MARK in record:
            lines += [line for part in record.split(b"\n") if (line := parse(part)) is not None]
    return Batch(tuple(lines), has_gap), found


def problem_of(path: str, error: OSError) -> str:
    """Return why the log cannot be read, in words that say what is missing."""
    if error.errno == errno.ENOENT:
        return f"{path} is not in this container: it has to be mounted"
    if error.errno != errno.EPERM:
        return f"{path}: {error.strerror}"
    if _read("/proc/sys/kernel/dmesg_restrict") == "1" and not _has_capability(_CAP_SYSLOG):
        return f"{path}: kernel.dmesg_restrict is 1 and this process does not have CAP_SYSLOG"
    return f"{path}: the device cgroup of this container forbids it; a privileged container may read it"


def find_problem(path: str) -> str | None:
    """Return why the log cannot be read by this process. None if it can."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        return problem_of(path, error)
    return None


def _has_capability(bit: int) -> bool:
    lines = _read("/proc/self/status").splitlines()
    effective = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> bit & 1)


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
