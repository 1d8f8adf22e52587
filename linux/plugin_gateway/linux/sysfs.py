"""Reads the files of a host below any root, such as ``/host`` where a container sees the host's ``/sys``.

Links are followed by this module and not by the kernel, because an absolute link would lead out of the root. A read can
wait for as long as the kernel has no answer.
"""

import errno
import os
import time
from itertools import count, islice

from plugin_gateway.linux.card_model import Unread

MAX_TEXT = 64 * 1024
"""Bytes of a file. A longer one is not read."""
MAX_NAMES = 65536
"""Names in a folder. One with more is not read."""
MAX_LINKS = 40
"""Links on the way to a file, as in the kernel (path_resolution(7))."""
KNOWN_FOR = 0.05
"""Seconds. A scan reads many files of the same folder, and the way to a folder is the slowest part of a read."""
_PART = 4096
"""Bytes that sysfs gives at once, at most."""
_ATTRIBUTES = "/sys/"
"""Where each file is an attribute of the kernel, and what is not in a read that is not full does not exist."""
_READ = os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC
_READS = 16
"""Reads of a kept file after which it is opened anew, because another one can have its name."""


NONE_LEFT = frozenset({errno.EMFILE, errno.ENFILE})
"""The errors of a process, or a host, that has no descriptor left. They say nothing of what was to be read."""


def unread(error: Exception) -> Unread:
    """Return the reason in an error. A path that no file can have counts as an invalid argument.

    Raises:
        OSError: there was no descriptor left to read with.
    """
    if isinstance(error, OSError) and error.errno in NONE_LEFT:
        raise error
    number = error.errno if isinstance(error, OSError) and error.errno else errno.EINVAL
    return unread_for(number)


def unread_for(number: int) -> Unread:
    """Return the reason for an error of the kernel."""
    return Unread(number, errno.errorcode.get(number, f"error {number}"))


