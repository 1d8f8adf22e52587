"""Copies everything that the gateway needs into a folder, which becomes the root of its image.

The image has no shell, no package manager and no other programs. With `--tools` another folder gets what the GPU
operator's script calls, for an image that has these as well. This script runs in the build stages of the image.
"""

import compileall
import os
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

APPLICATION = Path("/opt/plugin-gateway")
"""The folder into which pip has installed the gateway."""
NOT_NEEDED = ("ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tkinter", "turtledemo", "venv", "__pycache__")
"""Parts of the standard library that the gateway never imports."""
_LIBRARY = re.compile(r"=> (/\S+)|^\s*(/\S+) \(", re.MULTILINE)
PROGRAM = """\
#!/usr/bin/python3 -P
from plugin_gateway.__main__ import main

raise SystemExit(main())
"""
"""The program for `kubectl exec POD -- plugin-gateway status`."""
NVIDIAS_NAMES = ("nvidia-device-plugin", "gpu-feature-discovery", "config-manager", "mps-control-daemon")
"""The other names of the program, with which NVIDIA's manifests start it."""
TOOLS = {"cat": "cat", "grep": "grep", "lsmod": "lsmod", "sh": "bash", "sleep": "sleep"}
"""The programs that the operator's script calls, and which ones they are here.

The shell is one that becomes the script with `sh -c SCRIPT`. Another one would stay the first process of the container,
to which the kernel delivers no SIGTERM, and the kubelet would kill the gateway instead of ending it.
"""
USERS = "root:x:0:0:root:/:/nonexistent\nnobody:x:65534:65534:nobody:/:/nonexistent\n"
"""The content of /etc/passwd."""


def main() -> None:
    """Fill the folder that the last argument names: with the tools after `--tools`, otherwise with the gateway."""
    make = make_tools if sys.argv[1] == "--tools" else make_gateway
    make(Path(sys.argv[-1]))


def make_gateway(tree: Path) -> None:
    """Fill the folder with Python, the gateway, and the files that every program expects."""
    python = Path(sys.executable).resolve()
    standard = Path(sysconfig.get_path("stdlib"))
    copy(python, tree)
    (tree / "usr/bin/python3").symlink_to(python.name)
    command = tree / "usr/bin/plugin-gateway"
    command.write_text(PROGRAM)
    command.chmod(0o755)
    for name in NVIDIAS_NAMES:
        (tree / "usr/bin" / name).symlink_to(command.name)
    ignored = shutil.ignore_patterns(*NOT_NEEDED)
    for folder in (standard, APPLICATION):
        shutil.copytree(folder, tree / folder.relative_to("/"), symlinks=True, ignore=ignored)
    shutil.rmtree(tree / "opt/plugin-gateway/bin", ignore_errors=True)
    programs = (python, *standard.rglob("*.so"), *APPLICATION.rglob("*.so"))
    loaded = {library for program in programs for library in libraries(program)}
    for library in loaded:
        copy(library, tree)
    copy_licenses((python, standard / "os.py", *loaded), tree)
    make_root(tree)
    # Python does not compare these compiled modules with their sources: the container's file system is read-only, and
    # its file times are those of the build.
    for folder in (standard, APPLICATION):
        compileall.compile_dir(
            tree / folder.relative_to("/"),
            quiet=1,
            stripdir=str(tree),
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


def make_tools(tree: Path) -> None:
    """Fill the folder with the operator's tools, for a root that has the gateway."""
    (tree / "usr/bin").mkdir(parents=True)
    tools = {name: Path(shutil.which(program) or sys.exit(f"{program} not found")) for name, program in TOOLS.items()}
    loaded = {library for tool in tools.values() for library in libraries(tool)}
    for name, tool in tools.items():
        shutil.copy2(tool.resolve(), tree / "usr/bin" / name)
    for library in loaded:
        copy(library, tree)
    copy_licenses((*tools.values(), *loaded), tree)


def libraries(program: Path) -> Iterator[Path]:
    """Yield the shared libraries that a program or a library loads."""
    shown = subprocess.run(("ldd", str(program)), check=False, capture_output=True, text=True).stdout
    for match in _LIBRARY.finditer(shown):
        yield Path(match[1] or match[2])


def copy(source: Path, tree: Path) -> None:
    """Copy a file to the same path below ``tree``. Symbolic links in the path of its folder are resolved."""
    target = tree / source.parent.resolve().relative_to("/") / source.name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source.resolve(), target)


def copy_licenses(files: Iterable[Path], tree: Path) -> None:
    """Copy Debian's copyright file of each package that has one of these files. Wheels contain their own licenses."""
    paths = [str(path.resolve()) for path in files if not path.is_relative_to(APPLICATION)]
    found = subprocess.run(("dpkg-query", "--search", *paths), check=True, stdout=subprocess.PIPE, text=True).stdout
    for package in {line.partition(":")[0] for line in found.splitlines()}:
        copy(Path("/usr/share/doc", package, "copyright"), tree)


def make_root(tree: Path) -> None:
    """Make the folders and files that container runtimes, NVIDIA's hook and the dynamic loader expect."""
    for name in ("dev", "proc", "sys", "tmp", "run/plugin-gateway", "driver-root", "var/lib/kubelet/device-plugins"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    for name in ("lib", "lib64", "bin", "sbin"):
        if Path("/", name).is_symlink():
            (tree / "usr" / name).mkdir(parents=True, exist_ok=True)
            (tree / name).symlink_to(f"usr/{name}")
    etc = tree / "etc"
    etc.mkdir()
    (etc / "passwd").write_text(USERS)
    (etc / "group").write_text("root:x:0:\nnogroup:x:65534:\n")
    (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    shutil.copy2("/etc/ld.so.conf", etc)
    shutil.copytree("/etc/ld.so.conf.d", etc / "ld.so.conf.d")
    subprocess.run(("ldconfig", "-r", os.fspath(tree)), check=True)


if __name__ == "__main__":
    main()
