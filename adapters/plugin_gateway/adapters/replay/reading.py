"""Reads a recording strictly: what a user sent may be cut, of another version, or no recording at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from plugin_gateway.adapters.replay.recorder import VERSION
from plugin_gateway.core.errors import InvalidValueError

_FIELDS: Mapping[str, frozenset[str]] = {
    "kubelet": frozenset({"is_there"}),
    "seen": frozenset({"observation"}),
    "register": frozenset({"api_version", "request"}),
    "answered": frozenset({"api_version", "request", "code", "words"}),
    "opened": frozenset({"stream", "service", "resource", "agent"}),
    "list": frozenset({"stream", "message"}),
    "ended": frozenset({"stream"}),
    "call": frozenset({"service", "method", "resource", "agent", "request", "answer", "error"}),
}
_HEADER = frozenset(
    {
        "recording",
        "at",
        "api_version",
        "rules",
        "unhealthy_first",
        "pass_device_specs",
        "device_id_strategy",
        "dev_root",
        "health",
    }
)


class Happening(NamedTuple):
    """One line of a recording."""

    line: int
    at: float
    """Seconds since the recording began."""
    what: str
    fields: Mapping[str, Any]


class Recording(NamedTuple):
    """A whole one."""

    about: Mapping[str, Any]
    happenings: tuple[Happening, ...]


def read_recording(path: Path) -> Recording:
    """Read a file.

    Raises:
        InvalidValueError: it cannot be read, or is no recording of this version; with the line.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValueError(f"recording {path}: {getattr(error, 'strerror', None) or error}") from error
    if not lines:
        raise InvalidValueError(f"recording {path}: empty")
    about = _parse(path, 1, lines[0])
    if about.get("recording") != VERSION:
        raise InvalidValueError(f"{path}:1: recording {about.get('recording')!r}, this version knows {VERSION}")
    if about.keys() != _HEADER:
        raise InvalidValueError(f"{path}:1: no head of a recording")
    return Recording(about, tuple(_happening(path, number, line) for number, line in enumerate(lines[1:], 2)))


def _happening(path: Path, number: int, line: str) -> Happening:
    value = _parse(path, number, line)
    what, at = value.pop("what", None), value.pop("t", None)
    if what not in _FIELDS or not isinstance(at, int | float) or value.keys() != _FIELDS[what]:
        raise InvalidValueError(f"{path}:{number}: no line of a recording")
    try:
        return Happening(number, float(at), what, {name: _value(name, each) for name, each in value.items()})
    except (ValueError, TypeError) as error:
        raise InvalidValueError(f"{path}:{number}: {error}") from error


def _value(name: str, value: Any) -> Any:
    return bytes.fromhex(value) if name in {"request", "answer", "message"} and value is not None else value


def _parse(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidValueError(f"{path}:{number}: not JSON; was the file cut?") from error
    if not isinstance(value, dict):
        raise InvalidValueError(f"{path}:{number}: no line of a recording")
    return value