class HostTree:
    """The files of a host below a root folder. It is a `Tree`, and any thread may use it.

    A text with bytes that are not UTF-8 has U+FFFD in their place. A name keeps them (surrogateescape), because it is
    needed for reading.
    """

    def __init__(self, root: str = "/") -> None:
        self._root = root.rstrip("/")
        self._folders: dict[str, str] = {}
        """Paths of folders without links, by those with them."""
        self._targets: dict[str, str] = {}
        """Where the links among the folders lead. Empty for a folder that is none."""
        self._known_until = 0.0

    def text(self, path: str) -> str | Unread:
        """Return the content of a small file, without the newline at its end."""
        try:
            file = self.open(path)
            try:
                content = _content(file, has_attributes=path.startswith(_ATTRIBUTES))
            finally:
                os.close(file)
        except (OSError, ValueError) as error:
            return unread(error)
        if len(content) > MAX_TEXT:
            return Unread(errno.EFBIG, f"more than {MAX_TEXT} bytes")
        return decoded(content)

    def names(self, path: str) -> tuple[str, ...] | Unread:
        """Return the names in a folder, in order."""
        try:
            with os.scandir(f"{self._root}{self._real(path)}/") as entries:
                names = [entry.name for entry in islice(entries, MAX_NAMES + 1)]
        except (OSError, ValueError) as error:
            return unread(error)
        if len(names) > MAX_NAMES:
            return Unread(errno.EFBIG, f"more than {MAX_NAMES} names")
        return tuple(sorted(names))

    def link(self, path: str) -> str | Unread:
        """Return where a link leads, as it is written in it."""
        folder, _, name = path.rpartition("/")
        try:
            return os.readlink(f"{self._root}{self._real(folder)}/{name}")  # noqa: PTH115 - pathlib is slow to import
        except (OSError, ValueError) as error:
            return unread(error)

    def exists(self, path: str) -> bool:
        """Whether there is something at this path. A link into nowhere is nothing."""
        try:
            return os.path.exists(f"{self._root}{self._real(path)}")  # noqa: PTH110 - pathlib is slow to import
        except (OSError, ValueError):
            return False

    def seen_at(self, path: str) -> str:
        """Return a path with the root before it."""
        return f"{self._root}{path}"

    def keep(self, path: str) -> "KeptFile":
        """Return a small file that is read again and again."""
        return KeptFile(self, path)

    def open(self, path: str) -> int:
        """Open a file for reading. The caller closes the descriptor.

        Raises:
            OSError: it cannot be opened.
            ValueError: no file can have this path.
        """
        if not self._root:
            return os.open(path, _READ)
        folder, _, name = path.rpartition("/")
        try:
            return os.open(f"{self._root}{self._real(folder)}/{name}", _READ | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
        return os.open(f"{self._root}{self._real(path)}", _READ | os.O_NOFOLLOW)

    def _real(self, path: str) -> str:
        """Return a path without links that leads to the same below the root.

        Raises:
            OSError: it has too many links.
        """
        if not self._root:
            return path  # no link leads out of it
        now = time.monotonic()
        if now >= self._known_until:
            self._folders, self._targets, self._known_until = {}, {}, now + KNOWN_FOR
        known = self._folders.get(path)
        if known is None:
            known = self._folders[path] = self._followed(path)
        return known

    def _followed(self, path: str) -> str:
        folder, _, name = path.rpartition("/")
        real, followed = self._folders.get(folder, ""), 0
        left = [name] if real else path.split("/")[::-1]
        while left:
            name = left.pop()
            if name in {"", "."}:
                continue
            if name == "..":
                real = real.rpartition("/")[0]
                continue
            target = self._target(f"{real}/{name}")
            if not target:
                real = f"{real}/{name}"
                continue
            followed += 1
            if followed > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            if target.startswith("/"):
                real = ""
            left += target.split("/")[::-1]
        return real

    def _target(self, path: str) -> str:
        """Return where a link leads. Empty if it is none, or not there: who reads it then gets the error."""
        known = self._targets.get(path)
        if known is None:
            try:
                known = os.readlink(f"{self._root}{path}")  # noqa: PTH115 - pathlib is slow to import
            except OSError:
                known = ""
            self._targets[path] = known
        return known


_FIRST = count()
"""Where each kept file begins to count its reads, so that not all are opened anew at once."""


class KeptFile:
    """A small file whose descriptor is kept, which is ten times as fast as to open it for each read."""

    def __init__(self, tree: HostTree, path: str) -> None:
        self._tree = tree
        self._path = path
        self._file: int | None = None
        self._left = _READS - next(_FIRST) % _READS
        """Reads until the file is opened anew."""
        self._content, self._text = b"", ""
        """What was read last, and its text."""

    def read(self) -> str | Unread:
        """Return the content, without the newline at its end."""
        file, self._left = self._file, self._left - 1
        if file is None or self._left <= 0:
            return self._read_anew()
        try:  # it nearly always has what it had, and there can be many of them
            return self._text_of(os.pread(file, _PART, 0))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return self._read_anew()  # the device is gone, and another can be there under its name
            return self._unread(error)

    def close(self) -> None:
        """Close the descriptor. The next read opens the file anew."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _read_anew(self) -> str | Unread:
        self.close()
        if self._left <= 0:
            self._left = _READS
        try:
            self._file = self._tree.open(self._path)
            return self._text_of(os.pread(self._file, _PART, 0))
        except (OSError, ValueError) as error:
            return self._unread(error)

    def _text_of(self, content: bytes) -> str:
        if content != self._content:
            self._content, self._text = content, decoded(content)
        return self._text

    def _unread(self, error: Exception) -> Unread:
        """Return why it cannot be read. It stays open if what it has is merely not valid now (EINVAL)."""
        why = unread(error)
        if why.errno != errno.EINVAL:
            self.close()
        return why


def decoded(content: bytes) -> str:
    """Return the content of a file as text, without the newline at its end."""
    return content.decode("utf-8", "replace").removesuffix("\n")


def _content(file: int, *, has_attributes: bool) -> bytes:
    """Return what is in a file: all of it, or more than `MAX_TEXT` bytes. An attribute comes in full parts."""
    content = os.read(file, _PART)
    if has_attributes and len(content) < _PART:
        return content
    while content and len(content) <= MAX_TEXT and (more := os.read(file, _PART)):
        content += more
    return content
