"""The names of the gateway's sockets, and what they say about other gateways.

A name consists of a prefix, a readable part of the resource name, a checksum of the whole name, the instance and a
number. Each registration uses a new number, because kubelets of 1.37 must never see a name twice.

The directory is shared with other gateways and other device plugins. A socket of a gateway that nobody listens on is a
leftover and is removed. Sockets of other device plugins are never touched.
"""

import contextlib
import os
import re
import stat
import time
import zlib
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import NamedTuple

from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.unix_files import MAX_PATH, find_listener
from plugin_gateway.core.registration.precedence import OtherGateway
from plugin_gateway.core.resources.names import ResourceName

PREFIX = "plugin-gateway-"
"""Beginning of the name of every socket of the gateway."""
_SUFFIX = ".sock"
_MAX_READABLE_LENGTH = 16
_CHECKSUM_LENGTH = 8
_REST_LENGTH = len(PREFIX) + len("-0123456789-abcd-ffffff") + len(_SUFFIX)
MAX_DIRECTORY_LENGTH = MAX_PATH - 1 - _CHECKSUM_LENGTH - _REST_LENGTH
"""Longest path of a kubelet directory, in bytes, that leaves room for the gateway's socket names."""
STREAM_OPEN = stat.S_ISVTX
"""The sticky bit of a socket. It shows other gateways that a kubelet holds a stream on the socket."""
_FORM = re.compile(rf"{PREFIX}(?:.+-)?([0-9a-f]{{8}})-([0-9a-f]{{10}}-[0-9a-f]{{4}})-[0-9a-f]+{re.escape(_SUFFIX)}")


class SocketName(NamedTuple):
    """The parts of a gateway's socket name."""

    resource: str
    """The checksum of the resource name."""
    instance: str
    """See `new_instance`."""


def parse_name(name: str) -> SocketName | None:
    """Return the parts of a socket name. None if it is not a name of a gateway's socket."""
    form = _FORM.fullmatch(name)
    return SocketName(*form.groups()) if form else None


_LEFTOVER_AGE = 1.0
"""Seconds after which a socket that nobody listens on is removed. Younger ones may just be starting."""


def checksum(resource: ResourceName) -> str:
    """Return the part of a socket name by which two gateways recognise that they have the same resource."""
    return f"{zlib.crc32(resource.encode()):0{_CHECKSUM_LENGTH}x}"


def is_of_other_resource(socket: str, resource: ResourceName) -> bool:
    """Whether a gateway's socket with this name is that of another resource."""
    parts = parse_name(socket)
    return parts is not None and parts.resource != checksum(resource)


def slug(resource: ResourceName, room: int) -> str:
    """Return the part of a socket name for a resource: readable characters and a checksum.

    ``room`` is the number of available bytes. Without room for readable characters there is only the checksum.
    """
    readable = resource.replace("/", "_")[: max(min(room - _CHECKSUM_LENGTH - 1, _MAX_READABLE_LENGTH), 0)]
    return f"{readable}-{checksum(resource)}" if readable else checksum(resource)


def new_instance() -> str:
    """Return a name for this process. Of two names, the smaller one belongs to the process that started first."""
    milliseconds = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    return f"{milliseconds:010x}-{os.urandom(2).hex()}"


class OwnSockets:
    """Makes unique socket names, and finds the sockets of other gateways."""

    def __init__(self, directory: Path) -> None:
        self.instance = new_instance()
        self._directory = directory
        self._room = MAX_PATH - 1 - len(os.fsencode(directory)) - _REST_LENGTH
        self._numbers = count(1)
        self._seen: set[str] = set()

    def fresh_path(self, resource: ResourceName) -> Path:
        """Return the path of a socket that was never used before."""
        name = f"{PREFIX}{slug(resource, self._room)}-{self.instance}-{next(self._numbers):x}{_SUFFIX}"
        return self._directory / name

    def has_newcomers(self) -> bool:
        """Whether other gateways have sockets that the looks for them have not found to be alive.

        A dead one counts until it is removed, because it can be too young for that now.
        """
        names = {name for name, _ in self._others()}
        self._seen &= names
        return names > self._seen

    def look_for_others(self, resource: ResourceName) -> list[OtherGateway]:
        """Return the other running gateways with this resource. They are no newcomers any more."""
        return self._look({checksum(resource)}.__contains__)

    def look_for_strangers(self, resource: ResourceName) -> list[OtherGateway]:
        """Return the other running gateways with other resources than this one. They are no newcomers any more."""
        own = checksum(resource)
        return self._look(lambda each: each != own)

    def _look(self, is_wanted: Callable[[str], bool]) -> list[OtherGateway]:
        found = self._find(is_wanted)
        self._seen |= found.keys()
        return _in_order(found)

    def running(self) -> frozenset[SocketName]:
        """Return which other gateways run, each with every resource that it has a socket for."""
        return frozenset(filter(None, (parse_name(each.socket) for each in self.find_others())))

    def find_others(self, resource: ResourceName | None = None) -> list[OtherGateway]:
        """Return the other running gateways with this resource, the oldest first. Leftover sockets are removed.

        Without a resource, return those with any resource. Only names of gateways are considered. Sockets of other
        device plugins are never touched.
        """
        wanted = None if resource is None else checksum(resource)
        return _in_order(self._find(lambda each: wanted in {None, each}))

    def _find(self, is_wanted: Callable[[str], bool]) -> dict[str, OtherGateway | None]:
        """Return the gateways by the names of their sockets. None for a socket that cannot be looked at.

        ``is_wanted`` is asked with the checksum of the name of a resource.
        """
        found: dict[str, OtherGateway | None] = {}
        for name, (of_resource, instance) in self._others():
            if not is_wanted(of_resource):
                continue
            path = self._directory / name
            try:
                mark = path.stat()
                listener = find_listener(path)
            except OSError:
                found[name] = None  # it may belong to somebody, so it stays
                continue
            if listener is not None:
                has_stream = bool(mark.st_mode & STREAM_OPEN)
                found[name] = OtherGateway(instance, name, listener.pid, has_stream=has_stream)
            elif abs(time.time() - mark.st_mtime) > _LEFTOVER_AGE:  # abs: the clock may have been set back
                _remove_leftover(path)
        return found

    def _others(self) -> list[tuple[str, SocketName]]:
        """Return the sockets of other gateways, whether they are running or not."""
        try:
            names = os.listdir(self._directory)  # noqa: PTH208 - faster, and called often
        except OSError:
            return []
        found = [(name, name_parts) for name in names if (name_parts := parse_name(name)) is not None]
        return [(name, name_parts) for name, name_parts in found if name_parts.instance != self.instance]


def _in_order(found: Mapping[str, OtherGateway | None]) -> list[OtherGateway]:
    return sorted((other for other in found.values() if other is not None), key=lambda other: other.instance)


def _remove_leftover(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
        log.info("removed the socket of an earlier instance", socket=path.name)
