"""Writes CDI specs into the folder in which container runtimes look for them, and looks for others of the same kind.

Runtimes watch the folder, so a spec is written under a name that they do not read, and renamed. If two files of one
folder have the same device, it resolves to nothing, and no container with it starts. A file of another program is never
deleted; one with the name of ours is replaced.
"""

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from plugin_gateway.adapters.support.unix_files import NONE_LEFT, explain_closed, replace_for_all, who_may
from plugin_gateway.core.cdi import FOLDERS, CdiSpec, file_name
from plugin_gateway.core.resources.cdi_specs import HostNode

MAX_BYTES = 16 * 1024 * 1024
"""Longest file of another program that is looked into."""
_FOR_ALL = 0o444
"""Permission bits of a file that everybody may read."""
_SUFFIXES = (".json", ".yaml")
"""What runtimes read."""
_KIND = re.compile(r"""(?:^|[{,])[ \t]*["']?kind["']?\s*:\s*["']?([A-Za-z0-9_./-]+)""", re.MULTILINE)
"""The kind in a spec, whether JSON or YAML. No parser is needed to compare it."""


def write_spec(folder: Path, spec: CdiSpec) -> str:
    """Write a spec, unless the same one is there. Returns why it cannot be written, for people; empty if it was."""
    path, data = folder / file_name(spec.kind), spec.encoded()
    try:
        _check_folder(folder)
        if not _has(path, data):
            _replace(path, data)
    except OSError as error:
        return f"{path} cannot be written: {_words(error, folder)}"
    return ""


def _check_folder(folder: Path) -> None:
    """Make the folder if it is not there.

    Raises:
        OSError: it is none, or a link. A runtime can follow a link to another place than this process does.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o755, parents=True)
    mode = folder.lstat().st_mode
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, f"{folder} is a link; give the folder itself with --cdi-spec-dir")
    if not stat.S_ISDIR(mode):
        raise NotADirectoryError(errno.ENOTDIR, f"{folder} is no folder")


def _has(path: Path, data: bytes) -> bool:
    """Whether the file has this content already, and is one that everybody may read.

    One of the same length is taken for the same, until the next look, while the process has no descriptor left.
    """
    try:
        there = path.lstat()
        is_alike = stat.S_ISREG(there.st_mode) and there.st_size == len(data) and there.st_mode & _FOR_ALL == _FOR_ALL
        return is_alike and path.read_bytes() == data
    except OSError as error:
        return error.errno in NONE_LEFT


def _replace(path: Path, data: bytes) -> None:
    # Two gateways can have the same process id.
    replace_for_all(path, data, path.with_name(f".{path.stem}.{os.urandom(4).hex()}"))


def _words(error: OSError, folder: Path) -> str:
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        nearest = next(path for path in (folder, *folder.parents) if os.path.exists(path))  # noqa: PTH110 - raises nothing
        with contextlib.suppress(OSError):
            return explain_closed(nearest) or f"{error.strerror}; {who_may()}"
    return error.strerror or str(error)


def host_nodes(root: str, paths: Iterable[str]) -> Mapping[str, HostNode | None]:
    """Return the device nodes that are below the root, as this process sees it, by their paths in a container.

    A file in the place of a node has no numbers.
    """
    found: dict[str, HostNode | None] = {}
    for path in paths:
        with contextlib.suppress(OSError):
            there = os.stat(f"{root.rstrip('/')}{path}")  # noqa: PTH116 - the same, without a Path
            if stat.S_ISCHR(there.st_mode):
                numbers = os.major(there.st_rdev), os.minor(there.st_rdev)
                found[path] = HostNode(*numbers, stat.S_IMODE(there.st_mode), there.st_gid)
            elif not stat.S_ISDIR(there.st_mode):
                found[path] = None
    return found


KnownKinds = dict[str, tuple[tuple[int, ...], str]]
"""The kind of the devices in a file, by its path, and which version of the file has said so."""


def foreign_files(
    kinds: Iterable[str], own_folder: Path, folders: Sequence[str] = FOLDERS, known: KnownKinds | None = None
) -> Sequence[str]:
    """Return the files of other programs that have devices of these kinds. What cannot be read is left out.

    ``known`` keeps what was read for the next look, so that a file is only read again if it has changed.
    """
    wanted, real = frozenset(kinds), str(_real(own_folder))
    own = {os.path.join(real, file_name(kind)) for kind in wanted}  # noqa: PTH118 - there can be thousands of files
    read: KnownKinds = {}
    for folder in dict.fromkeys((real, *(str(_real(Path(each))) for each in folders))):
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            others = sorted(each.path for each in entries if each.name.endswith(_SUFFIXES) and each.path not in own)
            read |= {path: _kind_of(path, (known or {}).get(path)) for path in others}
    if known is not None:
        known.clear()
        known.update(read)
    return [path for path, (_, kind) in read.items() if kind in wanted]


def _real(folder: Path) -> Path:
    """Return the folder without links: /var/run is mostly one to /run."""
    return Path(os.path.realpath(folder))


def _kind_of(path: str, known: tuple[tuple[int, ...], str] | None) -> tuple[tuple[int, ...], str]:
    """Return the version of a file, and the kind of the devices in it: empty if it says none, or cannot be read."""
    version: tuple[int, ...] = ()
    with contextlib.suppress(OSError):
        there = os.stat(path)  # noqa: PTH116 - there can be thousands of files
        version = there.st_dev, there.st_ino, there.st_mtime_ns, there.st_size
        if known is not None and known[0] == version:
            return known
        found = _KIND.search(_read(path).decode("utf-8", "replace"))
        return version, found[1] if found else ""
    return (), ""


def _read(path: str) -> bytes:
    """Return what is in a file, as far as it is looked into. Nothing for a pipe, or anything else that is no file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(descriptor, MAX_BYTES) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    finally:
        os.close(descriptor)
