"""Finds the flags and the environment of the gateway that runs on this node, so that `doctor` uses the same."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from plugin_gateway.adapters.control.control_socket import NAME
from plugin_gateway.adapters.support.unix_files import find_listener


class Start(NamedTuple):
    """The command line and the environment of a gateway process."""

    flags: Sequence[str] = ()
    """The arguments after `run`."""
    environment: Mapping[str, str] = {}
    is_beside: bool = False
    """Whether a gateway runs here whose paths mean the same as here."""


def find_start(state_dir: Path) -> Start:
    """Return how the gateway was started that listens on the control socket in this directory.

    Both are empty if no gateway runs, if this user may not read its process, or if it has another mount namespace. In
    the last case it runs in a container, and its paths mean something else here.
    """
    try:
        listener = find_listener(state_dir / NAME)
        if listener is None or not listener.pid:
            return Start()
        process = Path(f"/proc/{listener.pid}")
        if not os.path.samestat((process / "ns/mnt").stat(), Path("/proc/self/ns/mnt").stat()):
            return Start()
        words = (process / "cmdline").read_bytes().decode(errors="surrogateescape").split("\0")[:-1]
        pairs = (process / "environ").read_bytes().decode(errors="surrogateescape").split("\0")
    except OSError:
        return Start()
    if "run" not in words:
        return Start(is_beside=True)
    environment = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    return Start(words[words.index("run") + 1 :], environment, is_beside=True)
