"""MIG devices of a running gateway: layouts that change, calls that fail, and faults of instances."""

import random
import time

import pytest

from driver.driver import (
    DOUBLE_BIT_ECC,
    EVERY_EVENT,
    MIG_CONFIG_CHANGED,
    NO_INSTANCE,
    RECOVERY_ACTION_CHANGED,
    Call,
    Driver,
)
from plugin_gateway.core.devices import Device, DeviceId
from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.core.health.observations import DevicesChecked, EvidenceReported, InventorySeen
from plugin_gateway.core.health.policy import NOT_ANSWERING, RECOVERY_ACTION
from plugin_gateway.nvidia import evidence
from plugin_gateway.nvidia.evidence import xid_kind

from .conftest import MakeDriver
from .test_inventory import uuid
from .watcher import Watcher, eventually, watch

INVALID_ARGUMENT, UNKNOWN = 2, 999
SCAN = (
    Call.MIG,
    Call.MIG_COUNT,
    Call.MIG_HANDLE,
    Call.UUID,
    Call.GI_ID,
    Call.CI_ID,
    Call.ATTRIBUTES,
    Call.GI,
    Call.GI_INFO,
    Call.GI_PROFILE,
)
"""The calls of a scan."""


def profiles(watcher: Watcher) -> list[tuple[str, str]]:
    return [(each.place_words, each.profile) for each in watcher.of(InventorySeen)[-1].inventory.devices]


def test_a_layout_is_followed_without_a_new_session(driver: Driver) -> None:
    driver.mig("0:3g.40gb;1:")
    with watch(driver, mig="mixed") as watcher:
        watcher.next(InventorySeen)
        assert profiles(watcher) == [("0:0", "3g.40gb")]
        driver.mig("0:1g.10gb,2g.20gb;1:7g.80gb")
        eventually(lambda: profiles(watcher) == [("0:0", "1g.10gb"), ("0:1", "2g.20gb"), ("1:0", "7g.80gb")])
        driver.mig("0:;1:")
        eventually(lambda: profiles(watcher) == [])
        assert len(watcher.of(InventorySeen)[-1].inventory.physical) == 2
        assert driver.sessions == 1


def test_a_layout_that_stays_the_same_is_reported_once(driver: Driver) -> None:
    driver.mig("0:3g.40gb,1g.10gb;1:")
    driver.mig.set(0, 1, gi_slices=5)
    with watch(driver, mig="mixed") as watcher:
        watcher.next(InventorySeen)
        scans = driver.calls(Call.MIG_COUNT)
        eventually(lambda: driver.calls(Call.MIG_COUNT) > scans + 8)
        assert len(watcher.of(InventorySeen)) == 1


def test_each_gpu_is_asked_once_in_a_scan_whether_it_is_in_mig_mode(driver: Driver) -> None:
    driver.mig("0:3g.40gb")
    with watch(driver, checkup_seconds=60, mig="mixed") as watcher:
        watcher.next(DevicesChecked)
        scans = driver.calls(Call.MIG_COUNT)
        eventually(lambda: driver.calls(Call.MIG_COUNT) >= scans + 8)
    assert driver.calls(Call.MIG) <= 2 * driver.calls(Call.MIG_COUNT) + 4, "two GPUs, and what the checks ask"


def test_an_event_of_the_driver_makes_a_change_seen_before_the_next_rescan(make_driver: MakeDriver) -> None:
    driver = make_driver(gpus=1)
    driver.add(0, event_types=8 | MIG_CONFIG_CHANGED)
    driver.mig("0:3g.40gb")
    with watch(driver, rescan_seconds=60, checkup_seconds=60, mig="mixed") as watcher:
        watcher.next(DevicesChecked)
        driver.mig("0:1g.10gb")
        driver.xid(0, 0, MIG_CONFIG_CHANGED)
        watcher.next(InventorySeen, 2)
        assert profiles(watcher) == [("0:0", "1g.10gb")]
        assert not watcher.of(EvidenceReported)
        checks, began = driver.calls(Call.MIG_COUNT), time.monotonic()
        for _ in range(200):
            driver.xid(0, 0, MIG_CONFIG_CHANGED)
        eventually(lambda: driver.calls(Call.MIG_COUNT) > checks)
        assert driver.calls(Call.MIG_COUNT) - checks <= 2 + (time.monotonic() - began)
        time.sleep(1.2)
        scans = driver.calls(Call.MIG_COUNT)
        time.sleep(1.2)
        assert driver.calls(Call.MIG_COUNT) == scans, "one event asks for one rescan"


def test_a_driver_that_refuses_the_event_about_mig_reports_all_others(make_driver: MakeDriver) -> None:
    driver = make_driver(gpus=1)
    driver.add(0, event_types=EVERY_EVENT | MIG_CONFIG_CHANGED)
    driver.fail(Call.REGISTER, INVALID_ARGUMENT, times=1)
    with watch(driver, rescan_seconds=60) as watcher:
        watcher.next(DevicesChecked)
        assert driver.calls(Call.REGISTER) == 2
        eventually(lambda: driver.calls(Call.WAIT) > 0)
        driver.xid(0, 0, DOUBLE_BIT_ECC)
        assert watcher.next(EvidenceReported).kind == evidence.DOUBLE_BIT_ECC
        driver.xid(0, 0, MIG_CONFIG_CHANGED)
        time.sleep(0.1)
        assert len(watcher.of(EvidenceReported)) == 1


