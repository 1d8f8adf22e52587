"""A stand-in for NVIDIA's container runtime: runc, but with GPUs and the driver where a container's environment asks.

It is a program of its own, which containerd starts for each step in a container's life. As the real one, it changes
only what `create` reads. What each capability brings is that of libnvidia-container (`nvc_mount.c`, `nvc_info.c`).
"""

import json
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DRIVER_ROOT, MACHINE = "/run/nvidia/driver", "/run/nvidia/machine"
"""Folders on the node: the driver as a container installs it, and the stand-in for the hardware."""
LIBRARY = "usr/lib64/libnvidia-ml.so.1"
"""The driver's library, below the driver root and in containers."""
_NEEDS = {"nvidia-uvm": "compute", "nvidia-uvm-tools": "compute", "nvidia-modeset": "display"}
"""Device nodes that a container gets only with this capability."""
_DEFAULT = "compute,utility"
"""The capabilities of a container that names none."""


def main() -> None:
    """Change the container's configuration if this creates one, and become runc."""
    arguments = sys.argv[1:]
    if "create" in arguments:
        configuration = Path(_flag(arguments, "--bundle"), "config.json")
        told = json.loads(configuration.read_text())
        edit(told)
        configuration.write_text(json.dumps(told))
    os.execvp("runc", ("runc", *arguments))


def _flag(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]


def edit(told: Any) -> None:
    """Add what the environment asks for to the configuration of a container.

    Raises:
        SystemExit: a GPU is asked for that the node does not have.
    """
    asked = dict(each.partition("=")[::2] for each in told["process"].get("env", ()))
    wanted = asked.get("NVIDIA_VISIBLE_DEVICES", "")
    if wanted in {"", "void"}:
        return
    capabilities = frozenset((asked.get("NVIDIA_DRIVER_CAPABILITIES") or _DEFAULT).split(","))
    there = {node["path"] for node in told["linux"].setdefault("devices", [])}
    rules = told["linux"].setdefault("resources", {}).setdefault("devices", [])
    for node in _nodes(wanted, capabilities):
        if node["path"] not in there:
            told["linux"]["devices"].append(node)
        rules.append({"allow": True, "access": "rw"} | {key: node[key] for key in ("type", "major", "minor")})
    if _has(capabilities, "utility"):
        told["mounts"].append(_mount(f"{DRIVER_ROOT}/{LIBRARY}", f"/{LIBRARY}", "ro"))
        told["mounts"].append(_mount(MACHINE, MACHINE, "rw"))  # where the stand-in library finds its GPUs


def _nodes(wanted: str, capabilities: frozenset[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the device nodes for a container."""
    nodes = {path.name: path for path in Path(DRIVER_ROOT, "dev").iterdir()}
    gpus = {name for name in nodes if name.removeprefix("nvidia").isdigit()}
    own = gpus if wanted == "all" else {f"nvidia{_minor(each)}" for each in wanted.split(",") if each != "none"}
    if not own <= gpus:
        sys.exit(f"unknown GPUs: {wanted}")
    shared = {name for name in nodes.keys() - gpus if name not in _NEEDS or _has(capabilities, _NEEDS[name])}
    for name in sorted(own | shared):
        found = nodes[name].stat()
        mode, numbers = stat.S_IMODE(found.st_mode), (os.major(found.st_rdev), os.minor(found.st_rdev))
        yield {
            "path": f"/dev/{name}", "type": "c", "major": numbers[0], "minor": numbers[1],
            "fileMode": mode, "uid": 0, "gid": 0,
        }  # fmt: skip


def _minor(gpu: str) -> int:
    """Return the minor number of a GPU that is named by its index, or by its UUID, at whose end the stand-in has it."""
    return int(gpu[-12:], 16) if gpu.startswith("GPU-") else int(gpu)


def _has(capabilities: frozenset[str], wanted: str) -> bool:
    return bool({wanted, "all"} & capabilities)


def _mount(source: str, target: str, access: str) -> Mapping[str, Any]:
    return {"source": source, "destination": target, "type": "bind", "options": ["rbind", "nosuid", access]}


if __name__ == "__main__":
    main()
