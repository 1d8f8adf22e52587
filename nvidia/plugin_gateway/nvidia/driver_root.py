"""Finds files below the root in which the driver is installed, which can be that of a container.

Links are followed as a process sees them whose root it is: an absolute link begins at the root, and none leads out of
it. A runtime that makes a mount follows links from the root of the host, so a path for it must have none left.
"""

import errno
import os
import re
import stat
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

MAX_LINKS = 40
"""Links in one path, as the kernel has it."""
CACHE = "/etc/ld.so.cache"
"""The dynamic loader's list of libraries below the root."""
_MAX_CACHE = 16 * 1024 * 1024
"""Bytes of it that are read at most. That of a large installation has less than 1 MiB."""


class Found(NamedTuple):
    """A file below the root."""

    path: str
    """Where it was looked for, as a process sees it whose root it is."""
    real: str
    """The same without a link."""


class DriverRoot:
    """The root of the driver. ``seen`` is where this process sees it, ``host`` where it is on the host."""

    def __init__(self, seen: str, host: str) -> None:
        self._seen = seen.rstrip("/")
        self._host = host.rstrip("/")
        self.is_hosts = not self._host
        """Whether it is the root of the host."""

    def here(self, real: str) -> str:
        """Return a path without links as this process sees it."""
        return self._seen + real

    def on_host(self, real: str) -> str:
        """Return a path without links as the host has it."""
        return self._host + real

    def real(self, path: str) -> str | None:
        """Return the path without links. None if there is nothing, or the links go round in a circle."""
        left, done, links = path.split("/"), list[str](), 0
        while left:
            name = left.pop(0)
            if name in {"", "."}:
                continue
            if name == "..":
                del done[-1:]
                continue
            target = _link_at("/".join((self._seen, *done, name)))
            if target is None:
                return None
            if not target:
                done.append(name)
                continue
            links += 1
            if links > MAX_LINKS:
                return None
            if target.startswith("/"):
                done.clear()
            left = [*target.split("/"), *left]
        return "/" + "/".join(done)

    def find(self, path: str, is_wanted: Callable[[int], bool] = stat.S_ISREG) -> Found | None:
        """Return a file that is of the wanted kind, by its mode. None if there is none."""
        real = self.real(path)
        if real is None or not (path.isprintable() and real.isprintable()):
            return None
        try:
            mode = os.stat(self.here(real)).st_mode  # noqa: PTH116 - pathlib is slow to import
        except OSError:
            return None
        return Found(path, real) if is_wanted(mode) else None

    def matching(self, folder: str, *patterns: str) -> Sequence[Found]:
        """Return the files of a folder whose names match one of the patterns, in the order of their names."""
        real = self.real(folder)
        try:
            names = sorted(os.listdir(self.here(real))) if real is not None else []  # noqa: PTH208 - the same
        except OSError:
            return ()
        wanted = [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
        found = (self.find(f"{folder}/{name}") for name in wanted)
        return [each for each in found if each is not None]

    def cached(self, library: str) -> Sequence[str]:
        """Return the paths of a library in the dynamic loader's cache, which are texts that end with a zero byte."""
        found = self.find(CACHE)
        if found is None:
            return ()
        try:
            with open(self.here(found.real), "rb") as file:  # noqa: PTH123 - pathlib is slow to import
                data = file.read(_MAX_CACHE)
        except OSError:
            return ()
        return [os.fsdecode(text) for text in re.findall(rb"\0(/[^\0]*/%b)(?=\0)" % re.escape(library.encode()), data)]


def _link_at(path: str) -> str | None:
    """Return where a link points to. Empty if it is none, None if there is nothing."""
    try:
        return os.readlink(path)  # noqa: PTH115 - pathlib is slow to import
    except OSError as error:
        return "" if error.errno == errno.EINVAL else None
