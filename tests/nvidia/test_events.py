"""XIDs and lost GPUs."""

import statistics
import time

import pytest

from driver import driver as stand_in
from driver.driver import STRANGER, XID_CRITICAL, Call, Driver
from plugin_gateway.core.devices import DeviceId
from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverSeen,
    DriverUnavailable,
    EventsAwaited,
    EvidenceReported,
    InventorySeen,
)
from plugin_gateway.core.health.policy import NOT_ANSWERING, RECOVERY_ACTION, EvidenceKind, number_of
from plugin_gateway.nvidia.evidence import (
    DOUBLE_BIT_ECC,
    FABRIC,
    FABRIC_DEGRADED,
    GPU_UNAVAILABLE,
    HARDWARE_SLOWDOWN,
    NVLINK_DOWN,
    PENDING_RETIREMENT,
    ROW_REMAP_FAILURE,
    XID,
    xid_kind,
)

from .test_inventory import NOT_SUPPORTED, UNKNOWN_TO_PYNVML, ids, uuid
from .watcher import Watcher, eventually, watch

GPU_IS_LOST = 15
RESET_REQUIRED = 16
DRIVER_NOT_LOADED = 9
SINGLE_BIT_ECC = 1
UNKNOWN = 999
OTHER_KIND = 4
NOWHERE = "an address that the driver does not tell"
ASKED = {
    Call.FIELDS: frozenset({RECOVERY_ACTION}),
    Call.REMAPPED: frozenset({ROW_REMAP_FAILURE, PENDING_RETIREMENT}),
    Call.RETIRED: frozenset({PENDING_RETIREMENT}),
    Call.FABRIC: frozenset({FABRIC, FABRIC_DEGRADED}),
    Call.LINK: frozenset({NVLINK_DOWN}),
    Call.MIG: frozenset({NVLINK_DOWN}),
    Call.CLOCKS: frozenset({HARDWARE_SLOWDOWN}),
}
"""What each call of a checkup tells about."""


def xids(watcher: Watcher) -> list[tuple[int | None, str | None]]:
    return [(number_of(event.kind, XID), event.scope) for event in watcher.of(EvidenceReported)]


def test_xids_are_reported_in_their_order_with_their_device(driver: Driver) -> None:
    with watch(driver, rescan_seconds=60) as watcher:
        watcher.next(InventorySeen)
        driver.xid(1, 31)
        driver.xid(0, 79)
        driver.xid(1, 48)
        watcher.next(EvidenceReported, 3)
        assert xids(watcher) == [(31, uuid(1)), (79, uuid(0)), (48, uuid(1))]


def test_an_xid_reaches_the_report_at_once(driver: Driver) -> None:
    """The bound is far above what it takes, for a machine that has other things to do, and far below any interval."""
    taken: list[float] = []
    with watch(driver, rescan_seconds=60) as watcher:
        watcher.next(InventorySeen)
        for number in range(1, 21):
            time.sleep(0.005)
            began = time.monotonic()
            driver.xid(0, 79)
            watcher.next(EvidenceReported, number)
            taken.append(watcher.times[-1] - began)
    assert statistics.median(taken) < 0.02


def test_an_event_of_a_device_that_is_not_ours_names_none(driver: Driver) -> None:
    with watch(driver, rescan_seconds=60) as watcher:
        watcher.next(InventorySeen)
        driver.xid(STRANGER, 79)
        assert watcher.next(EvidenceReported) == EvidenceReported(xid_kind(79), None, NOWHERE)


def test_an_event_of_a_rejected_gpu_names_no_device(driver: Driver) -> None:
    driver.add(1, uuid=b"GPU-\xff")
    with watch(driver, rescan_seconds=60) as watcher:
        watcher.next(InventorySeen)
        driver.xid(1, 79)
        assert watcher.next(EvidenceReported) == EvidenceReported(xid_kind(79), None, "0000:11:00.0")


def test_an_event_of_another_kind_is_no_xid(driver: Driver) -> None:
    with watch(driver, rescan_seconds=60) as watcher:
        watcher.next(InventorySeen)
        driver.xid(0, 1, kind=OTHER_KIND)
        driver.xid(0, 79)
        watcher.next(EvidenceReported)
        assert xids(watcher) == [(79, uuid(0))]


