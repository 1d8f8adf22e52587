"""The driver of the cluster's node: the stand-in for the library, with device nodes that containers really get."""

import os
import shutil
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from driver.driver import LIBRARY, Driver, build

DRIVER_ROOT, MACHINE = "/run/nvidia/driver", "/run/nvidia/machine"
"""On the node: what a container that installs drivers leaves, and the silicon."""
CONTROL = f"{MACHINE}/control"
MAJOR = 195
"""Of NVIDIA's character devices. No driver is behind it, so that one that may be opened says ENXIO, and not EPERM."""
_OTHERS = {"nvidiactl": 255, "nvidia-uvm": 253, "nvidia-uvm-tools": 252}
"""Minor numbers of what is no GPU; those of unified memory really have a major number of their own."""


class StandIn:
    """The GPUs of the node."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._driver: Driver | None = None

    @property
    def driver(self) -> Driver:
        """The hand on it, once it is installed."""
        assert self._driver is not None
        return self._driver

    @property
    def mounts(self) -> Mapping[str, Path]:
        """Which folder here each folder of the node is."""
        return {DRIVER_ROOT: self.driver.root, MACHINE: self._folder}

    def install(self) -> None:
        """Plug the GPUs in; they stay the same ones when the node is booted again."""
        if self._driver is not None:
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._driver = Driver(self._folder, gpus=8)
        library = self._driver.root / "usr/lib64"
        (library / LIBRARY).unlink()
        build(library)
        for node in (self._driver.root / "dev").iterdir():
            node.unlink()
            minor = _OTHERS[node.name] if node.name in _OTHERS else int(node.name.removeprefix("nvidia"))
            os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(MAJOR, minor))
            node.chmod(0o666)

    def close(self) -> None:
        """Pull them out."""
        if self._driver is not None:
            self._driver.close()
            self._driver = None


def with_stand_in(manifest: Any, *, mounts_driver: bool) -> Any:
    """Give a DaemonSet of the gateway the driver's root as the guide says, and the silicon; leave all else alone."""
    if manifest["kind"] != "DaemonSet":
        return manifest
    pod = manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    folders = {"machine": (MACHINE, MACHINE, False)}
    if mounts_driver:
        folders["driver-root"] = (DRIVER_ROOT, "/driver-root", True)
        container["args"] += [f"--driver-root={DRIVER_ROOT}", "--driver-root-ctr-path=/driver-root"]
    container["env"].append({"name": "NVML_STAND_IN", "value": CONTROL})
    for name, (host, inside, is_readonly) in folders.items():
        pod["volumes"].append({"name": name, "hostPath": {"path": host, "type": "Directory"}})
        container["volumeMounts"].append({"name": name, "mountPath": inside, "readOnly": is_readonly})
    return manifest


def render(text: str, *, mounts_driver: bool) -> str:
    """Do so with a text of several manifests."""
    manifests = [
        with_stand_in(manifest, mounts_driver=mounts_driver) for manifest in yaml.safe_load_all(text) if manifest
    ]
    return yaml.safe_dump_all(manifests)


if __name__ == "__main__":  # Helm's post-renderer: what the chart made comes in, what is applied goes out
    sys.stdout.write(render(sys.stdin.read(), mounts_driver=False))
