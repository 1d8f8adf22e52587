"""Files whose keys NVIDIA's device plugin 0.20.0 was seen to ignore, and what this gateway makes of them.

With --config-compatibility=nvidia the answers are those that were seen. seen/config.json has cases of files, and those
of seen/time-slicing.json that have a listed difference are played again.
"""

import json
from pathlib import Path

import pytest

from .seen_cases import REFUSED, Difference, Seen, cases, comparable, playing, refused
from .test_seen_time_slicing import CASES as TIME_SLICING

CASES = cases("config.json")
DIFFERENCES = {"config/unknown-top-key": Difference("an unknown key is a mistake", REFUSED)}
IGNORED = {"time-slicing/rename-key", "time-slicing/devices-key", "config/resource-pattern"}
AS_NVIDIA = [*CASES, *(case for case in TIME_SLICING if case["name"] in IGNORED)]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
async def test_a_file_that_says_nothing_is_no_mistake(case: Seen, kubelet_dir: Path, tmp_path: Path) -> None:
    if case["name"] in DIFFERENCES:
        await refused(case, kubelet_dir, tmp_path)
    else:
        await plays(case, kubelet_dir, tmp_path)


@pytest.mark.parametrize("case", AS_NVIDIA, ids=[case["name"] for case in AS_NVIDIA])
async def test_what_was_ignored_there_is_ignored_and_named_where_that_is_asked_for(
    case: Seen, kubelet_dir: Path, tmp_path: Path
) -> None:
    says_nothing = {each["name"] for each in CASES} - DIFFERENCES.keys()
    warnings = await plays({**case, "env": {"CONFIG_COMPATIBILITY": "nvidia"}}, kubelet_dir, tmp_path)
    assert warnings == (0 if case["name"] in says_nothing else 1)


async def plays(case: Seen, kubelet_dir: Path, tmp_path: Path) -> int:
    """Compare each answer of a case with what was seen, and return how often the log says what has no effect."""
    async with playing(case, kubelet_dir, tmp_path) as player:
        expected = json.loads(player.plain(json.dumps(case["seen"])))
        assert await player.first_lists(list(expected["resources"])) == expected["resources"]
        for step, answer in zip(case["steps"], expected["steps"], strict=True):
            assert comparable(await player.play(step)) == comparable(answer), step
        return player.process.events().count("this has no effect")
