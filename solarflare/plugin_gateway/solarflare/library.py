"""Whether the library of Onload fits the kernel module. The file is read, and nothing of it is executed.

The library tells the kernel two texts when a program starts, and the kernel refuses it with ELIBACC if one of them is
not its own: the version of Onload, and a checksum of the interface (``uk_intf_ver``). Both are constants of the
library, so they are among its bytes. That a version is not among them is certain. A compiler can store a checksum in
pieces of eight bytes, and on other machines than x86 in smaller ones, so what follows from its absence is not certain.
"""

import errno
import os
import re
import stat
from collections.abc import Callable
from typing import NamedTuple

from plugin_gateway.solarflare.onload import KernelOnload, library_path

Mismatch = Callable[[str, KernelOnload], str]
"""Returns why the library below this path of the host does not fit the kernel. Empty if it does, or nobody knows."""
MAX_SIZE = 64 << 20
"""Bytes. A file that is larger is not read. Onload's library has one or two MiB."""
_ELF = b"\x7fELF"
_PIECE = 8
_LIKE_A_VERSION = re.compile(rb"(?<=\0)([1-9]\d?(?:\.\d{1,4}){3}|20\d{4}(?:-u\d{1,2})?)(?=\0)", re.ASCII)
"""A version of Onload as a text of its own, such as ``9.0.2.140`` or ``201811-u1``."""
_IN_A_VERSION = re.compile(rb"[\w.]")
_MAX_LINKS = 8


class _Identity(NamedTuple):
    """What changes whenever a file is another one."""

    device: int
    inode: int
    size: int
    changed: int


class LibraryCheck:
    """Compares libraries of a host with the kernel module. Each file is read once, and again if it has changed."""

    def __init__(self, root: str = "/") -> None:
        """Look below this folder for the root of the host."""
        self._root = os.path.realpath(root).rstrip("/")
        self._answers: dict[str, tuple[_Identity, KernelOnload, str]] = {}

    def mismatch(self, host_path: str, kernel: KernelOnload) -> str:
        """Return why the library does not fit the kernel, in words. Empty if it fits, or it cannot be told."""
        path = library_path(host_path)
        try:
            return self._asked(path, kernel)
        except OSError:
            return ""

    def _asked(self, path: str, kernel: KernelOnload) -> str:
        descriptor = os.open(_below(self._root, path), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_SIZE:
                return ""
            identity = _Identity(status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns)
            known = self._answers.get(path)
            if known is None or known[:2] != (identity, kernel):
                known = identity, kernel, difference(_content(descriptor, status.st_size), kernel)
                self._answers[path] = known
            return known[2] and f"{path} {known[2]}"
        finally:
            os.close(descriptor)


def difference(library: bytes, kernel: KernelOnload) -> str:
    """Return in which way a library does not fit the kernel. Empty if it fits, or is no library."""
    if not library.startswith(_ELF):
        return ""
    if not _has_version(library, kernel.version):
        found = {match.decode() for match in _LIKE_A_VERSION.findall(library)}
        seems = f"seems to be of version {found.pop()}" if len(found) == 1 else "is of another version"
        return f"{seems}, the kernel module onload is of version {kernel.version}"
    if kernel.interface and not _has_checksum(library, kernel.interface):
        return (
            f"is of version {kernel.version} like the kernel module onload, but seems to be from another build: "
            f"the interface {kernel.interface} is not in it"
        )
    return ""


def _has_version(library: bytes, version: str) -> bool:
    """Whether the version is in the library, and not only as a part of a longer one."""
    found = re.finditer(re.escape(os.fsencode(version)) + rb"(?![\w.-])", library)
    return any(not _IN_A_VERSION.match(library, match.start() - 1) for match in found)


def _has_checksum(library: bytes, checksum: str) -> bool:
    """Whether the checksum is in the library, in one piece or in pieces of eight bytes."""
    text = os.fsencode(checksum)
    return all(text[start : start + _PIECE] in library for start in range(0, len(text), _PIECE))


def _content(descriptor: int, size: int) -> bytes:
    pieces: list[bytes] = []
    while size > 0 and (piece := os.read(descriptor, size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _below(root: str, path: str) -> str:
    """Return where a path of the host is below a root. Links are followed as the host would follow them.

    Raises:
        OSError: there is nothing, or the links lead in a circle.
    """
    for _ in range(_MAX_LINKS):
        folder, name = os.path.split(path)
        folder = os.path.realpath(f"{root}{folder}")
        if root and not folder.startswith(f"{root}/"):
            raise OSError(errno.ELOOP, "leads out of the root", path)
        whole = os.path.join(folder, name)  # noqa: PTH118 - pathlib is slow to import
        if not os.path.islink(whole):  # noqa: PTH114 - pathlib is slow to import
            return whole
        target = os.readlink(whole)  # noqa: PTH115 - pathlib is slow to import
        path = target if target.startswith("/") else os.path.join(folder.removeprefix(root), target)  # noqa: PTH118
    raise OSError(errno.ELOOP, "too many links", path)
