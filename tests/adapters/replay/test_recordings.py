"""Recordings that gateways made, and what the replay says of them and of altered copies.

Each was taken from a gateway with a stand-in driver and fake kubelets. Of the decisions about evidence, only those are
kept that matter.
"""

import json
from pathlib import Path

import pytest

from harness.process import run_to_end
from harness.recordings import Line

RECORDINGS = Path(__file__).parent / "recordings"
NAMES = sorted(path.stem for path in RECORDINGS.iterdir())


def read(name: str) -> list[Line]:
    return [json.loads(each) for each in (RECORDINGS / f"{name}.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", NAMES)
async def test_what_a_gateway_recorded_plays_without_a_difference(name: str) -> None:
    status, output, errors = await run_to_end("replay", str(RECORDINGS / f"{name}.jsonl"))
    assert (output, status, errors) == (f"{len(read(name)) - 1} lines played, no difference\n", 0, "")


def test_the_recordings_have_every_kind_of_line() -> None:
    assert {line["what"] for name in NAMES for line in read(name)[1:]} == {
        "answered", "call", "cleared", "configured", "end", "ended", "kubelet", "list", "opened", "recalled", "register",
        "replaced", "seen", "stopping", "waited", "withheld",
    }  # fmt: skip
