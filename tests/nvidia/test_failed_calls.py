"""A call that fails for a moment, a slow GPU and a storm of events hide no fault and move no GPU."""

import time
from dataclasses import replace

import pytest

from driver import driver as stand_in
from driver.driver import Call, Driver
from plugin_gateway.core.devices import DeviceId
from plugin_gateway.core.health.faults import Moment
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverSeen,
    DriverUnavailable,
    EventsAwaited,
    EvidenceReported,
    InventorySeen,
)
from plugin_gateway.core.health.policy import NOT_ANSWERING, RECOVERY_ACTION
from plugin_gateway.core.health.state import State
from plugin_gateway.core.health.state_function import advance
from plugin_gateway.nvidia.evidence import HEALTH_POLICY, xid_kind

from .conftest import MakeDriver
from .test_inventory import uuid
from .watcher import Watcher, eventually, watch

UNKNOWN = 999
DRIVER_NOT_LOADED = 9
RESET_REQUIRED = 16
TOPOLOGY = {Call.LINK_REMOTE, Call.LINK_TYPE, Call.ANCESTOR}
"""The calls about how GPUs are connected, which nothing depends on yet."""
NEVER_READ = {
    *(Call.INIT, Call.SHUTDOWN, Call.INDEX, Call.WAIT, Call.FREE),
    *(Call.MIG_PARENT, Call.IS_MIG, Call.GI_PROFILE_V),
    Call.CUDA,
    *TOPOLOGY,
}
GPU_CALLS = [call for call in Call if call not in NEVER_READ]
"""The calls that read something of a GPU, or of a MIG device."""


def prepared(driver: Driver, call: Call) -> Watcher:
    """Return a watcher of a machine on which the call is made. Each of its GPUs has one device."""
    if call < Call.MIG_COUNT:
        return watch(driver)
    driver.mig("0:3g.40gb;1:7g.80gb")
    return watch(driver, mig="mixed")


@pytest.mark.parametrize("call", GPU_CALLS)
def test_a_call_that_fails_for_a_moment_is_made_again_and_nobody_notices(driver: Driver, call: Call) -> None:
    with prepared(driver, call) as watcher:
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
    with prepared(driver, call) as watcher:
        before = watcher.next(InventorySeen).inventory
        driver.fail(call, UNKNOWN, times=8)
        driver.add(2)
        watcher.next(InventorySeen, 2)
        driver.fail(call, 0)
        eventually(lambda: len(watcher.of(InventorySeen)[-1].inventory.devices) == 3)
        for seen in watcher.of(InventorySeen):
            kept = [replace(gpu, reports_faults=True) for gpu in seen.inventory.physical if gpu.index < 2]
            assert tuple(kept) == before.physical
        checks = len(watcher.of(DevicesChecked))
        eventually(lambda: len(watcher.of(DevicesChecked)) > checks + 2)
        watcher.checked(uuid(0))
        sessions = driver.sessions
        driver.xid(0, 79)
        assert watcher.next(EvidenceReported).scope == uuid(0)
        assert driver.sessions == sessions


@pytest.mark.parametrize("call", GPU_CALLS)
def test_a_call_that_fails_at_the_start_is_made_again_until_it_is_answered(driver: Driver, call: Call) -> None:
    driver.fail(call, UNKNOWN, times=9)
    with prepared(driver, call) as watcher:
        eventually(
            lambda: bool(watcher.of(InventorySeen)) and len(watcher.of(InventorySeen)[-1].inventory.devices) == 2
        )
        eventually(lambda: all(each.reports_faults for each in watcher.of(InventorySeen)[-1].inventory.physical))
        eventually(lambda: all(each.memory_bytes for each in watcher.of(InventorySeen)[-1].inventory.devices))
        for seen in watcher.of(InventorySeen):
            assert all(each.nodes and each.physical.product for each in seen.inventory.devices), (
                "never without its node"
            )
        driver.xid(0, 79)
        assert watcher.next(EvidenceReported).scope == uuid(0)


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
        assert watcher.next(EvidenceReported).scope == uuid(1)
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


def outcome(watcher: Watcher) -> State:
    """Return the state after all that was reported."""
    state = State()
    for observation in list(watcher.seen):
        state, _ = advance(state, observation, Moment(1000.0, 1000.0), HEALTH_POLICY)
    return state


def test_an_event_during_the_first_look_counts(driver: Driver) -> None:
    driver.hang(Call.NAME)
    with watch(driver, rescan_seconds=60, checkup_seconds=60) as watcher:
        eventually(lambda: driver.calls(Call.NAME) > 0)
        driver.xid(0, 79)
        driver.release()
        watcher.next(DevicesChecked)
        watcher.next(EvidenceReported)
        assert DeviceId(uuid(0)) in outcome(watcher).faults


def test_an_event_after_the_driver_was_loaded_again_is_not_forgiven_by_that_reset(driver: Driver) -> None:
    with watch(driver, checkup_seconds=60) as watcher:
        watcher.next(DevicesChecked)
        for call in (Call.COUNT, Call.INIT):
            driver.fail(call, DRIVER_NOT_LOADED)
        watcher.next(DriverUnavailable)
        driver.load_module("580.65.06")
        driver.hang(Call.NAME)
        calls = driver.calls(Call.NAME)
        for call in (Call.COUNT, Call.INIT):
            driver.fail(call, 0)
        eventually(lambda: driver.calls(Call.NAME) > calls)
        driver.xid(0, 48)
        driver.release()
        watcher.next(DriverSeen, 2)
        watcher.next(EvidenceReported)
        assert not outcome(watcher).faults[DeviceId(uuid(0))].was_reset


