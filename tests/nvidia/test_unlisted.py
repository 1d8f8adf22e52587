"""GPUs that the machine has and NVML does not list."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from driver.driver import Call, Driver
from harness.confined import NO_CAPABILITIES, needs_root
from plugin_gateway.core.health.observations import DriverUnavailable, InventorySeen
from plugin_gateway.nvidia.missing_driver import Cause, find_cause
from plugin_gateway.nvidia.pci import PciBus, PciFunction

from .conftest import MakeDriver
from .test_inventory import ids, rejected, uuid
from .watcher import Watcher, eventually, watch

ELSEWHERE = "0000:1b:00.0"
Env = Mapping[str, str]
ASKED = {"NVIDIA_VISIBLE_DEVICES": "all"}
"""The environment of a container that asks NVIDIA's container runtime for its GPUs."""


def aside(watcher: Watcher, number: int = 1) -> list[tuple[str, str]]:
    return [(item.place, item.problem) for item in watcher.next(InventorySeen, number).inventory.set_aside]


@pytest.mark.parametrize(
    ("kernel_driver", "words"), [("nvidia", "the kernel driver nvidia too"), (None, "but no kernel driver does")]
)
def test_a_gpu_that_the_driver_failed_to_start_is_rejected(
    driver: Driver, kernel_driver: str | None, words: str
) -> None:
    driver.add_function(ELSEWHERE, kernel_driver)
    with watch(driver) as watcher:
        ((place, problem),) = rejected(watcher)
        assert ids(watcher.next(InventorySeen)) == [uuid(0), uuid(1)]
    assert place == f"GPU at {ELSEWHERE}"
    assert words in problem


def test_a_gpu_that_was_given_to_virtual_machines_is_set_aside(driver: Driver) -> None:
    driver.add_function(ELSEWHERE, "vfio-pci")
    with watch(driver) as watcher:
        assert aside(watcher) == [(f"GPU at {ELSEWHERE}", "the kernel driver vfio-pci has it")]
        assert rejected(watcher) == []


def test_a_gpu_that_the_container_was_not_to_see_is_set_aside(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "0,1")
    driver.add_function(ELSEWHERE, "nvidia")
    driver.add_function("0000:1c:00.0", None)
    with watch(driver) as watcher:
        assert aside(watcher) == [(f"GPU at {ELSEWHERE}", "this process has NVIDIA_VISIBLE_DEVICES='0,1'")]
        assert [place for place, _ in rejected(watcher)] == ["GPU at 0000:1c:00.0"], "no driver is no wish"


def test_only_whole_gpus_of_nvidia_count(driver: Driver) -> None:
    driver.add_function("0000:1b:00.1", None, pci_class="0x040300")
    driver.add_function("0000:1c:00.0", None, pci_class="0x068000")
    driver.add_function("0000:1d:00.0", None, vendor="0x1a03", pci_class="0x030000")
    (driver.add_function("0000:1e:00.4", None) / "physfn").symlink_to("../0000:10:00.0")
    with watch(driver) as watcher:
        assert rejected(watcher) == aside(watcher) == []


@pytest.mark.parametrize("name", ["DGX Display", "NVIDIA DGX Display"])
def test_the_display_of_a_workstation_is_no_gpu_to_offer(driver: Driver, name: str) -> None:
    driver.add(2, name=name)
    with watch(driver) as watcher:
        assert ids(watcher.next(InventorySeen)) == [uuid(0), uuid(1)]
        assert (rejected(watcher), aside(watcher)) == ([], [("GPU 2 at 0000:12:00.0", f"{name} only drives screens")])


def test_a_gpu_that_nvml_lists_without_its_address_is_said_once(driver: Driver) -> None:
    driver.lose(1)
    with watch(driver) as watcher:
        ((place, _),) = rejected(watcher)
    assert place.startswith("GPU 1")


def test_what_changes_on_the_bus_is_seen_in_the_same_session(driver: Driver) -> None:
    with watch(driver) as watcher:
        assert rejected(watcher) == []
        driver.add_function(ELSEWHERE, None)
        assert [each.place for each in watcher.next(InventorySeen, 2).inventory.rejected] == [f"GPU at {ELSEWHERE}"]
        driver.add_function(ELSEWHERE, "vfio-pci")
        assert aside(watcher, 3) == [(f"GPU at {ELSEWHERE}", "the kernel driver vfio-pci has it")]
        assert driver.sessions == 1
        asked = driver.calls(Call.COUNT)
        eventually(lambda: driver.calls(Call.COUNT) > asked + 3)
        assert len(watcher.of(InventorySeen)) == 3


def test_a_gpu_that_comes_or_changes_hands_counts_from_the_second_look_on(driver: Driver) -> None:
    bus = PciBus(str(driver.sysfs))
    bus.look()
    first = bus.settled
    assert [each.address for each in first] == ["0000:10:00.0", "0000:11:00.0"]
    for kernel_driver in (None, "vfio-pci"):
        driver.add_function(ELSEWHERE, kernel_driver)
        bus.look()
        assert (bus.settled, bus.is_quiet) == (first, False)
        bus.look()
        assert (bus.settled, bus.is_quiet) == ((*first, PciFunction(ELSEWHERE, kernel_driver)), True)
    driver.remove(1)
    bus.look()
    assert bus.settled == (first[0], PciFunction(ELSEWHERE, "vfio-pci"))


