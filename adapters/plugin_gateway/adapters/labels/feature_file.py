"""The feature file in which node-feature-discovery finds labels of the node.

Source: kubernetes-sigs/node-feature-discovery, source/local. It skips files whose name begins with a dot, so that one
that is half written is never read, and reads none that is larger than `MAX_SIZE`.
"""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

MAX_SIZE = 65_536
"""Bytes."""
_MODE = 0o644


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
    half_made = path.with_name(f".{path.name}.{os.urandom(4).hex()}")  # two processes can have the same id
    try:
        with open(half_made, "xb") as file:  # noqa: PTH123 - nobody else's file is opened
            os.fchmod(file.fileno(), _MODE)
            file.write(data)
        half_made.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            half_made.unlink()
        raise


def remove_feature_file(path: Path) -> None:
    """Remove a feature file, if it is there.

    Raises:
        OSError: it cannot be removed.
    """
    path.unlink(missing_ok=True)
