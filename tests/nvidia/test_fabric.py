"""Fabric, links and slowdowns, as the driver reports them and a check finds them."""

import ctypes

import pynvml
import pytest

from driver.driver import Call, Driver
from plugin_gateway.core.devices import DeviceId
from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.core.health.observations import DevicesChecked, DriverUnavailable, InventorySeen, LinksSeen
from plugin_gateway.core.health.policy import NOT_ANSWERING, EvidenceKind
from plugin_gateway.nvidia.evidence import FABRIC, FABRIC_DEGRADED, HARDWARE_SLOWDOWN, NVLINK_DOWN
from plugin_gateway.nvidia.fabric import FABRIC_VERSIONS, FabricStructure

from .conftest import MakeDriver
from .test_inventory import NOT_SUPPORTED, UNKNOWN_TO_PYNVML, uuid
from .watcher import Watcher, eventually, watch

IN_PROGRESS = 2
UNKNOWN = 999
NO_PERMISSION = 4
FUNCTION_NOT_FOUND = 13
DRIVER_NOT_LOADED = 9
DEGRADED, ROUTE_UNHEALTHY = 0x1A9, 0x19A
"""Health masks in which one field says that something is wrong."""
LATER = frozenset({FABRIC, FABRIC_DEGRADED, NVLINK_DOWN, HARDWARE_SLOWDOWN})
NEW_CALLS = (Call.FABRIC, Call.LINK, Call.MIG, Call.CLOCKS)
HOT, OTHER = 0x40, 0x8
MAX_LINKS = 36


def latest(watcher: Watcher, index: int = 0) -> Checkup:
    return watcher.of(DevicesChecked)[-1].checkups[DeviceId(uuid(index))]


def await_check(watcher: Watcher, more: int = 2) -> None:
    """Wait for a check that began after this moment."""
    watcher.next(DevicesChecked, len(watcher.of(DevicesChecked)) + more)


def unanswered(watcher: Watcher, *kinds: EvidenceKind) -> None:
    eventually(lambda: latest(watcher).unanswered == frozenset(kinds))


def test_the_structure_is_that_of_nvml() -> None:
    theirs = pynvml.c_nvmlGpuFabricInfo_v3_t
    same = {
        "version": "version",
        "status": "status",
        "state": "state",
        "health": "healthMask",
        "summary": "healthSummary",
    }
    for ours, name in same.items():
        assert getattr(FabricStructure, ours).offset == getattr(theirs, name).offset
    assert (pynvml.nvmlGpuFabricInfo_v3, pynvml.nvmlGpuFabricInfo_v2) == FABRIC_VERSIONS
    assert [version & 0xFFFFFF for version in FABRIC_VERSIONS] == [
        ctypes.sizeof(theirs),
        ctypes.sizeof(pynvml.c_nvmlGpuFabricInfo_v2_t),
    ]
    assert ctypes.sizeof(FabricStructure) > ctypes.sizeof(theirs)


def test_the_first_list_waits_for_none_of_these_questions_and_the_next_check_asks_them(driver: Driver) -> None:
    driver.hang(*(call for call in NEW_CALLS if call is not Call.MIG))  # the inventory needs the MIG mode
    with watch(driver) as watcher:
        watcher.next(InventorySeen)
        assert watcher.next(DevicesChecked).checkups[DeviceId(uuid(0))] == Checkup(
            {}, asks_for_recovery=False, unanswered=LATER
        )
        driver.set_fabric(0, status=UNKNOWN)
        driver.release()
        words = "NVLink fabric: the registration of the GPU failed: Unknown Error"
        assert watcher.checked(uuid(0), FABRIC) == words
        assert set(watcher.next(DevicesChecked, 2).checkups[DeviceId(uuid(0))].problems) == {FABRIC}


@pytest.mark.parametrize("version", [2, 3])
def test_both_versions_of_the_structure_are_read(driver: Driver, version: int) -> None:
    driver.know_fabric(version)
    with watch(driver) as watcher:
        watcher.next(DevicesChecked)
        driver.set_fabric(0, mask=ROUTE_UNHEALTHY, summary=2)
        assert watcher.checked(uuid(0), FABRIC) == "NVLink fabric: a route is unhealthy"
        driver.set_fabric(0, mask=DEGRADED)
        assert watcher.checked(uuid(0), FABRIC_DEGRADED) == "NVLink fabric: the bandwidth is degraded"
        driver.set_fabric(0, summary=3)
        watcher.checked(uuid(0), FABRIC_DEGRADED if version == 3 else None)
        driver.set_fabric(0)
        watcher.checked(uuid(0))
        assert not latest(watcher).unanswered


