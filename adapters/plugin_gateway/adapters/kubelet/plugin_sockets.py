"""The names of our sockets, and what they tell: leftovers of earlier instances, and other gateways that live."""

import contextlib
import os
import re
import stat
import time
import zlib
from itertools import count
from pathlib import Path
from typing import NamedTuple

from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.unix_files import MAX_PATH, find_listener
from plugin_gateway.core.resources.names import ResourceName

PREFIX = "plugin-gateway-"
_SUFFIX = ".sock"
_MAX_READABLE_LENGTH = 16
_CHECKSUM_LENGTH = 8
_REST_LENGTH = len(PREFIX) + len("-0123456789-abcd-ffffff") + len(_SUFFIX)
MAX_DIRECTORY_LENGTH = MAX_PATH - 1 - _CHECKSUM_LENGTH - _REST_LENGTH
"""Bytes of a kubelet directory's path that leave room for our names."""
STREAM_OPEN = stat.S_ISVTX
"""The bit of a socket's mode that says: a kubelet holds a stream on it."""
_FORM = re.compile(rf"{PREFIX}(?:.+-)?([0-9a-f]{{8}})-([0-9a-f]{{10}}-[0-9a-f]{{4}})-[0-9a-f]+{re.escape(_SUFFIX)}")


class SocketName(NamedTuple):
    """What the name of a gateway's socket tells."""

    resource: str
    """The checksum of its name."""
    instance: str


def parse_name(name: str) -> SocketName | None:
    """Read a name; None where it is none of ours."""
    form = _FORM.fullmatch(name)
    return SocketName(*form.groups()) if form else None


_LEFTOVER_AGE = 1.0
"""Seconds after which a socket that nobody listens on is a leftover; one that is just being made is younger."""


def checksum(resource: ResourceName) -> str:
    """Shorten a resource name to what two gateways know it by, whatever their directory is called for each."""
    return f"{zlib.crc32(resource.encode()):0{_CHECKSUM_LENGTH}x}"


def slug(resource: ResourceName, room: int) -> str:
    """Make the part of a file name that stands for a resource: its checksum, after as much of it as there is room."""
    readable = resource.replace("/", "_")[: max(min(room - _CHECKSUM_LENGTH - 1, _MAX_READABLE_LENGTH), 0)]
    return f"{readable}-{checksum(resource)}" if readable else checksum(resource)


def new_instance() -> str:
    """Name this process: of two names the smaller one is the elder on this boot."""
    milliseconds = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    return f"{milliseconds:010x}-{os.urandom(2).hex()}"


class OtherGateway(NamedTuple):
    """Another gateway that offers the same resource on this node."""

    instance: str
    socket: str
    pid: int
    has_stream: bool
    """Whether a kubelet holds a stream on it."""


class OwnSockets:
    """Makes endpoint names, each of them once, and looks after those of other instances."""

    def __init__(self, directory: Path) -> None:
        self.instance = new_instance()
        self._directory = directory
        self._room = MAX_PATH - 1 - len(os.fsencode(directory)) - _REST_LENGTH
        self._numbers = count(1)
        self._seen: set[str] = set()

    def fresh_path(self, resource: ResourceName) -> Path:
        """Make a path that no registration has named before."""
        name = f"{PREFIX}{slug(resource, self._room)}-{self.instance}-{next(self._numbers):x}{_SUFFIX}"
        return self._directory / name

    def has_newcomers(self) -> bool:
        """Whether there are names of other instances that were not there at the last question."""
        names = {name for name, _ in self._others()}
        newcomers = names - self._seen
        self._seen = names
        return bool(newcomers)

    def find_others(self, resource: ResourceName) -> list[OtherGateway]:
        """List the living gateways of this resource, the eldest first, and remove the sockets of dead ones.

        Only names of our own form are looked at; sockets of others are never touched.
        """
        others = []
        for name, (of_resource, instance) in self._others():
            path = self._directory / name
            try:
                found = path.stat()
                listener = find_listener(path)
            except OSError:
                continue  # it cannot be told who that is, so it is left alone
            if listener is None:
                if abs(time.time() - found.st_mtime) > _LEFTOVER_AGE:  # or the clock was set back
                    _remove_leftover(path)
            elif of_resource == checksum(resource):
                others.append(OtherGateway(instance, name, listener.pid, has_stream=bool(found.st_mode & STREAM_OPEN)))
        return sorted(others, key=lambda other: other.instance)

    def _others(self) -> list[tuple[str, SocketName]]:
        """List the sockets of other instances."""
        try:
            names = os.listdir(self._directory)  # noqa: PTH208 - asked whenever something changes there
        except OSError:
            return []
        found = [(name, name_parts) for name in names if (name_parts := parse_name(name)) is not None]
        return [(name, name_parts) for name, name_parts in found if name_parts.instance != self.instance]


def _remove_leftover(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
        log.info("removed the socket of an earlier instance", socket=path.name)
