"""A call that fails for a moment, a slow GPU and a storm of events hide no fault and move no GPU."""

import time
from dataclasses import replace

import pytest

from driver import driver as stand_in
from driver.driver import Call, Driver
from plugin_gateway.core.devices import DeviceId
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverUnavailable,
    EventsAwaited,
    EvidenceReported,
    InventorySeen,
)
from plugin_gateway.nvidia.evidence import xid_kind

from .test_inventory import uuid
from .watcher import eventually, watch

UNKNOWN = 999
GPU_CALLS = [call for call in Call if call not in {Call.INIT, Call.SHUTDOWN, Call.INDEX, Call.WAIT, Call.FREE}]
"""The calls that read something."""


@pytest.mark.parametrize("call", GPU_CALLS)
def test_a_call_that_fails_for_a_moment_is_made_again_and_nobody_notices(driver: Driver, call: Call) -> None:
    with watch(driver) as watcher:
        watcher.next(DevicesChecked)
        calls = driver.calls(call)
        driver.fail(call, UNKNOWN, times=1)
        driver.add(2)
        watcher.next(InventorySeen, 2)
        eventually(lambda: driver.calls(call) > calls + 1)
        seen = len(watcher.of(DevicesChecked))
        eventually(lambda: len(watcher.of(DevicesChecked)) > seen + 1)
        (first, second) = watcher.of(InventorySeen)
        assert second.inventory.devices[:2] == first.inventory.devices
        assert len(second.inventory.devices) == 3
        assert not second.inventory.rejected
        assert all(not checkup.problems for seen in watcher.of(DevicesChecked) for checkup in seen.checkups.values())
        assert not watcher.of(DriverUnavailable)
        for index in range(3):
            driver.xid(index, 79)
        watcher.next(EvidenceReported, 3)


@pytest.mark.parametrize("call", GPU_CALLS)
def test_a_call_that_fails_while_everything_is_read_again_changes_no_gpu(driver: Driver, call: Call) -> None:
    with watch(driver) as watcher:
        before = watcher.next(InventorySeen).inventory
        driver.fail(call, UNKNOWN, times=8)
        driver.add(2)
        watcher.next(InventorySeen, 2)
        driver.fail(call, 0)
        eventually(lambda: len(watcher.of(InventorySeen)[-1].inventory.devices) == 3)
        for seen in watcher.of(InventorySeen):
            kept = [replace(device, reports_faults=True) for device in seen.inventory.devices if device.index < 2]
            assert tuple(kept) == before.devices
        checks = len(watcher.of(DevicesChecked))
        eventually(lambda: len(watcher.of(DevicesChecked)) > checks + 2)
        watcher.checked(uuid(0))
        sessions = driver.sessions
        driver.xid(0, 79)
        assert watcher.next(EvidenceReported).device == uuid(0)
        assert driver.sessions == sessions


@pytest.mark.parametrize("call", GPU_CALLS)
def test_a_call_that_fails_at_the_start_is_made_again_until_it_is_answered(driver: Driver, call: Call) -> None:
    driver.fail(call, UNKNOWN, times=9)
    with watch(driver) as watcher:
        eventually(
            lambda: bool(watcher.of(InventorySeen)) and len(watcher.of(InventorySeen)[-1].inventory.devices) == 2
        )
        eventually(lambda: all(each.reports_faults for each in watcher.of(InventorySeen)[-1].inventory.devices))
        eventually(lambda: all(each.memory_bytes for each in watcher.of(InventorySeen)[-1].inventory.devices))
        for seen in watcher.of(InventorySeen):
            assert all(device.nodes and device.product for device in seen.inventory.devices), "never without its node"
        driver.xid(0, 79)
        assert watcher.next(EvidenceReported).device == uuid(0)


def test_events_that_come_while_a_session_ends_are_not_lost_and_the_gap_is_told(driver: Driver) -> None:
    with watch(driver) as watcher:
        watcher.next(InventorySeen)
        driver.hang(Call.COUNT)
        calls = driver.calls(Call.COUNT)
        eventually(lambda: driver.calls(Call.COUNT) > calls)
        driver.xid(0, 119)
        driver.add(2)
        driver.release()
        watcher.next(InventorySeen, 2)
        assert watcher.of(EvidenceReported) == [EvidenceReported(xid_kind(119), DeviceId(uuid(0)))]
        assert watcher.next(EventsAwaited, 2).problem is None
        assert watcher.of(EventsAwaited)[0].problem == "a new session of the driver is opened"


def test_a_slow_gpu_delays_no_event_of_another(driver: Driver) -> None:
    with watch(driver) as watcher:
        watcher.next(DevicesChecked)
        driver.hang(Call.FIELDS)
        calls = driver.calls(Call.FIELDS)
        eventually(lambda: driver.calls(Call.FIELDS) > calls)
        driver.xid(1, 79)
        time.sleep(0.4)
        seen = len(watcher.of(DevicesChecked))
        driver.hang(Call.REMAPPED)
        assert watcher.next(EvidenceReported).device == uuid(1)
        assert len(watcher.of(DevicesChecked)) == seen
        driver.release()


def test_a_storm_of_recovery_actions_makes_no_storm_of_calls(driver: Driver) -> None:
    with watch(driver, rescan_seconds=60, checkup_seconds=60) as watcher:
        watcher.next(DevicesChecked)
        calls, began = driver.calls(Call.FIELDS), time.monotonic()
        for number in range(500):
            driver.xid(number % 2, 0, stand_in.RECOVERY_ACTION_CHANGED)
        watcher.next(EvidenceReported, 500)
        eventually(lambda: driver.calls(Call.FIELDS) > calls)
        looks = 2 + (time.monotonic() - began) / 1.0
        assert driver.calls(Call.FIELDS) - calls <= 2 * looks