def test_the_xid_of_a_gpu_that_fell_off_the_bus_names_it_though_it_answers_nothing(driver: Driver) -> None:
    with watch(driver, rescan_seconds=60) as watcher:
        watcher.next(InventorySeen)
        driver.lose(0)
        driver.xid(0, 79)
        assert watcher.next(EvidenceReported) == EvidenceReported(xid_kind(79), DeviceId(uuid(0)))


def test_a_gpu_without_events_is_offered_and_the_others_are_heard(driver: Driver) -> None:
    driver.add(0, has_events=False)
    with watch(driver, rescan_seconds=60) as watcher:
        assert ids(watcher.next(InventorySeen)) == [uuid(0), uuid(1)]
        devices = watcher.next(InventorySeen).inventory.devices
        assert [device.physical.reports_faults for device in devices] == [False, True]
        driver.xid(0, 79)
        driver.xid(1, 48)
        watcher.next(EvidenceReported)
        assert xids(watcher) == [(48, uuid(1))]


@pytest.mark.parametrize("call", [Call.CREATE, Call.SUPPORTED, Call.REGISTER])
def test_a_driver_without_events_is_used_without_them(driver: Driver, call: Call) -> None:
    driver.fail(call, NOT_SUPPORTED)
    with watch(driver) as watcher:
        assert len(ids(watcher.next(InventorySeen))) == 2
        eventually(lambda: driver.calls(Call.UUID) > 10)
        assert driver.calls(Call.WAIT) == 0
        assert len(watcher.of(InventorySeen)) == 1


def test_a_lost_gpu_is_told_and_stays_in_the_inventory(driver: Driver) -> None:
    with watch(driver) as watcher:
        watcher.next(InventorySeen)
        driver.lose(1)
        assert watcher.checked(uuid(1), NOT_ANSWERING) == "does not answer: GPU is lost"
        watcher.checked(uuid(0))
        assert len(watcher.of(InventorySeen)) == 1
        assert driver.sessions == 1


def test_a_lost_gpu_stays_as_it_was_when_everything_is_read_again(driver: Driver) -> None:
    with watch(driver) as watcher:
        before = watcher.next(InventorySeen).inventory
        driver.lose(0)
        watcher.checked(uuid(0), NOT_ANSWERING)
        driver.add(2)
        assert watcher.next(InventorySeen, 2).inventory.devices[:2] == before.devices
        watcher.checked(uuid(0), NOT_ANSWERING)


def test_a_gpu_that_came_back_is_heard_again_and_can_be_lost_again(driver: Driver) -> None:
    with watch(driver) as watcher:
        watcher.next(InventorySeen)
        driver.lose(0)
        watcher.checked(uuid(0), NOT_ANSWERING)
        seen = len(watcher.of(DevicesChecked))  # the first can have found it lost in the middle of a check
        eventually(lambda: len(watcher.of(DevicesChecked)) > seen + 1)
        driver.find(0)
        eventually(lambda: driver.calls(Call.REGISTER) == 4)
        eventually(lambda: driver.calls(Call.WAIT) > 2)
        driver.xid(0, 48)
        assert watcher.next(EvidenceReported).scope == uuid(0)
        driver.lose(0)
        watcher.checked(uuid(0), NOT_ANSWERING)


@pytest.mark.parametrize("error", [RESET_REQUIRED, UNKNOWN, UNKNOWN_TO_PYNVML])
def test_a_gpu_that_fails_otherwise_ends_no_session_and_is_heard_again(driver: Driver, error: int) -> None:
    with watch(driver) as watcher:
        watcher.next(InventorySeen)
        driver.lose(0, error)
        watcher.checked(uuid(0), NOT_ANSWERING)
        driver.xid(1, 31)
        watcher.next(EvidenceReported)
        driver.find(0)
        watcher.checked(uuid(0))
        driver.xid(0, 48)
        assert watcher.next(EvidenceReported, 2).scope == uuid(0)
        assert len(watcher.of(InventorySeen)) == driver.sessions == 1


@pytest.mark.parametrize("error", [GPU_IS_LOST, UNKNOWN, UNKNOWN_TO_PYNVML])
def test_a_wait_that_fails_condemns_nobody_and_events_come_again(driver: Driver, error: int) -> None:
    with watch(driver) as watcher:
        watcher.next(InventorySeen)
        driver.fail(Call.WAIT, error)
        eventually(lambda: driver.sessions >= 3)
        assert [told.problem is None for told in watcher.of(EventsAwaited)] == [False], "once"
        driver.fail(Call.WAIT, 0)
        assert watcher.next(EventsAwaited, 2).problem is None
        sessions = driver.sessions
        eventually(lambda: driver.calls(Call.COUNT) > 2 * sessions + 4)
        driver.xid(0, 79)
        watcher.next(EvidenceReported)
        assert all(not checkup.problems for seen in watcher.of(DevicesChecked) for checkup in seen.checkups.values())
        assert not watcher.of(DriverUnavailable)


