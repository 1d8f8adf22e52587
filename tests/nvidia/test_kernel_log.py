"""The reader of the kernel's log: it reads from its start on, survives losses and floods, and ends."""

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from plugin_gateway.nvidia import kernel_log
from plugin_gateway.nvidia.kernel_lines import XidLine
from plugin_gateway.nvidia.kernel_log import Batch, KernelLog, LogListener, find_problem, problem_of

from .watcher import LIMIT, eventually

LINE = b"3,1,2,-;NVRM: Xid (PCI:0000:10:00): %d, pid=1, name=x\n"
NOISE = b"6,1,2,-;systemd[1]: something else happened, as it does all the time on a busy machine\n"


class Log:
    """A named pipe in place of the log, and what was heard of it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "kmsg"
        os.mkfifo(self.path)
        self._writer = os.open(self.path, os.O_RDWR)
        self.batches: list[Batch] = []
        self.problems: list[str | None] = []
        self.due: float | None = None
        self.heard_at: list[float] = []

    def hear(self, batch: Batch) -> None:
        self.batches.append(batch)
        self.heard_at.append(time.monotonic())
        self.due = None

    def read(self, *, reopen_pause: float = 0.02) -> KernelLog:
        listener = LogListener(self.hear, lambda: self.due, self.problems.append)
        return KernelLog(str(self.path), listener, reopen_pause=reopen_pause)

    def write(self, data: bytes) -> None:
        os.write(self._writer, data)

    def close(self) -> None:
        os.close(self._writer)

    @property
    def xids(self) -> list[int]:
        return [line.xid for batch in self.batches for line in batch.lines if isinstance(line, XidLine)]

    def has_gap(self) -> bool:
        return any(batch.has_gap for batch in self.batches)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def stop(reader: KernelLog, log: Log) -> None:
    began = time.monotonic()
    reader.stop()
    reader.stop()
    assert reader.join(LIMIT)
    assert time.monotonic() - began < 1
    log.close()


def test_lines_are_heard_at_once_and_the_rest_is_left_out(log: Log) -> None:
    reader = log.read()
    eventually(lambda: bool(log.batches))
    log.write(NOISE + LINE % 79 + b" SUBSYSTEM=pci\n DEVICE=+pci:0000:10:00.0\n" + NOISE)
    eventually(lambda: log.xids == [79])
    log.write(LINE % 48)
    eventually(lambda: log.xids == [79, 48])
    assert not log.has_gap()
    stop(reader, log)


def test_lines_from_before_the_start_are_no_evidence(tmp_path: Path) -> None:
    """A file can be sought, like the log and unlike a pipe."""
    path = tmp_path / "file"
    path.write_bytes(LINE % 79)
    log = Log(tmp_path)
    reader = KernelLog(str(path), LogListener(log.hear, lambda: None, log.problems.append), reopen_pause=0.02)
    eventually(lambda: log.problems[:2] == [None, f"{path} ended"])
    assert log.xids == []
    stop(reader, log)


def errors(monkeypatch: pytest.MonkeyPatch, *numbers: int) -> Callable[[], int]:
    """Let reads of the log fail, the next with the first of these errors; tells how many are left."""
    left, read = list(numbers), os.read

    def fail(descriptor: int, size: int) -> bytes:
        if left and threading.current_thread().name == "kernel log":
            number = left.pop(0)
            raise OSError(number, os.strerror(number))
        return read(descriptor, size)

    monkeypatch.setattr(os, "read", fail)
    return lambda: len(left)


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EINVAL])
def test_records_that_were_overwritten_are_a_gap_and_the_next_are_read(
    log: Log, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    errors(monkeypatch, number, number)
    log.write(LINE % 79)
    reader = log.read()
    eventually(lambda: log.xids == [79])
    assert log.has_gap()
    assert log.problems == [None]
    stop(reader, log)


def test_a_log_that_fails_is_said_once_and_opened_again(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    left = errors(monkeypatch, *[errno.EIO] * 3)
    reader = log.read()
    eventually(lambda: left() == 0)
    log.write(LINE % 79)
    eventually(lambda: log.xids == [79])
    assert log.problems[:2] == [None, f"{log.path}: Input/output error"]
    assert log.problems[-1] is None
    assert log.has_gap()
    stop(reader, log)


def test_a_log_that_is_not_there_is_said_and_looked_for_again(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.path.rename(tmp_path / "elsewhere")
    reader = log.read()
    eventually(lambda: bool(log.problems))
    assert log.problems == [f"{log.path} is not in this container: it has to be mounted"]
    (tmp_path / "elsewhere").rename(log.path)
    eventually(lambda: log.problems[-1] is None)
    log.write(LINE % 79)
    eventually(lambda: log.xids == [79])
    stop(reader, log)


def test_who_hears_is_called_when_it_is_due(log: Log) -> None:
    reader = log.read()
    eventually(lambda: bool(log.batches))
    log.due = time.monotonic() + 0.2
    due = log.due
    log.write(NOISE)
    eventually(lambda: len(log.heard_at) > 1)
    assert log.heard_at[-1] >= due - 0.001
    assert log.batches[-1] == Batch()
    stop(reader, log)


def test_a_listener_that_fails_does_not_end_the_thread(log: Log) -> None:
    def hear(batch: Batch) -> None:
        log.hear(batch)
        if len(log.batches) == 1:
            raise ValueError("clumsy")

    reader = KernelLog(str(log.path), LogListener(hear, lambda: None, log.problems.append), reopen_pause=0.02)
    eventually(lambda: len(log.batches) > 1)
    assert log.problems == [None, "ValueError: clumsy", None]
    log.write(LINE % 79)
    eventually(lambda: log.xids == [79])
    stop(reader, log)


def test_a_flood_is_read_in_batches_and_leaves_time_to_others(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """100,000 records, one for each read: whoever else runs in this process is never kept waiting for long."""
    line = (LINE % 79).rstrip().ljust(len(NOISE) - 1) + b"\n"
    monkeypatch.setattr(kernel_log, "RECORD_SIZE", len(line))
    reader = log.read()
    eventually(lambda: bool(log.batches))

    def write() -> None:
        for _ in range(2500):
            log.write((NOISE * 9 + line) * 4)
        log.write(line.replace(b"79", b"48"))

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    longest, end = 0.0, time.monotonic() + 60
    while 48 not in log.xids[-1:]:
        assert time.monotonic() < end
        began = time.monotonic()
        time.sleep(0.001)
        longest = max(longest, time.monotonic() - began)
    assert len(log.xids) == 10_001
    assert longest < 0.5
    writer.join(LIMIT)
    stop(reader, log)


@pytest.mark.parametrize(
    ("number", "restricted", "capabilities", "words"),
    [
        (errno.ENOENT, "0", "0", "/dev/kmsg is not in this container: it has to be mounted"),
        (errno.EPERM, "1", "0", "/dev/kmsg: kernel.dmesg_restrict is 1 and this process does not have CAP_SYSLOG"),
        (errno.EPERM, "0", "0", "/dev/kmsg: the device cgroup of this container forbids it"),
        (errno.EPERM, "1", f"{1 << 34:x}", "/dev/kmsg: the device cgroup of this container forbids it"),
        (errno.EACCES, "1", "0", "/dev/kmsg: Permission denied"),
    ],
)
def test_why_the_log_cannot_be_read_is_told_apart(
    number: int, restricted: str, capabilities: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "/proc/sys/kernel/dmesg_restrict": restricted,
        "/proc/self/status": f"Name:\tx\nCapEff:\t{capabilities}\n",
    }
    monkeypatch.setattr(kernel_log, "_read", files.__getitem__)
    assert problem_of("/dev/kmsg", OSError(number, os.strerror(number))).startswith(words)


def test_a_log_that_can_be_read_has_no_problem(log: Log, tmp_path: Path) -> None:
    assert find_problem(str(log.path)) is None
    assert find_problem(str(tmp_path / "none")) == f"{tmp_path}/none is not in this container: it has to be mounted"
    log.close()
