"""The names of our sockets, and what they tell: leftovers of earlier instances, and other gateways that live."""

import contextlib
import os
import time
import zlib
from itertools import count
from pathlib import Path
from typing import NamedTuple

from plugin_gateway.adapters.logs import log
from plugin_gateway.adapters.socket_file import MAX_PATH, find_listener
from plugin_gateway.core.resource_names import ResourceName

PREFIX = "plugin-gateway-"
_SUFFIX = ".sock"
_LONGEST_SLUG, _SHORTEST_SLUG = 24, 8
_CHECKSUM_LENGTH = 8
_REST_LENGTH = len(PREFIX) + len("-0123456789-abcd-ffffff") + len(_SUFFIX)
LONGEST_DIRECTORY = MAX_PATH - 1 - _SHORTEST_SLUG - _REST_LENGTH
"""Bytes of a kubelet directory's path that leave room for our names."""


def slug(resource: ResourceName, length: int = _LONGEST_SLUG) -> str:
    """Shorten a resource name to what fits in a file name, different for different resources."""
    text = resource.replace("/", "_")
    if len(text) <= length:
        return text
    return text[: length - _CHECKSUM_LENGTH] + f"{zlib.crc32(text.encode()):0{_CHECKSUM_LENGTH}x}"


def new_instance() -> str:
    """Name this process: of two names the smaller one is the elder on this boot."""
    milliseconds = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    return f"{milliseconds:010x}-{os.urandom(2).hex()}"


class Rival(NamedTuple):
    """Another gateway that offers the same resource on this node."""

    instance: str
    socket: str
    pid: int


class OwnSockets:
    """Makes endpoint names, each of them once, and looks after those of other instances."""

    def __init__(self, directory: Path) -> None:
        self.instance = new_instance()
        self._directory = directory
        room = MAX_PATH - 1 - len(os.fsencode(directory)) - _REST_LENGTH
        self._slug_length = max(min(room, _LONGEST_SLUG), _SHORTEST_SLUG)
        self._numbers = count(1)
        self._seen: set[str] = set()

    def fresh_path(self, resource: ResourceName) -> Path:
        """Make a path that no registration has named before."""
        return (
            self._directory
            / f"{PREFIX}{slug(resource, self._slug_length)}-{self.instance}-{next(self._numbers):x}{_SUFFIX}"
        )

    def has_newcomers(self) -> bool:
        """Whether there are names of other instances that were not there at the last question."""
        names = set(self._other_names())
        newcomers = names - self._seen
        self._seen = names
        return bool(newcomers)

    def find_rivals(self, resource: ResourceName) -> list[Rival]:
        """List the living gateways of this resource, the eldest first, and remove the sockets of dead ones.

        Only names of our own form are looked at; sockets of others are never touched.
        """
        rivals = []
        for name in self._other_names():
            of_resource, instance = _parse(name)
            path = self._directory / name
            try:
                listener = find_listener(path)
            except OSError:
                continue  # it cannot be told who that is, so it is left alone
            if listener is None:
                _remove_leftover(path)
            elif of_resource == slug(resource, self._slug_length):
                rivals.append(Rival(instance, name, listener.pid))
        return sorted(rivals, key=lambda rival: rival.instance)

    def _other_names(self) -> list[str]:
        with contextlib.suppress(OSError):
            return [
                name
                for name in os.listdir(self._directory)  # noqa: PTH208 - asked every second
                if name.startswith(PREFIX) and name.endswith(_SUFFIX) and self.instance not in name
            ]
        return []


def _parse(name: str) -> tuple[str, str]:
    """Take the slug and the instance out of a name."""
    body = name.removeprefix(PREFIX).removesuffix(_SUFFIX)
    of_resource, _, rest = body.rpartition("-")[0].rpartition("-")
    of_resource, _, started = of_resource.rpartition("-")
    return of_resource, f"{started}-{rest}"


def _remove_leftover(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
        log.info("removed the socket of an earlier instance", socket=path.name)
