"""Every case that NVIDIA's device plugin 0.20.0 was seen with has a copy among the tests.

seen/names.json has the names of all of them, by area. A copy is compared with the gateway where it lies.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
NAMES: Mapping[str, Sequence[str]] = json.loads((HERE / "seen/names.json").read_text())
CDI = HERE.parents[1] / "nvidia/seen-cdi.json"
LABELS = HERE.parent / "commands/seen-labels.json"
PREFERRED = {
    "preferred/cube": ("whole", "machine", "cube"),
    "preferred/switch": ("whole", "machine", "switch"),
    "preferred/no-links": ("whole", "machine", "none"),
    "time-slicing/distributed": ("shared", "policy", "distributed"),
    "time-slicing/packed": ("shared", "policy", "packed"),
}
"""Where seen-preferred.json has a case: the list, the key, and its value."""


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def copied() -> Iterator[str]:
    """Yield the name of each copy."""
    for path in sorted((HERE / "seen").glob("*.json")):
        if path.name != "names.json":
            yield from (case["name"] for case in read(path))
    yield from (f"mig/{case['name']}" for case in read(HERE / "mig-cases.json"))
    yield from (f"cdi/{case['name']}" for case in read(CDI))
    yield from (case["name"] for case in read(LABELS))


COPIES = Counter(copied())


@pytest.mark.parametrize("area", NAMES)
def test_no_case_is_left_out(area: str) -> None:
    missing = {f"{area}/{name}" for name in NAMES[area]} - COPIES.keys() - PREFERRED.keys()
    assert missing == set()


def test_every_copy_is_one_of_a_case_and_the_only_one() -> None:
    assert set(COPIES) <= {f"{area}/{name}" for area, names in NAMES.items() for name in names}
    assert set(COPIES.values()) == {1}


@pytest.mark.parametrize("name", PREFERRED)
def test_the_cases_about_preferences_are_played_by_machine_and_by_policy(name: str) -> None:
    place, key, value = PREFERRED[name]
    found = [each for each in read(HERE / "seen-preferred.json")[place] if each[key] == value]
    assert found
    assert all(each["steps"] for each in found)
