"""The device nodes that exist on the host now.

Each allocation asks for them. A folder is only listed again if it has changed, which is one system call.

A container has a /dev of its own, with the device nodes that there were when it started, unless that of the host is
mounted there. Parts of devices come and go with their nodes, which lie in a folder below /dev. Those that came later
are not seen then. They are taken for present: a container that gets a part without its nodes can do nothing with it.
"""

import os
import stat
from collections.abc import Sequence

from plugin_gateway.adapters.support.unix_files import NONE_LEFT, FolderChanges
from plugin_gateway.core.ports import matching

_DEPTH = 2
"""Slashes in the path of a node that lies directly in /dev."""
_ROOT, _POINT = 3, 4
"""The fields of a mount with the folder that is mounted, and where."""


class DeviceNodes:
    """The device nodes below a root folder, as this process sees it. ``mounts`` has the mounts of this process.

    ``host_root`` is where it sees the host's root, of which `names_in` is about.
    """

    def __init__(self, root: str = "/", *, host_root: str = "/", mounts: str = "/proc/self/mountinfo") -> None:
        self._root = root.rstrip("/")
        self._host_root = host_root.rstrip("/")
        self._mounts = mounts
        self._is_own: bool | None = None
        """Whether /dev is one of this container's own. None if it was not asked yet."""
        self._folders: dict[str, _Folder] = {}
        self._folder_of: dict[str, _Folder] = {}
        """The folder of each path that was asked for: finding it anew takes as long as looking into it."""

    def present(self, paths: Sequence[str]) -> frozenset[str]:
        """Return everything that exists in the folders of these paths, such as ``/dev/x0``."""
        try:
            folders = {self._folder_of[path] for path in paths}
        except KeyError:
            self._learn(paths)
            return self.present(paths)
        if len(folders) == 1:  # so it nearly always is, and a folder of devices is too large to be copied
            return folders.pop().look()
        return frozenset().union(*[folder.look() for folder in folders])

    def seen(self, patterns: Sequence[str]) -> Sequence[str]:
        """Return the nodes that are seen, of these. A star at the end stands for any ending."""
        found: dict[str, None] = {}
        for pattern in patterns:
            found |= dict.fromkeys(matching(pattern, self._folder(pattern[: pattern.rindex("/")]).listed()))
        return list(found)

    def names_in(self, folder: str) -> Sequence[str] | None:
        """Return the names in a folder now, in order. None if it is not there or cannot be read."""
        try:
            return sorted(os.listdir(f"{self._host_root}{folder}"))  # noqa: PTH208 - pathlib is slow to import
        except OSError:
            return None

    def generation(self) -> int:
        """Return a number that changes whenever one of the folders that were asked for has another content."""
        return sum([folder.generation() for folder in self._folders.values()])

    def is_visible(self) -> bool:
        """Return whether the folder of the device nodes is seen. An empty one stands for another, not seen here."""
        return bool(self._folder("/dev").look())

    @property
    def unseen(self) -> frozenset[str]:
        """The nodes that were asked for and are taken for present unseen."""
        return frozenset().union(*[folder.unseen for folder in self._folders.values()])

    def _learn(self, paths: Sequence[str]) -> None:
        for path in paths:
            folder = self._folder_of[path] = self._folder(path[: path.rindex("/")])
            if path.count("/") > _DEPTH and self._is_own_dev():
                folder.expect(path)

    def _is_own_dev(self) -> bool:
        if self._is_own is None:
            self._is_own = not self._root and _is_own_dev(self._mounts)
        return self._is_own

    def _folder(self, name: str) -> "_Folder":
        known = self._folders.get(name)
        if known is None:
            known = self._folders[name] = _Folder(self._root, name)
        return known


class _Folder:
    """One folder with its cached content."""

    def __init__(self, root: str, folder: str) -> None:
        self._place, self._folder = root + folder, folder
        self._changes = FolderChanges(self._place)
        self._paths: frozenset[str] = frozenset()
        self._listed: frozenset[str] = frozenset()
        self._expected: frozenset[str] = frozenset()
        self._generation = 0

    @property
    def unseen(self) -> frozenset[str]:
        return self._expected - self._listed

    def expect(self, path: str) -> None:
        """Take a node for present from now on, whether it is seen or not."""
        self._expected |= {path}
        self._note(self._listed)

    def generation(self) -> int:
        self.look()
        return self._generation

    def listed(self) -> frozenset[str]:
        """Return what is seen, without what is only expected."""
        self.look()
        return self._listed

    def look(self) -> frozenset[str]:
        if self._changes.any():
            self._note(self._list())
        return self._paths

    def _note(self, listed: frozenset[str]) -> None:
        self._listed = listed
        if (now := listed | self._expected if self._expected else listed) != self._paths:
            self._paths = now
            self._generation += 1

    def _list(self) -> frozenset[str]:
        """Return all entries except folders and broken links. Empty if the folder does not exist.

        Those of before, for now, where it cannot be looked into because the process has no descriptor left.
        """
        try:
            with os.scandir(self._place) as entries:
                return frozenset(f"{self._folder}/{entry.name}" for entry in entries if _is_node(entry))
        except OSError as error:
            if error.errno not in NONE_LEFT:
                return frozenset()
            self._changes.forget()
            return self._listed


def _is_own_dev(mounts: str) -> bool:
    """Return whether /dev was made for this container: a file system in memory, and the whole of it.

    ``mounts`` is a file in the format of /proc/self/mountinfo (proc_pid_mountinfo(5)). What is mounted last is seen.
    """
    try:
        with open(mounts, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - pathlib is slow to import
            lines = [line.split(" ") for line in file]
    except OSError:
        return False
    found = [words for words in lines if len(words) > _POINT and words[_POINT] == "/dev" and "-" in words]
    if not found:
        return False
    last = found[-1]
    return (last[_ROOT], last[last.index("-") + 1]) == ("/", "tmpfs")


def _is_node(entry: "os.DirEntry[str]") -> bool:
    """Return whether the entry is a device node, or a file in its place. Only a link needs a system call."""
    if not entry.is_symlink():
        return not entry.is_dir()
    try:
        return not stat.S_ISDIR(entry.stat().st_mode)
    except OSError:
        return False
