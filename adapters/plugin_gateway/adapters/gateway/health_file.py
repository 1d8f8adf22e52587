"""The file with the faults of the devices, as JSON. It is read strictly.

A file that is incomplete, invalid or owned by another user is renamed, and the gateway starts without it.
"""

import contextlib
import errno
import json
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from plugin_gateway.core.devices import DeviceId, parse_device_id
from plugin_gateway.core.errors import GatewayError, InvalidValueError
from plugin_gateway.core.health.faults import Evidence, Fault
from plugin_gateway.core.health.memory import Memory
from plugin_gateway.core.health.observations import DriverSeen
from plugin_gateway.core.health.policy import EvidenceKind, Needs

VERSION = 1
"""Version of the file format."""
MAX_BYTES = 16 * 1024 * 1024
"""Longest file that is read. The devices of a node need far less."""
MAX_TEXT = 4096
"""Characters of one text in the file."""
MAX_EPOCH = 1e11
"""Largest number in the file: seconds since the epoch, about 3,000 years from now."""
_Value = TypeVar("_Value")


class DamagedFileError(GatewayError):
    """The file cannot be read, is incomplete, or was not written by a gateway."""


def read(path: Path) -> Memory:
    """Return the content of the file.

    Raises:
        DamagedFileError: it cannot be read, or its content is invalid. In the second case it was renamed if possible.
    """
    try:
        return decode(_load(path))
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EISDIR}:
            raise _set_aside(path, error.strerror or "") from error
        raise DamagedFileError(f"{path}: {error.strerror}") from error
    except (InvalidValueError, ValueError, RecursionError, OverflowError) as error:
        raise _set_aside(path, str(error)) from error


def _set_aside(path: Path, problem: str) -> DamagedFileError:
    """Rename the file, and return the error to raise."""
    aside = path.with_suffix(".damaged")
    try:
        path.replace(aside)
    except OSError as error:
        return DamagedFileError(f"{path}: {problem}; and it cannot be set aside: {error.strerror}")
    return DamagedFileError(f"{path}: {problem}; set aside as {aside.name}")


class Written(NamedTuple):
    """Identifies the file that was written. Another file, or none, means that somebody replaced or deleted it."""

    inode: int
    modified: int
    size: int


def find(path: Path) -> Written | None:
    """Return the identity of the file. None if there is none."""
    try:
        there = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return Written(there.st_ino, there.st_mtime_ns, there.st_size)


def write(path: Path, memory: Memory) -> Written | None:
    """Replace the file as a whole. Returns its identity.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    half_made = path.with_suffix(f".{os.getpid()}")
    try:
        half_made.write_text(json.dumps(encode(memory), indent=1))
        written = find(half_made)
        half_made.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            half_made.unlink()
        raise
    return written


def _load(path: Path) -> object:
    """Return the decoded JSON. Links, pipes and files of other users are refused.

    Raises:
        InvalidValueError: it is not a regular file, is too long, or belongs to another user.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise InvalidValueError("it is no regular file")
        if found.st_uid not in {0, os.geteuid()}:
            raise InvalidValueError(f"it belongs to user {found.st_uid}")
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InvalidValueError(f"it has more than {MAX_BYTES} bytes")
    return json.loads(data)


def encode(memory: Memory) -> Mapping[str, object]:
    """Return the memory as values that JSON supports."""
    return {
        "version": VERSION,
        "boot_id": _plain(memory.boot_id),
        "driver": _encode_driver(memory.driver) if memory.driver is not None else None,
        "faults": {device: _encode_fault(fault) for device, fault in memory.faults.items()},
        "taken_out": {device: list(times) for device, times in memory.taken_out.items()},
        "unseen": sorted(memory.unseen),
    }


def _encode_driver(driver: DriverSeen) -> Mapping[str, object]:
    return {name: None if words is None else _plain(words) for name, words in driver._asdict().items()}


def _plain(words: str) -> str:
    """Return a text without characters that `decode` would refuse."""
    return "".join(each if each.isprintable() else " " for each in words[:MAX_TEXT])


def _encode_fault(fault: Fault) -> Mapping[str, object]:
    return {
        "since": fault.since,
        "evidence": [{"what": _plain(evidence.what), "at": evidence.at} for evidence in fault.evidence],
        "needs": fault.needs.name.lower(),
        "problems": {kind: _plain(what) for kind, what in fault.problems.items()},
        "asked_for_recovery": fault.asked_for_recovery,
        "was_reset": fault.was_reset,
        "is_damped": fault.is_flapping,
    }


def decode(value: object) -> Memory:
    """Return the memory from decoded JSON.

    Raises:
        InvalidValueError: a name or a value is missing, unknown or not allowed.
    """
    found = _keys(value, "version", "boot_id", "driver", "faults", "taken_out", "unseen")
    if found["version"] != VERSION:
        raise InvalidValueError(f"version {found['version']!r}, known is {VERSION}")
    return Memory(
        boot_id=_text(found["boot_id"]),
        driver=_decode_driver(found["driver"]),
        faults=_by_device(found["faults"], _decode_fault),
        taken_out=_by_device(found["taken_out"], _decode_times),
        unseen=frozenset(parse_device_id(_text(device)) for device in _list(found["unseen"])),
    )


def _decode_driver(value: object) -> DriverSeen | None:
    if value is None:
        return None
    found = _keys(value, "version", "instance")
    version, instance = (None if each is None else _text(each) for each in (found["version"], found["instance"]))
    return DriverSeen(version, instance)


def _decode_fault(value: object) -> Fault:
    found = _keys(value, "since", "evidence", "needs", "problems", "asked_for_recovery", "was_reset", "is_damped")
    return Fault(
        since=_number(found["since"]),
        evidence=tuple(_decode_evidence(each) for each in _list(found["evidence"])),
        needs=_one_of({needs.name.lower(): needs for needs in Needs}, found["needs"]),
        problems={EvidenceKind(_text(kind)): _text(what) for kind, what in _mapping(found["problems"]).items()},
        asked_for_recovery=_switch(found["asked_for_recovery"]),
        was_reset=_switch(found["was_reset"]),
        is_flapping=_switch(found["is_damped"]),
    )


def _decode_evidence(value: object) -> Evidence:
    found = _keys(value, "what", "at")
    return Evidence(_text(found["what"]), _number(found["at"]))


def _decode_times(value: object) -> tuple[float, ...]:
    return tuple(_number(each) for each in _list(value))


def _by_device(value: object, decode: Callable[[object], _Value]) -> Mapping[DeviceId, _Value]:
    return {parse_device_id(device): decode(each) for device, each in _mapping(value).items()}


def _mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidValueError(f"{_shown(value)} where names with values belong")
    return value


def _keys(value: object, *names: str) -> Mapping[str, Any]:
    found = _mapping(value)
    if found.keys() != set(names):
        raise InvalidValueError(f"the names {_shown(sorted(found))} where {', '.join(names)} belong")
    return found


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidValueError(f"{_shown(value)} where a list belongs")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT or not (value.isprintable() or not value):
        raise InvalidValueError(f"{_shown(value)} where a text belongs")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_EPOCH:
        raise InvalidValueError(f"{_shown(value)} where a number belongs")
    return float(value)


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidValueError(f"{_shown(value)} where true or false belongs")
    return value


def _one_of(known: Mapping[str, _Value], value: object) -> _Value:
    if not isinstance(value, str) or value not in known:
        raise InvalidValueError(f"{_shown(value)} where one of {', '.join(known)} belongs")
    return known[value]


def _shown(value: object) -> str:
    return repr(value)[:80]
