"""Where no vendor may be known, no word of one stands: not in a name, a text or a comment."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONG_WORDS = re.compile(
    r"nvidia|nvml|nvlink|nvswitch|cuda|geforce|tesla|hopper|ampere|blackwell|mellanox|connectx|bluefield|rdma|"
    r"infiniband|verbs|solarflare|onload|xilinx|amdgpu|rocm|10de|15b3|1924|10ee",
    re.IGNORECASE,
)
"""Found wherever they stand, parts of longer words included."""
SHORT_WORDS = re.compile(
    r"(?:xid|sxid|gpu|mig|mps|ecc|hbm|kfd|amd|intel|mlx|hca|umad|issm|sfc|efct)s?\d*", re.IGNORECASE
)
"""Found as a word of their own, or as a part of an identifier; a plural or a number may follow."""
MAY_KNOW = {"commands", "configuration", "fake_kubelet"}
"""Packages that speak of GPUs and XIDs to people; all others are checked, those to come included."""
OF_THE_KERNEL = re.compile(r"rdma|infiniband|verbs|umad|issm|hca", re.IGNORECASE)
"""Words for what every vendor's card can have in Linux. The room that reads sysfs has to know them."""
ADAPTERS = ROOT / "adapters/plugin_gateway/adapters"
WRITTEN_IN_FILES = {"adapters/plugin_gateway/adapters/recording/older_forms.py": {"xid", "Xid"}}
"""Names in recordings of versions 1 and 2, which are not ours to change any more."""
FACTS_ABOUT_ONE_VENDOR = {
    "linux/plugin_gateway/linux/facts.py": {"mlx5", "15b3", "nvlink", "GPUs"},
    "linux/plugin_gateway/linux/pci_scan.py": {"15b3", "NVLINK", "NVLink", "nvlink", "GPUs"},
}
"""Examples, and the mark of functions that are no data ports, which only a scan can read."""


def parts(text: str) -> list[str]:
    """Return the words, and the parts of identifiers: XidReported has two, about_xid has two, GPUs is one."""
    return re.findall(r"[A-Z]{2,}s?\d*(?![a-z])|[A-Z]?[a-z]+\d*|[A-Z]+\d*", text)


def vendors_words(text: str) -> list[str]:
    short = [word for word in parts(text) if SHORT_WORDS.fullmatch(word)]
    return [*LONG_WORDS.findall(text), *short]


def found_in(path: Path) -> set[str]:
    return set(vendors_words(path.read_text())) - WRITTEN_IN_FILES.get(str(path.relative_to(ROOT)), set())


def sources() -> list[Path]:
    packages = [path for path in ADAPTERS.iterdir() if path.is_dir() and path.name not in MAY_KNOW]
    return [path for folder in (ROOT / "core", *packages) for path in folder.rglob("*.py")]


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_word_of_a_vendor(path: Path) -> None:
    assert not found_in(path)


@pytest.mark.parametrize("path", sorted((ROOT / "linux").rglob("*.py")), ids=lambda path: path.name)
def test_what_reads_sysfs_knows_the_words_of_the_kernel_and_of_no_vendor(path: Path) -> None:
    found = {word for word in vendors_words(path.read_text()) if not OF_THE_KERNEL.fullmatch(word)}
    assert found == FACTS_ABOUT_ONE_VENDOR.get(str(path.relative_to(ROOT)), set())


@pytest.mark.parametrize(
    "text",
    [
        "class XidReported",
        "policy.about_xid(79)",
        "# every GPU is well",
        "# all GPUs and XIDs",
        "xid79, XID79, gpu0, MIGs",
        "vendor 10de",
        "NVMLError",
        "NVLink",
        "NVSwitch",
        "InfiniBand",
        "/dev/infiniband/uverbs0",
        "mlx5_core.rdma.0",
        "ConnectX-7",
        "xilinx_efct, sfc",
        "/dev/sfc_char",
        'vendor "1924"',
        "/dev/nvidia0",
        "nvidiactl",
        "amdgpu",
        "_NVIDIA_DOMAIN",
    ],
)
def test_a_word_is_found_wherever_it_stands(text: str) -> None:
    assert vendors_words(text)


@pytest.mark.parametrize("text", ["migrate, amid, gpuish, intelligent, eccentric, MIGRATION", "Example", "max_idle"])
def test_a_word_that_only_looks_like_one_is_none(text: str) -> None:
    assert not vendors_words(text)


def test_the_packages_that_may_know_are_there() -> None:
    assert all((ADAPTERS / package / "__init__.py").exists() for package in MAY_KNOW)
