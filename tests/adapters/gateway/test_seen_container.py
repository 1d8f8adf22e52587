"""What NVIDIA's device plugin 0.20.0 was seen to give to containers, and what this gateway gives them.

seen/container.json has the cases, in the form of seen/time-slicing.json; ``nodes`` are further device nodes. The
answers are the same, but for the differences that are listed with their reason.
"""

import contextlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from driver.driver import Driver
from harness.driven import DrivenNode
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release

from .seen_cases import Difference, Seen, cases, playing, plays_as_seen
from .test_mig_cases import GPU, numa_nodes

CASES = cases("container.json")
SEEN = {case["name"]: case["seen"] for case in CASES}
PLAIN, SIXTEEN = SEEN["container/plain"], SEEN["container/sixteen-gpus"]
DEV_ROOT = SEEN["container/device-specs-dev-root"]
VISIBLE = "NVIDIA_VISIBLE_DEVICES"
FOUR = [[f"<gpu{index}>", "Healthy"] for index in range(4)]


def without_tools(container: Any) -> Any:
    return {**container, "devices": [each for each in container["devices"] if each[1] != "/dev/nvidia-uvm-tools"]}


DIFFERENCES = {
    "container/plain": Difference(
        "a container without GPUs gets nothing, and no empty variable",
        {
            **PLAIN,
            "steps": [[{"envs": {}}] if answer == [{"envs": {VISIBLE: ""}}] else answer for answer in PLAIN["steps"]],
        },
    ),
    "container/imex-required-missing": Difference(
        "the GPUs are listed as unhealthy, with the reason, until the channel is there; the process does not end",
        {
            "outcome": "serves",
            "resources": {"nvidia.com/gpu": [[device, "Unhealthy"] for device, _ in FOUR]},
            "steps": [{"error": "the devices are unhealthy"}],
        },
    ),
    "container/device-specs-dev-root": Difference(
        "what is not needed is given where it is seen below the dev root, and not where the own /dev has it",
        {**DEV_ROOT, "steps": [[without_tools(each) for each in answer] for answer in DEV_ROOT["steps"]]},
    ),
    "container/sixteen-gpus": Difference(
        "the list is in the order of the GPUs, and not in that of their names",
        {
            **SIXTEEN,
            "resources": {"nvidia.com/gpu": [[f"<gpu{index}>", "Healthy"] for index in range(16)]},
        },
    ),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
async def test_the_answers_are_those_that_were_seen_or_a_listed_difference(
    case: Seen, kubelet_dir: Path, tmp_path: Path
) -> None:
    seen = DIFFERENCES[case["name"]].seen if case["name"] in DIFFERENCES else case["seen"]
    await plays_as_seen(case, seen, kubelet_dir, tmp_path)


@pytest.mark.parametrize("case", [case for case in CASES if "numa" in case], ids=lambda case: case["name"])
async def test_a_machine_without_numa_nodes_has_none_in_its_list(case: Seen, kubelet_dir: Path, tmp_path: Path) -> None:
    """The process of a case sees the NUMA nodes of the machine of the test, so this one is none."""
    with contextlib.closing(Driver(tmp_path, gpus=0)) as driver:
        for index in range(case["gpus"]):
            driver.add(index, numa_node=case["numa"])
        if case["numa"] is None:
            shutil.rmtree(driver.sysfs / "bus")
        node = DrivenNode(kubelet_dir, driver, "none")
        async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, node.running():
            await kubelet.wait_for(lambda: kubelet.allocatable(GPU) == case["gpus"], what="the GPUs")
            assert numa_nodes(node) == {driver.uuid(index): [] for index in range(case["gpus"])}


EVERYTHING = {
    "name": "everything",
    "gpus": 2,
    "config": """\
version: v1
flags:
  gdrcopyEnabled: true
  gdsEnabled: true
  mofedEnabled: true
  plugin: {passDeviceSpecs: true, deviceListStrategy: [volume-mounts, envvar]}
imex: {channelIDs: [0], required: true}
""",
    "nodes": ["gdrdrv", "nvidia-fs0", "nvidia-fs1", "infiniband/uverbs0", "infiniband/rdma_cm",
              "nvidia-caps-imex-channels/channel0"],
}  # fmt: skip


async def test_the_nodes_of_what_is_given_besides_are_given_where_they_are(kubelet_dir: Path, tmp_path: Path) -> None:
    async with playing(EVERYTHING, kubelet_dir, tmp_path) as player:
        await player.first_lists(["nvidia.com/gpu"])
        answer: Any = (await player.play(["allocate", "nvidia.com/gpu", ["<g1>"]]))[0]
    assert answer["envs"] == {
        VISIBLE: "/var/run/nvidia-container-devices", "NVIDIA_GDRCOPY": "enabled", "NVIDIA_GDS": "enabled",
        "NVIDIA_MOFED": "enabled", "NVIDIA_IMEX_CHANNELS": "0",
    }  # fmt: skip
    names = ["nvidia1", "nvidiactl", "nvidia-uvm", *EVERYTHING["nodes"]]  # type: ignore[misc]
    assert {f"/dev/{name}" for name in names} <= {path for path, *_ in answer["devices"]}
    assert [mount[1].rpartition("devices/")[2] for mount in answer["mounts"]] == [player.plain("<g1>"), "imex/0"]


def test_every_difference_is_about_a_case_and_a_real_one() -> None:
    for name, difference in DIFFERENCES.items():
        theirs = {each: SEEN[name].get(each) for each in difference.seen}
        assert theirs != difference.seen, name
        assert difference.reason
