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
CAPS = "dev/nvidia-caps"
"""The folder with the device nodes of MIG, below the driver root and in containers."""
MIG_DEVICES = "mig-devices.json"
"""A file of the stand-in for the hardware: the minor numbers of each MIG device, of its GPU and of its instances."""
_NEEDS = {"nvidia-uvm": "compute", "nvidia-uvm-tools": "compute", "nvidia-modeset": "display"}
"""Device nodes that a container gets only with this capability."""
_DEFAULT = "compute,utility"
"""The capabilities of a container that names none."""
_MONITOR = 2
"""The minor number of the node whose holder may see all MIG devices."""


def main() -> None:
    """Change the container's configuration if this creates one, and become runc."""
    arguments = sys.argv[1:]
    if "create" in arguments:
        configuration = Path(_flag(arguments, "--bundle"), "config.json")
        told = json.loads(configuration.read_text())
        edit(told, configuration.parent)
        configuration.write_text(json.dumps(told))
    os.execvp("runc", ("runc", *arguments))


def _flag(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]


def edit(told: Any, bundle: Path) -> None:
    """Add what the environment asks for to the configuration of a container.

    Raises:
        SystemExit: a GPU is asked for that the node does not have, or more than the container may have.
    """
    asked = dict(each.partition("=")[::2] for each in told["process"].get("env", ()))
    wanted = asked.get("NVIDIA_VISIBLE_DEVICES", "")
    if wanted in {"", "void"}:
        return
    capabilities = frozenset((asked.get("NVIDIA_DRIVER_CAPABILITIES") or _DEFAULT).split(","))
    there = {node["path"] for node in told["linux"].setdefault("devices", [])}
    rules = told["linux"].setdefault("resources", {}).setdefault("devices", [])
    for node in (*_nodes(wanted, capabilities), *_monitor(asked, told)):
        if node["path"] not in there:
            told["linux"]["devices"].append(node)
        rules.append({"allow": True, "access": "rw"} | {key: node[key] for key in ("type", "major", "minor")})
    if _has(capabilities, "utility"):
        told["mounts"].append(_mount(f"{DRIVER_ROOT}/{LIBRARY}", f"/{LIBRARY}", "ro"))
        told["mounts"].append(_mount(MACHINE, MACHINE, "rw"))  # where the stand-in library finds its GPUs
    _show_kernel_module(told, bundle)


def _show_kernel_module(told: Any, bundle: Path) -> None:
    """Let the container see what the kernel module shows below /proc. No kernel module shows it here.

    runc itself refuses to mount anything there.
    """
    target = bundle / told["root"]["path"] / "proc/driver"
    hook = {"path": "/bin/mount", "args": ["mount", "--bind", f"{MACHINE}/machine/proc/driver", str(target)]}
    told.setdefault("hooks", {}).setdefault("createContainer", []).append(hook)


def _monitor(asked: Mapping[str, str], told: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the device node whose holder may see all MIG devices, where a container asks for it."""
    if asked.get("NVIDIA_MIG_MONITOR_DEVICES", "") == "all":
        if "CAP_SYS_ADMIN" not in told["process"].get("capabilities", {}).get("bounding", ()):
            sys.exit("cannot set MIG_MONITOR_DEVICES in non privileged container")
        yield _node(cap_node(_MONITOR))


def _nodes(wanted: str, capabilities: frozenset[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the device nodes for a container."""
    names = {path.name for path in Path(DRIVER_ROOT, "dev").iterdir() if not path.is_dir()}
    gpus = {name for name in names if name.removeprefix("nvidia").isdigit()}
    own, caps = _asked_for(wanted)
    if wanted == "all":
        own = gpus
    if not own <= gpus:
        sys.exit(f"unknown GPUs: {wanted}")
    shared = {name for name in names - gpus if name not in _NEEDS or _has(capabilities, _NEEDS[name])}
    for path in (*(f"dev/{name}" for name in sorted(own | shared)), *map(cap_node, sorted(caps))):
        yield _node(path)


def _asked_for(wanted: str) -> tuple[set[str], set[int]]:
    """Return the nodes of the GPUs, and the minor numbers of the nodes of MIG devices, that are asked for."""
    listed = Path(MACHINE, MIG_DEVICES)
    parts: Mapping[str, list[int]] = json.loads(listed.read_text()) if listed.exists() else {}
    own, caps = set[str](), set[int]()
    for each in parts if wanted == "all" else wanted.split(","):
        if each.startswith("MIG-") and each not in parts:
            sys.exit(f"unknown MIG device: {each}")
        if each != "none":
            minor, *instances = parts[each] if each in parts else [_minor(each)]
            own.add(f"nvidia{minor}")
            caps.update(instances)
    return own, caps


def _node(path: str) -> Mapping[str, Any]:
    """Return a device node of the driver root, which the container gets below its own root."""
    found = Path(DRIVER_ROOT, path).stat()
    numbers = {"major": os.major(found.st_rdev), "minor": os.minor(found.st_rdev)}
    return {"path": f"/{path}", "type": "c", **numbers, "fileMode": stat.S_IMODE(found.st_mode), "uid": 0, "gid": 0}


def cap_node(minor: int) -> str:
    """Return the device node of MIG with this minor number, below a root."""
    return f"{CAPS}/nvidia-cap{minor}"


def _minor(gpu: str) -> int:
    """Return the minor number of a GPU that is named by its index, or by its UUID, at whose end the stand-in has it."""
    return int(gpu[-12:], 16) if gpu.startswith("GPU-") else int(gpu)


def _has(capabilities: frozenset[str], wanted: str) -> bool:
    return bool({wanted, "all"} & capabilities)


def _mount(source: str, target: str, access: str) -> Mapping[str, Any]:
    return {"source": source, "destination": target, "type": "bind", "options": ["rbind", "nosuid", access]}


if __name__ == "__main__":
    main()
