"""The backend with the kernel's log: lines and events of the same error, of unknown GPUs and of switches."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from driver.driver import Driver
from plugin_gateway.core.devices import DeviceId
from plugin_gateway.core.health.faults import Source
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverSeen,
    EvidenceRefined,
    EvidenceReported,
    InventorySeen,
    KernelLogRead,
)
from plugin_gateway.core.health.policy import Action, EvidenceKind
from plugin_gateway.nvidia.evidence import HEALTH_POLICY, xid_kind
from plugin_gateway.nvidia.kernel_evidence import MAX_STRANGERS, KernelEvidence
from plugin_gateway.nvidia.kernel_lines import XidLine
from plugin_gateway.nvidia.kernel_log import Batch
from plugin_gateway.nvidia.sub_codes import Registers

from .test_inventory import uuid
from .watcher import LIMIT, Watcher, eventually, watch

HARMLESS = "145, RLW_REMAP Nonfatal XC0 i0 Link 13 (0x00000082 0x00000100 0x00000000 0x00000000)"
FATAL = "145, RLW_REMAP Fatal XC0 i0 Link 13 (0x00000082 0x00000040 0x00000000 0x00000000)"
UNKNOWN = "145, RLW_NEW Nonfatal XC0 i0 Link 13 (0x000000ff 0x00000001 0x00000000 0x00000000)"
GPU = DeviceId(uuid(1))
STRANGER = "0000:77:00.0"
LOGGED = Source.KERNEL_LOG


class Log:
    """A named pipe in place of the kernel's log."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._writer = os.open(path, os.O_RDWR)

    def say(self, message: str, prefix: int = 3) -> None:
        os.write(self._writer, f"{prefix},1,2,-;{message}\n".encode())

    def xid(self, message: str, address: str = "0000:11:00") -> None:
        self.say(f"NVRM: Xid (PCI:{address}): {message}")

    def close(self) -> None:
        os.close(self._writer)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(tmp_path / "kmsg")
    yield log
    log.close()


@pytest.fixture
def watcher(driver: Driver, log: Log, tmp_path: Path) -> Iterator[Watcher]:  # noqa: ARG001 - the log has to be there
    with watch(driver, rescan_seconds=60, kernel_log=str(tmp_path / "kmsg")) as watcher:
        watcher.next(DriverSeen)
        eventually(lambda: "kernel log" in threads())
        yield watcher
    assert "kernel log" not in threads()


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_a_harmless_line_explains_the_event_before_it(driver: Driver, log: Log, watcher: Watcher) -> None:
    driver.xid(1, 145)
    assert watcher.next(EvidenceReported) == EvidenceReported(xid_kind(145), GPU)
    log.xid(HARMLESS)
    what = "XID 145 RLW_REMAP status 0x00000100: IGNORE"
    assert watcher.next(EvidenceRefined) == EvidenceRefined(xid_kind(145), GPU, Action.IGNORE, what)


def test_a_fatal_line_before_its_event_counts_once_and_needs_a_reset(
    driver: Driver, log: Log, watcher: Watcher
) -> None:
    log.xid(FATAL)
    assert watcher.next(EvidenceRefined).action is Action.UNTIL_RESET
    driver.xid(1, 145)
    driver.xid(1, 48)
    watcher.next(EvidenceReported, 2)
    assert [each.kind for each in watcher.of(EvidenceReported)] == [xid_kind(145), xid_kind(48)]


def test_a_sub_code_of_no_row_is_the_severest(log: Log, watcher: Watcher) -> None:
    log.xid(UNKNOWN)
    refined = watcher.next(EvidenceRefined)
    assert refined.action is Action.UNTIL_RESET
    assert refined.what == "XID 145 with a sub-code that NVIDIA's table does not have"


def test_a_line_that_was_cut_leaves_it_to_the_driver(log: Log, watcher: Watcher) -> None:
    log.xid(HARMLESS[:-40])
    assert watcher.next(EvidenceRefined).action is Action.UNTIL_DRIVER_DECIDES


def test_a_line_without_an_event_counts(log: Log, watcher: Watcher) -> None:
    log.xid("79, pid=1, name=x, GPU has fallen off the bus.")
    assert watcher.next(EvidenceReported) == EvidenceReported(xid_kind(79), GPU, source=LOGGED)


def test_a_line_without_an_event_is_followed_by_a_check_when_the_driver_has_decided(
    driver: Driver, log: Log, tmp_path: Path
) -> None:
    with watch(
        driver, rescan_seconds=0.1, checkup_seconds=60, decision_seconds=0.5, kernel_log=str(tmp_path / "kmsg")
    ) as watcher:
        watcher.next(DevicesChecked, 2)
        time.sleep(0.3)  # the log is read, and the checks of the start are over
        checks = len(watcher.of(DevicesChecked))
        log.xid("145, cut")
        watcher.next(EvidenceReported)
        told = time.monotonic()
        eventually(lambda: len(watcher.of(DevicesChecked)) > checks and time.monotonic() - told > 0.5)


