"""What NVIDIA's device plugin 0.20.0 was seen to make of its configuration, and what this gateway makes of it.

seen/config.json has cases of files, flags and variables. With --config-compatibility=nvidia all answers are those that
were seen, also where a key is ignored: the cases of seen/time-slicing.json with such a difference are played again.
"""

from pathlib import Path

import pytest

from .seen_cases import REFUSED, Difference, Seen, cases, playing, refused
from .test_seen_time_slicing import CASES as TIME_SLICING

CASES = cases("config.json")
DIFFERENCES = {"config/unknown-top-key": Difference("an unknown key is a mistake", REFUSED)}
IGNORED = {"time-slicing/rename-key", "time-slicing/devices-key", "config/resource-pattern"}
AS_NVIDIA = [*CASES, *(case for case in TIME_SLICING if case["name"] in IGNORED)]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
async def test_the_answers_are_those_that_were_seen_or_a_listed_difference(
    case: Seen, kubelet_dir: Path, tmp_path: Path
) -> None:
    if (DIFFERENCES[case["name"]].seen if case["name"] in DIFFERENCES else case["seen"])["outcome"] == "refuses":
        await refused(case, kubelet_dir, tmp_path)
    else:
        await plays(case, kubelet_dir, tmp_path)


@pytest.mark.parametrize("case", AS_NVIDIA, ids=[case["name"] for case in AS_NVIDIA])
async def test_what_was_ignored_there_is_ignored_and_named_where_that_is_asked_for(
    case: Seen, kubelet_dir: Path, tmp_path: Path
) -> None:
    case = {**case, "env": {**case.get("env", {}), "CONFIG_COMPATIBILITY": "nvidia"}}
    if case["seen"]["outcome"] == "refuses":
        await refused(case, kubelet_dir, tmp_path)
        return
    says_nothing = {each["name"] for each in CASES} - DIFFERENCES.keys()
    warnings = await plays(case, kubelet_dir, tmp_path)
    assert warnings == (0 if case["name"] in says_nothing else 1)


async def plays(case: Seen, kubelet_dir: Path, tmp_path: Path) -> int:
    """Compare each answer of a case with what was seen, and return how often the log says what has no effect."""
    async with playing(case, kubelet_dir, tmp_path) as player:
        await player.follows(case, case["seen"])
        if case["seen"]["resources"]:
            await player.process.wait_for_event("registered")  # the log begins when the kubelet has its devices
        return player.process.events().count("this has no effect")
