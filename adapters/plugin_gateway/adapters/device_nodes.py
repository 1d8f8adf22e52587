"""Which device nodes exist at the moment: one question for the folder, where nothing changed, not one for each node."""

import os
import stat
import time

FOLDER = "/dev"
SETTLED_NS = 1_000_000_000
"""A folder that changed less than this before it was listed can have changed again within the same tick of its clock,
so that listing is good for one look only."""


class DeviceNodes:
    """The device nodes below a root, as this process sees it."""

    def __init__(self, root: str = "/") -> None:
        self._folder = root.rstrip("/") + FOLDER
        self._paths: frozenset[str] = frozenset()
        self._listed: int | None = None
        """When the folder had changed last, as it was listed; None where that may not tell the next change."""

    def look(self) -> frozenset[str]:
        """Tell which paths such as ``/dev/nvidia0`` are there now."""
        try:
            changed = os.stat(self._folder).st_mtime_ns  # noqa: PTH116 - for every allocation
            if changed != self._listed:
                self._listed = changed if time.time_ns() - changed > SETTLED_NS else None
                self._paths = _list(self._folder)
        except OSError:
            self._listed, self._paths = None, frozenset()
        return self._paths


def _list(folder: str) -> frozenset[str]:
    """List everything but folders and links that lead nowhere."""
    with os.scandir(folder) as entries:
        return frozenset(f"{FOLDER}/{entry.name}" for entry in entries if _is_node(entry))


def _is_node(entry: "os.DirEntry[str]") -> bool:
    """Tell a node, or a file that stands for one, from the rest; only a link costs a question."""
    if not entry.is_symlink():
        return not entry.is_dir()
    try:
        return not stat.S_ISDIR(entry.stat().st_mode)
    except OSError:
        return False
