"""What is said of network cards: the words that backends write, rules choose by, and people read."""

from collections.abc import Mapping, Sequence

VENDOR, DEVICE, DRIVER = "vendor", "device", "driver"
INTERFACE, LINK_TYPE = "interface", "linkType"
FUNCTION, PARENT = "function", "parent"
"""The words of `PhysicalDevice.attributes` that every network card has. One whose value is not known has no values.

``parent`` has the names of the physical function of a virtual one: its interfaces and its address, each also with the
number of the virtual one behind it.
"""
PHYSICAL, VIRTUAL = "pf", "vf"
"""The values of ``function``."""
_NUMBER_MARK = "#"
"""Stands between a name of a physical function and the number of one of its virtual functions."""

Attributes = Mapping[str, tuple[str, ...]]


def is_card(attributes: Attributes) -> bool:
    """Whether these are the attributes of a network card. Other devices have none of them."""
    return FUNCTION in attributes


def parent_names(interfaces: Sequence[str], address: str, number: int | None) -> tuple[str, ...]:
    """Return the values of ``parent`` of a virtual function with this number, if it has one."""
    names = (*interfaces, address)
    return names if number is None else (*names, *(numbered(name, number) for name in names))


def numbered(name: str, number: int | str) -> str:
    """Return the name of a virtual function by a name of its physical one."""
    return f"{name}{_NUMBER_MARK}{number}"


def parent_address(attributes: Attributes) -> str | None:
    """Return the address of the physical function of a virtual one. None for other devices."""
    return next((each for each in reversed(attributes.get(PARENT, ())) if _NUMBER_MARK not in each), None)


def interface_words(attributes: Attributes) -> str:
    """Return the names of its interfaces. Empty if it has none, or none was ever seen."""
    return ", ".join(attributes.get(INTERFACE, ()))


def function_words(attributes: Attributes) -> str:
    """Return what it is on its card, such as ``pf``, or ``vf`` with its parent and its number there."""
    parents = attributes.get(PARENT, ())
    numbered_ones = (each for each in parents if _NUMBER_MARK in each)
    return " ".join((*attributes.get(FUNCTION, ()), next(numbered_ones, next(iter(parents), "")))).rstrip()
