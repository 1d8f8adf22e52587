"""The device nodes that exist on the host now.

Each allocation asks for them. A folder is only listed again if it has changed, which is one system call.
"""

import os
import stat
from collections.abc import Sequence

from plugin_gateway.adapters.support.unix_files import FolderChanges


class DeviceNodes:
    """The device nodes below a root folder, as this process sees it."""

    def __init__(self, root: str = "/") -> None:
        self._root = root.rstrip("/")
        self._folders: dict[str, _Folder] = {}
        self._folder_of: dict[str, _Folder] = {}
        """The folder of each path that was asked for: finding it anew takes as long as looking into it."""

    def present(self, paths: Sequence[str]) -> frozenset[str]:
        """Return everything that exists in the folders of these paths, such as ``/dev/x0``."""
        try:
            folders = {self._folder_of[path] for path in paths}
        except KeyError:
            self._folder_of |= {path: self._folder(path[: path.rindex("/")]) for path in paths}
            return self.present(paths)
        if len(folders) == 1:  # so it nearly always is, and a folder of devices is too large to be copied
            return folders.pop().look()
        return frozenset().union(*[folder.look() for folder in folders])

    def generation(self) -> int:
        """Return a number that changes whenever one of the folders that were asked for has another content."""
        return sum([folder.generation() for folder in self._folders.values()])

    def is_visible(self) -> bool:
        """Return whether the folder of the device nodes is seen. An empty one stands for another, not seen here."""
        return bool(self._folder("/dev").look())

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
        self._generation = 0

    def generation(self) -> int:
        self.look()
        return self._generation

    def look(self) -> frozenset[str]:
        if self._changes.any() and (now := self._list()) != self._paths:
            self._paths = now
            self._generation += 1
        return self._paths

    def _list(self) -> frozenset[str]:
        """Return all entries except folders and broken links. Empty if the folder does not exist."""
        try:
            with os.scandir(self._place) as entries:
                return frozenset(f"{self._folder}/{entry.name}" for entry in entries if _is_node(entry))
        except OSError:
            return frozenset()


def _is_node(entry: "os.DirEntry[str]") -> bool:
    """Return whether the entry is a device node, or a file in its place. Only a link needs a system call."""
    if not entry.is_symlink():
        return not entry.is_dir()
    try:
        return not stat.S_ISDIR(entry.stat().st_mode)
    except OSError:
        return False