@pytest.mark.parametrize("call", SCAN)
@pytest.mark.parametrize("times", [1, 40])
def test_a_scan_that_fails_takes_no_known_device_away(driver: Driver, call: Call, times: int) -> None:
    driver.mig("0:3g.40gb,1g.10gb;1:7g.80gb")
    with watch(driver, mig="mixed") as watcher:
        watcher.next(DevicesChecked)
        calls = driver.calls(call)
        driver.fail(call, UNKNOWN, times=times)
        driver.add(2)
        eventually(lambda: driver.calls(call) > calls + times)
        driver.fail(call, 0)
        eventually(lambda: len(watcher.of(InventorySeen)[-1].inventory.devices) == 4)
        first, *later = [seen.inventory for seen in watcher.of(InventorySeen)]
        assert len(first.devices) == 3
        for inventory in later:
            assert inventory.devices[:3] == first.devices
            assert {each.place for each in inventory.rejected} <= {"GPU 2 at 0000:12:00.0"}, "which is new"


def test_a_gpu_that_is_lost_keeps_its_devices(driver: Driver) -> None:
    driver.mig("0:3g.40gb,1g.10gb;1:7g.80gb")
    with watch(driver, mig="mixed") as watcher:
        watcher.next(DevicesChecked)
        driver.lose(0)
        watcher.checked(uuid(0), NOT_ANSWERING)
        driver.add(2)
        watcher.next(InventorySeen, 2)
        assert profiles(watcher) == [("0:0", "3g.40gb"), ("0:1", "1g.10gb"), ("1:0", "7g.80gb"), ("2", "")]
        eventually(lambda: DeviceId(driver.mig.uuid(0, 0)) not in watcher.of(DevicesChecked)[-1].checkups)


def test_a_right_that_is_taken_away_while_it_runs_takes_no_known_device_away(driver: Driver) -> None:
    driver.mig("0:3g.40gb")
    with watch(driver, mig="mixed") as watcher:
        watcher.next(DevicesChecked)
        driver.mig.permit(privileged=False)
        scans = driver.calls(Call.MIG_COUNT)
        eventually(lambda: driver.calls(Call.MIG_COUNT) > scans + 3)
        driver.mig("0:1g.10gb")
        watcher.next(InventorySeen, 2)
        assert profiles(watcher) == [("1", "")], "another device in the same slot is not the known one"
        assert "SYS_ADMIN" in watcher.of(InventorySeen)[-1].inventory.rejected[0].todo


def test_the_minor_numbers_are_read_once_in_a_session_unless_they_are_missing(driver: Driver) -> None:
    driver.mig("0:3g.40gb;1:")
    minors = driver.proc / "driver/nvidia-caps/mig-minors"
    text = minors.read_text()
    minors.unlink()
    with watch(driver, mig="mixed") as watcher:
        assert not watcher.next(InventorySeen).inventory.devices
        minors.write_text(text)
        watcher.next(InventorySeen, 2)
        assert profiles(watcher) == [("0:0", "3g.40gb")]
        minors.unlink()
        scans = driver.calls(Call.MIG_COUNT)
        eventually(lambda: driver.calls(Call.MIG_COUNT) > scans + 4)
        assert len(watcher.of(InventorySeen)) == 2


def test_layouts_at_random_are_each_followed(driver: Driver) -> None:
    """A layout that changes within a scan may be seen mixed, and never for long."""
    at_random = random.Random(22)
    choices = [
        "7g.80gb",
        "3g.40gb,3g.40gb",
        "4g.40gb,2g.20gb,1g.10gb",
        "1g.10gb,1g.10gb+me,-,1g.20gb",
        "3g.40gb/1c/2c",
        "",
    ]
    driver.mig("0:;1:")
    with watch(driver, rescan_seconds=0.01, checkup_seconds=60, mig="mixed") as watcher:
        watcher.next(InventorySeen)
        for _ in range(60):
            layout = [at_random.choice(choices) for _ in range(2)]
            driver.mig(f"0:{layout[0]};1:{layout[1]}")
            if at_random.random() < 0.5:
                time.sleep(at_random.random() / 100)
                continue
            wanted = {driver.mig.uuid(gpu, slot) for gpu in range(2) for slot in slots(layout[gpu])}
            eventually(lambda wanted=wanted: {each.id for each in latest(watcher)} == wanted)  # type: ignore[misc]


def slots(layout: str) -> list[int]:
    """Return the slots of a layout that have a device."""
    names = [each for each in layout.split(",") if each]
    if layout == "3g.40gb/1c/2c":
        return [0, 1]
    return [slot for slot, name in enumerate(names) if name != "-"]


