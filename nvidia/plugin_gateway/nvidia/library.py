"""Finds NVIDIA's management library and loads it, before anything heavy is imported."""

import _ctypes
import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

from plugin_gateway.core.errors import GatewayError

LIBRARY = "libnvidia-ml.so.1"
FOLDERS = (
    "usr/lib64",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "lib64",
    "lib/x86_64-linux-gnu",
    "lib/aarch64-linux-gnu",
    "usr/lib",
    "lib",
)
"""Where distributions put it, below the driver root."""


class DriverMissingError(GatewayError):
    """The driver, or its devices, cannot be used; the message is for an admin."""


@contextmanager
def loaded_library(driver_root: str) -> Iterator[ctypes.CDLL]:
    """Load the library, and let go of it at the end: who loads it again gets the file that is there then.

    Raises:
        DriverMissingError: it is nowhere, or cannot be loaded.
    """
    library = _load(driver_root)
    try:
        yield library
    finally:
        _ctypes.dlclose(library._handle)  # noqa: SLF001 - ctypes never does it, and an upgraded driver would stay unseen


def _load(driver_root: str) -> ctypes.CDLL:
    """Load the library from the loader's path, else from below the driver root."""
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError:
        pass  # the ordinary case in a container without NVIDIA's runtime
    places = [os.path.join(driver_root, folder, LIBRARY) for folder in FOLDERS]  # noqa: PTH118 - no pathlib before the driver
    found = [place for place in places if os.access(place, os.F_OK)]
    if not found:
        raise DriverMissingError(
            f"{LIBRARY} is neither in the loader's path nor in {', '.join(FOLDERS)} below {driver_root}: is the driver "
            "installed, and is its root given with --driver-root?"
        )
    problems: list[str] = []
    for path in found:
        try:
            return ctypes.CDLL(path)
        except OSError as error:
            problems.append(f"{path} cannot be loaded: {error}")
    raise DriverMissingError("; ".join(problems))
