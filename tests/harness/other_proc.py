"""Starts the gateway with another folder as ``/proc``, in which the stand-in for the driver has its files.

No flag says where this folder is, and only root could put another one in its place.
"""

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from plugin_gateway.nvidia.backend import NvmlBackend


def reading(proc: Path) -> Sequence[str]:
    """Return the program that starts another Python program in this way, as for `harness.process.started`."""
    return (sys.executable, __file__, str(proc))


if __name__ == "__main__":
    defaults = NvmlBackend.__init__.__kwdefaults__
    assert defaults is not None
    defaults["proc"] = sys.argv[1]
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")
