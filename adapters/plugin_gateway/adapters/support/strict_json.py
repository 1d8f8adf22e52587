"""Reads JSON values strictly. A value that does not fit is an error with its place, such as ``health.kinds["a"][2]``.

Each reader is a function from a value to the result. Readers for lists and objects are made from readers for their
parts.
"""

import json
import math
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from typing import Any, TypeVar

MAX_TEXT_LENGTH = 16 * 1024
"""Characters. gRPC accepts no longer text in a status; all other texts are much shorter."""
MAX_NUMBER = 1e11
"""As seconds since the epoch, this is three thousand years from now. All other numbers are smaller."""
MAX_WHOLE = 2**63 - 1
"""The largest whole number in a protobuf message."""
_MAX_SHOWN_LENGTH = 60
"""Characters of a wrong value that an error message shows."""

_Value = TypeVar("_Value")
_Name = TypeVar("_Name")
Read = Callable[[Any], _Value]
"""Returns the result for a value of JSON. Raises MisfitError."""


class MisfitError(Exception):
    """A value does not fit. The message begins with its place."""

    def __init__(self, problem: str, place: str = "") -> None:
        super().__init__(f"{place}: {problem}" if place else problem)
        self.problem = problem
        self.place = place


def parse(data: bytes | str, refuse_constant: Callable[[str], Any] | None = None) -> Any:
    """Return the value of a JSON text. ``refuse_constant`` is called for ``NaN`` and infinity.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(data, parse_constant=refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def within(place: str, read: Read[_Value], value: object) -> _Value:
    """Read a part. An error gets the place of the part in front of its own."""
    try:
        return read(value)
    except MisfitError as error:
        link = "." if error.place and not error.place.startswith("[") else ""
        raise MisfitError(error.problem, f"{place}{link}{error.place}") from error


def text(value: object) -> str:
    """Return a text that can be written as UTF-8, and is not too long."""
    if not isinstance(value, str):
        raise MisfitError(f"{shown(value)} is no text")
    if len(value) > MAX_TEXT_LENGTH:
        raise MisfitError(f"{len(value)} characters; expected at most {MAX_TEXT_LENGTH}")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise MisfitError(f"{shown(value)} has half a surrogate pair")
    return value


def plain(words: str, most: int) -> str:
    """Return a text of at most so many characters, with blanks for line breaks and control characters."""
    return "".join(each if each.isprintable() else " " for each in words[:most])


def name(value: object) -> str:
    """Return a text that can stand in a header or a path of gRPC."""
    if not text(value).isascii() or not text(value).isprintable():
        raise MisfitError(f"{shown(value)} has other than printable ASCII characters")
    return text(value)


def truth(value: object) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise MisfitError(f"{shown(value)} is neither true nor false")
    return value


def number(value: object) -> float:
    """Return a number from 0 on. Python's JSON also has NaN and Infinity, which are refused."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= MAX_NUMBER:  # type: ignore[operator]
        raise MisfitError(f"{shown(value)} is no number from 0 to {MAX_NUMBER:.0e}")
    return float(value)  # type: ignore[arg-type]


def whole(value: object) -> int:
    """Return a whole number from 0 on."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_WHOLE:
        raise MisfitError(f"{shown(value)} is no whole number from 0 to 2^63 - 1")
    return value


def written_whole(value: object) -> int:
    """Return a whole number that is written as a text, because it is a key."""
    digits = text(value)
    if not (digits.isascii() and digits.isdigit()) or len(digits) > len(str(MAX_WHOLE)):
        raise MisfitError(f"{shown(value)} is no whole number")
    return whole(int(digits))


def null_or(read: Read[_Value]) -> Read[_Value | None]:
    """Return a reader that reads null as None."""
    return lambda value: None if value is None else read(value)


def one_of(choices: type[Enum] | Collection[str]) -> Read[Any]:
    """Return a reader for one of a few texts. For an enum it returns the member with this value."""
    known = {each.value: each for each in choices} if isinstance(choices, type) else {each: each for each in choices}

    def read(value: object) -> Any:
        if not isinstance(value, str) or value not in known:
            raise MisfitError(f"{shown(value)} is not known; expected {', '.join(known)}")
        return known[value]

    return read


def list_of(read: Read[_Value]) -> Read[tuple[_Value, ...]]:
    """Return a reader for a list."""

    def read_all(value: object) -> tuple[_Value, ...]:
        if not isinstance(value, list):
            raise MisfitError(f"{shown(value)} is no list")
        return tuple(within(f"[{place}]", read, each) for place, each in enumerate(value))

    return read_all


def mapping(read_name: Read[_Name], read_value: Read[_Value]) -> Read[Mapping[_Name, _Value]]:
    """Return a reader for an object with any keys."""

    def read_all(value: object) -> Mapping[_Name, _Value]:
        found = names(value).items()
        return {within(shown(key), read_name, key): within(f"[{shown(key)}]", read_value, each) for key, each in found}

    return read_all


def fields(readers: Mapping[str, Read[Any]], optional: Mapping[str, Read[Any]] | None = None) -> Read[dict[str, Any]]:
    """Return a reader for an object with these keys. A missing optional key is left out; others are ignored."""
    perhaps = optional or {}

    def read_all(value: object) -> dict[str, Any]:
        found = names(value)
        missing = [each for each in readers if each not in found]
        if missing:
            raise MisfitError(f"no {missing[0]!r}; {', '.join(readers)} belong here")
        present = {each: read for each, read in perhaps.items() if each in found}
        return {each: within(each, read, found[each]) for each, read in {**readers, **present}.items()}

    return read_all


def names(value: object) -> dict[str, Any]:
    """Return an object as a dict."""
    if not isinstance(value, dict):
        raise MisfitError(f"{shown(value)} where names with values belong")
    return value


def shown(value: object) -> str:
    """Return a wrong value for an error message, shortened if necessary."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MAX_WHOLE:
        return f"a number of {math.floor(math.log10(abs(value))) + 1} digits"
    words = repr(value)
    return words if len(words) <= _MAX_SHOWN_LENGTH else f"{words[:_MAX_SHOWN_LENGTH]}…"
