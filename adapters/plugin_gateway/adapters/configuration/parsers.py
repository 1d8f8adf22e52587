"""Turns the text of a flag, a variable or a file into a value; each raises InvalidValueError saying what is allowed."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from plugin_gateway.adapters.unhealthy_first import UnhealthyFirst
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.policy import DeviceIdStrategy

Parse = Callable[[str], Any]

_TRUE = ("1", "t", "true", "y", "yes", "on")
_FALSE = ("0", "f", "false", "n", "no", "off")


def parse_switch(text: str) -> bool:
    """Read true or false in the ways of Go's flags and of YAML."""
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise InvalidValueError(f"{text!r}, allowed are true and false")


def one_of(allowed: Sequence[str]) -> Parse:
    """Make a parser for a word of a list."""

    def parse(text: str) -> str:
        if text not in allowed:
            raise InvalidValueError(f"{text!r}, allowed are {', '.join(allowed)}")
        return text

    return parse


def parse_path(text: str) -> str:
    """Read an absolute path; what it leads to is looked at by whoever uses it."""
    if not text.startswith("/") or "\0" in text or not _can_be_named(text):
        raise InvalidValueError(f"{text!r}, allowed are absolute paths")
    return text.rstrip("/") or "/"


def _can_be_named(text: str) -> bool:
    """Whether it has bytes: YAML can write half a surrogate pair, which the file system cannot."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def parse_unhealthy_first(text: str) -> UnhealthyFirst:
    """Read on which streams every device is unhealthy first."""
    return UnhealthyFirst(one_of([choice.value for choice in UnhealthyFirst])(text))


def parse_strategy(text: str) -> DeviceIdStrategy:
    """Read how devices are named to the container runtime."""
    return DeviceIdStrategy(one_of([strategy.value for strategy in DeviceIdStrategy])(text))
