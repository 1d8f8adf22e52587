"""The feature file in which node-feature-discovery finds labels of the node.

Source: kubernetes-sigs/node-feature-discovery, source/local. It skips files whose name begins with a dot, so that one
that is half written is never read, and reads none that is larger than `MAX_SIZE`.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from plugin_gateway.adapters.cluster.label_way import LabelError, Written
from plugin_gateway.adapters.support.tasks import to_its_end
from plugin_gateway.adapters.support.unix_files import open_at_once, replace_for_all
from plugin_gateway.core.labels.making import NodeLabels

MAX_SIZE = 65_536
"""Bytes."""
EXPIRES_AFTER = 3600.0
"""Seconds after which node-feature-discovery does not heed a file that nobody wrote again."""
LOOK_INTERVAL = 60.0
"""Seconds after which a file is written again. Another program with the same file can remove it at its end."""
_RANDOM_BYTES = 4
_WRITING_TIME = 60.0
"""Seconds. Nobody writes a file for so long."""


class FeatureFileWay:
    """The feature file of the node. It belongs to this gateway alone."""

    look_interval = LOOK_INTERVAL

    def __init__(self, path: Path) -> None:
        self._path = path
        self.where = f"file {path}"
        self._labels: Mapping[str, str] | None = None
        """Those that are in the file. None before the first look."""

    async def write(self, wanted: NodeLabels) -> Written:
        """Write the file, and with it until when it counts. See `Way`."""
        await self._do("written", lambda: self._write(wanted))
        return Written(has_changed=True)

    async def read(self) -> Mapping[str, str]:
        """Return the labels of the file. See `Way`."""
        try:
            return await asyncio.to_thread(read_feature_file, self._path)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise LabelError(f"{self._path} cannot be read: {error.strerror}") from error

    def forget(self) -> None:
        """Read the file again before it is written. See `Way`."""
        self._labels = None

    async def clear(self, *, labels: bool) -> None:
        """Remove the file if its labels are to go. It has no taints. See `Way`."""
        if labels:
            await self._do("removed", lambda: remove_feature_file(self._path))

    def _write(self, wanted: NodeLabels) -> None:
        if self._labels is None:
            self._labels = _kept(self._path)
            remove_half_made(self._path)
        labels = wanted.labels if wanted.is_complete else {**self._labels, **wanted.labels}
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + EXPIRES_AFTER))
        write_feature_file(self._path, feature_text(labels, expires))
        self._labels = labels

    async def _do(self, what: str, work: Callable[[], None]) -> None:
        """Work in a thread, because a file can hang.

        Raises:
            LabelError: it cannot be done.
        """
        try:
            await to_its_end(asyncio.to_thread(work))
        except OSError as error:
            raise LabelError(f"{self._path} cannot be {what}: {error.strerror}") from error


def feature_text(labels: Mapping[str, str], expires: str = "") -> str:
    """Return the content of a feature file. ``expires`` is the time until which it counts, as RFC 3339 writes it."""
    head = [f"# +expiry-time={expires}"] if expires else []
    return "".join(f"{line}\n" for line in (*head, *(f"{name}={value}" for name, value in sorted(labels.items()))))


def write_feature_file(path: Path, text: str) -> None:
    """Write a feature file, or replace it as a whole.

    Raises:
        OSError: it cannot be written, or is too large. What was there before stays.
    """
    data = text.encode()
    if len(data) > MAX_SIZE:
        raise OSError(0, f"{len(data)} bytes of labels, node-feature-discovery reads {MAX_SIZE}", str(path))
    # Two processes can have the same id.
    replace_for_all(path, data, path.with_name(f".{path.name}.{os.urandom(_RANDOM_BYTES).hex()}"))


def remove_feature_file(path: Path) -> None:
    """Remove a feature file, if it is there.

    Raises:
        OSError: it cannot be removed.
    """
    path.unlink(missing_ok=True)


def read_feature_file(path: Path) -> Mapping[str, str]:
    """Return the labels of a feature file.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, encoding="utf-8", errors="replace", opener=open_at_once) as file:
        text = file.read(MAX_SIZE)
    pairs = [line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#")]
    return {name: value for name, _, value in pairs}


def remove_half_made(path: Path) -> None:
    """Remove what somebody left beside a feature file who was killed while writing it."""
    for each in path.parent.glob(f".{path.name}.{'[0-9a-f]' * 2 * _RANDOM_BYTES}"):
        with contextlib.suppress(OSError):
            if time.time() - each.lstat().st_mtime > _WRITING_TIME:
                each.unlink()


def _kept(path: Path) -> Mapping[str, str]:
    """Return the labels that an earlier gateway wrote. None are in a file that cannot be read."""
    try:
        return read_feature_file(path)
    except OSError:
        return {}
