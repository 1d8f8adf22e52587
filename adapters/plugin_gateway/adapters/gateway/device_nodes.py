"""Which device nodes the host has at the moment: one question for a folder where nothing changed, not one for each."""

import os
import stat
from collections.abc import Sequence

from plugin_gateway.adapters.support.unix_files import FolderChanges


class DeviceNodes:
    """The device nodes below a root, as this process sees it."""

    def __init__(self, root: str = "/") -> None:
        self._root = root.rstrip("/")
        self._folders: dict[str, _Folder] = {}

    def present(self, paths: Sequence[str]) -> frozenset[str]:
        """Tell everything that is there now in the folders of these paths, such as ``/dev/x0``."""
        folders = {path[: path.rindex("/")] for path in paths}
        return frozenset().union(*[self._look(folder) for folder in folders])

    def _look(self, folder: str) -> frozenset[str]:
        known = self._folders.get(folder)
        if known is None:
            known = self._folders[folder] = _Folder(self._root, folder)
        return known.look()


class _Folder:
    def __init__(self, root: str, folder: str) -> None:
        self._place, self._folder = root + folder, folder
        self._changes = FolderChanges(self._place)
        self._paths: frozenset[str] = frozenset()

    def look(self) -> frozenset[str]:
        if self._changes.any():
            self._paths = self._list()
        return self._paths

    def _list(self) -> frozenset[str]:
        """List everything but folders and links that lead nowhere; nothing where there is no folder."""
        try:
            with os.scandir(self._place) as entries:
                return frozenset(f"{self._folder}/{entry.name}" for entry in entries if _is_node(entry))
        except OSError:
            return frozenset()


def _is_node(entry: "os.DirEntry[str]") -> bool:
    """Tell a node, or a file that stands for one, from the rest; only a link costs a question."""
    if not entry.is_symlink():
        return not entry.is_dir()
    try:
        return not stat.S_ISDIR(entry.stat().st_mode)
    except OSError:
        return False
