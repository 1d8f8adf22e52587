"""The owner thread: how it begins, waits, hangs and ends."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from driver.driver import Call, Driver, built
from plugin_gateway.core.health.observations import DriverUnavailable, EvidenceReported, InventorySeen, Observation
from plugin_gateway.nvidia import nvml
from plugin_gateway.nvidia.backend import NvmlBackend
from plugin_gateway.nvidia.library import FOLDERS

from .test_inventory import UNKNOWN_TO_PYNVML
from .watcher import LIMIT, Watcher, eventually, mapped, watch

ENOUGH = 0.2
VERSION_MISMATCH = 18


def test_one_thread_makes_every_call(driver: Driver) -> None:
    with watch(driver) as watcher:
        watcher.next(InventorySeen)
        driver.xid(0, 79)
        driver.lose(1)
        driver.add(2)
        watcher.next(InventorySeen, 2)
        (owner,) = [thread.native_id for thread in threading.enumerate() if thread.name == "nvml"]
        assert driver.threads == {owner}
        assert owner != threading.main_thread().native_id


def test_its_thread_holds_up_no_exit(driver: Driver) -> None:
    with watch(driver) as watcher:
        watcher.next(InventorySeen)
        assert all(thread.daemon for thread in threading.enumerate() if thread.name == "nvml")


def test_nothing_heavy_is_imported_before_it_starts() -> None:
    code = (
        "import sys; from plugin_gateway.nvidia.backend import NvmlBackend; NvmlBackend();"
        "print(sorted(sys.modules.keys() & {'pynvml', 'grpc', 'asyncio', 'plugin_gateway.nvidia.nvml'}))"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30)
    assert shown.stdout.strip() == "[]"


def test_the_first_check_does_without_what_later_ones_import() -> None:
    code = (
        "import sys; import plugin_gateway.nvidia.watch;"
        "print(sorted(sys.modules.keys() & {f'plugin_gateway.nvidia.{name}' for name in"
        " ('fabric', 'history', 'later_calls', 'later_checkup', 'links', 'mig', 'mig_calls', 'mig_layout')}))"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30)
    assert shown.stdout.strip() == "[]"


def test_start_returns_at_once_though_the_driver_takes_its_time(driver: Driver) -> None:
    driver.init_delay(300)
    began = time.monotonic()
    with watch(driver) as watcher:
        assert time.monotonic() - began < ENOUGH
        watcher.next(InventorySeen)
        assert time.monotonic() - began >= 0.3
        assert driver.calls(Call.INIT) == 1, "the delay is paid once"


def test_a_missing_library_is_told_once_with_where_it_was_looked_for(driver: Driver) -> None:
    driver.uninstall()
    with watch(driver, retry_seconds=0.01) as watcher:
        problem = watcher.next(DriverUnavailable).problem
        assert all(word in problem for word in (str(driver.root), "libnvidia-ml.so.1", "--driver-root", *FOLDERS))
        time.sleep(ENOUGH)
        assert len(watcher.seen) == 1
        driver.install()
        watcher.next(InventorySeen)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (9, "Driver Not Loaded"),
        (VERSION_MISMATCH, "RM has detected an NVML/RM version mismatch"),
        (UNKNOWN_TO_PYNVML, "Unknown Error"),
    ],
)
def test_an_initialisation_that_fails_is_told_in_the_drivers_words_until_it_works(
    driver: Driver, error: int, words: str
) -> None:
    driver.fail(Call.INIT, error)
    with watch(driver) as watcher:
        assert words in watcher.next(DriverUnavailable).problem
        eventually(lambda: driver.calls(Call.INIT) > 3)
        assert len(watcher.seen) == 1
        driver.fail(Call.INIT, 0)
        watcher.next(InventorySeen)


def test_a_driver_that_was_used_and_is_loaded_but_cannot_be_opened_may_need_a_restart(driver: Driver) -> None:
    """A container that lost its right to open the device nodes: `nvmlInit` answers "Unknown Error" from then on."""
    with watch(driver) as watcher:
        watcher.next(InventorySeen)
        driver.fail(Call.INIT, UNKNOWN_TO_PYNVML)
        driver.fail(Call.COUNT, UNKNOWN_TO_PYNVML)
        assert watcher.next(DriverUnavailable).restart_may_help
        driver.fail(Call.INIT, 0)
        driver.fail(Call.COUNT, 0)
        watcher.next(InventorySeen, 2)
        (driver.sysfs / "module/nvidia").rmdir()
        driver.fail(Call.COUNT, UNKNOWN_TO_PYNVML)
        driver.fail(Call.INIT, UNKNOWN_TO_PYNVML)
        eventually(lambda: not watcher.of(DriverUnavailable)[-1].restart_may_help)


def test_a_driver_that_could_never_be_opened_needs_no_restart(driver: Driver) -> None:
    driver.fail(Call.INIT, UNKNOWN_TO_PYNVML)
    with watch(driver) as watcher:
        assert not watcher.next(DriverUnavailable).restart_may_help


def test_another_problem_than_before_is_told(driver: Driver) -> None:
    driver.uninstall()
    with watch(driver) as watcher:
        watcher.next(DriverUnavailable)
        driver.fail(Call.INIT, 9)
        driver.install()
        assert "Driver Not Loaded" in watcher.next(DriverUnavailable, 2).problem


def test_a_driver_that_was_replaced_is_loaded_from_its_new_file(driver: Driver) -> None:
    with watch(driver) as watcher:
        watcher.next(InventorySeen)
        assert mapped(built(old=False))
        driver.uninstall()
        (driver.root / "usr/lib64/libnvidia-ml.so.1").symlink_to(built(old=True))
        driver.fail(Call.COUNT, 999)
        watcher.next(DriverUnavailable)
        driver.fail(Call.COUNT, 0)
        watcher.next(InventorySeen, 2)
        assert mapped(built(old=True))
        assert not mapped(built(old=False))
    assert not mapped(built(old=True))


def test_stop_ends_the_thread_within_about_a_second(driver: Driver) -> None:
    watcher = watch(driver, rescan_seconds=60)
    with watcher:
        watcher.next(InventorySeen)
        began = time.monotonic()
        watcher.backend.stop()
        assert time.monotonic() - began < ENOUGH
        assert watcher.backend.join(LIMIT)
        assert time.monotonic() - began < 1 + ENOUGH
        watcher.backend.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "nvml"]


def test_stop_ends_a_wait_for_the_driver_at_once(driver: Driver) -> None:
    driver.uninstall()
    with watch(driver, retry_seconds=60) as watcher:
        watcher.next(DriverUnavailable)
        began = time.monotonic()
        watcher.backend.stop()
        assert watcher.backend.join(LIMIT)
        assert time.monotonic() - began < ENOUGH


def test_nothing_is_reported_after_stop(driver: Driver) -> None:
    driver.hang(Call.COUNT)
    with watch(driver) as watcher:
        eventually(lambda: driver.calls(Call.COUNT) == 1)
        watcher.backend.stop()
        driver.release()
        assert watcher.backend.join(LIMIT)
        assert not watcher.seen


def test_a_backend_that_was_never_started_stops_and_joins() -> None:
    backend = NvmlBackend()
    backend.stop()
    assert backend.join(0)


@pytest.mark.parametrize("call", [Call.INIT, Call.UUID, Call.WAIT, Call.SHUTDOWN])
def test_a_driver_that_hangs_holds_up_neither_stop_nor_join(driver: Driver, call: Call) -> None:
    driver.hang(call)
    with watch(driver) as watcher:
        if call is Call.SHUTDOWN:
            driver.add(2)
            driver.remove(2)
        eventually(lambda: driver.calls(call) == 1 or call is Call.SHUTDOWN)
        began = time.monotonic()
        watcher.backend.stop()
        assert not watcher.backend.join(1.5 if call is Call.SHUTDOWN else 0.1)
        assert time.monotonic() - began < 2
        driver.release()
        assert watcher.backend.join(LIMIT)


def test_a_driver_that_hung_is_watched_on_when_it_is_released(driver: Driver) -> None:
    with watch(driver) as watcher:
        watcher.next(InventorySeen)
        driver.hang()
        driver.xid(1, 79)
        time.sleep(0.1)
        assert not watcher.of(EvidenceReported)
        driver.release()
        watcher.next(EvidenceReported)


def test_an_exception_nobody_thought_of_is_told_and_the_session_opened_again(
    driver: Driver,
) -> None:
    def fail(_handle: nvml.Handle) -> str:
        raise RuntimeError("nobody thought of this")

    patch = pytest.MonkeyPatch()
    patch.setattr(nvml, "product_name", fail)
    with watch(driver) as watcher:
        assert watcher.next(DriverUnavailable).problem == "RuntimeError: nobody thought of this"
        patch.undo()
        assert len(watcher.next(InventorySeen).inventory.devices) == 2
    assert driver.calls(Call.SHUTDOWN) == driver.sessions


def test_a_library_without_nvml_in_it_is_told(driver: Driver, tmp_path: Path) -> None:
    driver.uninstall()
    source = tmp_path / "empty.c"
    source.write_text("int nothing;\n")
    target = driver.root / "usr/lib64/libnvidia-ml.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(target), str(source)], check=True, timeout=30)
    with watch(driver) as watcher:
        assert "nvmlInit_v2" in watcher.next(DriverUnavailable).problem


def test_one_backend_after_the_other_sees_its_own_machine(driver: Driver, tmp_path: Path) -> None:
    with watch(driver) as watcher:
        assert len(watcher.next(InventorySeen).inventory.devices) == 2
    other = tmp_path / "other"
    other.mkdir()
    second = Driver(other, gpus=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NVML_STAND_IN", second.environment["NVML_STAND_IN"])
        with watch(second) as watcher:
            assert len(watcher.next(InventorySeen).inventory.devices) == 5


def test_a_report_that_fails_once_does_not_end_the_watch(driver: Driver) -> None:
    class Clumsy(Watcher):
        def report(self, observation: Observation) -> None:
            super().report(observation)
            if len(self.seen) == 1:
                raise ValueError("clumsy")

    with Clumsy(watch(driver).backend) as watcher:
        assert watcher.next(DriverUnavailable).problem == "ValueError: clumsy"
        watcher.next(InventorySeen, 2)
