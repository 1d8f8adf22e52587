"""Whether anything came or went in a folder, for the price of one question."""

import os
import time

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
