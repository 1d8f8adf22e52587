"""A program in a container finds the driver by name, without a hook, without a cache and without LD_LIBRARY_PATH.

runc makes the container from the CDI spec. The program has its own loader, and the driver is a stand-in.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.devices import device, inventory
from harness.driver_root import put_libraries
from image import cdi_container
from plugin_gateway.core.cdi import CdiDevice, CdiEdits, CdiSpec, FilesWanted
from plugin_gateway.nvidia.injection import files_of
from plugin_gateway.nvidia.naming import CDI_KIND

V = "580.95.05"
PROGRAM = """
#include <dlfcn.h>
#include <stdio.h>
int main(void) {
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    if (!library) { puts(dlerror()); return 0; }
    int (*answer)(void) = dlsym(library, "answer");
    printf("answer %d, libcuda.so %s\\n", answer(), dlopen("libcuda.so", RTLD_NOW) ? "too" : "not");
    return 0;
}
"""
pytestmark = pytest.mark.skipif(shutil.which("runc") is None, reason="runc is not installed")


def root_file_system(folder: Path, loaders: str) -> Path:
    """A root with a program, its loader and its C library in the folder that this loader looks into by itself."""
    (folder / "program.c").write_text(PROGRAM)
    program = folder / "rootfs/bin/program"
    program.parent.mkdir(parents=True)
    subprocess.run(["cc", "-o", str(program), str(folder / "program.c"), "-ldl"], check=True)
    told = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
    for path in re.findall(r"(/\S+)", told):
        target = folder / "rootfs" / (path if "ld-linux" in path else f"{loaders}/{Path(path).name}").lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    for name in ("proc", "dev"):
        (folder / "rootfs" / name).mkdir()
    return folder / "rootfs"


def spec(folder: Path) -> dict[str, object]:
    put_libraries(folder / "driver", V, is_real=True)
    wanted = FilesWanted(str(folder / "driver"), "", (), lambda _: None)
    files = files_of(wanted, str(folder / "driver"), str(folder / "sys"), (V, "1"), inventory(device(0)))
    found = CdiSpec(CDI_KIND, (CdiDevice("GPU-0", CdiEdits({"A": "b"})),), files.common)
    document: dict[str, object] = json.loads(found.encoded())
    return document


def test_a_program_finds_the_driver_by_name(tmp_path: Path) -> None:
    rootfs = root_file_system(tmp_path, "/usr/lib/x86_64-linux-gnu")
    without = cdi_container.configuration(
        rootfs, {"devices": [{"name": "GPU-0", "containerEdits": {}}]}, "GPU-0", ["/bin/program"]
    )
    assert "libcuda.so.1: cannot open shared object file" in cdi_container.run(tmp_path, without)
    with_spec = cdi_container.configuration(rootfs, spec(tmp_path), "GPU-0", ["/bin/program"])
    assert cdi_container.run(tmp_path, with_spec) == "answer 42, libcuda.so too\n"
