"""What this process is and where it runs, for the headers of files that people send."""

import os
from functools import cache
from importlib.metadata import version
from typing import NamedTuple


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
    """Return what this process is. Reading the version takes some milliseconds."""
    host = os.uname()
    return About(version("plugin-gateway"), node_name or host.nodename, host.release)
