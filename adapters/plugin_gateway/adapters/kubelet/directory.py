"""The kubelet's device plugin directory: what is in it, and a wake-up when it changes."""

import asyncio
import contextlib
import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path

import inotify_simple
from inotify_simple import INotify, flags

from plugin_gateway.adapters.kubelet.plugin_sockets import MAX_DIRECTORY_LENGTH
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.unix_files import (
    MAX_PATH,
    FileIdentity,
    FolderChanges,
    explain_closed,
    identify_directory,
    identify_socket,
)
from plugin_gateway.core.errors import InvalidValueError

KUBELET_SOCKET = "kubelet.sock"

_WATCHED = (
    flags.CREATE
    | flags.DELETE
    | flags.MOVED_TO
    | flags.MOVED_FROM
    | flags.DELETE_SELF
    | flags.MOVE_SELF
    | flags.ONLYDIR
)

# The library would start a program to find the C library, which takes 3 ms at every start.
inotify_simple._libc = ctypes.CDLL(None, use_errno=True)  # noqa: SLF001 - there is no public setting


class KubeletDirectory:
    """Looks at the directory and watches it.

    Every decision is based on a look at the directory. The watch with inotify only triggers the next look, so a missed
    event does no harm.
    """

    def __init__(self, path: Path, *, registers: bool = True) -> None:
        """``registers`` is false if no kubelet is to be registered with. Then there is none here."""
        self.path = path
        self._registers = registers
        self.kubelet_socket = path / KUBELET_SOCKET
        self._changes = FolderChanges(os.fspath(path))
        self._socket: FileIdentity | None = None
        self._inotify: INotify | None = None
        self._watched: FileIdentity | None = None
        self._watches: set[int] = set()
        self._own_prefix = ""
        self._wake: Callable[[], None] = lambda: None
        self._look_soon: Callable[[], None] = lambda: None

    def open(self, own_prefix: str, wake: Callable[[], None], look_soon: Callable[[], None]) -> None:
        """Start to watch the directory.

        ``wake`` is called after changes of the kubelet's socket, of files that begin with ``own_prefix`` and of the
        directory itself, ``look_soon`` after changes of other files. Without inotify, a warning is logged and nothing
        is watched.
        """
        self._own_prefix, self._wake, self._look_soon = own_prefix, wake, look_soon
        try:
            self._inotify = INotify(nonblocking=True)
        except OSError as error:
            log.warning(
                "inotify is not available, looking once a second instead",
                problem=error.strerror,
                hint="raise fs.inotify.max_user_instances" if error.errno == errno.EMFILE else None,
            )
            return
        asyncio.get_running_loop().add_reader(self._inotify.fileno(), self._on_readable)

    def close(self) -> None:
        """Stop watching. Another call has no effect."""
        if self._inotify is not None:
            asyncio.get_running_loop().remove_reader(self._inotify.fileno())
            self._inotify.close()
            self._inotify = None

    def exists(self) -> bool:
        """Whether the directory exists. If it is a new directory, it is watched from now on."""
        found = identify_directory(self.path)
        if found != self._watched:
            self._watched = found
            self._watch()
        return found is not None

    def kubelet(self) -> FileIdentity | None:
        """Return the identity of the kubelet's socket. None if there is no socket."""
        return identify_socket(self.kubelet_socket) if self._registers else None

    def is_watched(self) -> bool:
        """Whether inotify reports each change: of the directory, of its own place, and of the kubelet's socket.

        ``kubelet.sock`` can be a link. Then the socket is in a directory that is not watched.
        """
        return len(self._watches) == len(self._places()) and not self.kubelet_socket.is_symlink()

    def explain_absence(self) -> str | None:
        """Return what is missing, for the log. None if there is a kubelet socket."""
        if self.kubelet() is not None:
            return None
        if not self._registers:
            return "registering with no kubelet, as it was decided"
        if identify_directory(self.path) is None:
            is_taken = os.path.lexists(self.path)
            return f"waiting for the kubelet directory{': what has its name is none' if is_taken else ''}"
        is_taken = os.path.lexists(self.kubelet_socket)
        return f"waiting for the kubelet: {'kubelet.sock is no socket' if is_taken else 'no kubelet.sock'}"

    def has_changed(self) -> bool:
        """Whether the directory was replaced, or its content or the kubelet's socket changed, since the last call."""
        before, self._socket = self._socket, self.kubelet()
        return self._changes.any() or self._socket != before

    def _watch(self) -> None:
        """Watch the present directory, and its parent if that is visible."""
        if self._inotify is None:
            return
        before = self._watches
        found = (self._add_watch(self._inotify, path) for path in self._places())
        self._watches = {number for number in found if number is not None}
        for number in before - self._watches:
            with contextlib.suppress(OSError):  # the watch ended when the directory was removed
                self._inotify.rm_watch(number)

    def _places(self) -> tuple[Path, Path]:
        return self.path, self.path.parent

    def _add_watch(self, inotify: INotify, path: Path) -> int | None:
        try:
            return int(inotify.add_watch(os.fspath(path), _WATCHED))
        except OSError as error:
            if error.errno == errno.ENOSPC:
                log.warning(
                    "inotify watches are used up, looking once a second instead",
                    hint="raise fs.inotify.max_user_watches",
                )
            return None

    def _on_readable(self) -> None:
        if self._drain():
            self._wake()
        self._look_soon()

    def _drain(self) -> bool:
        """Read all inotify events. Returns whether one of them matters."""
        concerns_us = False
        events = self._inotify.read(timeout=0) if self._inotify is not None else ()
        for event in events:
            concerns_us |= event.name in {"", KUBELET_SOCKET, self.path.name} or event.name.startswith(self._own_prefix)
        return concerns_us


def check_directory(path: Path) -> None:
    """Reject a directory that can never work. A directory that does not exist yet is accepted.

    Raises:
        InvalidValueError: its path is too long for a unix socket, it is not a directory, or it is not writable.
    """
    if len(os.fsencode(path)) > MAX_DIRECTORY_LENGTH:
        raise InvalidValueError(
            f"kubelet directory {path}: {len(os.fsencode(path))} bytes; expected at most {MAX_DIRECTORY_LENGTH}: "
            f"the path of a unix socket in it has at most {MAX_PATH}"
        )
    try:
        exists, is_directory = path.exists(), path.is_dir()
    except PermissionError as error:
        raise InvalidValueError(f"kubelet directory {path}: its parent is closed to user {os.geteuid()}") from error
    if exists and not is_directory:
        raise InvalidValueError(f"kubelet directory {path}: it is no directory")
    if is_directory and (problem := explain_closed(path)):
        raise InvalidValueError(f"kubelet directory {path}: {problem}")
