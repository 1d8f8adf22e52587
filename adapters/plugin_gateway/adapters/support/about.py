"""What this process is and where it runs, for the headers of files that people send."""

import os
import sys
from functools import cache
from typing import NamedTuple

_BEFORE, _BEHIND = "plugin_gateway-", ".dist-info"
"""Around the version in the name of the folder that every installer makes (PEP 376 and 427)."""


class About(NamedTuple):
    """A gateway and its host."""

    gateway: str
    """Version of the gateway."""
    node: str
    """Name of the node; of the host if nobody gave the node's."""
    kernel: str
    """Release of the kernel."""


@cache
def about(node_name: str) -> About:
    """Return what this process is."""
    host = os.uname()
    return About(installed_version(), node_name or host.nodename, host.release)


def installed_version() -> str:
    """Return the version of this program; ``unknown`` if it is not installed.

    It lists the folders of Python's path. `importlib.metadata` would import a hundred modules for it.
    """
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 - names, to be compared
        except OSError:
            continue
        for name in names:
            if name.startswith(_BEFORE) and name.endswith(_BEHIND):
                return name.removeprefix(_BEFORE).removesuffix(_BEHIND)
    return "unknown"
