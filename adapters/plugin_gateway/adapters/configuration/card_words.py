"""The words of the sections `resources.rdma` and `resources.onload`: ids, functions, parents and kinds of links."""

import re
from collections.abc import Iterator

from plugin_gateway.adapters.configuration.resource_words import parse_address, parse_pattern
from plugin_gateway.core.cards import PHYSICAL, VIRTUAL, numbered
from plugin_gateway.core.errors import InvalidValueError

EXCLUSIVE, SHARED, POOL = "exclusive", "shared", "pool"
ANY = "any"
PCIDEVICE, NCCL, UCX = "pcidevice", "nccl", "ucx"
VARIABLES = (PCIDEVICE, NCCL, UCX)
MAX_VF = 1023
"""The largest number of a virtual function that `parents` takes. Cards have fewer of them."""
_ID = re.compile(r"(?:0x)?([0-9a-f]{4})", re.IGNORECASE)
_NUMBERS = re.compile(r"[0-9]+(-[0-9]+)?")
_LINK_TYPES = {"ethernet": "ethernet", "infiniband": "infiniband", "ether": "ethernet"}
"""``ether`` is the word of the peers and of ``ip link``."""
_PARENTS = 'names of interfaces and PCI addresses, also with numbers of VFs, such as "ens1f0np0#0-3,7" in quotes'


def parse_id(text: str) -> str:
    """Return the id of a vendor or a product as sysfs writes it, without 0x."""
    found = _ID.fullmatch(text)
    if found is None:
        raise InvalidValueError(f": invalid value {text[:80]!r}; expected four hex digits such as 15b3")
    return found[1].lower()


def parse_functions(text: str) -> str:
    """Return which functions of a card are meant."""
    return _one_of(text, (PHYSICAL, VIRTUAL, ANY))


def parse_link_type(text: str) -> str:
    """Return the kind of a link as devices have it."""
    if text.lower() not in _LINK_TYPES:
        raise InvalidValueError(f": invalid value {text[:80]!r}; expected ethernet or infiniband")
    return _LINK_TYPES[text.lower()]


def parse_rdma_sharing(text: str) -> str:
    """Return how the devices of an entry of `resources.rdma` are shared."""
    return _one_of(text, (EXCLUSIVE, SHARED, POOL))


def parse_onload_sharing(text: str) -> str:
    """Return how the devices of an entry of `resources.onload` are shared. Onload itself is never exclusive."""
    return _one_of(text, (POOL, SHARED))


def parse_variable(text: str) -> str:
    """Return the word for some variables of a container."""
    return _one_of(text, VARIABLES)


def parse_parent(text: str) -> tuple[str, ...]:
    """Return patterns for a physical function, or for some of its virtual ones.

    ``ens1f0np0`` and ``0000:3b:00.0`` stand for all of them, ``ens1f0np0#0-3,7`` for those with these numbers.
    """
    name, has_numbers, numbers = text.partition("#")
    if not name or _NUMBERS.fullmatch(name):  # what is left behind a comma of a list that lacks the quotes
        raise InvalidValueError(f": invalid value {text[:80]!r}; expected {_PARENTS}")
    try:
        pattern = parse_address(name)
    except InvalidValueError:
        pattern = parse_pattern(name)
    if not has_numbers:
        return (pattern,)
    chosen = dict.fromkeys(number for each in numbers.split(",") for number in _range(each, text))
    return tuple(numbered(pattern, number) for number in chosen)


def _range(numbers: str, text: str) -> Iterator[int]:
    first, _, last = numbers.partition("-")
    is_range = _NUMBERS.fullmatch(numbers) and len(last or first) <= len(str(MAX_VF)) >= len(first)
    if not is_range or not int(first) <= int(last or first) <= MAX_VF:
        raise InvalidValueError(
            f": invalid value {text[:80]!r}; expected numbers of VFs from 0 to {MAX_VF} behind #, such as 0-3,7"
        )
    yield from range(int(first), int(last or first) + 1)


def _one_of(text: str, allowed: tuple[str, ...]) -> str:
    if text not in allowed:
        raise InvalidValueError(f": invalid value {text[:80]!r}; expected {', '.join(allowed[:-1])} or {allowed[-1]}")
    return text
