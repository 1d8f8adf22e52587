"""Whether the PCIe link of a card is as fast as the card could be."""

import re

from plugin_gateway.linux.card_model import Tree
from plugin_gateway.linux.folder import number_in
from plugin_gateway.linux.pci_scan import BUS

_SPEED = re.compile(r"([0-9]{1,4}(?:\.[0-9])?) GT/s.{0,20}", re.ASCII)
"""The speed of a lane, as in ``16.0 GT/s PCIe``. The kernel writes ``Unknown`` where it knows none."""
_MAX_WIDTH = 32
"""Lanes. Where there is no link, as for a virtual function, the kernel says 0, 63 or 255."""


def degraded_link(tree: Tree, address: str) -> str:
    """Return that the link is slower or narrower than the card could have it, for people. Empty if it is not.

    It is also empty where the kernel does not say it, as of virtual functions.
    """
    now, most = (_link(tree, f"{BUS}/{address}/{when}_link") for when in ("current", "max"))
    if now is None or most is None or (now[0] >= most[0] and now[1] >= most[1]):
        return ""
    return f"its PCIe link has {_words(*now)}, it could have {_words(*most)}"


def _words(speed: float, width: int) -> str:
    return f"{width} lanes of {speed:g} GT/s"


def _link(tree: Tree, path: str) -> tuple[float, int] | None:
    """Return speed and width of a link. None if one of them is not known."""
    speed, width = tree.text(f"{path}_speed"), tree.text(f"{path}_width")
    if not isinstance(speed, str) or not isinstance(width, str):
        return None
    found, lanes = _SPEED.fullmatch(speed.strip()), number_in(width.strip(), 1, _MAX_WIDTH)
    return (float(found[1]), lanes) if found is not None and lanes is not None else None
