"""When a backend looks for the files of its driver, and whom it tells."""

import threading
import time
from collections.abc import Callable

import pytest

from driver.driver import Driver
from harness.driver_root import LIBRARIES, NAMES, put_libraries
from plugin_gateway.core.cdi import DriverFiles, FilesWanted
from plugin_gateway.core.health.observations import DevicesChecked, InventorySeen
from plugin_gateway.nvidia import watch as watch_module
from plugin_gateway.nvidia.simulated import SimulatedBackend

from .watcher import Watcher, eventually, watch

V = "575.57.08"


class Asking:
    """Wants the files of a driver, and notes what was reported before them."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self.files: list[DriverFiles] = []
        self.before: list[list[type]] = []
        self.threads: set[str] = set()

    @property
    def wanted(self) -> FilesWanted:
        return FilesWanted("/", "", (), self.report)

    def report(self, files: DriverFiles) -> None:
        self.before.append([type(each) for each in self._watcher.seen])
        self.threads.add(threading.current_thread().name)
        self.files.append(files)


def asking(driver: Driver) -> tuple[Watcher, Asking]:
    watcher = watch(driver)
    asked = Asking(watcher)
    watcher.backend.want_files(asked.wanted)
    return watcher, asked


def found(asked: Asking, what: Callable[[DriverFiles], bool]) -> None:
    eventually(lambda: any(map(what, asked.files)))


def test_files_are_found_in_the_thread_of_the_driver_after_the_first_inventory_and_check(driver: Driver) -> None:
    put_libraries(driver.root, V)
    watcher, asked = asking(driver)
    with watcher:
        found(asked, lambda files: not files.problem)
    assert {InventorySeen, DevicesChecked} <= set(asked.before[0])
    assert asked.files[0].driver[0] == V
    assert asked.threads == {"nvml"}
    assert len(asked.files) == 1


def test_files_are_found_again_for_other_gpus(driver: Driver) -> None:
    put_libraries(driver.root, V)
    watcher, asked = asking(driver)
    with watcher:
        found(asked, lambda files: not files.problem)
        driver.add(2)
        eventually(lambda: len(asked.files) > 1)


def test_files_that_are_installed_later_are_found_then(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "FILES_RETRY", 0.05)
    watcher, asked = asking(driver)
    with watcher:
        found(asked, lambda files: "libcuda.so" in files.problem)
        put_libraries(driver.root, V)
        found(asked, lambda files: not files.problem)


def test_files_that_go_or_are_replaced_in_the_same_session_are_noticed(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without that, the CDI spec would name files that are not there, and no container would start."""
    monkeypatch.setattr(watch_module, "FILES_RETRY", 0.05)
    monkeypatch.setattr(watch_module, "FILES_LOOK", 0.05)
    put_libraries(driver.root, V, names=NAMES[:2])
    watcher, asked = asking(driver)
    with watcher:
        found(asked, lambda files: not files.problem)
        put_libraries(driver.root, V)
        found(asked, lambda files: f"/{NAMES[2]}.so" in str(files.common))
        time.sleep(0.5)
        assert len(asked.files) == 2, "what is still the same is not told again"
        (driver.root / LIBRARIES / f"libcuda.so.{V}").unlink()
        found(asked, lambda files: "libcuda.so" in files.problem)


def test_files_can_be_wanted_while_the_driver_is_watched(driver: Driver) -> None:
    put_libraries(driver.root, V)
    watcher = watch(driver)
    with watcher:
        watcher.next(DevicesChecked)
        asked = Asking(watcher)
        watcher.backend.want_files(asked.wanted)
        found(asked, lambda files: not files.problem)


def test_simulated_gpus_have_a_variable_instead() -> None:
    backend = SimulatedBackend("2xH100")
    asked = Asking(Watcher(backend))
    with Watcher(backend) as watcher:
        devices = watcher.next(InventorySeen).inventory.devices
        backend.want_files(asked.wanted)
        assert asked.files[-1].own.keys() == {device.id for device in devices}
        backend.add("H100")
        assert len(asked.files[-1].own) == 3
