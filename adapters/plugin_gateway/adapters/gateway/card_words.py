"""Network cards in words: what people ask of them that they do not ask of other devices."""

from collections.abc import Mapping

INTERFACE, FUNCTION, PARENT = "interface", "function", "parent"
"""The words of the backends for attributes: interfaces; ``pf`` or ``vf``; how the physical function can be named."""
_NUMBER_MARK = "#"
"""Stands between a name of a physical function and the number of one of its virtual functions."""


def is_card(attributes: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether these are the attributes of a network card. Other devices have none of them."""
    return FUNCTION in attributes


def interface_words(attributes: Mapping[str, tuple[str, ...]]) -> str:
    """Return the names of its interfaces. Empty if it has none, or none was ever seen."""
    return ", ".join(attributes.get(INTERFACE, ()))


def function_words(attributes: Mapping[str, tuple[str, ...]]) -> str:
    """Return what it is on its card, such as ``pf``, or ``vf`` with its parent and its number there."""
    parents = attributes.get(PARENT, ())
    numbered = next((each for each in parents if _NUMBER_MARK in each), next(iter(parents), ""))
    return " ".join((*attributes.get(FUNCTION, ()), numbered)).rstrip()
