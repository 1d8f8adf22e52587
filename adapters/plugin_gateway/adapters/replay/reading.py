"""Reads a recording strictly: what a user sent may be cut, of another version, or no recording at all."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import DecodeError

from plugin_gateway.adapters.replay.recorder import VERSION
from plugin_gateway.api.v1beta1 import api_pb2 as wire
from plugin_gateway.core.errors import InvalidValueError


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")  # noqa: TRY004 - as every other value that cannot be read
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")  # noqa: TRY004 - see above
    return value


def _message(value: Any) -> bytes:
    return bytes.fromhex(_text(value))


def _register_request(value: Any) -> wire.RegisterRequest:
    return wire.RegisterRequest.FromString(_message(value))


def _status(value: Any) -> grpc.StatusCode:
    try:
        return grpc.StatusCode[_text(value)]
    except KeyError as error:
        raise ValueError(f"{value!r} is no status of gRPC") from error


def _message_or_null(value: Any) -> bytes | None:
    return None if value is None else _message(value)


def _text_or_null(value: Any) -> str | None:
    return None if value is None else _text(value)


def _observation(value: Any) -> Any:
    return value  # read when it is played: a gateway of today may not know it


_FIELDS: Mapping[str, Mapping[str, Callable[[Any], Any]]] = {
    "kubelet": {"is_there": _truth},
    "seen": {"observation": _observation},
    "register": {"api_version": _text, "request": _register_request},
    "answered": {"api_version": _text, "request": _register_request, "code": _status, "words": _text},
    "opened": {"stream": _text, "service": _text, "resource": _text, "agent": _text},
    "list": {"stream": _text, "message": _message},
    "ended": {"stream": _text},
    "call": {
        "service": _text,
        "method": _text,
        "resource": _text,
        "agent": _text,
        "request": _message,
        "answer": _message_or_null,
        "error": _text_or_null,
    },
}
"""What each kind of line has, and how it is read."""
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
    fields = _FIELDS.get(what) if isinstance(what, str) else None
    if fields is None or not isinstance(at, int | float) or value.keys() != fields.keys():
        raise InvalidValueError(f"{path}:{number}: no line of a recording")
    try:
        return Happening(number, float(at), str(what), {name: read(value[name]) for name, read in fields.items()})
    except (ValueError, OverflowError, DecodeError) as error:
        raise InvalidValueError(f"{path}:{number}: {error}") from error


def _parse(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidValueError(f"{path}:{number}: not JSON; was the file cut?") from error
    if not isinstance(value, dict):
        raise InvalidValueError(f"{path}:{number}: no line of a recording")
    return value