def test_a_wait_that_fails_because_of_a_lost_gpu_has_it_found_at_once(driver: Driver) -> None:
    with watch(driver, rescan_seconds=60) as watcher:
        watcher.next(InventorySeen)
        driver.lose(1)
        driver.fail(Call.WAIT, GPU_IS_LOST)
        watcher.checked(uuid(1), NOT_ANSWERING)


def test_a_wait_that_fails_as_the_gpus_change_has_everything_read_again(driver: Driver) -> None:
    with watch(driver, rescan_seconds=60) as watcher:
        watcher.next(InventorySeen)
        driver.add(2)
        driver.fail(Call.WAIT, UNKNOWN)
        assert len(ids(watcher.next(InventorySeen, 2))) == 3


@pytest.mark.parametrize(
    ("event", "kind"), [(stand_in.DOUBLE_BIT_ECC, DOUBLE_BIT_ECC), (stand_in.GPU_UNAVAILABLE, GPU_UNAVAILABLE)]
)
def test_a_fault_that_is_no_xid_is_told_with_its_gpu(driver: Driver, event: int, kind: EvidenceKind) -> None:
    with watch(driver) as watcher:
        watcher.next(InventorySeen)
        eventually(lambda: driver.calls(Call.WAIT) > 0)
        driver.xid(1, 0, event)
        driver.xid(STRANGER, 0, event)
        assert watcher.next(EvidenceReported, 2) == EvidenceReported(kind, None, NOWHERE)
        assert watcher.of(EvidenceReported)[0] == EvidenceReported(kind, DeviceId(uuid(1)))


def test_an_event_of_another_kind_is_no_fault(driver: Driver) -> None:
    with watch(driver) as watcher:
        watcher.next(InventorySeen)
        eventually(lambda: driver.calls(Call.WAIT) > 0)
        driver.xid(STRANGER, 1, SINGLE_BIT_ECC)
        driver.xid(0, 31)
        assert watcher.next(EvidenceReported) == EvidenceReported(xid_kind(31), DeviceId(uuid(0)))
        assert len(watcher.of(EvidenceReported)) == 1


def test_a_gpu_that_reports_nothing_but_xids_is_heard(driver: Driver) -> None:
    driver.add(0, event_types=XID_CRITICAL)
    with watch(driver) as watcher:
        assert watcher.next(InventorySeen).inventory.devices[0].physical.reports_faults
        eventually(lambda: driver.calls(Call.WAIT) > 0)
        driver.xid(0, 79)
        assert watcher.next(EvidenceReported).scope == uuid(0)


def test_a_change_of_the_recovery_action_is_looked_at_at_once(driver: Driver) -> None:
    with watch(driver, rescan_seconds=60) as watcher:
        watcher.next(DevicesChecked)
        eventually(lambda: driver.calls(Call.WAIT) > 0)
        driver.ask_for_recovery(1, 4)
        words = watcher.checked(uuid(1), RECOVERY_ACTION)
        assert words == "the driver asks for recovery: drain and reset"
        driver.ask_for_recovery(1, 99)
        eventually(lambda: driver.calls(Call.FIELDS) > 2)
        assert watcher.checked(uuid(1), RECOVERY_ACTION)
        driver.ask_for_recovery(1, 0)
        watcher.checked(uuid(1))


def test_a_check_tells_what_is_wrong_with_the_memory(driver: Driver) -> None:
    with watch(driver) as watcher:
        driver.fail_memory(0, remap_failed=True)
        watcher.checked(uuid(0), ROW_REMAP_FAILURE)
        driver.fail_memory(0, pending=True)
        watcher.checked(uuid(0), PENDING_RETIREMENT)
        driver.fail_memory(0, pending=True, old=True)
        watcher.checked(uuid(0), PENDING_RETIREMENT)
        driver.recover(0)
        watcher.checked(uuid(0))


