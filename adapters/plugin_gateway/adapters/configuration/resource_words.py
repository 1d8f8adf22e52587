"""The words of the sections `resources` and `sharing`: indexes, ids, patterns and numbers."""

import re
from collections.abc import Callable
from typing import TypeVar

from plugin_gateway.adapters.configuration.document import FileValue
from plugin_gateway.adapters.configuration.resource_rules import KINDS, WAYS, Way
from plugin_gateway.core.devices import DevicePlace, FaultId, parse_device_id
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.resources.sharing import MAX_REPLICAS

T = TypeVar("T")
IDS = ("GPU-", "MIG-")
"""How ids begin."""
_MAX_DIGITS = 4
_PCI = re.compile(r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])", re.IGNORECASE)
_CLASS = re.compile(r"\[!?\]?[^]]*\]")
"""A set of characters in a shell pattern."""


def value_at(written: FileValue, full: str, parse: Callable[[str], T]) -> T:
    """Return the value of a text. An error says where it stands."""
    try:
        return parse(written.text)
    except InvalidValueError as error:
        raise InvalidValueError(f"{written.place}: {full}{error}") from error


def parse_pattern(text: str) -> str:
    """Return a shell pattern. One bracket without the other would be taken as a character."""
    if not text:
        raise InvalidValueError(" is empty; '*' matches every one")
    if "[" in _CLASS.sub("", text):
        raise InvalidValueError(f": {text[:80]!r} has a [ without ]; expected [[] for the character itself")
    return text


def parse_uuid(text: str) -> FaultId:
    """Return the id of a GPU or a MIG device."""
    if not text.startswith(IDS):
        raise InvalidValueError(f": invalid value {text[:80]!r}; expected a UUID, which begins with GPU- or MIG-")
    try:
        return parse_device_id(text)
    except InvalidValueError as error:
        raise InvalidValueError(f": {error}") from error


def parse_place(text: str) -> DevicePlace:
    """Return the index of a GPU, such as ``0``, or that of a MIG device, such as ``0:1``."""
    numbers = text.split(":")
    if len(numbers) > len(("GPU", "MIG")) or not all(_is_number(each) for each in numbers):
        raise InvalidValueError(f": invalid value {text[:80]!r}; expected an index such as 0, or 0:1 for a MIG device")
    return tuple(map(int, numbers))


def parse_device(text: str) -> DevicePlace:
    """Return an index. The complaint says that UUIDs are allowed as well."""
    try:
        return parse_place(text)
    except InvalidValueError:
        raise InvalidValueError(
            f": invalid value {text[:80]!r}; expected an index such as 0 or 0:1, or a UUID, which begins with GPU- or "
            "MIG-"
        ) from None


def parse_address(text: str) -> str:
    """Return a PCI address as sysfs writes it. `nvidia-smi` writes eight digits before the first colon."""
    found = _PCI.fullmatch(text)
    if found is None:
        raise InvalidValueError(f": invalid value {text[:80]!r}; expected a PCI address such as 0000:3b:00.0")
    domain, bus, device, function = found.groups()
    return f"{int(domain or '0', 16):04x}:{bus}:{device}.{function}".lower()


def parse_kind(text: str) -> str:
    """Return the kind of a device."""
    if text not in KINDS:
        raise InvalidValueError(f": invalid value {text[:80]!r}; expected {' or '.join(KINDS)}")
    return text


def parse_backend(text: str) -> str:
    """Return the name of a backend, which need not exist."""
    if not text:
        raise InvalidValueError(" is empty; expected the name of a backend")
    return text[:80]


def parse_way(text: str) -> Way:
    """Return the way to share devices that a word stands for."""
    way = next((each for each in WAYS if each.word == text), None)
    if way is None:
        raise InvalidValueError(f": invalid value {text[:80]!r}; expected {' or '.join(each.word for each in WAYS)}")
    return way


def parse_count(text: str) -> int:
    """Return how many devices are shared."""
    if not _is_number(text) or int(text) < 1:
        raise InvalidValueError(
            f": invalid value {text[:80]!r}; expected all, a number from 1 on, or a list of indexes and UUIDs"
        )
    return int(text)


def replicas_from(least: int, most: int = MAX_REPLICAS) -> Callable[[str], int]:
    """Return a parser for a number of replicas."""

    def parse(text: str) -> int:
        if not _is_number(text) or not least <= int(text) <= most:
            raise InvalidValueError(f": invalid value {text[:80]!r}; expected {least} to {most}")
        return int(text)

    return parse


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
