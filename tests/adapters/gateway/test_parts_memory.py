"""The file with the parts of devices: what is written, read back, and what becomes of a file that was damaged."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.devices import device, inventory, part
from harness.node import until
from plugin_gateway.adapters.gateway import known_parts
from plugin_gateway.adapters.gateway.known_parts import decode, encode, with_parts
from plugin_gateway.adapters.gateway.parts_memory import NAME, PartsMemory
from plugin_gateway.core.devices import PhysicalId
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.resources.conflicts import FormerPart

FORMS = Path(__file__).parent / "forms"
CUT, WHOLE = device(0), device(1)
PARTS = tuple(part(CUT, number) for number in range(3))
IDS = st.integers(0, 99).map(lambda number: f"GPU-{number}")
NODES = st.lists(st.integers(0, 9).map(lambda number: f"/dev/part{number}"), max_size=3).map(tuple)
KNOWN = st.dictionaries(IDS, st.builds(FormerPart, IDS.map(PhysicalId), NODES), max_size=5)


def memory(state_dir: Path) -> PartsMemory:
    return PartsMemory(state_dir, lambda: True)


@given(KNOWN)
def test_what_is_written_is_read_back(parts: dict[str, FormerPart]) -> None:
    assert decode(json.loads(json.dumps(encode(parts)))) == (parts, ())


def test_the_first_form_is_read() -> None:
    parts, problems = decode(json.loads((FORMS / "known-parts-1.json").read_text()))
    assert problems == ()
    physical = PhysicalId("GPU-00000001-0000-0000-0000-000000000000")
    nodes = ("/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap21", "/dev/nvidia-caps/nvidia-cap22")
    assert list(parts.values()) == [FormerPart(physical, nodes), FormerPart(physical, ())]


@pytest.mark.parametrize("value", [None, [], {}, {"parts": []}])
def test_what_no_gateway_writes_is_refused(value: object) -> None:
    with pytest.raises(InvalidValueError, match="where the parts of devices belong"):
        decode(value)


@pytest.mark.parametrize(
    ("entry", "kept", "said"),
    [
        ({"physical": "GPU-1", "nodes": ["/dev/a"], "later": 1}, FormerPart(PhysicalId("GPU-1"), ("/dev/a",)), ""),
        ({"physical": "GPU-1", "nodes": ["a"]}, FormerPart(PhysicalId("GPU-1"), ()), "nodes of 'MIG-1'"),
        ({"physical": "GPU-1", "nodes": ["/\x1b[31m"]}, FormerPart(PhysicalId("GPU-1"), ()), "nodes of 'MIG-1'"),
        ({"physical": "GPU-1"}, FormerPart(PhysicalId("GPU-1"), ()), "nodes of 'MIG-1'"),
        ({"physical": 5, "nodes": []}, None, "part 'MIG-1'"),
        ({"physical": "", "nodes": []}, None, "part 'MIG-1'"),
        (7, None, "part 'MIG-1': 7"),
    ],
)
def test_a_part_that_cannot_be_read_hides_no_other(entry: Any, kept: FormerPart | None, said: str) -> None:
    well = {"physical": "GPU-2", "nodes": []}
    parts, problems = decode({"parts": {"MIG-1": entry, "MIG-2": well}})
    assert parts.get("MIG-1") == kept
    assert parts["MIG-2"] == FormerPart(PhysicalId("GPU-2"), ())
    assert bool(problems) is bool(said)
    assert all(said in each and each.isprintable() for each in problems)


def test_the_latest_parts_are_kept_and_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_parts, "MAX_PARTS", 2)
    known = with_parts({}, inventory(PARTS[0], WHOLE))
    assert list(known) == [PARTS[0].id]
    known = with_parts(known, inventory(PARTS[1], PARTS[2]))
    assert list(known) == [PARTS[1].id, PARTS[2].id]
    known = with_parts(known, inventory(PARTS[1]))
    assert list(known) == [PARTS[2].id, PARTS[1].id]


async def test_the_file_is_there_only_where_there_are_parts_and_keeps_those_of_before(state_dir: Path) -> None:
    for seen in (inventory(WHOLE), inventory(PARTS[0]), inventory(PARTS[1]), None):
        kept = memory(state_dir)
        task = asyncio.create_task(kept.run())
        kept.keep("nvidia", seen)
        await asyncio.sleep(0)
        if seen is not None and not seen.devices[0].is_whole:
            await until(lambda part=seen.devices[0].id: part in memory(state_dir).recall(), "the part")  # type: ignore[misc]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (state_dir / NAME).exists() is (seen is None or not seen.devices[0].is_whole)
    assert list(memory(state_dir).recall()) == [PARTS[0].id, PARTS[1].id]


def test_a_damaged_file_is_set_aside(state_dir: Path, told: list[dict[str, Any]]) -> None:
    state_dir.mkdir()
    (state_dir / NAME).write_text("{")
    assert memory(state_dir).recall() == {}
    assert [line["event"] for line in told] == ["what was kept about parts of devices cannot be used"]
    assert (state_dir / "known-parts.damaged").exists()
