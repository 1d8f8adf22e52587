"""The generation of a GPU: from its driver, through a call that fails, to the decision about its XIDs."""

import pytest

from core.health.story import Story
from driver.driver import Call, Driver
from harness.devices import device, inventory
from plugin_gateway.core.health.changes import Significance
from plugin_gateway.core.health.observations import DevicesChecked, EvidenceReported, InventorySeen
from plugin_gateway.nvidia.evidence import xid_kind
from plugin_gateway.nvidia.generation import generation_of
from plugin_gateway.nvidia.simulated import parse_spec

from .watcher import eventually, watch

NOT_SUPPORTED, UNKNOWN = 3, 999


@pytest.mark.parametrize(
    ("capability", "product", "generation"),
    [
        ((3, 5), "Tesla K40", "A100"),
        ((7, 5), "Tesla T4", "A100"),
        ((8, 0), "NVIDIA A100-SXM4-80GB", "A100"),
        ((8, 9), "NVIDIA L40S", "A100"),
        ((9, 0), "NVIDIA H100 80GB HBM3", "H100"),
        ((9, 0), "NVIDIA GH200 480GB", "H100"),
        ((10, 0), "NVIDIA B200", "B100"),
        ((10, 3), "NVIDIA B300 SXM6 AC", "B100"),
        ((10, 0), "NVIDIA GB200", "GB200"),
        ((10, 3), "NVIDIA GB300", "GB200"),
        ((12, 0), "NVIDIA RTX PRO 6000 Blackwell Server Edition 96GB", "B100"),
        ((12, 1), "NVIDIA GB10", "GB200"),
        ((12, 0), "", "B100"),
        ((11, 0), "NVIDIA Thor", ""),
        ((13, 0), "NVIDIA R100", ""),
        (None, "NVIDIA GB200", ""),
    ],
)
def test_capability_and_name_tell_the_generation(
    capability: tuple[int, int] | None, product: str, generation: str
) -> None:
    assert generation_of(capability, product) == generation


@pytest.mark.parametrize(
    ("model", "generation"), [("T4", "A100"), ("L40S", "A100"), ("H200", "H100"), ("B200", "B100")]
)
def test_a_simulated_gpu_has_the_generation_of_its_model(model: str, generation: str) -> None:
    assert parse_spec(f"1x{model}")[0].generation == generation


def test_the_driver_is_asked_for_it(driver: Driver) -> None:
    driver.add(0, capability=(8, 0))
    driver.add(1, capability=(10, 0), name="NVIDIA GB200")
    with watch(driver) as watcher:
        devices = watcher.next(InventorySeen).inventory.devices
    assert [device.physical.generation for device in devices] == ["A100", "GB200"]


def test_a_driver_that_does_not_tell_leaves_it_open(driver: Driver) -> None:
    driver.fail(Call.CAPABILITY, NOT_SUPPORTED)
    with watch(driver) as watcher:
        devices = watcher.next(InventorySeen).inventory.devices
    assert [device.physical.generation for device in devices] == ["", ""]


def test_a_gpu_whose_driver_fails_to_tell_is_offered_and_asked_again(driver: Driver) -> None:
    driver.fail(Call.CAPABILITY, UNKNOWN, times=4)
    with watch(driver) as watcher:
        first = watcher.next(InventorySeen).inventory
        assert [device.physical.generation for device in first.devices] == ["", ""]
        assert not first.rejected
        eventually(
            lambda: [each.generation for each in watcher.of(InventorySeen)[-1].inventory.physical] == ["H100"] * 2
        )


def test_a_call_that_fails_later_keeps_what_was_known(driver: Driver) -> None:
    with watch(driver) as watcher:
        watcher.next(DevicesChecked)
        driver.fail(Call.CAPABILITY, UNKNOWN)
        driver.add(2)
        devices = watcher.next(InventorySeen, 2).inventory.devices
    assert [device.physical.generation for device in devices] == ["H100", "H100", ""]


@pytest.mark.parametrize(
    ("generation", "significance"),
    [("GB200", Significance.IGNORED), ("H100", Significance.REPORTED), ("", Significance.REPORTED)],
)
def test_an_xid_is_judged_by_the_generation_of_its_gpu(generation: str, significance: Significance) -> None:
    """XID 121 asks for nothing on GB200, and is in no other column of the catalog."""
    gpu = device(0, generation=generation)
    story = Story().see(InventorySeen(inventory(gpu)), EvidenceReported(xid_kind(121), gpu.id))
    assert [note.significance for note in story.changes.notes] == [significance]
