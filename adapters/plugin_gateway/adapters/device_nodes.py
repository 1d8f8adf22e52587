"""Which device nodes exist at the moment: one question for the folder, where nothing changed, not one for each node."""

import os
import stat

from plugin_gateway.adapters.folder_changes import FolderChanges

FOLDER = "/dev"


class DeviceNodes:
    """The device nodes below a root, as this process sees it."""

    def __init__(self, root: str = "/") -> None:
        self._folder = root.rstrip("/") + FOLDER
        self._changes = FolderChanges(self._folder)
        self._paths: frozenset[str] = frozenset()

    def look(self) -> frozenset[str]:
        """Tell which paths such as ``/dev/nvidia0`` are there now."""
        if self._changes.any():
            self._paths = _list(self._folder)
        return self._paths


def _list(folder: str) -> frozenset[str]:
    """List everything but folders and links that lead nowhere; nothing where there is no folder."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(f"{FOLDER}/{entry.name}" for entry in entries if _is_node(entry))
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
