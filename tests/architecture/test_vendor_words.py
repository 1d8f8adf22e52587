"""Where no vendor may be known, no word of one stands: not in a name, a text or a comment."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VENDORS_WORDS = re.compile(
    r"nvidia|nvml|pynvml|nvlink|nvswitch|cuda|xids?|mig|10de|gpus?|ecc|hbm\d?|"
    r"mellanox|nvda|rdma|infiniband|solarflare|onload|amd|intel",
    re.IGNORECASE,
)
PACKAGES = (
    "cluster",
    "control",
    "dialects",
    "gateway",
    "kubelet",
    "monitoring",
    "recording",
    "registration",
    "replay",
    "serving",
    "support",
)
WRITTEN_IN_FILES = {"adapters/plugin_gateway/adapters/recording/values.py": {"xid", "Xid"}}
"""Names in recordings of versions 1 and 2, which are not ours to change any more."""


def words(text: str) -> list[str]:
    """Take identifiers apart as well: XidReported is two words, and so is about_xid."""
    return re.findall(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*|\d+[a-z]+", text)


def found_in(path: Path) -> set[str]:
    known = WRITTEN_IN_FILES.get(str(path.relative_to(ROOT)), set())
    return {word for word in words(path.read_text()) if VENDORS_WORDS.fullmatch(word)} - known


def sources() -> list[Path]:
    adapters = ROOT / "adapters/plugin_gateway/adapters"
    folders = [ROOT / "core", *(adapters / package for package in PACKAGES)]
    return [path for folder in folders for path in folder.rglob("*.py")]


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_word_of_a_vendor(path: Path) -> None:
    assert not found_in(path)


@pytest.mark.parametrize(
    ("text", "vendors"),
    [
        ("class XidReported", ["Xid"]),
        ("policy.about_xid(79)", ["xid"]),
        ("# every GPU is well", ["GPU"]),
        ("vendor 10de", ["10de"]),
        ("NVMLError", ["NVML"]),
        ("migrate, amid, gpuish", []),
    ],
)
def test_a_word_is_found_wherever_it_stands(text: str, vendors: list[str]) -> None:
    assert [word for word in words(text) if VENDORS_WORDS.fullmatch(word)] == vendors


def test_every_package_is_there() -> None:
    assert all((ROOT / "adapters/plugin_gateway/adapters" / package / "__init__.py").exists() for package in PACKAGES)
