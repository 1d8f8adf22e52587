"""Reads a recording strictly. It can come from a user, and be cut, of another version, or no recording at all."""

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

from plugin_gateway.adapters.dialects import api_versions, dialect_of
from plugin_gateway.adapters.dialects.dialect import MalformedMessageError, RegisterRequest
from plugin_gateway.adapters.dialects.refusals import STATUS_NAMES
from plugin_gateway.adapters.gateway.health_document import decode
from plugin_gateway.adapters.recording.values import (
    READERS,
    VERSION,
    Configuration,
    accepted,
    is_known,
    read_event,
    read_observation,
)
from plugin_gateway.adapters.support.strict_json import (
    MisfitError,
    Read,
    fields,
    name,
    names,
    null_or,
    number,
    one_of,
    parse,
    shown,
    text,
    truth,
    whole,
    within,
)
from plugin_gateway.core.devices import DeviceId
from plugin_gateway.core.errors import InvalidValueError

UNKNOWN = "unknown"
"""The kind of a line that only a later version knows."""
CUT = "cut"
"""The kind of a line that is only the beginning of one. No recorder writes this kind."""
MAX_LINE_LENGTH = 64 * 1024 * 1024
"""Bytes. The longest list that a kubelet accepts has 8 MiB as a line."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Happening(NamedTuple):
    """One line of a recording."""

    line: int
    at: float
    """Seconds since the recording began."""
    what: str
    """The kind of the line."""
    fields: Mapping[str, Any]


class Recording(NamedTuple):
    """A recording, checked and decoded."""

    version: int
    began: float
    """Seconds since the epoch."""
    configuration: Configuration
    happenings: tuple[Happening, ...]

    @property
    def ends_in_order(self) -> bool:
        """Return whether the last line is `end`. Recordings of version 1 never have it."""
        return bool(self.happenings) and self.happenings[-1].what == "end"

    @property
    def is_cut(self) -> bool:
        """Return whether the last line is only the beginning of one."""
        return bool(self.happenings) and self.happenings[-1].what == CUT

    @property
    def last_line(self) -> int:
        """Return the number of the last line; the first line is 1."""
        return self.happenings[-1].line if self.happenings else 1


def _message(value: object) -> bytes:
    try:
        return bytes.fromhex(value if isinstance(value, str) else text(value))  # not `text`, which limits the length
    except ValueError as error:
        raise MisfitError(f"{shown(value)} are no bytes in hexadecimal: {error}") from error


def _register_request(api_version: str, request: bytes) -> RegisterRequest:
    try:
        return dialect_of(api_version).read_registration(request)
    except MalformedMessageError as error:
        raise MisfitError(f"{shown(request.hex())} is no RegisterRequest: {error}") from error


def _status(value: object) -> str:
    if text(value) not in STATUS_NAMES:
        raise MisfitError(f"{shown(value)} is no status of gRPC, such as UNAVAILABLE")
    return text(value)


def _configuration(value: object) -> Configuration:
    within("api_version", one_of(api_versions()), names(value).get("api_version"))
    configuration: Configuration = READERS[Configuration](value)
    return configuration


_LINES: Mapping[str, Mapping[str, Read[Any]]] = {
    "kubelet": {"is_there": truth},
    "replaced": {"is_same_file": truth},
    "recalled": {"backend": text, "uptime": number, "memory": lambda value: accepted(decode)(value).memory},
    "cleared": {"backend": text, "device": READERS[DeviceId]},
    "withheld": {"devices": READERS[tuple[DeviceId, ...]]},
    "waited": {"backend": text, "silence": number},
    "configured": {"configuration": _configuration},
    "seen": {"backend": text, "observation": read_observation},
    "register": {"api_version": text, "request": _message},
    "answered": {"api_version": text, "request": _message, "code": _status, "words": text},
    "opened": {"stream": text, "service": name, "resource": text, "agent": name},
    "list": {"stream": text, "message": _message},
    "ended": {"stream": text, "by": null_or(one_of(("kubelet", "gateway")))},
    "call": {
        "service": name,
        "method": name,
        "resource": text,
        "agent": name,
        "request": _message,
        "answer": null_or(_message),
        "error": null_or(text),
    },
    "event": {"resource": text, "instance": text, "event": read_event},
    "kept_back": {"resource": text, "is_over": truth},
    "lost": {"lines": whole},
    "stopping": {},
    "end": {},
}
"""The fields of each kind of line, and their readers."""


def read_recording(path: Path) -> Recording:
    """Read a file.

    Raises:
        InvalidValueError: the file cannot be read, or is no recording of a known version. The message has the line.
    """
    with _opened(path) as file:
        lines = _lines(path, file)
        first = next(lines, None)
        if first is None:
            raise InvalidValueError(f"recording {path}: empty")
        with _placed(path, 1):
            version, began, configuration = _head(_parse(first[1]))
        return Recording(version, began, configuration, tuple(_read_lines(path, lines, version)))


def _read_lines(path: Path, lines: Iterator[tuple[int, bytes]], version: int) -> Iterator[Happening]:
    is_over = False
    for place, data in lines:
        with _placed(path, place):
            if is_over:
                raise MisfitError("a line after the last one")
            is_cut = _is_cut(data)
            happening = Happening(place, 0.0, CUT, {}) if is_cut else _happening(place, _parse(data), version)
        is_over = happening.what == "end"
        yield happening


def _is_cut(data: bytes) -> bool:
    """Return whether this is only the beginning of a line, from a full disk or an incomplete copy."""
    if data.endswith(b"\n"):
        return False
    try:
        parse(data)
    except ValueError:
        return True
    return False


@contextmanager
def _placed(path: Path, place: int) -> Iterator[None]:
    """Add file and line to each error of a reader."""
    try:
        yield
    except MisfitError as error:
        raise InvalidValueError(f"{path}:{place}: {error}") from error


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file. A pipe or a device could block, or never end.

    Raises:
        InvalidValueError: it is no regular file, or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise InvalidValueError(f"recording {path}: it is no regular file")
            yield file
    except OSError as error:
        raise InvalidValueError(f"recording {path}: {error.strerror}") from error


def _lines(path: Path, file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the lines with their numbers, from 1."""
    place = 0
    while data := file.readline(MAX_LINE_LENGTH + 1):
        place += 1
        if len(data) > MAX_LINE_LENGTH:
            raise InvalidValueError(f"{path}:{place}: the line has more than {MAX_LINE_LENGTH} bytes")
        yield place, data


