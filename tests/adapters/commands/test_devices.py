"""`plugin-gateway devices`: what the rules make of the devices, and why, as a table and as JSON."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.process import run_to_end

FOUR = "simulated:4xH100"
TEXT = """\
version: v1
resources:
  rules:
  - {index: 3, never: true}
  - {index: [2, 9], name: gpu.shared, replicas: 4}
  - {product: "*A100*", name: a100}
  - {index: 2, name: late}
sharing:
  timeSlicing:
    resources:
    - {name: gpu, replicas: 2, devices: 1}
    - {name: other, replicas: 2}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(TEXT)
    return path


async def shown(config: Path, *more: str) -> str:
    status, output, errors = await run_to_end("devices", "--backend", FOUR, "--config-file", str(config), *more)
    assert (status, errors) == (0, "")
    return output


async def as_json(config: Path, *more: str) -> Any:
    return json.loads(await shown(config, "--json", *more))


async def test_each_device_is_shown_with_its_resource_and_replicas(config: Path) -> None:
    output = await shown(config)
    assert "nvidia.com/gpu: 2 devices, 3 with their replicas" in output
    assert "nvidia.com/gpu.shared: 1 device, 4 with their replicas" in output
    told = await as_json(config)
    assert [(each["index"], each["resource"], each["replicas"]) for each in told["devices"]] == [
        (0, "nvidia.com/gpu", 2),
        (1, "nvidia.com/gpu", 1),
        (2, "nvidia.com/gpu.shared", 4),
    ]
    (excluded,) = told["excluded"]
    assert excluded["rule"] == "index 3=never offered"
    assert f"not offered: {excluded['id']}: index 3=never offered (file {config}:4)" in output.splitlines()


async def test_rules_that_may_be_a_mistake_are_named(config: Path) -> None:
    notes = [line for line in (await shown(config)).splitlines() if line.startswith("note: ")]
    words = [
        f"the rule index 2 or 9=nvidia.com/gpu.shared x4 (file {config}:5) names what this machine does not have: 9",
        f"the rule *A100*=nvidia.com/a100 (file {config}:6) matches no device of this machine",
        (
            f"the rule index 2=nvidia.com/late (file {config}:7) gets no device, because earlier rules take all "
            "that match it: index 2 or 9=nvidia.com/gpu.shared x4"
        ),
    ]
    remark = f"{config}:12:7: sharing.timeSlicing shares nvidia.com/other, and no rule gives a device this name"
    assert notes == [f"note: {each}" for each in (*words, remark)]
    told = await as_json(config)
    assert told["doubtful_rules"] == [
        {"rule": 1, "doubt": "names_absent", "absent": ["9"], "taken_by": [], "words": words[0]},
        {"rule": 2, "doubt": "matches_nothing", "absent": [], "taken_by": [], "words": words[1]},
        {"rule": 3, "doubt": "is_shadowed", "absent": [], "taken_by": [1], "words": words[2]},
    ]
    assert told["remarks"] == [remark]
    doctor = await run_to_end("doctor", "--backend", FOUR, "--config-file", str(config))
    assert [each for each in (*words, remark) if f"note  {each}" not in doctor[1].splitlines()] == []


async def test_of_each_device_it_is_told_which_rule_took_it_and_why_not_the_others(config: Path) -> None:
    told = await as_json(config, "--explain")
    rules = [each["words"] for each in told["rules"]]
    assert rules == [
        "index 3=never offered",
        "index 2 or 9=nvidia.com/gpu.shared x4",
        "*A100*=nvidia.com/a100",
        "index 2=nvidia.com/late",
        "1 of *=nvidia.com/gpu x2",
        "*=nvidia.com/gpu",
    ]
    assert [each["origin"] for each in told["rules"]] == [*(f"file {config}:{line}" for line in (4, 5, 6, 7, 11)), None]
    assert [each["taken_by"] for each in told["explained"]] == [4, 5, 1, 0]
    third = told["explained"][2]["others"]
    missed = {"condition": "index", "allowed": ["3"], "found": "2", "why_not": "its index is '2', and not '3'"}
    assert third[0] == {"rule": 0, **missed}
    assert third[2:] == [{"rule": number, "why_not": why} for number, why in (
        (3, "it comes later"), (4, "it has taken 1 already, and may take no more"), (5, "it comes later"))]  # fmt: skip
    lines = (await shown(config, "--explain")).splitlines()
    start = lines.index(f"2 {told['explained'][2]['id']}, NVIDIA H100 80GB HBM3")
    assert lines[start + 1 : start + 3] == [
        f"  taken by rule 2: index 2 or 9=nvidia.com/gpu.shared x4 (file {config}:5)",
        f"  not by rule 1: index 3=never offered (file {config}:4): its index is '2', and not '3'",
    ]
    assert "explained" not in await as_json(config)


async def test_a_device_that_no_rule_takes_is_explained_too(config: Path) -> None:
    config.write_text('version: v1\nresources: {gpus: [{pattern: "*A100*", name: a100}]}\n')
    output = await shown(config, "--explain")
    assert output.count("  taken by no rule\n") == 4
    assert "no device is offered under any resource" in output
    why = "its product is 'NVIDIA H100 80GB HBM3', and not '*A100*'"
    assert output.count(f"  not by rule 1: *A100*=nvidia.com/a100 (file {config}:2): {why}\n") == 4
