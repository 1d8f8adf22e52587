"""MIG layouts that change under a gateway that lives, with pods that hold devices."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from driver.driver import Call, Driver
from harness.driven import DrivenNode
from harness.node import RESOURCE, until
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.core.devices import DeviceId
from plugin_gateway.core.resources.policy import AllocationPolicy, DeviceIdStrategy

HALF, SEVENTH = "nvidia.com/mig-3g.40gb", "nvidia.com/mig-1g.10gb"


async def has(kubelet: FakeKubelet, resource: str, capacity: int | None, allocatable: int | None = None) -> None:
    expected = capacity if allocatable is None else allocatable
    await kubelet.wait_for(
        lambda: (kubelet.capacity(resource) or 0, kubelet.allocatable(resource) or 0) == (capacity or 0, expected or 0),
        timeout=10,
        what=f"{capacity} devices of {resource}, {expected} allocatable",
    )


def listed(kubelet: FakeKubelet, resource: str) -> list[tuple[str, ...]]:
    return [tuple(each for each, _ in sent.devices) for sent in kubelet.lists if sent.resource == resource]


async def test_resources_come_and_go_and_one_that_goes_sends_an_empty_list_first(
    kubelet_dir: Path, driver: Driver
) -> None:
    driver.mig("0:3g.40gb,3g.40gb")
    node = DrivenNode(kubelet_dir, driver, "mixed")
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, node.running():
        await has(kubelet, HALF, 2)
        await has(kubelet, RESOURCE, 7)
        halves = (driver.mig.uuid(0, 0), driver.mig.uuid(0, 1))
        driver.mig("0:1g.10gb")
        await has(kubelet, SEVENTH, 1)
        await kubelet.wait_for(lambda: kubelet.open_streams(HALF) == 0, what="the end of the stream")
        assert listed(kubelet, HALF) == [halves, ()]
        assert set(node.gateway.offered) == {RESOURCE, SEVENTH}
        driver.mig("0:3g.40gb")
        await has(kubelet, HALF, 1)
        await kubelet.wait_for(lambda: kubelet.open_streams(SEVENTH) == 0, what="the end of the other stream")
        driver.mig("0:")
        await kubelet.wait_for(lambda: kubelet.open_streams(HALF) == 0, what="no MIG device")
        await has(kubelet, RESOURCE, 7)
        assert kubelet.open_streams(RESOURCE) == 1


@pytest.mark.parametrize("strategy", [DeviceIdStrategy.UUID, DeviceIdStrategy.INDEX])
async def test_a_container_gets_the_devices_with_all_their_nodes(
    kubelet_dir: Path, driver: Driver, strategy: DeviceIdStrategy
) -> None:
    driver.mig("0:7g.80gb;1:3g.40gb,3g.40gb")
    node = DrivenNode(kubelet_dir, driver, "mixed", AllocationPolicy(device_id_strategy=strategy))
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, node.running():
        await has(kubelet, HALF, 2)
        ids = [driver.mig.uuid(1, slot) for slot in range(2)]
        container = await kubelet.allocate(HALF, pod="uid-1", ids=ids[::-1])
        names = ",".join(ids) if strategy is DeviceIdStrategy.UUID else "1:0,1:1"
        assert container.environment == {"NVIDIA_VISIBLE_DEVICES": names}
        caps = {f"/dev/nvidia-caps/nvidia-cap{number}" for number in (147, 148, 156, 157)}
        shared = {"/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"}
        assert container.device_nodes.keys() <= caps | shared | {"/dev/nvidia1"}
        assert caps | {"/dev/nvidia1"} <= container.device_nodes.keys()


async def test_the_mode_of_a_gpu_changes_while_the_driver_is_released(kubelet_dir: Path, driver: Driver) -> None:
    node = DrivenNode(kubelet_dir, driver, "mixed")
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, node.running():
        await has(kubelet, RESOURCE, 8)
        assert not driver.mig.ask_for_mode(0, enabled=True), "the gateway has NVML open"
        node.access.release(60)
        await has(kubelet, RESOURCE, 8, 0)
        await until(lambda: node.access.released is not None and node.access.released.is_closed, "the library")
        driver.mig("0:3g.40gb")
        await asyncio.sleep(0.2)
        assert kubelet.capacity(RESOURCE) == 8, "the ids stay listed"
        node.access.take()
        await has(kubelet, RESOURCE, 7)
        await has(kubelet, HALF, 1)


async def change_mode(node: DrivenNode, driver: Driver, layout: str) -> None:
    node.access.release(60)
    await until(lambda: node.access.released is not None and node.access.released.is_closed, "the library")
    driver.mig(layout)
    node.access.take()


@pytest.mark.parametrize(("before", "after", "to"), [("", "0:3g.40gb", HALF), ("0:3g.40gb", "", RESOURCE)])
async def test_a_gpu_that_is_divided_or_no_longer_divided_is_withheld_while_a_pod_holds_it(
    kubelet_dir: Path, driver: Driver, told: list[dict[str, Any]], before: str, after: str, to: str
) -> None:
    driver.mig(before)
    node = DrivenNode(kubelet_dir, driver, "mixed")
    held, held_id = (RESOURCE, driver.uuid(0)) if before == "" else (HALF, driver.mig.uuid(0, 0))
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, node.running():
        await has(kubelet, held, 8 if before == "" else 1)
        await kubelet.allocate(held, pod="uid-1", ids=[held_id])
        await change_mode(node, driver, after)
        count = 1 if to == HALF else 8
        await has(kubelet, to, count, count - 1)
        new = driver.mig.uuid(0, 0) if to == HALF else driver.uuid(0)
        assert kubelet.devices(to)[new] == "Unhealthy"
        assert all(dict(sent.devices).get(new) != "Healthy" for sent in kubelet.lists), "not for a moment"
        await until(lambda: any("uid-1 main" in str(line.get("what")) for line in told), "the pod's name")
        await kubelet.remove("uid-1")
        await kubelet.allocate(to, pod="uid-2", ids=[driver.uuid(1)]) if to == RESOURCE else None
        kubelet._write_checkpoint()
        await has(kubelet, to, count)


async def test_a_fault_of_an_instance_takes_out_its_devices_until_the_gpu_was_reset(
    kubelet_dir: Path, driver: Driver
) -> None:
    driver.mig("0:3g.40gb,3g.40gb;1:3g.40gb")
    node = DrivenNode(kubelet_dir, driver, "mixed")
    first, second, other = (driver.mig.uuid(*place) for place in ((0, 0), (0, 1), (1, 0)))
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, node.running():
        await has(kubelet, HALF, 3)
        driver.xid(0, 48, gi=1, ci=0)
        await has(kubelet, HALF, 3, 2)
        assert kubelet.devices(HALF)[first] == "Unhealthy"
        driver.xid(1, 79)
        await has(kubelet, HALF, 3, 1)
        assert kubelet.devices(HALF) == {first: "Unhealthy", second: "Healthy", other: "Unhealthy"}
        driver.ask_for_recovery(0, 1)
        await has(kubelet, HALF, 3, 0)
        await until(lambda: node.gateway.state.faults[DeviceId(first)].asked_for_recovery, "a check of the part")
        driver.ask_for_recovery(0, 0)
        await has(kubelet, HALF, 3, 2)
        assert kubelet.devices(HALF)[other] == "Unhealthy"


async def test_a_part_with_the_nodes_of_one_that_a_pod_still_holds_is_withheld(
    kubelet_dir: Path, driver: Driver
) -> None:
    """The pod can open these nodes as long as it lives."""
    driver.mig("0:3g.40gb,1g.10gb;1:1g.10gb")
    node = DrivenNode(kubelet_dir, driver, "mixed")
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, node.running():
        await has(kubelet, SEVENTH, 2)
        await has(kubelet, HALF, 1)
        await kubelet.allocate(HALF, pod="uid-1", ids=[driver.mig.uuid(0, 0)])
        await asyncio.sleep(0.2)
        driver.mig("0:4g.40gb,1g.10gb;1:1g.10gb")  # which is GPU instance 1 as well
        await has(kubelet, "nvidia.com/mig-4g.40gb", 1, 0)
        await has(kubelet, SEVENTH, 2)
        await asyncio.sleep(0.3)
        assert kubelet.allocatable("nvidia.com/mig-4g.40gb") == 0
        await kubelet.remove("uid-1")
        kubelet._write_checkpoint()
        await has(kubelet, "nvidia.com/mig-4g.40gb", 1)


async def test_another_strategy_gives_nothing_to_two_pods(kubelet_dir: Path, driver: Driver) -> None:
    driver.mig(";".join(f"{gpu}:3g.40gb" for gpu in range(8)))
    node = DrivenNode(kubelet_dir, driver, "mixed")
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, node.running():
        await has(kubelet, HALF, 8)
        await kubelet.allocate(HALF, pod="uid-1", ids=[driver.mig.uuid(0, 0)])
        await node.follow("single")
        await has(kubelet, RESOURCE, 8, 7)
        assert kubelet.devices(RESOURCE)[driver.mig.uuid(0, 0)] == "Unhealthy"
        first = next(sent for sent in kubelet.lists if sent.resource == RESOURCE and sent.devices)
        assert dict(first.devices)[driver.mig.uuid(0, 0)] == "Unhealthy"
        await kubelet.wait_for(lambda: kubelet.open_streams(HALF) == 0, timeout=10, what="the end of the other name")


@pytest.mark.parametrize("strategy", ["none", "single"])
async def test_until_the_driver_was_read_with_another_strategy_no_part_is_given_out(
    kubelet_dir: Path, driver: Driver, strategy: str
) -> None:
    """The other rules count at once, and the parts of before would have the name of whole GPUs."""
    driver.mig("0:3g.40gb,1g.10gb")
    parts = {driver.mig.uuid(0, slot) for slot in range(2)}
    node = DrivenNode(kubelet_dir, driver, "mixed")
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, node.running():
        await has(kubelet, HALF, 1)
        await has(kubelet, RESOURCE, 7)
        driver.hang(Call.INIT)
        await node.follow(strategy)
        await has(kubelet, RESOURCE, 9, 7)
        await asyncio.sleep(0.3)
        assert {each for each, health in kubelet.devices(RESOURCE).items() if health == "Unhealthy"} == parts
        driver.release()
        await has(kubelet, RESOURCE, 7)
        assert set(node.gateway.offered) == {RESOURCE}
        assert not node.gateway.withheld


async def test_replicas_of_mig_devices_follow_layouts(kubelet_dir: Path, driver: Driver, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    shared = f"{{name: {HALF}, replicas: 2}}"
    file.write_text(f"version: v1\nsharing: {{timeSlicing: {{resources: [{shared}]}}}}\n")
    driver.mig("0:3g.40gb,1g.10gb")
    node = DrivenNode(kubelet_dir, driver, "mixed", file=file)
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, node.running():
        await has(kubelet, HALF, 2)
        await has(kubelet, SEVENTH, 1)
        first = driver.mig.uuid(0, 0)
        await kubelet.allocate(HALF, pod="uid-1", ids=[f"{first}::1"])
        driver.mig("0:3g.40gb,3g.40gb")
        await has(kubelet, HALF, 4)
        driver.xid(0, 48, gi=1, ci=0)
        await has(kubelet, HALF, 4, 2)
        assert {each for each, health in kubelet.devices(HALF).items() if health == "Unhealthy"} == {
            f"{first}::0",
            f"{first}::1",
        }
        driver.mig("0:")
        await has(kubelet, HALF, 1, 0)  # that of the pod, for a moment
        await has(kubelet, HALF, 0)
        assert kubelet.open_streams(HALF) == 1, "a rule names the resource"
