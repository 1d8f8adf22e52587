"""What happens to the inventory while the backend runs."""

import threading
from pathlib import Path

from driver.driver import Call, Driver
from plugin_gateway.core.health.observations import DevicesChecked, DriverUnavailable, InventorySeen
from plugin_gateway.core.health.policy import NOT_ANSWERING
from plugin_gateway.nvidia.evidence import ROW_REMAP_FAILURE

from .test_inventory import ids, uuid
from .watcher import eventually, watch


def test_a_quiet_rescan_asks_for_the_uuids_and_the_mig_modes_and_nothing_else(driver: Driver) -> None:
    with watch(driver, rescan_seconds=0.2, checkup_seconds=60) as watcher:
        watcher.next(DevicesChecked, 2)
        before = {call: driver.calls(call) for call in Call}
        eventually(lambda: driver.calls(Call.COUNT) >= before[Call.COUNT] + 3)
        after = {call: driver.calls(call) - before[call] for call in Call}
        assert after[Call.UUID] <= 2 * after[Call.COUNT]
        assert after[Call.HANDLE] <= 2 * after[Call.COUNT]
        assert after[Call.MIG] <= 2 * after[Call.COUNT]
        known = {Call.COUNT, Call.HANDLE, Call.UUID, Call.MIG, Call.WAIT}
        assert {call for call, times in after.items() if times} <= known
        assert driver.sessions == 1
        assert (len(watcher.of(InventorySeen)), len(watcher.of(DevicesChecked))) == (1, 2)


def test_after_an_event_every_rescan_looks_at_the_gpus_until_they_are_well(driver: Driver) -> None:
    with watch(driver, checkup_seconds=60) as watcher:
        watcher.next(DevicesChecked)
        driver.fail_memory(0, remap_failed=True)
        driver.xid(0, 64)
        watcher.checked(uuid(0), ROW_REMAP_FAILURE)
        driver.recover(0)
        watcher.checked(uuid(0))
        seen = len(watcher.of(DevicesChecked))
        rescans = driver.calls(Call.COUNT)
        eventually(lambda: driver.calls(Call.COUNT) > rescans + 4)
        assert len(watcher.of(DevicesChecked)) == seen


def test_a_gpu_that_does_not_answer_is_told_at_the_next_rescan(driver: Driver) -> None:
    with watch(driver, checkup_seconds=60) as watcher:
        watcher.next(DevicesChecked)
        driver.lose(0)
        watcher.checked(uuid(0), NOT_ANSWERING)


def test_a_gpu_that_appears_is_seen_through_a_new_session(driver: Driver) -> None:
    with watch(driver) as watcher:
        watcher.next(InventorySeen)
        driver.add(2)
        assert ids(watcher.next(InventorySeen, 2)) == [uuid(0), uuid(1), uuid(2)]
        assert driver.sessions == 2


def test_a_gpu_that_vanishes_is_no_longer_in_the_inventory(driver: Driver) -> None:
    with watch(driver) as watcher:
        watcher.next(InventorySeen)
        driver.remove(0)
        after = watcher.next(InventorySeen, 2)
        assert ids(after) == [uuid(1)]
        assert after.inventory.devices[0].physical.index == 0


def test_a_gpu_that_takes_the_place_of_another_is_seen_by_its_uuid(driver: Driver) -> None:
    with watch(driver) as watcher:
        watcher.next(InventorySeen)
        driver.add(1, uuid=b"GPU-other")
        assert ids(watcher.next(InventorySeen, 2)) == [uuid(0), "GPU-other"]


def test_an_id_that_becomes_invalid_is_rejected_and_offered_again_once_it_is_valid(driver: Driver) -> None:
    with watch(driver) as watcher:
        watcher.next(InventorySeen)
        driver.add(1, uuid=b"GPU-\xff")
        assert ids(watcher.next(InventorySeen, 2)) == [uuid(0)]
        driver.add(1)
        assert ids(watcher.next(InventorySeen, 3)) == [uuid(0), uuid(1)]


def test_gpus_that_all_vanish_leave_an_empty_inventory_then_a_problem_until_they_are_back(driver: Driver) -> None:
    with watch(driver) as watcher:
        watcher.next(InventorySeen)
        driver.remove(0)
        driver.remove(1)
        assert ids(watcher.next(InventorySeen, 2)) == []
        assert "no GPU" in watcher.next(DriverUnavailable).problem
        sessions = driver.sessions
        eventually(lambda: driver.sessions > sessions + 2)
        assert (len(watcher.of(InventorySeen)), len(watcher.of(DriverUnavailable))) == (2, 1)
        driver.add(0)
        assert ids(watcher.next(InventorySeen, 3)) == [uuid(0)]


def test_a_change_while_the_first_look_goes_on_is_not_missed(driver: Driver) -> None:
    """What the kernel lists is noted before the driver is read, so the first rescan sees that it is old."""
    driver.hang(Call.CREATE)
    with watch(driver) as watcher:
        eventually(lambda: driver.calls(Call.CREATE) == 1)
        driver.add(2)
        driver.release()
        assert len(ids(watcher.next(InventorySeen, 2))) == 3


def test_a_driver_that_fails_is_told_and_the_inventory_again_when_it_is_back(driver: Driver) -> None:
    with watch(driver) as watcher:
        first = watcher.next(InventorySeen)
        driver.fail(Call.COUNT, 999)
        assert "Unknown Error" in watcher.next(DriverUnavailable).problem
        driver.fail(Call.COUNT, 0)
        assert watcher.next(InventorySeen, 2) == first
        driver.fail(Call.COUNT, 999)
        watcher.next(DriverUnavailable, 2)


def test_a_hundred_changes_leave_nothing_behind(driver: Driver) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    def maps() -> int:
        return Path("/proc/self/maps").read_text().count(driver.environment["NVML_STAND_IN"])

    with watch(driver, rescan_seconds=0.001) as watcher:
        watcher.next(InventorySeen)
        mapped_before, open_before = maps(), descriptors()
        for number in range(2, 102):
            driver.add(2) if number % 2 == 0 else driver.remove(2)
            watcher.next(InventorySeen, number)
        eventually(lambda: maps() <= mapped_before)
        assert descriptors() <= open_before
        assert sum(thread.name == "nvml" for thread in threading.enumerate()) == 1
    assert maps() == 1, "the test's own, and no other"
    assert driver.calls(Call.SHUTDOWN) == driver.sessions == driver.calls(Call.INIT)
    assert driver.calls(Call.FREE) == driver.calls(Call.CREATE)
