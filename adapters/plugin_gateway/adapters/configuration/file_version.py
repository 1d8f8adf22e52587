"""Tells whether the configuration file is still the one that was read."""

import os
from typing import NamedTuple


class FileVersion(NamedTuple):
    """Identifies the content of a file, without reading it."""

    device: int
    inode: int
    modified_ns: int
    size: int


def version_of(found: os.stat_result) -> FileVersion:
    """Return the version of an open file."""
    return FileVersion(found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)


def find_version(path: str | os.PathLike[str]) -> FileVersion | None:
    """Return the version of a file now, behind all links; None if there is none."""
    try:
        return version_of(os.stat(path))  # noqa: PTH116 - the same call, without building a Path
    except OSError:
        return None
