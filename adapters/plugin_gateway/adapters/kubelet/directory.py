"""The kubelet's device plugin directory: what is there, and a wake-up when it changes."""

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

# Otherwise the library starts a program to find the C library: 3 ms at every start.
inotify_simple._libc = ctypes.CDLL(None, use_errno=True)  # noqa: SLF001 - it has no other way in


class KubeletDirectory:
    """Looks at the directory and watches it; looking is the truth, watching only wakes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kubelet_socket = path / KUBELET_SOCKET
        self._changes = FolderChanges(os.fspath(path))
        self._inotify: INotify | None = None
        self._watched: FileIdentity | None = None
        self._watches: set[int] = set()
        self._own_prefix = ""
        self._wake: Callable[[], None] = lambda: None

    def open(self, own_prefix: str, wake: Callable[[], None]) -> None:
        """Begin to watch; of all files only the kubelet's socket and those with our prefix wake."""
        self._own_prefix, self._wake = own_prefix, wake
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
        """Watch no more. A second time does nothing."""
        if self._inotify is not None:
            asyncio.get_running_loop().remove_reader(self._inotify.fileno())
            self._inotify.close()
            self._inotify = None

    def exists(self) -> bool:
        """Whether the directory is there; watches it from then on."""
        found = identify_directory(self.path)
        if found != self._watched:
            self._watched = found
            self._watch()
        return found is not None

    def kubelet(self) -> FileIdentity | None:
        """Tell which kubelet is there, by its socket; None where it has none."""
        return identify_socket(self.kubelet_socket)

    def explain_absence(self) -> str | None:
        """Tell what there is to wait for while no kubelet is there; None where one is."""
        if self.kubelet() is not None:
            return None
        if identify_directory(self.path) is None:
            is_taken = os.path.lexists(self.path)
            return f"waiting for the kubelet directory{': what has its name is none' if is_taken else ''}"
        is_taken = os.path.lexists(self.kubelet_socket)
        return f"waiting for the kubelet: {'kubelet.sock is no socket' if is_taken else 'no kubelet.sock'}"

    def has_changed(self) -> bool:
        """Whether it is another directory, or anything came or went in it, since this was last asked."""
        return self._changes.any()

    def _watch(self) -> None:
        """Watch the directory that has the name now, and its parent where that can be seen."""
        if self._inotify is None:
            return
        before = self._watches
        found = (self._add_watch(self._inotify, path) for path in (self.path, self.path.parent))
        self._watches = {number for number in found if number is not None}
        for number in before - self._watches:
            with contextlib.suppress(OSError):  # it ended with its directory
                self._inotify.rm_watch(number)

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

    def _drain(self) -> bool:
        """Read what has happened; True where any of it concerns us."""
        concerns_us = False
        events = self._inotify.read(timeout=0) if self._inotify is not None else ()
        for event in events:
            concerns_us |= event.name in {"", KUBELET_SOCKET, self.path.name} or event.name.startswith(self._own_prefix)
        return concerns_us


def check_directory(path: Path) -> None:
    """Refuse a directory with which waiting cannot help; one that is not there yet can still come.

    Raises:
        InvalidValueError: it is too long for a unix socket, no directory, or not writable.
    """
    if len(os.fsencode(path)) > MAX_DIRECTORY_LENGTH:
        raise InvalidValueError(
            f"kubelet directory {path}: {len(os.fsencode(path))} bytes, allowed are {MAX_DIRECTORY_LENGTH}: "
            f"the path of a unix socket in it has at most {MAX_PATH}"
        )
    try:
        exists, is_directory = path.exists(), path.is_dir()
    except PermissionError as error:
        raise InvalidValueError(f"kubelet directory {path}: its parent is closed to user {os.geteuid()}") from error
    if exists and not is_directory:
        raise InvalidValueError(f"kubelet directory {path}: it is no directory")
    if is_directory and not os.access(path, os.W_OK | os.X_OK):
        raise InvalidValueError(f"kubelet directory {path}: not writable for user {os.geteuid()}")
