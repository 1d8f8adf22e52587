"""Finds and loads NVIDIA's management library (NVML). It does not import pynvml, so that it starts fast."""

import _ctypes
import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

from plugin_gateway.core.errors import GatewayError

LIBRARY = "libnvidia-ml.so.1"
"""File name of the library."""
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
"""Folders below the driver root in which distributions install the library."""


class DriverMissingError(GatewayError):
    """The driver or its GPUs cannot be used. The message is for the administrator."""


@contextmanager
def loaded_library(driver_root: str) -> Iterator[ctypes.CDLL]:
    """Load the library, and unload it at the end.

    The next session then loads the file that is installed at that time, for example that of an upgraded driver.

    Raises:
        DriverMissingError: it was not found, or cannot be loaded.
    """
    library = _load(driver_root)
    try:
        yield library
    finally:
        _ctypes.dlclose(library._handle)  # noqa: SLF001 - ctypes never unloads a library


def _load(driver_root: str) -> ctypes.CDLL:
    """Load the library by its name, otherwise from a folder below the driver root."""
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError:
        pass  # usual in a container without NVIDIA's runtime
    places = [os.path.join(driver_root, folder, LIBRARY) for folder in FOLDERS]  # noqa: PTH118 - pathlib is slow to import
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
