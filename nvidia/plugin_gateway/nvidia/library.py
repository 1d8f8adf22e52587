"""Finds, loads and initialises NVIDIA's management library (NVML). It does not import pynvml, so that it starts fast.

Every file that may be the library is looked at before the dynamic loader maps it. That is why the loader is never asked
for the library by its name alone.
"""

import _ctypes
import ctypes
import os
import re
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from plugin_gateway.core.errors import GatewayError

if TYPE_CHECKING:
    from typing import BinaryIO

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
LOADER_CACHE = "/etc/ld.so.cache"
"""The dynamic loader's list of libraries, which ldconfig writes. Its paths are texts that end with a zero byte."""

_ELF_64_LITTLE = b"\x7fELF\x02\x01"
_ELF_HEADER = struct.Struct("<16s16xQ14xHH6x")
"""Of an ELF file of 64 bits: its identification, and the offset, the size and the number of its program headers."""
_PROGRAM_HEADER = struct.Struct("<8xQ16xQ16x")
"""Offset and size of the part of the file that a program header describes."""


class DriverMissingError(GatewayError):
    """The driver or its GPUs cannot be used. The message is for the administrator."""


@contextmanager
def initialised_library(driver_root: str, give_sign: Callable[[], None]) -> Iterator[ctypes.CDLL]:
    """Load and initialise the library, and unload it at the end. The caller shuts it down.

    Of several libraries the first one that can be initialised is taken. ``give_sign`` is called after each. The next
    session takes the file that is installed at that time, for example that of an upgraded driver.

    Raises:
        DriverMissingError: there is none, or none can be loaded and initialised. The message names each file.
    """
    library = _first_that_works(driver_root, give_sign)
    try:
        yield library
    finally:
        _unload(library)


def _first_that_works(driver_root: str, give_sign: Callable[[], None]) -> ctypes.CDLL:
    found = find_libraries(driver_root)
    if not found:
        raise DriverMissingError(
            f"{LIBRARY} is neither in the loader's path nor in {', '.join(FOLDERS)} below {driver_root}: is the driver "
            "installed, and is its root given with --driver-root?"
        )
    problems: list[str] = []
    for path in found:
        try:
            return _initialise(path)
        except DriverMissingError as error:
            problems.append(str(error))
        give_sign()
    raise DriverMissingError("; ".join(problems))


def find_libraries(driver_root: str) -> list[str]:
    """Return the files that may be the library, each once. A driver root that somebody gave goes first."""
    below_root = [os.path.join(driver_root, folder, LIBRARY) for folder in FOLDERS]  # noqa: PTH118 - pathlib is slow to import
    loaders = [f"{folder}/{LIBRARY}" for folder in re.split("[:;]", os.environ.get("LD_LIBRARY_PATH", "")) if folder]
    loaders += _cached()
    is_given = driver_root.strip("/") != ""
    places = [*below_root, *loaders, *(f"/{each}/{LIBRARY}" for each in FOLDERS)] if is_given else loaders + below_root
    found: dict[tuple[int, int], str] = {}
    for place in places:
        with suppress(OSError):
            there = os.stat(place)  # noqa: PTH116 - pathlib is slow to import
            found.setdefault((there.st_dev, there.st_ino), place)
    return list(found.values())


def _cached() -> list[str]:
    """Return the paths of the library in the cache of the dynamic loader."""
    try:
        with open(LOADER_CACHE, "rb") as file:  # noqa: PTH123 - pathlib is slow to import
            paths = re.findall(rb"/[^\0]*/" + re.escape(LIBRARY.encode()) + rb"(?=\0)", file.read())
    except OSError:
        return []
    return [os.fsdecode(path) for path in paths]


def _initialise(path: str) -> ctypes.CDLL:
    """Load one file, and initialise it.

    Raises:
        DriverMissingError: it cannot be loaded or initialised. It is not in memory then.
    """
    if (lack := lack_of(path)) is not None:
        raise DriverMissingError(f"{path} cannot be loaded: {lack}")
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise DriverMissingError(f"{path} cannot be loaded: {error}") from error
    try:
        if not (result := int(library.nvmlInit_v2())):
            return library
        from plugin_gateway.nvidia import nvml  # noqa: PLC0415 - imports pynvml, not needed before

        problem = f"NVML cannot be initialised: {nvml.explain(library, result)}"
    except AttributeError:
        problem = "it is not NVML: it has no nvmlInit_v2"
    _unload(library)
    raise DriverMissingError(f"{path}: {problem}")


def _unload(library: ctypes.CDLL) -> None:
    _ctypes.dlclose(library._handle)  # noqa: SLF001 - ctypes never unloads a library


def lack_of(path: str) -> str | None:
    """Return why a file must not be loaded. None if it may be; the dynamic loader can still refuse it.

    The dynamic loader maps what the program headers describe. In a file that is being copied, some of that is not there
    yet, and a read of it would end the process with SIGBUS.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return error.strerror
    with open(descriptor, "rb") as file:  # noqa: PTH123 - it is a descriptor
        there = os.fstat(descriptor)
        return _lack_of_elf(file, there.st_size) if stat.S_ISREG(there.st_mode) else "it is no regular file"


def _lack_of_elf(file: "BinaryIO", length: int) -> str | None:
    header = file.read(_ELF_HEADER.size)
    if not _ELF_64_LITTLE.startswith(header[: len(_ELF_64_LITTLE)]):
        return None  # the dynamic loader says what it is
    if len(header) < _ELF_HEADER.size:
        return _not_whole(length)
    _, offset, size, count = _ELF_HEADER.unpack(header)
    if size != _PROGRAM_HEADER.size:
        return f"its program headers have {size} bytes; expected {_PROGRAM_HEADER.size}"
    if offset + size * count > length:
        return _not_whole(length)
    file.seek(offset)
    parts = _PROGRAM_HEADER.iter_unpack(file.read(size * count))
    return _not_whole(length) if any(sum(part) > length for part in parts) else None


def _not_whole(size: int) -> str:
    return f"it is not whole ({size} bytes are there), perhaps it is being copied"
