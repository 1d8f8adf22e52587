"""What NVIDIA's device plugin 0.20.0 was seen to answer about MPS, and what this gateway answers.

seen/mps.json has the cases, in the form of seen/time-slicing.json. ``<root>`` is the value of ``--mps-root``. The
daemon of a case is a stand-in. The answers are the same, but for the differences that are listed with their reason.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from driver.driver import Driver
from harness.driven import DrivenNode
from harness.sharing_daemon import SharingDaemon
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release

from .seen_cases import REFUSED, Difference, Player, Seen, cases, playing, refused

CASES = cases("mps.json")
MIXED = next(case for case in CASES if case["name"] == "mps/mixed-mig")
SHARES = {"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "25", "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "<gpu1>=20389M"}
"""With four replicas of an H100 with 81,559 MiB."""


def replicas(health: str, count: int) -> list[list[str]]:
    return [[f"<gpu{index}>::{number}", health] for index in range(4) for number in range(count)]


def with_shares(answer: Any) -> Any:
    """Return an answer with the share of the container, which NVIDIA's plugin leaves to the daemon."""
    if isinstance(answer, dict):
        return answer
    return [{**each, "envs": {**each["envs"], **SHARES}} for each in answer]


DAEMON = next(case["seen"] for case in CASES if case["name"] == "mps/daemon")
DIFFERENCES = {
    "mps/no-daemon": Difference(
        "what waits for the daemon is listed and unhealthy with the reason, and not left out",
        {"outcome": "serves", "resources": {"nvidia.com/gpu": replicas("Unhealthy", 4)}, "steps": []},
    ),
    "mps/daemon": Difference(
        "each container gets its share, so that a container with two replicas has two shares if the daemon allows it",
        {**DAEMON, "steps": [with_shares(each) for each in DAEMON["steps"]]},
    ),
    "mps/both": Difference("both ways to share at once are a mistake, and no choice of one of them", REFUSED),
    "mps/mixed-mig": Difference(
        "MIG devices need no MPS, so the node is not taken down; only whole GPUs are shared through it",
        {"outcome": "serves"},
    ),
}


@contextlib.contextmanager
def daemon_of(case: Seen, root: Path) -> Iterator[None]:
    with SharingDaemon(root) if case["has_daemon"] else contextlib.nullcontext():
        yield


@pytest.mark.parametrize("case", [each for each in CASES if each is not MIXED], ids=lambda case: case["name"])
async def test_the_answers_are_those_that_were_seen_or_a_listed_difference(
    case: Seen, kubelet_dir: Path, tmp_path: Path
) -> None:
    seen = DIFFERENCES[case["name"]].seen if case["name"] in DIFFERENCES else case["seen"]
    if seen["outcome"] == "refuses":
        await refused({**case, "env": {"MPS_ROOT": "/mps"} if case["has_root"] else {}}, kubelet_dir, tmp_path)
        return
    with daemon_of(case, tmp_path / "mps"):
        async with playing(case, kubelet_dir, tmp_path) as player:
            await follows(player, case["steps"], json.loads(player.plain(json.dumps(seen))))


async def follows(player: Player, steps: Sequence[Any], expected: Seen) -> None:
    for name, devices in expected["resources"].items():
        await player.is_listed({name: [each for each, _ in devices]}, health=devices[0][1])
        assert (await player.first_lists([name]))[name] == devices
    for step, answer in zip(steps, expected["steps"], strict=True):
        found = await player.play(step)
        if "error" in answer:
            assert "error" in found
        else:
            assert found == answer, step


async def test_mig_devices_are_offered_beside_mps_for_whole_gpus(kubelet_dir: Path, tmp_path: Path) -> None:
    """NVIDIA's plugin refuses to start. ``DIFFERENCES`` has the reason why this gateway does not."""
    with contextlib.closing(Driver(tmp_path, gpus=0)) as driver:
        for index in range(MIXED["gpus"]):
            driver.add(index)
        driver.mig(MIXED["mig"])
        file = tmp_path / "config.yaml"
        file.write_text(MIXED["config"] + f"flags: {{mpsRoot: {tmp_path}}}\n")
        node = DrivenNode(kubelet_dir, driver, "mixed", file=file)
        async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, node.running():
            await kubelet.wait_for(
                lambda: kubelet.allocatable("nvidia.com/mig-1g.10gb") == 4, what="the MIG devices", timeout=10
            )
            assert list(kubelet.resources) == ["nvidia.com/mig-1g.10gb"]


def test_every_difference_is_about_a_case_and_a_real_one() -> None:
    seen = {case["name"]: case["seen"] for case in CASES}
    for name, difference in DIFFERENCES.items():
        theirs = {each: seen[name].get(each) for each in difference.seen}
        assert theirs != difference.seen, name
        assert difference.reason
