"""Whether the PCIe link of a card is as fast as the card could be."""

from plugin_gateway.linux.card_model import Tree
from plugin_gateway.rdma.naming import function_folder

_SPEED_UNIT = "GT/s"
"""The unit of the speed of a lane, as in ``16.0 GT/s PCIe``. The kernel writes ``Unknown`` where it knows none."""
_MAX_DIGITS = 8


def degraded(tree: Tree, address: str) -> str:
    """Return that the link is slower or narrower than the card could have it, for people. Empty if it is not.

    It is also empty where the kernel does not say it, as of virtual functions.
    """
    folder = function_folder(address)
    now, most = (_link(tree, folder, when) for when in ("current", "max"))
    if now is None or most is None or (now[0] >= most[0] and now[1] >= most[1]):
        return ""
    return f"its PCIe link has {_words(*now)}, it could have {_words(*most)}"


def _words(speed: float, width: int) -> str:
    return f"{width} lanes of {speed:g} {_SPEED_UNIT}"


def _link(tree: Tree, folder: str, when: str) -> tuple[float, int] | None:
    """Return speed and width of the link."""
    speed, width = (tree.text(f"{folder}/{when}_link_{what}") for what in ("speed", "width"))
    if not isinstance(speed, str) or not isinstance(width, str):
        return None
    number, _, unit = speed.partition(" ")
    is_speed = unit.startswith(_SPEED_UNIT) and len(number) <= _MAX_DIGITS and number.replace(".", "", 1).isdecimal()
    is_width = width.isdecimal() and 0 < len(width) <= _MAX_DIGITS
    if not is_speed or not is_width or int(width) == 0:
        return None
    return float(number), int(width)