def test_what_a_program_wrote_into_the_log_does_not_count(log: Log, watcher: Watcher) -> None:
    log.say("NVRM: Xid (PCI:0000:11:00): 79, GPU has fallen off the bus.", prefix=11)
    log.xid("48, pid=1, name=x")
    assert watcher.next(EvidenceReported).kind == xid_kind(48)


def test_a_gpu_that_is_not_in_the_inventory_is_reported_once(log: Log, watcher: Watcher) -> None:
    for _ in range(3):
        log.xid("79, pid=1, name=x", "0000:77:00")
    log.xid("48, pid=1, name=x", "0000:77:00")
    watcher.next(EvidenceReported, 2)
    assert watcher.of(EvidenceReported) == [
        EvidenceReported(xid_kind(79), None, STRANGER, source=LOGGED),
        EvidenceReported(xid_kind(48), None, STRANGER, source=LOGGED),
    ]


def test_an_error_of_a_switch_is_about_no_gpu_and_is_reported(log: Log, watcher: Watcher) -> None:
    log.say("nvidia-nvswitch0: SXid (PCI:0000:c3:00.0): 12028, Non-fatal, Link 46 egress error")
    log.say("nvidia-nvswitch0: SXid (PCI:0000:c3:00.0): 12020, Fatal, Link 46 egress error")
    log.say("nvidia-nvswitch0: SXid (PCI:0000:11:00.0): 12020, Fatal, Link 46 egress error")
    watcher.next(EvidenceReported, 3)
    assert watcher.of(EvidenceReported) == [
        EvidenceReported(EvidenceKind("sxid-12028"), None, "0000:c3:00.0 (non-fatal)", source=LOGGED, of_node=True),
        EvidenceReported(EvidenceKind("sxid-12020"), None, "0000:c3:00.0 (fatal)", source=LOGGED, of_node=True),
        EvidenceReported(EvidenceKind("sxid-12020"), GPU, source=LOGGED),
    ]
    assert HEALTH_POLICY.about(EvidenceKind("sxid-12020")).action is Action.REPORT


def test_a_log_that_cannot_be_read_is_said_and_the_gpus_are_watched(driver: Driver, tmp_path: Path) -> None:
    with watch(driver, rescan_seconds=60, kernel_log=str(tmp_path / "none")) as watcher:
        assert watcher.next(KernelLogRead) == KernelLogRead(
            f"{tmp_path}/none is not in this container: it has to be mounted"
        )
        driver.xid(1, 79)
        assert watcher.next(EvidenceReported) == EvidenceReported(xid_kind(79), GPU)


def test_a_log_that_can_be_read_is_said_too(driver: Driver, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "kmsg")
    with watch(driver, rescan_seconds=60, kernel_log=str(tmp_path / "kmsg")) as watcher:
        assert watcher.next(KernelLogRead) == KernelLogRead(None)


def test_without_the_option_there_is_no_thread(driver: Driver) -> None:
    with watch(driver, rescan_seconds=60) as watcher:
        watcher.next(DriverSeen)
        driver.xid(1, 79)
        watcher.next(EvidenceReported)
        assert "kernel log" not in threads()


def test_without_the_option_nothing_of_it_is_imported() -> None:
    code = "import sys, plugin_gateway.nvidia.backend, plugin_gateway.nvidia.watch; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert "plugin_gateway.nvidia.watch" in ran.stdout
    assert not {"kernel_log", "kernel_evidence", "sub_codes", "correlation"} & set(ran.stdout.replace(".", " ").split())


def test_it_ends_with_the_backend_even_if_the_driver_hangs(driver: Driver, log: Log, tmp_path: Path) -> None:
    watcher = watch(driver, kernel_log=str(tmp_path / "kmsg"))
    watcher.backend.start(watcher.report)
    watcher.next(InventorySeen)
    driver.hang()
    watcher.backend.stop()
    log.xid(FATAL)
    eventually(lambda: "kernel log" not in threads())
    assert not watcher.of(EvidenceReported)
    driver.release()
    assert watcher.backend.join(LIMIT)


def test_the_version_of_the_driver_decides_which_form_is_read_first() -> None:
    evidence = KernelEvidence()
    for version, branch in {"570.124.06": 570, "580": 580, None: None, "unknown": None, "": None}.items():
        driver = DriverSeen(version, "1")
        assert evidence.observe(driver) == [driver]
        assert evidence._branch == branch


def test_strangers_are_limited() -> None:
    evidence = KernelEvidence()
    lines = tuple(XidLine(f"{number:04x}:01:00.0", 79, None) for number in range(3 * MAX_STRANGERS))
    assert len(evidence.hear(Batch(lines))) == MAX_STRANGERS


def test_an_nvlink_error_of_a_stranger_is_reported_without_its_sub_code() -> None:
    line = XidLine(STRANGER, 145, Registers(0x82, 0x100, says_fatal=False))
    assert KernelEvidence().hear(Batch((line,))) == [EvidenceReported(xid_kind(145), None, STRANGER, source=LOGGED)]
