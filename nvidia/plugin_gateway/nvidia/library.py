"""Finds NVIDIA's management library and begins its initialisation, before anything heavy is imported."""

import ctypes
from pathlib import Path

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


def load_library(driver_root: str) -> ctypes.CDLL:
    """Load the library from the loader's path, else from below the driver root.

    Raises:
        DriverMissingError: it is nowhere, or cannot be loaded.
    """
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError:
        pass  # the ordinary case in a container without NVIDIA's runtime
    found = [path for path in (Path(driver_root, folder, LIBRARY) for folder in FOLDERS) if path.exists()]
    if not found:
        raise DriverMissingError(
            f"{LIBRARY} is neither in the loader's path nor in {', '.join(FOLDERS)} below {driver_root}: is the driver "
            "installed, and is its root given with --driver-root?"
        )
    try:
        return ctypes.CDLL(str(found[0]))
    except OSError as error:
        raise DriverMissingError(f"{found[0]} cannot be loaded: {error}") from error