def latest(watcher: Watcher) -> tuple[Device, ...]:
    return watcher.of(InventorySeen)[-1].inventory.devices


INSTANCES = "0:3g.40gb/1c/2c,2g.20gb;1:3g.40gb"
"""The devices of GPU 0 are GPU instance 1 with the compute instances 0 and 1, and GPU instance 3 with 0."""


@pytest.mark.parametrize(
    ("gi", "ci", "slots"),
    [(1, NO_INSTANCE, [0, 1]), (1, 0, [0]), (1, 1, [1]), (3, 0, [2]), (3, NO_INSTANCE, [2])],
)
def test_a_fault_of_an_instance_is_one_of_its_devices(driver: Driver, gi: int, ci: int, slots: list[int]) -> None:
    driver.mig(INSTANCES)
    with watch(driver, mig="mixed") as watcher:
        watcher.next(DevicesChecked)
        driver.xid(0, 48, gi=gi, ci=ci)
        watcher.next(EvidenceReported, len(slots))
        time.sleep(0.1)
        expected = [EvidenceReported(xid_kind(48), DeviceId(driver.mig.uuid(0, slot))) for slot in slots]
        assert watcher.of(EvidenceReported) == expected


def test_a_fault_without_an_instance_is_one_of_the_gpu(driver: Driver) -> None:
    driver.mig(INSTANCES)
    with watch(driver, mig="mixed") as watcher:
        watcher.next(DevicesChecked)
        driver.xid(0, 79)
        assert watcher.next(EvidenceReported) == EvidenceReported(xid_kind(79), DeviceId(uuid(0)))


@pytest.mark.parametrize(("ci", "words"), [(5, "GPU instance 5, compute instance 5"), (NO_INSTANCE, "GPU instance 5")])
def test_a_fault_of_an_instance_that_is_not_listed_is_said_and_asks_for_a_rescan(
    driver: Driver, ci: int, words: str
) -> None:
    driver.mig(INSTANCES)
    with watch(driver, rescan_seconds=60, checkup_seconds=60, mig="mixed") as watcher:
        watcher.next(DevicesChecked)
        driver.mig("0:1g.10gb;1:3g.40gb")
        driver.xid(1, 48, gi=5, ci=ci)
        assert watcher.next(EvidenceReported) == EvidenceReported(xid_kind(48), None, f"GPU 1, {words}")
        watcher.next(InventorySeen, 2)
        assert profiles(watcher)[0] == ("0:0", "1g.10gb")


def test_a_recovery_that_is_asked_for_an_instance_is_looked_at_at_once(make_driver: MakeDriver) -> None:
    driver = make_driver(gpus=1)
    driver.mig(INSTANCES.partition(";")[0])
    with watch(driver, rescan_seconds=60, checkup_seconds=60, decision_seconds=60, mig="mixed") as watcher:
        watcher.next(DevicesChecked)
        driver.xid(0, 1, RECOVERY_ACTION_CHANGED, gi=1, ci=0)
        assert watcher.next(EvidenceReported) == EvidenceReported(RECOVERY_ACTION, DeviceId(driver.mig.uuid(0, 0)))
        watcher.next(DevicesChecked, 2)


def test_a_fault_of_a_device_that_is_left_out_is_said(driver: Driver) -> None:
    driver.mig("0:3g.40gb,2g.20gb;1:3g.40gb")
    with watch(driver, mig="single") as watcher:
        watcher.next(DevicesChecked)
        driver.xid(0, 48, gi=3, ci=0)
        place = "GPU 0, GPU instance 3, compute instance 0"
        assert watcher.next(EvidenceReported) == EvidenceReported(xid_kind(48), None, place)


def test_a_check_of_a_gpu_is_one_of_each_of_its_parts(driver: Driver) -> None:
    """Without one, a part with a fault of its own would stay out for good."""
    driver.mig(INSTANCES)
    with watch(driver, mig="mixed") as watcher:
        checkups = watcher.next(DevicesChecked).checkups
        parts = [DeviceId(driver.mig.uuid(0, slot)) for slot in range(3)]
        assert checkups.keys() == {uuid(0), uuid(1), driver.mig.uuid(1, 0), *parts}
        driver.ask_for_recovery(0, 1)
        watcher.checked(uuid(0), RECOVERY_ACTION)
        found = watcher.of(DevicesChecked)[-1].checkups
        unanswered = found[DeviceId(uuid(0))].unanswered
        assert found[parts[0]] == Checkup({}, asks_for_recovery=True, unanswered=unanswered)


def test_the_mode_can_change_while_the_driver_is_let_go(driver: Driver) -> None:
    with watch(driver, mig="mixed") as watcher:
        watcher.next(DevicesChecked)
        assert not driver.mig.ask_for_mode(0, enabled=True), "a process that has NVML open is in the way"
    assert driver.mig.ask_for_mode(0, enabled=True)
    driver.mig("0:3g.40gb")
    with watch(driver, mig="mixed") as watcher:
        watcher.next(InventorySeen)
        assert profiles(watcher) == [("0:0", "3g.40gb"), ("1", "")]