def test_text_for_an_error_that_nobody_knows_is_plain(driver: Driver) -> None:
    driver.set_fabric(0, status=UNKNOWN_TO_PYNVML)
    with watch(driver) as watcher:
        words = watcher.checked(uuid(0), FABRIC)
        assert words is not None
        assert words.isprintable()
        assert words.startswith("NVLink fabric: the registration of the GPU failed: ")


def test_a_gpu_that_joins_the_fabric_for_too_long_is_a_problem_and_before_an_open_question(driver: Driver) -> None:
    driver.set_fabric(0, IN_PROGRESS)
    with watch(driver, training_seconds=0.5) as watcher:
        watcher.next(DevicesChecked)
        unanswered(watcher, FABRIC)
        assert watcher.checked(uuid(0), FABRIC) == "NVLink fabric: the registration of the GPU is not completed"
        driver.set_fabric(0)
        watcher.checked(uuid(0))


@pytest.mark.parametrize("call", [Call.FABRIC, Call.CLOCKS])
@pytest.mark.parametrize("error", [NOT_SUPPORTED, NO_PERMISSION, FUNCTION_NOT_FOUND])
def test_what_a_driver_does_not_have_is_not_asked_again_in_a_session(driver: Driver, call: Call, error: int) -> None:
    driver.fail(call, error)
    with watch(driver) as watcher:
        watcher.next(DevicesChecked, 2)
        calls = driver.calls(call)
        await_check(watcher)
        assert driver.calls(call) == calls
        assert latest(watcher) == Checkup({}, asks_for_recovery=False)
        driver.fail(call, 0)
        driver.add(2)
        watcher.next(InventorySeen, 2)
        eventually(lambda: driver.calls(call) > calls)


def test_a_driver_that_knows_no_version_of_the_structure_is_silent(driver: Driver) -> None:
    driver.know_fabric(0)
    driver.set_fabric(0, IN_PROGRESS)
    with watch(driver, training_seconds=0.0) as watcher:
        watcher.next(DevicesChecked, 2)
        calls = driver.calls(Call.FABRIC)
        await_check(watcher)
        assert driver.calls(Call.FABRIC) == calls
        assert latest(watcher) == Checkup({}, asks_for_recovery=False)


def test_a_driver_without_these_calls_is_silent(make_driver: MakeDriver) -> None:
    driver = make_driver(old=True)
    with watch(driver, training_seconds=0.0) as watcher:
        watcher.next(DevicesChecked, 3)
        assert latest(watcher) == Checkup({})
        driver.slow_down(0, HOT)
        watcher.checked(uuid(0), HARDWARE_SLOWDOWN)


def test_a_state_that_nobody_knows_is_no_answer(driver: Driver) -> None:
    driver.set_fabric(0, 77)
    with watch(driver) as watcher:
        watcher.next(DevicesChecked)
        unanswered(watcher, FABRIC, FABRIC_DEGRADED)


def test_a_link_that_was_up_and_goes_down_is_a_problem_until_it_is_up(driver: Driver) -> None:
    driver.add(0, links=18)
    with watch(driver, training_seconds=0.5) as watcher:
        watcher.next(DevicesChecked, 2)
        driver.set_links_down(0, 2, 17)
        unanswered(watcher, NVLINK_DOWN)
        assert watcher.checked(uuid(0), NVLINK_DOWN) == "NVLinks 2, 17 were up and are down"
        driver.set_links_down(0)
        watcher.checked(uuid(0))
        assert not latest(watcher, 1).problems


def test_a_link_that_the_driver_denies_once_is_still_down_and_still_asked_for(driver: Driver) -> None:
    with watch(driver, training_seconds=0.3) as watcher:
        watcher.next(DevicesChecked, 2)
        driver.set_links_down(0, 0)
        watcher.checked(uuid(0), NVLINK_DOWN)
        number = len(watcher.of(DevicesChecked))
        watcher.next(LinksSeen)
        driver.fail(Call.LINK, NOT_SUPPORTED, times=1)
        await_check(watcher, 5)
        assert all(
            NVLINK_DOWN in seen.checkups[DeviceId(uuid(0))].problems for seen in watcher.of(DevicesChecked)[number:]
        )
        driver.set_links_down(0)
        watcher.checked(uuid(0))


