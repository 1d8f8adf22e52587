"""What the stand-in driver says about MIG and the topology, seen through pynvml itself."""

from typing import Any

import pynvml
import pytest

from driver.driver import MIG_CONFIG_CHANGED, NO_INSTANCE, Call, Driver
from driver.mig import gi_minor
from driver.topology import DGX1_V100

from .asking import asked, told
from .conftest import MakeDriver

INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND, FUNCTION_NOT_FOUND = -2, -3, -4, -6, -13


def slots(gpu: Any) -> list[Any]:
    handles = [told(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, gpu, slot) for slot in range(8)]
    return [handle if isinstance(handle, int) else pynvml.nvmlDeviceGetUUID(handle) for handle in handles]


def test_slots_have_holes_and_end(driver: Driver) -> None:
    driver.mig("0:3g.40gb,-,1g.10gb;1:")
    with asked(driver) as (first, second):
        assert pynvml.nvmlDeviceGetMigMode(first) == [1, 1]
        assert pynvml.nvmlDeviceGetMaxMigDeviceCount(first) == 7
        uuids = [driver.mig.uuid(0, 0), driver.mig.uuid(0, 2)]
        assert slots(first) == [uuids[0], NOT_FOUND, uuids[1], *[NOT_FOUND] * 4, INVALID_ARGUMENT]
        assert all(len(uuid) == 40 for uuid in uuids)
        assert slots(second) == [*[NOT_FOUND] * 7, INVALID_ARGUMENT]


def test_a_mig_device_says_what_it_is(driver: Driver) -> None:
    driver.add(0, memory=81559 << 20)
    driver.mig("0:3g.40gb/1c/2c")
    with asked(driver) as (gpu, _):
        mig = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, 1)
        assert (pynvml.nvmlDeviceGetGpuInstanceId(mig), pynvml.nvmlDeviceGetComputeInstanceId(mig)) == (1, 1)
        parent = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig)
        assert pynvml.nvmlDeviceGetUUID(parent) == driver.uuid(0)
        assert [bool(pynvml.nvmlDeviceIsMigDeviceHandle(each)) for each in (gpu, mig)] == [False, True]
        told_of_it = pynvml.nvmlDeviceGetAttributes(mig)
        assert (told_of_it.gpuInstanceSliceCount, told_of_it.computeInstanceSliceCount) == (3, 2)
        assert (told_of_it.memorySizeMB, told_of_it.multiprocessorCount, told_of_it.sharedJpegCount) == (40461, 36, 3)
        assert pynvml.nvmlDeviceGetMemoryInfo(mig).total == 40461 << 20
        instance = pynvml.nvmlDeviceGetGpuInstanceById(gpu, 1)
        assert pynvml.nvmlGpuInstanceGetInfo(instance).profileId == 9
        assert told(pynvml.nvmlDeviceGetGpuInstanceById, gpu, 2) == NOT_FOUND
        assert told(pynvml.nvmlDeviceGetMinorNumber, mig) == INVALID_ARGUMENT


@pytest.mark.parametrize("version", [1, 2])
def test_both_versions_of_the_profiles_have_the_drivers_ids(driver: Driver, version: int) -> None:
    with asked(driver) as (gpu, _):
        profiles = [told(pynvml.nvmlDeviceGetGpuInstanceProfileInfo, gpu, each, version) for each in range(0x13)]
        ids = [profile if isinstance(profile, int) else profile.id for profile in profiles]
        assert ids[:10] == [19, 14, 9, 5, 0, NOT_SUPPORTED, NOT_SUPPORTED, 20, NOT_SUPPORTED, 15]
        assert ids[0x10:] == [NOT_SUPPORTED, INVALID_ARGUMENT, INVALID_ARGUMENT]
        if version == 2:
            assert profiles[2].name == "MIG 3g.40gb"


def test_without_the_privilege_ids_are_seen_and_profiles_are_not(driver: Driver) -> None:
    driver.mig("0:3g.40gb")
    driver.mig.permit(privileged=False)
    with asked(driver) as (gpu, _):
        assert slots(gpu)[0] == driver.mig.uuid(0, 0)
        assert told(pynvml.nvmlDeviceGetGpuInstanceById, gpu, 1) == NO_PERMISSION
        assert told(pynvml.nvmlDeviceGetGpuInstanceProfileInfo, gpu, 2, 2) == NO_PERMISSION
        driver.mig.permit(privileged=True)
        assert not isinstance(told(pynvml.nvmlDeviceGetGpuInstanceById, gpu, 1), int)


def test_a_handle_is_invalid_once_its_device_is_gone_and_then_stands_for_another(driver: Driver) -> None:
    driver.mig("0:3g.40gb")
    with asked(driver) as (gpu, _):
        handle = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, 0)
        driver.mig.vanish(0, 0, after=1)
        assert told(pynvml.nvmlDeviceGetGpuInstanceId, handle) == 1
        assert told(pynvml.nvmlDeviceGetGpuInstanceId, handle) == INVALID_ARGUMENT
        driver.mig("0:1g.10gb")
        assert told(pynvml.nvmlDeviceGetGpuInstanceId, handle) == 7


