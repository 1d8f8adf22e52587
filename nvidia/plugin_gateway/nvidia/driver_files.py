"""Finds the files of NVIDIA's driver that a container needs: libraries, tools, firmware, sockets and settings.

Which ones, and in which folders, is that of NVIDIA's container toolkit 1.20 (pkg/nvcdi, internal/discover).
"""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from plugin_gateway.nvidia.driver_root import DriverRoot, Found
from plugin_gateway.nvidia.elf import is_for_this_machine, read_elf

_TRIPLETS = ("x86_64-linux-gnu", "aarch64-linux-gnu")
FOLDERS = (
    "/usr/lib64",
    *(f"/usr/lib/{each}" for each in _TRIPLETS),
    *(f"/usr/lib/{each}/nvidia/current" for each in _TRIPLETS),
    "/lib64",
    *(f"/lib/{each}" for each in _TRIPLETS),
    *(f"/lib/{each}/nvidia/current" for each in _TRIPLETS),
    "/usr/lib",
    "/lib",
)
"""Where libraries are looked for below the root."""
CUDA = "libcuda.so"
"""The library without which there is no driver for containers."""
_OTHER_LIBRARIES = (
    "libnvidia-nvvm70.so.*",
    "libnvidia-egl-gbm.so.*.*",
    "libnvidia-egl-wayland.so.*.*",
    "libnvidia-egl-wayland2.so.*.*",
    "libnvidia-egl-xcb.so.*.*",
    "libnvidia-egl-xlib.so.*.*",
)
"""Libraries with a number of their own."""
_TOOLS = (
    "nvidia-smi",
    "nvidia-debugdump",
    "nvidia-persistenced",
    "nvidia-cuda-mps-control",
    "nvidia-cuda-mps-server",
    "nvidia-imex",
    "nvidia-imex-ctl",
    "nvidia-xconfig",
)
_TOOL_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_SETTINGS = (
    ("glvnd/egl_vendor.d", "10_nvidia.json"),
    ("egl/egl_external_platform.d", "*.json"),
    ("vulkan/icd.d", "nvidia_icd.json"),
    ("vulkan/implicit_layer.d", "nvidia_layers.json"),
    ("OpenCL/vendors", "nvidia.icd"),
    ("nvidia", "nvoptix.bin"),
)
_SETTING_FOLDERS = ("/etc", "/usr/local/share", "/usr/share")
_SOCKETS = ("/run/nvidia-persistenced/socket", "/run/nvidia-fabricmanager/socket", "/tmp/nvidia-mps")  # noqa: S108 - MPS's own
_FIRMWARE = ("/lib/firmware/updates", "/lib/firmware")
_MAX_PATH = 4096
"""Bytes of a path."""


class Library(NamedTuple):
    """A library of the driver."""

    file: Found
    soname: str
    """The name by which programs ask for it. Empty if it has none."""

    @property
    def folder(self) -> str:
        """The folder in which it was found."""
        return self.file.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        """The name of its file."""
        return self.file.path.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without the version."""
        return self.name.partition(".so.")[0]


class FoundFiles(NamedTuple):
    """What was found of one version of the driver."""

    version: str
    folders: tuple[str, ...]
    """The folders with the libraries, in the order in which they were looked for."""
    libraries: tuple[Library, ...]
    others: tuple[Found, ...]
    """Tools, firmware and settings."""
    sockets: tuple[Found, ...]


def find_files(root: DriverRoot, version: str, sysfs: str) -> FoundFiles | None:
    """Return the files of this version of the driver. None if it has no CUDA library of this machine."""
    folders = _library_folders(root, version)
    if not folders:
        return None
    others = (*_tools(root), *_firmware(root, version, sysfs), *_settings(root))
    sockets = (root.find(path, lambda mode: stat.S_ISSOCK(mode) or stat.S_ISDIR(mode)) for path in _SOCKETS)
    return FoundFiles(
        version,
        tuple(folders),
        tuple(_libraries(root, folders, version)),
        others,
        tuple(each for each in sockets if each is not None),
    )


def _library_folders(root: DriverRoot, version: str) -> Sequence[str]:
    """Return the folders with the CUDA library of this version, each once. The loader's cache knows unusual ones."""
    if usual := _with_library(root, FOLDERS, version):
        return usual
    return _with_library(root, (path.rpartition("/")[0] for path in root.cached(f"{CUDA}.1")), version)


def _with_library(root: DriverRoot, folders: Iterable[str], version: str) -> Sequence[str]:
    found: dict[str | None, str] = {}
    for folder in folders:
        library = root.find(f"{folder}/{CUDA}.{version}")
        if library is not None and _read(root, library) is not None:
            found.setdefault(root.real(folder), folder)
    return list(found.values())


def _libraries(root: DriverRoot, folders: Iterable[str], version: str) -> Iterator[Library]:
    names = set[tuple[str, str]]()
    for folder in folders:
        files = [
            *root.matching(folder, f"*.so.{version}", *_OTHER_LIBRARIES),
            *root.matching(f"{folder}/vdpau", f"*.so.{version}"),
            *root.matching(f"{folder}/xorg/modules/drivers", "nvidia_drv.so"),
            *root.matching(f"{folder}/xorg/modules/extensions", f"libglxserver_nvidia.so.{version}"),
        ]
        for library in (_read(root, file) for file in sorted(files, key=_newest_first)):
            if library is not None and (key := (library.folder.removeprefix(folder), library.stem)) not in names:
                names.add(key)
                yield library


def _newest_first(file: Found) -> tuple[str, list[int]]:
    """Order versions of one library by their numbers. Programs can ask for one of them only."""
    stem, _, version = file.path.partition(".so.")
    return stem, [*(-int(each) for each in version.split(".") if each.isdecimal()), 1]


def _read(root: DriverRoot, file: Found) -> Library | None:
    """Return a library. None if no program of this machine can load it, as one of 32 bits."""
    with suppress(OSError):
        elf = read_elf(root.here(file.real))
        if is_for_this_machine(elf):
            return Library(file, elf.soname if elf is not None else "")
    return None


def _tools(root: DriverRoot) -> Iterator[Found]:
    for name in _TOOLS:
        found = (root.find(f"{folder}/{name}", _is_program) for folder in _TOOL_FOLDERS)
        yield from [each for each in found if each is not None][:1]


def _is_program(mode: int) -> bool:
    return stat.S_ISREG(mode) and bool(mode & 0o111)


def _firmware(root: DriverRoot, version: str, sysfs: str) -> Iterator[Found]:
    for folder in (*_own_firmware(sysfs), *_FIRMWARE):
        yield from root.matching(f"{folder}/nvidia/{version}", "gsp*.bin")


def _own_firmware(sysfs: str) -> Iterator[str]:
    """Yield the folder that the kernel was told to look into first, if there is one."""
    with suppress(OSError):
        with open(f"{sysfs}/module/firmware_class/parameters/path", "rb") as file:  # noqa: PTH123 - the same
            path = os.path.normpath(os.fsdecode(file.read(_MAX_PATH).strip()) or "/")
        if path.startswith("/") and path.isprintable() and path not in {"/", *_FIRMWARE}:
            yield path


def _settings(root: DriverRoot) -> Iterator[Found]:
    """Yield the files with settings. Of two with the same name the first counts."""
    seen: set[str] = set()
    for folder in _SETTING_FOLDERS:
        for below, pattern in _SETTINGS:
            for found in root.matching(f"{folder}/{below}", pattern):
                name = found.path.removeprefix(folder)
                if name not in seen:
                    seen.add(name)
                    yield found