def test_a_driver_that_started_no_gpu_tells_how_many_there_are(make_driver: MakeDriver) -> None:
    driver = make_driver(gpus=0)
    driver.add_function(ELSEWHERE, "nvidia")
    driver.add_function("0000:1c:00.0", "vfio-pci")
    with watch(driver) as watcher:
        assert watcher.next(DriverUnavailable).unserved == 1


def cause(driver: Driver, environment: Env, *, dev: Path | None = None, has_library: bool = True) -> Cause:
    folder = str(dev if dev is not None else driver.root / "dev")
    return find_cause(
        sysfs=str(driver.sysfs),
        proc=str(driver.proc),
        dev=[folder],
        environment=environment,
        has_library=has_library,
    )


def test_a_container_that_another_runtime_started_is_told(driver: Driver, tmp_path: Path) -> None:
    words, todo, unserved = cause(driver, ASKED, dev=tmp_path)
    assert "NVIDIA's container runtime did not start this container" in words
    assert "runtimeClassName: nvidia" in todo
    assert "k3s, RKE2 and Talos" in todo
    assert unserved == 2


@pytest.mark.parametrize("seen", ["node", "no variable", "void"])
def test_nothing_is_said_of_the_runtime_where_something_speaks_against_it(
    seen: str, driver: Driver, tmp_path: Path
) -> None:
    dev = None if seen == "node" else tmp_path
    environment = {} if seen == "no variable" else {"NVIDIA_VISIBLE_DEVICES": "void" if seen == "void" else "all"}
    assert cause(driver, environment, dev=dev) == Cause("", "", 2)


def test_capabilities_that_hide_the_library_are_told(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "all")
    monkeypatch.setenv("NVIDIA_DRIVER_CAPABILITIES", "compute")
    driver.uninstall()
    with watch(driver) as watcher:
        unavailable = watcher.next(DriverUnavailable)
    assert unavailable.problem.endswith(
        "NVIDIA_DRIVER_CAPABILITIES is 'compute' here: without utility NVIDIA's container runtime leaves "
        "libnvidia-ml.so.1 out of this container"
    )
    assert unavailable.todo == "set NVIDIA_DRIVER_CAPABILITIES=compute,utility"


@pytest.mark.parametrize("capabilities", ["compute,utility", "all", "", None])
@pytest.mark.parametrize("has_library", [True, False])
def test_nothing_is_said_of_capabilities_that_hide_no_library(
    capabilities: str | None, has_library: bool, driver: Driver
) -> None:
    named = {} if capabilities is None else {"NVIDIA_DRIVER_CAPABILITIES": capabilities}
    assert cause(driver, {**ASKED, **named}, has_library=has_library) == Cause("", "", 2)


@pytest.mark.parametrize("wanted", [ASKED, {}, {"NVIDIA_VISIBLE_DEVICES": "void"}])
def test_nothing_is_said_of_capabilities_where_something_speaks_against_it(wanted: Env, driver: Driver) -> None:
    found = cause(driver, {**wanted, "NVIDIA_DRIVER_CAPABILITIES": "compute"}, has_library=wanted == ASKED)
    assert found == Cause("", "", 2)


def test_a_machine_with_gpus_and_no_module_is_told_from_one_without_gpus(driver: Driver, tmp_path: Path) -> None:
    (driver.sysfs / "module/nvidia").rmdir()
    assert cause(driver, ASKED, dev=tmp_path).words == (
        "the machine has 2 GPUs at 0000:10:00.0, 0000:11:00.0, and its kernel module nvidia is not loaded"
    )
    for index in range(2):
        driver.remove(index)
    driver.add_function(ELSEWHERE, "vfio-pci")
    assert cause(driver, {}, dev=tmp_path) == Cause(
        f"other kernel drivers have NVIDIA's GPUs: vfio-pci has {ELSEWHERE}",
        "nothing, if that is right",
        0,
    )


def test_where_the_bus_cannot_be_seen_nothing_is_said(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    found = find_cause(sysfs=nowhere, proc=nowhere, dev=[nowhere], environment={}, has_library=False)
    assert found == Cause("", "", 0)


def test_without_a_library_the_cause_is_part_of_the_problem(driver: Driver) -> None:
    driver.uninstall()
    (driver.sysfs / "module/nvidia").rmdir()
    with watch(driver) as watcher:
        unavailable = watcher.next(DriverUnavailable)
    assert "libnvidia-ml.so.1 is neither" in unavailable.problem
    assert unavailable.problem.endswith("its kernel module nvidia is not loaded")
    assert (unavailable.unserved, unavailable.todo.startswith("install the driver")) == (2, True)


@needs_root
def test_a_folder_of_the_driver_that_is_closed_is_no_cause_and_no_error(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    os.chown(closed, 65534, 65534)
    folders = f"sysfs={str(closed)!r}, proc={str(closed)!r}, dev=[{str(closed)!r}]"
    asked = f"find_cause({folders}, environment={{}}, has_library=True)"
    code = f"from plugin_gateway.nvidia.missing_driver import find_cause; print(repr({asked}.words))"
    command = (*NO_CAPABILITIES, sys.executable, "-c", code)
    assert subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout == "''\n"
