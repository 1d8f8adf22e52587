"""A file in the state directory, with one JSON value.

A file that is no JSON, contains nothing of ours, or belongs to another user is renamed, and the gateway starts without
it. A file that could be read only in part is copied, before the next write replaces it.
"""

import contextlib
import errno
import json
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from plugin_gateway.core.errors import GatewayError, InvalidValueError

MAX_BYTES = 16 * 1024 * 1024
"""Longest file that is read. The devices of a node need far less."""

_Content = TypeVar("_Content")


class Decoded(NamedTuple, Generic[_Content]):
    """What was read."""

    memory: _Content
    problems: tuple[str, ...]
    """What could not be read, each with its place."""


class DamagedFileError(GatewayError):
    """The file cannot be read, is incomplete, or was not written by a gateway."""


def read(path: Path, decode: Callable[[object], _Content]) -> _Content:
    """Return the content of the file. ``decode`` makes it from the JSON value, or raises InvalidValueError.

    Raises:
        DamagedFileError: it cannot be read, or its content is invalid. In the second case it was renamed if possible.
    """
    try:
        return decode(json.loads(load(path)))
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


def write(path: Path, value: Mapping[str, object]) -> Written | None:
    """Replace the file as a whole by one with this value. Returns its identity.

    Raises:
        OSError: it cannot be written.
    """
    return replace(path, json.dumps(value, indent=1).encode())


def keep_copy(path: Path) -> Path:
    """Copy the file beside itself, and return the copy. An older copy is replaced.

    Raises:
        OSError: it cannot be copied.
        InvalidValueError: it is no regular file of this user any more.
    """
    copy = path.with_suffix(".unread")
    replace(copy, load(path))
    return copy


def replace(path: Path, data: bytes) -> Written | None:
    """Replace the file as a whole by one with this content. Returns its identity.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    half_made = path.with_suffix(f".{os.getpid()}")
    try:
        half_made.write_bytes(data)
        written = find(half_made)
        half_made.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            half_made.unlink()
        raise
    return written


def load(path: Path) -> bytes:
    """Return the content of the file. Links, pipes and files of other users are refused.

    Raises:
        OSError: it cannot be read.
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
    return data
