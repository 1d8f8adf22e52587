"""A driver root with the files of NVIDIA's driver, as far as CDI specs look at them."""

import os
import socket
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

LIBRARIES = "usr/lib/x86_64-linux-gnu"
NAMES = (
    "libcuda",
    "libnvidia-ml",
    "libnvidia-ptxjitcompiler",
    "libnvidia-opencl",
    "libnvidia-allocator",
    "libnvidia-cfg",
    "libnvidia-gpucomp",
    "libnvidia-nvvm",
    "libnvidia-eglcore",
    "libcudadebugger",
    "libGLX_nvidia",
)
"""The libraries that NVIDIA's device plugin was seen with. The first six have a link with a 1."""


@cache
def compiled(soname: str, *options: str) -> bytes:
    """A library with this name for the loader. Its function `answer` returns 42."""
    folder = Path(mkdtemp(prefix="library-"))
    (folder / "library.c").write_text("int answer(void) { return 42; }\n")
    library = folder / "library.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", *options, f"-Wl,-soname,{soname}", "-o", str(library), str(folder / "library.c")],
        check=True,
    )
    return library.read_bytes()


def write(path: Path, data: bytes | str, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    path.chmod(mode)
    return path


def put_libraries(
    root: Path, version: str, *, folder: str = LIBRARIES, names: Iterable[str] = NAMES, is_real: bool = False
) -> None:
    """Put the libraries of one version into a folder: texts, or ones that can be loaded."""
    for number, name in enumerate(names):
        soname = f"{name}.so.1"
        write(root / folder / f"{name}.so.{version}", compiled(soname) if is_real else name)
        if number < 6:
            link = root / folder / soname
            link.unlink(missing_ok=True)
            link.symlink_to(f"{name}.so.{version}")


def put_others(root: Path, version: str) -> None:
    """Put what the driver has besides: for video, firmware, a socket, settings and tools."""
    write(root / LIBRARIES / f"vdpau/libvdpau_nvidia.so.{version}", "vdpau")
    for name in ("gsp_ga10x.bin", "gsp_tu10x.bin"):
        write(root / f"lib/firmware/nvidia/{version}/{name}", name)
    (root / "run/nvidia-persistenced").mkdir(parents=True)
    folder = os.open(root / "run/nvidia-persistenced", os.O_PATH)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{folder}/socket")  # the path itself can be too long for one of a socket
    os.close(folder)
    write(root / "etc/vulkan/icd.d/nvidia_icd.json", "{}")
    write(root / "usr/share/glvnd/egl_vendor.d/10_nvidia.json", "{}")
    for name in ("smi", "debugdump", "persistenced", "cuda-mps-control", "cuda-mps-server"):
        write(root / f"usr/bin/nvidia-{name}", name, 0o755)


def put_graphics(root: Path, sysfs: Path, addresses: Iterable[str]) -> None:
    """Give the GPUs at these addresses their nodes for graphics."""
    for number, address in enumerate(addresses):
        for name in (f"card{number + 1}", f"renderD{128 + number}"):
            write(root / "dev/dri" / name, "")
            (sysfs / f"bus/pci/devices/{address}/drm/{name}").mkdir(parents=True)
