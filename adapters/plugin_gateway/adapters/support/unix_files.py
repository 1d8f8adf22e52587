"""Files in the kubelet's directory, told apart by more than their name."""

import os
import socket
import stat
import time
from pathlib import Path
from typing import NamedTuple

MAX_PATH = 107
"""Usable bytes of a unix socket's path on Linux."""


class FileIdentity(NamedTuple):
    """One file for as long as it lives; a new file under the same name is another one.

    A file system hands out an inode number again at once, so the time of making belongs to it.
    """

    device: int
    inode: int
    made_ns: int

    def shares_inode(self, other: "FileIdentity") -> bool:
        """Whether both may be the same file: its time changes too when somebody touches it."""
        return (self.device, self.inode) == (other.device, other.inode)


def identify_socket(path: Path) -> FileIdentity | None:
    """Tell which socket is there; None where there is none, or something else has its name."""
    try:
        found = os.stat(path)  # noqa: PTH116 - the same call, without building a Path
    except OSError:
        return None
    return FileIdentity(found.st_dev, found.st_ino, found.st_mtime_ns) if stat.S_ISSOCK(found.st_mode) else None


def identify_directory(path: Path) -> FileIdentity | None:
    """Tell which directory is there; its time changes with its content and does not count."""
    try:
        found = os.stat(path)  # noqa: PTH116 - the same call, without building a Path
    except OSError:
        return None
    return FileIdentity(found.st_dev, found.st_ino, 0) if stat.S_ISDIR(found.st_mode) else None


class Listener(NamedTuple):
    """The process that listens on a socket."""

    pid: int
    """0 where it is not visible from our PID namespace."""


def find_listener(path: Path) -> Listener | None:
    """Tell who listens on a unix socket; None where nobody does or nothing is there.

    Raises:
        OSError: it cannot be told.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # noqa: FBT003 - the name of the standard library
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return Listener(pid=0)  # its queue is full, so somebody owns it
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return Listener(pid=int.from_bytes(credentials[:4], "little", signed=True))


def explain_bind(path: Path) -> str:
    """Find out why a socket cannot be bound; gRPC does not tell."""
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(str(path))
        path.unlink()
    except OSError as error:
        return error.strerror or str(error)
    return "gRPC could not bind it, plain binding works"


SETTLED_NS = 1_000_000_000
"""A folder that changed less than this ago can change again within the same tick of its clock, unseen."""


class FolderChanges:
    """What a folder was like when it was last asked about."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None

    def any(self) -> bool:
        """Whether the folder or what is in it changed since the last question; True also where that cannot be told."""
        try:
            found = os.stat(self._path)  # noqa: PTH116 - for every allocation
        except OSError:
            self._seen = None
            return True
        state = (found.st_dev, found.st_ino, found.st_mtime_ns)
        changed = state != self._seen
        self._seen = state if time.time_ns() - found.st_mtime_ns > SETTLED_NS else None
        return changed
