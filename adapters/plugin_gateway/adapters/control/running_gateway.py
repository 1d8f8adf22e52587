"""What the gateway that runs here was told, for a command beside it that has to look with its eyes."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from plugin_gateway.adapters.control.control_socket import NAME
from plugin_gateway.adapters.support.unix_files import find_listener


class Start(NamedTuple):
    """How a gateway was started."""

    flags: Sequence[str] = ()
    """What followed `run`."""
    environment: Mapping[str, str] = {}


def find_start(state_dir: Path) -> Start:
    """Tell how the gateway was started whose control socket is in this directory.

    Nothing where none runs, where this user may not know, or where it is in a container and this is not: its paths
    would be others here.
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
        return Start()
    environment = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    return Start(words[words.index("run") + 1 :], environment)
