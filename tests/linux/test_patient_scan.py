"""A function whose files hang is left out of a scan, and comes back when they answer."""

import os
import threading
from pathlib import Path

import pytest

from harness.limits import no_descriptor_left
from plugin_gateway.linux import patient_scan
from plugin_gateway.linux.patient_scan import PatientScan
from plugin_gateway.linux.pci_scan import NoBusError
from plugin_gateway.linux.sysfs import HostTree

from .made_up import DEVICES, function, write

PF, SECOND, THIRD = "0000:3b:00.0", "0000:3b:00.1", "0000:3b:00.2"
LIMIT = 5.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, function(PF, number=0) | function(SECOND, number=1) | function(THIRD, number=2))
    return tmp_path


class Late:
    """Scans without much patience, and notices late answers."""

    def __init__(self, root: Path) -> None:
        self.answered = threading.Event()
        self.signs = 0
        self._scan = PatientScan(HostTree(str(root)), "scan", self.answered.set, no_answer=0.1)

    def look(self) -> tuple[list[str], dict[str, str]]:
        found = self._scan.scan(self._sign)
        return [each.address for each in found.functions], dict(found.unreadable)

    def _sign(self) -> None:
        self.signs += 1


def hang(root: Path, address: str, name: str) -> Path:
    file = root / f"{DEVICES[1:]}/{address}/{name}"
    file.unlink()
    os.mkfifo(file)
    return file


def answer(file: Path) -> None:
    """Let everybody go who waits for the file."""
    os.close(os.open(file, os.O_WRONLY | os.O_NONBLOCK))


@pytest.mark.parametrize("name", ["class", "vendor", "numa_node", "infiniband/mlx5_1/node_guid"])
def test_a_function_that_does_not_answer_is_left_out_until_it_does(root: Path, name: str) -> None:
    scans = Late(root)
    assert scans.look() == ([PF, SECOND, THIRD], {})
    file = hang(root, SECOND, name)
    threads = threading.active_count()
    for _ in range(3):
        assert scans.look() == ([PF, THIRD], {SECOND: "no answer for 0.1 s"})
    assert threading.active_count() == threads + 1, "one thread waits, whatever the number of scans"
    assert scans.signs >= 1 + 2 + 1 + 1
    answer(file)
    assert scans.answered.wait(LIMIT)
    file.unlink()
    file.write_text(function(SECOND, number=1).texts[f"{DEVICES}/{SECOND}/{name}"])
    assert scans.look() == ([PF, SECOND, THIRD], {})


def test_too_many_that_hang_are_a_bus_that_cannot_be_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient_scan, "MOST_STUCK", 1)
    files = [hang(root, each, "class") for each in (PF, SECOND)]
    with pytest.raises(NoBusError, match="more than 1 PCI functions do not answer"):
        Late(root).look()
    for file in files:
        answer(file)


def test_errors_reach_who_scans(tmp_path: Path, root: Path) -> None:
    with pytest.raises(NoBusError):
        Late(tmp_path / "none").look()
    scans = Late(root)
    with no_descriptor_left(), pytest.raises(OSError, match="Too many open files"):
        scans.look()


def test_without_another_thread_the_bus_is_scanned_all_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    assert Late(root).look() == ([PF, SECOND, THIRD], {})
