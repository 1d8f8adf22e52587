"""The PCIe link of a card, beside the one that it could have."""

import errno

import pytest

from plugin_gateway.linux.made_up_tree import MadeUpTree
from plugin_gateway.linux.pcie import degraded_link

from .made_up import BUS

ADDRESS = "0000:3b:00.0"
FOLDER = f"{BUS}/{ADDRESS}"
NAMES = ("current_link_speed", "max_link_speed", "current_link_width", "max_link_width")
BEST = {**dict.fromkeys(NAMES[:2], "16.0 GT/s PCIe"), **dict.fromkeys(NAMES[2:], "16")}


def with_link(**changed: str) -> MadeUpTree:
    return MadeUpTree({f"{FOLDER}/{name}": text for name, text in {**BEST, **changed}.items()})


def test_a_link_that_could_not_be_better_is_not_told() -> None:
    assert degraded_link(with_link(), ADDRESS) == ""


@pytest.mark.parametrize(
    ("changed", "now", "most"),
    [
        ({"current_link_speed": "2.5 GT/s PCIe"}, "16 lanes of 2.5 GT/s", "16 lanes of 16 GT/s"),
        ({"current_link_width": "4"}, "4 lanes of 16 GT/s", "16 lanes of 16 GT/s"),
        ({"max_link_width": "32"}, "16 lanes of 16 GT/s", "32 lanes of 16 GT/s"),
        ({"current_link_speed": "8.0 GT/s"}, "16 lanes of 8 GT/s", "16 lanes of 16 GT/s"),
    ],
)
def test_a_slower_or_narrower_link_is_told_beside_the_best(changed: dict[str, str], now: str, most: str) -> None:
    assert degraded_link(with_link(**changed), ADDRESS) == f"its PCIe link has {now}, it could have {most}"


@pytest.mark.parametrize("value", ["", "Unknown", "0", "-1", "63", "255", "fast", "\x00", "9" * 400, "1.5 GT/s" * 40])
@pytest.mark.parametrize("name", NAMES)
def test_what_the_kernel_does_not_know_is_no_evidence(name: str, value: str) -> None:
    assert degraded_link(with_link(**{name: value}), ADDRESS) == ""


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EIO, errno.EINVAL])
@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_read_is_no_evidence(name: str, number: int) -> None:
    tree = with_link(current_link_width="1")
    tree.fail(f"{FOLDER}/{name}", number)
    assert degraded_link(tree, ADDRESS) == ""


def test_a_virtual_function_has_no_link_of_its_own() -> None:
    """Linux writes these values for one, see current_link_width_show in drivers/pci/pci-sysfs.c."""
    tree = with_link(
        current_link_speed="Unknown", max_link_speed="Unknown", current_link_width="0", max_link_width="255"
    )
    assert degraded_link(tree, ADDRESS) == ""