def test_one_call_for_one_device_can_fail(driver: Driver) -> None:
    driver.mig("0:3g.40gb,1g.10gb")
    driver.mig.fail(0, 0, 999, Call.ATTRIBUTES)
    with asked(driver) as (gpu, _):
        first, second = (pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, slot) for slot in range(2))
        assert told(pynvml.nvmlDeviceGetAttributes, first) == -999
        assert told(pynvml.nvmlDeviceGetComputeInstanceId, first) == 0
        assert pynvml.nvmlDeviceGetAttributes(second).gpuInstanceSliceCount == 1


def test_the_mode_does_not_change_while_nvml_is_initialised(driver: Driver) -> None:
    driver.mig("1:")
    with asked(driver) as (first, _):
        assert not driver.mig.ask_for_mode(0, enabled=True)
        assert pynvml.nvmlDeviceGetMigMode(first) == [0, 1]
        with pytest.raises(AssertionError, match="GPU 0 keeps its MIG mode"):
            driver.mig("0:;1:")
        driver.mig.ask_for_mode(0, enabled=False)
        driver.mig("1:7g.80gb")
    assert driver.mig.ask_for_mode(0, enabled=True)
    with asked(driver) as (first, _):
        assert pynvml.nvmlDeviceGetMigMode(first) == [1, 1]


def test_a_product_or_a_driver_without_mig_says_so(make_driver: MakeDriver) -> None:
    driver = make_driver(gpus=0)
    driver.add(0, name="Tesla T4")
    with asked(driver) as (gpu,):
        assert told(pynvml.nvmlDeviceGetMigMode, gpu) == NOT_SUPPORTED


def test_a_driver_from_before_mig_has_none_of_the_functions(make_driver: MakeDriver) -> None:
    with asked(make_driver(old=True)) as (gpu, other):
        assert told(pynvml.nvmlDeviceGetMigMode, gpu) == FUNCTION_NOT_FOUND
        assert told(pynvml.nvmlDeviceGetTopologyCommonAncestor, gpu, other) == FUNCTION_NOT_FOUND


def test_the_kernel_lists_the_nodes_of_all_instances_and_makes_those_that_there_are(driver: Driver) -> None:
    driver.add(1, minor=5)
    driver.mig("1:3g.40gb/1c/2c,1g.10gb")
    lines = (driver.proc / "driver/nvidia-caps/mig-minors").read_text().splitlines()
    assert lines[:2] == ["config 1", "monitor 2"]
    assert f"gpu5/gi7/ci0/access {gi_minor(5, 7) + 1}" in lines
    assert not any(line.startswith("gpu1/") for line in lines)
    numbers = {gi_minor(5, 1), gi_minor(5, 1) + 1, gi_minor(5, 1) + 2, gi_minor(5, 7), gi_minor(5, 7) + 1}
    nodes = {path.name for path in (driver.root / "dev/nvidia-caps").iterdir()}
    assert nodes == {f"nvidia-cap{number}" for number in numbers}


def test_events_name_their_instances_and_a_change_of_the_configuration(driver: Driver) -> None:
    kinds = pynvml.nvmlEventTypeXidCriticalError | MIG_CONFIG_CHANGED
    driver.add(0, event_types=kinds)
    with asked(driver) as (gpu, _):
        events = pynvml.nvmlEventSetCreate()
        pynvml.nvmlDeviceRegisterEvents(gpu, kinds, events)
        driver.xid(0, 79, gi=1, ci=0)
        driver.xid(0, 79)
        driver.xid(0, 0, MIG_CONFIG_CHANGED)
        seen = [pynvml.nvmlEventSetWait_v2(events, 1000) for _ in range(3)]
        assert [(each.gpuInstanceId, each.computeInstanceId) for each in seen[:2]] == [(1, 0), (NO_INSTANCE,) * 2]
        assert seen[2].eventType == MIG_CONFIG_CHANGED
        pynvml.nvmlEventSetFree(events)


def test_links_name_the_gpu_at_their_other_end_or_a_switch(make_driver: MakeDriver) -> None:
    driver = make_driver(gpus=9)
    driver.topology.build(DGX1_V100, 8)
    with asked(driver) as gpus:
        first, switched = gpus[0], gpus[8]
        ends = [pynvml.nvmlDeviceGetNvLinkRemotePciInfo(first, link).bus for link in range(6)]
        assert sorted(ends) == [0x11, 0x12, 0x13, 0x13, 0x14, 0x14]
        assert told(pynvml.nvmlDeviceGetNvLinkState, first, 6) == INVALID_ARGUMENT
        types = [pynvml.nvmlDeviceGetNvLinkRemoteDeviceType(gpu, 0) for gpu in (first, switched)]
        assert types == [pynvml.NVML_NVLINK_DEVICE_TYPE_GPU, pynvml.NVML_NVLINK_DEVICE_TYPE_SWITCH]
        levels = [pynvml.nvmlDeviceGetTopologyCommonAncestor(first, other) for other in gpus[1:]]
        assert levels == [10, 30, 30, 50, 50, 50, 50, 50]
