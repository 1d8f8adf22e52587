"""What NVIDIA's device plugin 0.20.0 was seen to offer for MIG layouts, and what the gateway offers for the same.

``mig-cases.json`` has the answers of NVIDIA's plugin, which ran with a stand-in for the driver. ``<gpu1>`` stands for
the UUID of GPU 1, and ``<mig0.2.gi3.ci0>`` for that of the MIG device in slot 2 of GPU 0.
"""

import contextlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from driver.driver import Driver
from driver.mig import CARDS
from harness.driven import DrivenNode
from harness.node import until
from plugin_gateway.adapters.fake_kubelet import AdmissionError, FakeKubelet, release
from plugin_gateway.core.resources.policy import AllocationPolicy, DeviceIdStrategy

CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("mig-cases.json").read_text())
MEMORY = {"NVIDIA H200": 143771, "NVIDIA H100 80GB HBM3": 81559}
"""In MiB."""
GPU = "nvidia.com/gpu"

Offered = Mapping[str, list[str]]
DIFFERENT: Mapping[str, tuple[str, Offered]] = {
    "none-uniform": ("a GPU in MIG mode cannot be used as a whole, so it is not offered", {}),
    "single-partly": (
        "no layout takes the node down: of as many GPUs with either, the first decides",
        {GPU: ["<mig0.0>", "<mig0.1>"]},
    ),
    "single-all-empty": ("no layout takes the node down: nothing is offered, and each GPU is named", {}),
    "single-not-uniform": (
        "no layout takes the node down: what most GPUs have is offered",
        {GPU: ["<mig0.0>", "<mig0.1>", "<mig1.1>"]},
    ),
    "mixed-compute-instances": (
        "a compute instance that is smaller than its GPU instance has a name too",
        {
            "nvidia.com/mig-1c.3g.40gb": ["<mig0.0>"],
            "nvidia.com/mig-2c.3g.40gb": ["<mig0.1>"],
            "nvidia.com/mig-2g.20gb": ["<mig0.2>"],
        },
    ),
    "mixed-no-minors": (
        "MIG devices whose nodes are not known are left out, and whole GPUs are offered",
        {GPU: ["<gpu2>"]},
    ),
}
"""The cases in which the gateway offers something else: the reason, and what it offers."""


def id_of(driver: Driver, mark: str) -> str:
    """Return the id that a mark such as ``<mig0.2.gi3.ci0>::1`` stands for."""
    name, _, replica = mark.partition("::")
    numbers = [int(each) for each in re.findall(r"\d+", name)]
    if len(numbers) > 2:
        device = driver.mig._device(numbers[0], numbers[1])
        assert (device.gi, device.ci) == tuple(numbers[2:]), "the stand-ins number instances alike"
    found = driver.uuid(numbers[0]) if len(numbers) == 1 else driver.mig.uuid(numbers[0], numbers[1])
    return f"{found}::{replica}" if replica else found


def prepare(folder: Path, case: Mapping[str, Any]) -> Driver:
    driver = Driver(folder, gpus=0)
    product = case.get("product", "NVIDIA H100 80GB HBM3")
    for index in range(case["gpus"]):
        memory = MEMORY.get(product, 15360) << 20
        driver.add(index, name=product, memory=memory, numa_node=int(index >= case["gpus"] / 2))
    if product in CARDS:
        driver.mig(case.get("layout", ""))
    if not case.get("minors", True):
        driver.mig.remove_minors()
    return driver


def node_for(kubelet_dir: Path, driver: Driver, case: Mapping[str, Any]) -> DrivenNode:
    flags = dict.fromkeys(case.get("flags", ()))
    strategy = next((each.partition("=")[2] for each in flags if each.startswith("--mig-strategy=")), "none")
    index = "--device-id-strategy=index" in flags
    policy = AllocationPolicy(
        pass_device_specs="--pass-device-specs" in flags,
        device_id_strategy=DeviceIdStrategy.INDEX if index else DeviceIdStrategy.UUID,
    )
    file = driver.root / "config.yaml" if "config" in case else None
    if file is not None:
        file.write_text(case["config"])
    return DrivenNode(kubelet_dir, driver, strategy, policy, file)


def expected(driver: Driver, case: Mapping[str, Any]) -> Mapping[str, list[str]]:
    if case["name"] in DIFFERENT:
        offered = DIFFERENT[case["name"]][1]
    else:
        offered = {name: [mark for mark, _ in devices] for name, devices in case["seen"]["resources"].items()}
    return {name: [id_of(driver, mark) for mark in marks] for name, marks in offered.items()}


def numa_nodes(node: DrivenNode) -> Mapping[str, list[int]]:
    return {
        each.id: [] if each.device.physical.numa_node is None else [each.device.physical.numa_node]
        for offer in node.gateway.offered.values()
        for each in offer.offered
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
async def test_the_gateway_offers_what_nvidias_plugin_offers_or_something_better(
    case: Mapping[str, Any], kubelet_dir: Path, tmp_path: Path
) -> None:
    with contextlib.closing(prepare(tmp_path, case)) as driver:
        await compare(case, kubelet_dir, driver)


async def compare(case: Mapping[str, Any], kubelet_dir: Path, driver: Driver) -> None:
    node, wanted = node_for(kubelet_dir, driver, case), expected(driver, case)
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, node.running():
        await until(lambda: node.gateway.state.inventory is not None, "the inventory", 10)
        for name, ids in wanted.items():
            await kubelet.wait_for(
                lambda name=name, ids=ids: sorted(kubelet.devices(name)) == sorted(ids),  # type: ignore[misc]
                what=f"{ids} as {name}",
            )
        offered = {str(name): [each.id for each in offer.offered] for name, offer in node.gateway.offered.items()}
        assert offered == wanted, "in this order"
        if case["name"] in DIFFERENT:
            assert case["seen"].get("resources") != DIFFERENT[case["name"]][1]
            return
        seen = case["seen"]["resources"].values()
        assert numa_nodes(node) == {id_of(driver, mark): nodes for each in seen for mark, nodes in each}
        for number, step in enumerate(case.get("steps", ())):
            await check_step(kubelet, driver, step, f"uid-{number}")


async def check_step(kubelet: FakeKubelet, driver: Driver, step: Mapping[str, Any], pod: str) -> None:
    """Allocate as in a step. NVIDIA's plugin has the devices in the order of the request, the gateway by place."""
    ids = [id_of(driver, mark) for mark in step["ids"]]
    if "error" in step:
        with pytest.raises(AdmissionError):
            await kubelet.allocate(step["resource"], pod=pod, ids=ids)
        return
    container = await kubelet.allocate(step["resource"], pod=pod, ids=ids)
    named = [id_of(driver, each) if each.startswith("<") else each for each in step["variable"].split(",")]
    assert sorted(container.environment["NVIDIA_VISIBLE_DEVICES"].split(",")) == sorted(named)
    assert sorted(container.device_nodes) == step.get("nodes", [])
    await kubelet.remove(pod)


def test_every_difference_is_one_of_a_case() -> None:
    assert DIFFERENT.keys() <= {case["name"] for case in CASES}
    assert all(case["name"] in DIFFERENT for case in CASES if case["seen"]["outcome"] == "refuses")