def _head(value: dict[str, Any]) -> tuple[int, float, Configuration]:
    """Return version, time and configuration of the first line."""
    if "recording" not in value:
        raise MisfitError("no head of a recording, which its first line is")
    version = value["recording"]
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise MisfitError(f"a recording of version {shown(version)}, versions are numbers from 1 on")
    return version, within("at", number, value.get("at")), _configuration(value)


def _is_known(value: Mapping[str, Any]) -> bool:
    """Return whether this version knows the kind of a line, and of the observation in it."""
    what = value.get("what")
    return str(what) in _LINES and (what != "seen" or is_known(value.get("observation")))


def _happening(line: int, value: dict[str, Any], version: int) -> Happening:
    if version > VERSION and not _is_known(value):
        return Happening(line, within("t", number, value.get("t")), UNKNOWN, {})
    what = within("what", one_of(_LINES), value.get("what"))
    at = within("t", number, value.get("t"))
    if what == "ended" and version == 1:
        value["by"] = None  # version 1 has no such field
    if "backend" in _LINES[what]:
        value.setdefault("backend", "")  # there is only one, and it has no name
    if what == "configured":
        value = {"configuration": value}
    found = fields(_LINES[what])(value)
    if what in {"register", "answered"}:
        found["request"] = within("request", partial(_register_request, found["api_version"]), found["request"])
    if what == "call" and (found["answer"] is None) is (found["error"] is None):
        raise MisfitError("a call has either an answer or an error")
    return Happening(line, at, what, found)


def _parse(data: bytes) -> dict[str, Any]:
    if not data.strip():
        raise MisfitError("an empty line")
    if data.startswith(_BYTE_ORDER_MARK):
        raise MisfitError("a byte order mark, which the recorder does not write; an editor may have")
    try:
        return names(parse(data.decode(), _refuse_constant))
    except UnicodeDecodeError as error:
        raise MisfitError("not UTF-8") from error
    except ValueError as error:
        raise MisfitError("not JSON") from error


def _refuse_constant(words: str) -> NoReturn:
    raise MisfitError(f"{words} is no number")
