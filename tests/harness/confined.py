"""Programs that start another one with less: without capabilities, or with a folder that is read-only or full.

Only root can do so, and only where it may mount: `needs_root` and `needs_mounts` skip tests elsewhere.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

NO_CAPABILITIES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
"""Root, to whom files are closed as to everybody else."""


def _can_mount() -> bool:
    command = ("unshare", "--mount", "true")
    return (
        os.geteuid() == 0
        and shutil.which("unshare") is not None
        and subprocess.run(command, check=False, timeout=10).returncode == 0
    )


needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can give up what it may"
)
needs_mounts = pytest.mark.skipif(not _can_mount(), reason="only root can mount, and not in every container")


@contextmanager
def closed_socket(path: Path) -> Iterator[None]:
    """A socket on which somebody listens, and to which root without capabilities may not connect."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        close(path)
        yield


def close(path: Path) -> None:
    """Give a file or a folder to somebody else, who alone may use it."""
    os.chown(path, 65534, 65534)
    path.chmod(0o700)


def read_only(folder: Path) -> tuple[str, ...]:
    """Put an empty file system in place of the folder that cannot be written."""
    return _mounting(f"mount -t tmpfs -o ro tmpfs {folder}")


def full(folder: Path) -> tuple[str, ...]:
    """Put a file system in place of the folder that has no space left."""
    return _mounting(f"mount -t tmpfs -o size=4k tmpfs {folder} && head -c 4096 /dev/zero > {folder}/all")


def with_folder(content: Path, place: Path) -> tuple[str, ...]:
    """Put a copy of a folder at a place that need not exist, below an empty file system in place of its parent."""
    return _mounting(f"mount -t tmpfs tmpfs {place.parent} && cp -r {content} {place}")


def within_mounts(pid: int, *command: str) -> None:
    """Run a command with the mounts of a process."""
    subprocess.run(("nsenter", f"--mount=/proc/{pid}/ns/mnt", *command), check=True, timeout=10)


def showing(folders: Mapping[Path, Path]) -> tuple[str, ...]:
    """Put another folder in place of each of these, so that the program sees another machine."""
    return _mounting(" && ".join(f"mount --bind {shown} {folder}" for folder, shown in folders.items()))


def _mounting(commands: str) -> tuple[str, ...]:
    return ("unshare", "--mount", "sh", "-c", f'{commands} && exec "$@"', "sh")
