"""Sockets and folders: whether one is still the same, who listens on a socket, and what changed in a folder."""

import contextlib
import errno
import os
import socket
import stat
import struct
import time
from pathlib import Path
from typing import NamedTuple

MAX_PATH = 107
"""Bytes that the path of a unix socket can have on Linux."""
_CREDENTIALS = struct.Struct("3i")
"""pid, uid and gid."""


_BLOCK = 4096
"""Bytes that a file has at least on a disk."""


def open_at_once(path: str, flags: int) -> int:
    """Open a file for `open`. A named pipe in its place would block until somebody writes; so nothing is read of it."""
    return os.open(path, flags | os.O_NONBLOCK)


class FileIdentity(NamedTuple):
    """Identifies a file. Another file with the same name has another identity.

    The time belongs to it, because a file system can use the inode number of a removed file again at once.
    """

    device: int
    inode: int
    made_ns: int
    """The time of the last change in nanoseconds. For a socket it is the time when it was made, unless somebody touches
    it."""

    def shares_inode(self, other: "FileIdentity") -> bool:
        """Return whether both may be the same file. The time is not compared, because touching a file changes it."""
        return (self.device, self.inode) == (other.device, other.inode)


def identify_socket(path: Path) -> FileIdentity | None:
    """Return the identity of a socket; None if there is no file, or it is no socket."""
    try:
        found = os.stat(path)  # noqa: PTH116 - the same call, without building a Path
    except OSError:
        return None
    return FileIdentity(found.st_dev, found.st_ino, found.st_mtime_ns) if stat.S_ISSOCK(found.st_mode) else None


def identify_directory(path: Path) -> FileIdentity | None:
    """Return the identity of a directory; None if there is none. It has no time, because its content changes that."""
    try:
        found = os.stat(path)  # noqa: PTH116 - the same call, without building a Path
    except OSError:
        return None
    return FileIdentity(found.st_dev, found.st_ino, 0) if stat.S_ISDIR(found.st_mode) else None


class Listener(NamedTuple):
    """The process that listens on a socket."""

    pid: int
    """0 if the process is in a PID namespace that we cannot see, or if it is not known."""


class Peer(NamedTuple):
    """The process at the other end of a connection, as the kernel names it."""

    pid: int
    """0 if the process is in a PID namespace that we cannot see."""
    uid: int


def peer_of(connection: socket.socket) -> Peer:
    """Return the process at the other end of a unix socket (SO_PEERCRED)."""
    pid, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return Peer(pid, uid)


def find_listener(path: Path) -> Listener | None:
    """Return the process that listens on a unix socket; None if there is none, or no socket.

    Raises:
        OSError: it cannot be found out.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # noqa: FBT003 - the name of the standard library
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return Listener(pid=0)  # the queue of connections is full, so a process listens
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        return Listener(pid=peer_of(probe).pid)


def who_may() -> str:
    """Return who may do what this process may not, for the end of an error message."""
    if os.geteuid() != 0:
        return "run it as root"
    return (
        "this is root already: SELinux or AppArmor forbids it (see the audit log), or the container lacks "
        "CAP_DAC_OVERRIDE"
    )


def explain_unreachable(path: Path) -> str | None:
    """Return why no call can reach a unix socket; None if a process listens on it.

    gRPC says it in many words, with the address and its own code.
    """
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            return "it is no socket"
        return None if find_listener(path) is not None else "nobody listens on it"
    except FileNotFoundError:
        return "there is no such file"
    except PermissionError as error:
        return f"{error.strerror}; {who_may()}"
    except OSError as error:
        return error.strerror or str(error)


def explain_bind(path: Path) -> str:
    """Return why a socket cannot be bound at this path. gRPC does not say it, so it is tried without gRPC."""
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(str(path))
        path.unlink()
    except OSError as error:
        return error.strerror or str(error)
    return "gRPC could not bind it, plain binding works"


def explain_closed(directory: Path) -> str | None:
    """Return why this process may not make files in a folder; None if it may. Free space is not looked at."""
    if os.access(directory, os.W_OK | os.X_OK):
        return None
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        return "its file system is read-only here"
    user = os.geteuid()
    return f"not writable for user {user}{'' if user else ', which lacks CAP_DAC_OVERRIDE or is confined (SELinux)'}"


def explain_unwritable(directory: Path) -> OSError | None:
    """Return the error with which a file in this folder cannot be written; None if it can.

    A file without a name is written for it, so nothing is ever seen or left of it. Where the file system has none such,
    only the permission is looked at.
    """
    try:
        descriptor = os.open(directory, os.O_TMPFILE | os.O_WRONLY, 0o600)
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT}:
            return error
        return None if os.access(directory, os.W_OK | os.X_OK) else PermissionError(errno.EACCES, "Permission denied")
    try:
        os.write(descriptor, bytes(_BLOCK))
    except OSError as error:
        return error
    finally:
        os.close(descriptor)
    return None


SETTLED_NS = 1_000_000_000
"""Nanoseconds. A folder that changed more recently can change again without a new time, because its clock has coarse
ticks."""


NONE_LEFT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Errors that say something of this process or the node, and nothing of the file that was asked for."""


class FolderChanges:
    """Finds out whether a folder changed between two questions."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None

    def any(self) -> bool:
        """Return whether an entry of the folder was added or removed since the last call.

        Also return True if that is not certain.
        """
        try:
            found = os.stat(self._path)  # noqa: PTH116 - for every allocation
        except OSError:
            self._seen = None
            return True
        state = (found.st_dev, found.st_ino, found.st_mtime_ns)
        changed = state != self._seen
        self._seen = state if time.time_ns() - found.st_mtime_ns > SETTLED_NS else None
        return changed

    def forget(self) -> None:
        """Answer the next question with yes: what was seen could not be used."""
        self._seen = None


MOUNTS = "/proc/self/mountinfo"
"""The kernel file with the mounts that this process sees."""


class MountPoint(NamedTuple):
    """One line of the kernel's list of mounts."""

    root: str
    """The folder of the file system that is mounted."""
    path: str
    """Where it is mounted."""
    file_system: str
    """The type of the file system, such as ``tmpfs``."""


def mount_of(path: Path, mounts: str = MOUNTS) -> MountPoint | None:
    """Return the mount that a path is on. None if it is not known. The path need not exist."""
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123 - it is a text
            lines = [line.split() for line in file]
    except OSError:
        return None
    place, found, length = os.path.realpath(path), None, 0
    for words in lines:
        point = _unescaped(words[4])
        if (place + "/").startswith(point.rstrip("/") + "/") and len(point) >= length:
            # a later mount hides an earlier one
            found, length = MountPoint(_unescaped(words[3]), point, words[words.index("-") + 1]), len(point)
    return found


def file_system_of(path: Path, mounts: str = MOUNTS) -> str | None:
    """Return the type of the file system that a path is on, such as ``tmpfs``. None if it is not known."""
    found = mount_of(path, mounts)
    return found.file_system if found is not None else None


def _unescaped(words: str) -> str:
    """Return a path of mountinfo, in which blanks are written as octal numbers."""
    for escaped, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        words = words.replace(escaped, character)
    return words


def replace_for_all(path: Path, data: bytes, half_made: Path) -> None:
    """Replace a file as a whole by one with this content, which everybody may read.

    ``half_made`` is the name that it has before, in the same folder. No file with that name is opened.

    Raises:
        OSError: it cannot be written. What was there before stays, and nothing half made.
    """
    try:
        descriptor = os.open(half_made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - it is a descriptor
            os.fchmod(file.fileno(), 0o644)
            file.write(data)
        half_made.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            half_made.unlink()
        raise
