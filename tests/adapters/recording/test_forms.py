"""Recordings of every version of the form, those to come included."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.recordings import said_of
from plugin_gateway.adapters.recording.values import VERSION
from plugin_gateway.adapters.replay.reading import UNKNOWN, read_recording
from plugin_gateway.core.health.policy import Action, EvidenceKind

FORMS = sorted((Path(__file__).parent / "forms").glob("recording-*.jsonl"))
DECIDED = {
    "xid-14": Action.IGNORE,
    "xid-13": Action.REPORT,
    "xid-9999": Action.UNHEALTHY,
    "xid-145": Action.UNTIL_RESET,
    "xid-108": Action.UNTIL_RESET,
    "xid-79": Action.UNTIL_REBOOT,
    "double-bit-ecc": Action.UNTIL_RESET,
    "not-answering": Action.UNHEALTHY,
    "driver-gone": Action.UNHEALTHY,
}


def test_a_recording_of_every_form_is_kept() -> None:
    assert [path.name for path in FORMS] == [f"recording-{number}.jsonl" for number in range(1, VERSION + 1)]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_it_plays_again_without_a_difference(path: Path) -> None:
    said = said_of(path)
    assert (said.status, "lines played, no difference" in said.summary) == (0, True), said.output


@pytest.mark.parametrize("path", FORMS[:3], ids=lambda path: path.name)
def test_it_has_the_decisions_of_its_time(path: Path) -> None:
    """They were recorded before XID 145 was for the driver to decide, and with an older catalog."""
    health = read_recording(path).configuration.health
    decided = {kind: health.about(EvidenceKind(kind)).action for kind in DECIDED}
    assert decided == DECIDED
    assert health.about(EvidenceKind("xid-79")).origin == "NVIDIA's catalog: REBOOT_NODE"
    assert len(health.kinds) == 162 + 7


def of_tomorrow(path: Path, change: Callable[[list[dict[str, Any]]], object]) -> Path:
    lines = [json.loads(line) for line in FORMS[-1].read_text().splitlines()]
    lines[0]["recording"] = VERSION + 1
    change(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def add_lines(lines: list[dict[str, Any]]) -> None:
    lines.insert(3, {"t": lines[2]["t"], "what": "fabric", "state": 3})
    lines.insert(3, {"t": lines[2]["t"], "what": "seen", "observation": {"kind": "FabricSeen", "state": 3}})


def add_fields(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        line["more"] = 1
        if line.get("what") == "seen":
            line["observation"]["more"] = 1


def decide_otherwise(lines: list[dict[str, Any]]) -> None:
    lines[0]["health"]["kinds"]["fabric-broken"] = {"kind": "Decision", "action": "drain-first", "origin": "default"}


@pytest.mark.parametrize("change", [add_lines, add_fields, decide_otherwise])
def test_what_a_later_version_adds_voids_nothing(
    change: Callable[[list[dict[str, Any]]], object], tmp_path: Path
) -> None:
    said = said_of(of_tomorrow(tmp_path / "recording", change))
    assert (said.status, "no difference" in said.summary) == (0, True), said.output


def test_lines_that_only_a_later_version_knows_are_counted(tmp_path: Path) -> None:
    recording = read_recording(of_tomorrow(tmp_path / "recording", add_lines))
    assert [each.what for each in recording.happenings].count(UNKNOWN) == 2


def test_an_action_that_only_a_later_version_knows_keeps_the_device_out(tmp_path: Path) -> None:
    recording = read_recording(of_tomorrow(tmp_path / "recording", decide_otherwise))
    assert recording.configuration.health.about(EvidenceKind("fabric-broken")).action is Action.UNTIL_RESET
