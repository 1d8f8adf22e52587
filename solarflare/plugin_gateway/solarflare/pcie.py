"""Whether a card has the PCIe link that it could have."""

import re

from plugin_gateway.linux.card_model import Tree, Unread

_NUMBER = re.compile(r"\d{1,4}(\.\d)?", re.ASCII)
_NO_WIDTH = 255
"""What the kernel says of the width where there is no link, as for a virtual function."""


def degraded_link(tree: Tree, address: str) -> str:
    """Return in words what the link of a function lacks. Empty if it lacks nothing, or it cannot be told."""
    speed, width = _number(tree, address, "current_link_speed"), _number(tree, address, "current_link_width")
    fastest, widest = _number(tree, address, "max_link_speed"), _number(tree, address, "max_link_width")
    is_slow = 0 < speed < fastest
    is_narrow = 0 < width < widest < _NO_WIDTH
    if not is_slow and not is_narrow:
        return ""
    return f"its PCIe link has {width:g} lanes of {speed:g} GT/s, it could have {widest:g} lanes of {fastest:g} GT/s"


def _number(tree: Tree, address: str, name: str) -> float:
    """Return the number with which a file begins, such as ``16.0 GT/s PCIe``. 0 if there is none."""
    text = tree.text(f"/sys/bus/pci/devices/{address}/{name}")
    found = None if isinstance(text, Unread) else _NUMBER.match(text.strip())
    return float(found[0]) if found is not None else 0.0