def test_a_problem_of_a_gpu_that_is_away_for_a_moment_is_not_over(driver: Driver) -> None:
    with watch(driver, training_seconds=0.3) as watcher:
        watcher.next(DevicesChecked, 2)
        driver.set_links_down(0, 0)
        watcher.checked(uuid(0), NVLINK_DOWN)
        driver.lose(0, UNKNOWN)
        watcher.checked(uuid(0), NOT_ANSWERING)
        assert latest(watcher).unanswered == LATER
        driver.find(0)
        unanswered(watcher, NVLINK_DOWN)
        watcher.checked(uuid(0), NVLINK_DOWN)


def test_links_that_were_up_before_the_driver_was_away_are_known(driver: Driver) -> None:
    with watch(driver, training_seconds=0.3) as watcher:
        watcher.next(DevicesChecked, 2)
        for call in (Call.COUNT, Call.INIT):
            driver.fail(call, DRIVER_NOT_LOADED)
        watcher.next(DriverUnavailable)
        driver.set_links_down(0, 1)
        for call in (Call.COUNT, Call.INIT):
            driver.fail(call, 0)
        watcher.next(InventorySeen, 2)
        unanswered(watcher, NVLINK_DOWN)
        assert watcher.checked(uuid(0), NVLINK_DOWN) == "NVLink 1 was up and is down"


def test_a_gpu_without_links_is_asked_for_them_once(driver: Driver) -> None:
    for index in range(2):
        driver.add(index, links=0)
    with watch(driver) as watcher:
        watcher.next(DevicesChecked, 2)
        watcher.next(LinksSeen)
        await_check(watcher)
        assert driver.calls(Call.LINK) == 2 * MAX_LINKS + 2, "and once for how the GPUs are connected"


def test_only_the_links_that_exist_are_asked_again(driver: Driver) -> None:
    with watch(driver) as watcher:
        watcher.next(DevicesChecked, 2)
        watcher.next(LinksSeen)
        checks, calls = len(watcher.of(DevicesChecked)), driver.calls(Call.LINK)
        await_check(watcher, 5)
        assert driver.calls(Call.LINK) - calls <= 2 * 2 * (len(watcher.of(DevicesChecked)) - checks + 1)


def test_a_link_that_was_never_up_makes_no_more_checks(driver: Driver) -> None:
    driver.set_links_down(0, 1)
    with watch(driver, checkup_seconds=60) as watcher:
        assert watcher.next(DevicesChecked, 2).checkups[DeviceId(uuid(0))].unanswered == {NVLINK_DOWN}
        rescans = driver.calls(Call.COUNT)
        eventually(lambda: driver.calls(Call.COUNT) > rescans + 4)
        assert len(watcher.of(DevicesChecked)) == 2


def test_links_that_mig_mode_switches_off_are_no_fault(driver: Driver) -> None:
    with watch(driver, training_seconds=0.0) as watcher:
        watcher.next(DevicesChecked, 2)
        driver.set_mig_mode(0, enabled=True)
        await_check(watcher)
        driver.set_links_down(0, 0, 1)
        await_check(watcher)
        assert latest(watcher) == Checkup({}, asks_for_recovery=False)


def test_a_slowdown_that_is_over_is_still_reported_for_a_time(driver: Driver) -> None:
    with watch(driver) as watcher:
        watcher.next(DevicesChecked)
        driver.slow_down(0, HOT | OTHER)
        assert watcher.checked(uuid(0), HARDWARE_SLOWDOWN) == "its hardware slows it down: it is too hot"
        driver.slow_down(0, 0)
        await_check(watcher)
        watcher.checked(uuid(0), HARDWARE_SLOWDOWN)
        driver.slow_down(1, ~(HOT | OTHER | 0x80) & 0xFFFFFFFF)
        await_check(watcher)
        assert not latest(watcher, 1).problems, "all other reasons are no fault of the hardware"