def test_a_check_that_began_before_an_event_says_nothing_about_its_gpu(driver: Driver) -> None:
    with watch(driver, checkup_seconds=60) as watcher:
        watcher.next(DevicesChecked)
        driver.xid(0, 48)
        watcher.next(EvidenceReported)
        calls = driver.calls(Call.RETIRED)
        driver.hang(Call.RETIRED)
        driver.xid(1, 13)
        eventually(lambda: driver.calls(Call.RETIRED) > calls)
        time.sleep(0.3)
        driver.ask_for_recovery(0, 1)
        checks = len(watcher.of(DevicesChecked))
        driver.release()
        watcher.next(DevicesChecked, checks + 2)
        assert not outcome(watcher).faults[DeviceId(uuid(0))].was_reset


def test_a_lost_gpu_is_known_by_its_events_after_everything_was_read_again(driver: Driver) -> None:
    with watch(driver) as watcher:
        watcher.next(DevicesChecked)
        driver.lose(0)
        watcher.checked(uuid(0), NOT_ANSWERING)
        driver.lose(1, UNKNOWN)
        watcher.checked(uuid(1), NOT_ANSWERING)
        calls = driver.calls(Call.REGISTER)
        driver.find(1)
        eventually(lambda: driver.calls(Call.REGISTER) > calls)
        watcher.checked(uuid(1))
        driver.xid(0, 79)
        assert watcher.next(EvidenceReported).scope == uuid(0)
        assert driver.sessions == 1


def test_a_lost_gpu_that_comes_back_by_way_of_another_error_gets_a_new_session(driver: Driver) -> None:
    with watch(driver) as watcher:
        watcher.next(DevicesChecked)
        driver.lose(0)
        watcher.checked(uuid(0), NOT_ANSWERING)
        looks = driver.calls(Call.COUNT)
        eventually(lambda: driver.calls(Call.COUNT) > looks + 1)
        driver.lose(0, UNKNOWN)
        looks = driver.calls(Call.COUNT)
        eventually(lambda: driver.calls(Call.COUNT) > looks + 1)
        driver.find(0)
        eventually(lambda: driver.sessions == 2)
        watcher.checked(uuid(0))


def test_a_registration_that_is_refused_for_a_moment_is_made_again(driver: Driver) -> None:
    driver.fail(Call.REGISTER, RESET_REQUIRED, times=2)
    with watch(driver) as watcher:
        watcher.next(DevicesChecked)
        eventually(lambda: all(each.reports_faults for each in watcher.of(InventorySeen)[-1].inventory.physical))
        driver.xid(1, 79)
        assert watcher.next(EvidenceReported).scope == uuid(1)


def test_the_only_gpu_is_heard_though_it_is_lost_and_read_again(make_driver: MakeDriver) -> None:
    driver = make_driver(gpus=1)
    driver.fail(Call.MEMORY, UNKNOWN)
    with watch(driver) as watcher:
        watcher.next(DevicesChecked)
        driver.lose(0)
        watcher.checked(uuid(0), NOT_ANSWERING)
        driver.xid(0, 79)
        assert watcher.next(EvidenceReported).scope == uuid(0)


def test_an_xid_is_followed_by_a_check_when_the_driver_has_decided(driver: Driver) -> None:
    with watch(driver, rescan_seconds=60, checkup_seconds=60, decision_seconds=30.0) as watcher:
        watcher.next(DevicesChecked)
        eventually(lambda: driver.calls(Call.WAIT) > 0)
        watcher.backend.decision_time = 0.3  # as a new configuration does
        driver.xid(0, 145)
        watcher.next(EvidenceReported)
        told = time.monotonic()
        watcher.next(DevicesChecked, 2)
        assert time.monotonic() - told >= 0.25


def test_a_storm_of_events_hides_no_gpu_from_the_checks_of_a_slow_driver(driver: Driver) -> None:
    with watch(driver) as watcher:
        watcher.next(DevicesChecked)
        for _ in range(4):
            calls = driver.calls(Call.RETIRED)
            driver.hang(Call.RETIRED)
            eventually(lambda calls=calls: driver.calls(Call.RETIRED) > calls)  # type: ignore[misc]
            time.sleep(0.3)
            driver.xid(0, 13)
            driver.release()
            seen = len(watcher.of(DevicesChecked))
            eventually(lambda seen=seen: len(watcher.of(DevicesChecked)) > seen)  # type: ignore[misc]
        driver.ask_for_recovery(0, 1)
        driver.xid(0, 13)
        watcher.checked(uuid(0), RECOVERY_ACTION)
        assert all(len(seen.checkups) == 2 for seen in watcher.of(DevicesChecked))


def test_a_start_is_followed_by_a_check_when_the_driver_has_decided_about_what_came_before(driver: Driver) -> None:
    with watch(driver, rescan_seconds=60, checkup_seconds=60, decision_seconds=0.3) as watcher:
        began = time.monotonic()
        watcher.next(DevicesChecked, 2)
        assert time.monotonic() - began >= 0.3
