"""What NVIDIA's device plugin 0.20.0 was seen to answer about time-slicing, and what this gateway answers.

seen/time-slicing.json has the cases: what went in, and what came out. ``<gpu1>`` is the UUID of GPU 1, which is
``<g1>`` in the steps. NUMA nodes are left out, because this machine tells them and not the driver. The answers
are the same, but for the differences that are listed here with their reason.
"""

from pathlib import Path
from typing import Any

import pytest

from .seen_cases import Difference, Seen, cases, plays_as_seen

CASES = cases("time-slicing.json")


FOUR = [[f"<gpu{index}>", "Healthy"] for index in range(4)]


def shared(*indexes: int) -> list[Any]:
    return [[f"<gpu{index}>::{number}", "Healthy"] for index in indexes for number in range(2)]


DIFFERENCES = {
    "time-slicing/rename-key": Difference(
        "rename is honoured, and not ignored with a warning",
        {
            "outcome": "serves",
            "resources": {"nvidia.com/shiny": shared(0, 1, 2, 3)},
            "steps": [{"error": "the resource is not there"}],
        },
    ),
    "time-slicing/devices-key": Difference(
        "devices is honoured, and not ignored with a warning",
        {
            "outcome": "serves",
            "resources": {"nvidia.com/gpu": [*shared(0, 1), *FOUR[2:]]},
            "steps": [{"error": "it is not shared"}],
        },
    ),
    "config/other-domain": Difference(
        "a name may have any domain; one that no rule gives is said",
        {
            "outcome": "serves",
            "resources": {"nvidia.com/gpu": FOUR},
            "steps": [[{"envs": {"NVIDIA_VISIBLE_DEVICES": "<gpu1>"}}]],
        },
    ),
    "config/resource-pattern": Difference(
        "resources.gpus is honoured, and not ignored with a warning",
        {
            "outcome": "serves",
            "resources": {"nvidia.com/hopper": FOUR},
            "steps": [{"error": "the resource is not there"}],
        },
    ),
}


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
async def test_the_answers_are_those_that_were_seen_or_a_listed_difference(
    case: Seen, kubelet_dir: Path, tmp_path: Path
) -> None:
    seen = DIFFERENCES[case["name"]].seen if case["name"] in DIFFERENCES else case["seen"]
    await plays_as_seen(case, seen, kubelet_dir, tmp_path)


def test_every_difference_is_about_a_case_and_a_real_one() -> None:
    seen = {case["name"]: case["seen"] for case in CASES}
    for name, difference in DIFFERENCES.items():
        theirs = {each: seen[name].get(each) for each in difference.seen}
        assert theirs != difference.seen, name
        assert difference.reason