@pytest.mark.parametrize("error", [NOT_SUPPORTED, UNKNOWN, UNKNOWN_TO_PYNVML])
@pytest.mark.parametrize("call", ASKED)
def test_what_a_driver_cannot_tell_is_no_fault(driver: Driver, call: Call, error: int) -> None:
    driver.fail(call, error)
    with watch(driver) as watcher:
        watcher.next(DevicesChecked, 2)
        unanswered = frozenset() if error == NOT_SUPPORTED else ASKED[call]
        expected = Checkup({}, None if call is Call.FIELDS else False, unanswered)
        assert all(each == expected for each in watcher.of(DevicesChecked)[-1].checkups.values())


@pytest.mark.parametrize("error", [NOT_SUPPORTED, UNKNOWN])
def test_a_gpu_that_answers_no_question_with_more_than_an_error_does_not_answer(driver: Driver, error: int) -> None:
    driver.fail(Call.FIELDS, error)
    driver.fail(Call.REMAPPED, UNKNOWN)
    driver.fail(Call.RETIRED, NOT_SUPPORTED)
    with watch(driver) as watcher:
        assert watcher.checked(uuid(0), NOT_ANSWERING) == "does not answer: Unknown Error"


def test_a_gpu_that_has_nothing_to_say_about_its_health_is_well(driver: Driver) -> None:
    for call in ASKED:
        driver.fail(call, NOT_SUPPORTED)
    with watch(driver) as watcher:
        watcher.next(DevicesChecked, 2)
        assert all(each == Checkup({}, None) for each in watcher.of(DevicesChecked)[-1].checkups.values())


def test_a_gpu_that_has_to_be_reset_does_not_answer(driver: Driver) -> None:
    with watch(driver) as watcher:
        driver.fail(Call.REMAPPED, RESET_REQUIRED)
        watcher.checked(uuid(0), NOT_ANSWERING)


def test_a_recovery_action_that_is_over_before_anybody_looks_is_told(driver: Driver) -> None:
    with watch(driver, rescan_seconds=60) as watcher:
        watcher.next(DevicesChecked)
        eventually(lambda: driver.calls(Call.WAIT) > 0)
        driver.ask_for_recovery(1, 1)
        assert watcher.next(EvidenceReported) == EvidenceReported(RECOVERY_ACTION, DeviceId(uuid(1)))


def test_nothing_is_offered_before_it_is_known_how_it_is(driver: Driver) -> None:
    driver.hang(Call.REMAPPED)
    with watch(driver) as watcher:
        eventually(lambda: driver.calls(Call.REMAPPED) > 0)
        assert not watcher.of(InventorySeen)
        driver.release()
        watcher.next(InventorySeen)
        assert isinstance(watcher.seen[0], InventorySeen)


@pytest.mark.parametrize("call", ASKED)
def test_a_gpu_that_is_lost_while_it_is_checked_does_not_answer(driver: Driver, call: Call) -> None:
    with watch(driver) as watcher:
        watcher.next(DevicesChecked)
        driver.fail(call, GPU_IS_LOST)
        watcher.checked(uuid(0), NOT_ANSWERING)


def test_a_driver_without_a_recovery_action_tells_none(driver: Driver) -> None:
    with watch(driver) as watcher:
        driver.ask_for_recovery(0, -1)
        watcher.next(DevicesChecked)
        eventually(lambda: watcher.of(DevicesChecked)[-1].checkups[DeviceId(uuid(0))].asks_for_recovery is None)


def test_a_driver_is_told_with_its_version_and_another_instance_once_it_is_loaded_again(driver: Driver) -> None:
    with watch(driver) as watcher:
        first = watcher.next(DriverSeen)
        assert first.version == "575.57.08"
        driver.uninstall()
        driver.fail(Call.COUNT, DRIVER_NOT_LOADED)
        watcher.next(DriverUnavailable)
        driver.load_module("580.65.06")
        driver.fail(Call.COUNT, 0)
        driver.install()
        second = watcher.next(DriverSeen, 2)
        assert second.version == "580.65.06"
        assert None not in {first.instance, second.instance}
        assert first.instance != second.instance
        watcher.next(InventorySeen, 2)


def test_a_driver_that_does_not_say_what_it_is_is_used_all_the_same(driver: Driver) -> None:
    driver.fail(Call.VERSION, UNKNOWN)
    (driver.sysfs / "module/nvidia").rmdir()
    with watch(driver) as watcher:
        assert watcher.next(DriverSeen) == DriverSeen(None, None)
