"""The driver of the cluster's node: the stand-in library, and device nodes that containers really get."""

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
"""Folders on the node: the driver as a container installs it, and the stand-in for the hardware."""
CONTROL = f"{MACHINE}/control"
MAJOR = 195
"""The major number of NVIDIA's character devices. No driver has it here: open fails with ENXIO if it is allowed, and
with EPERM if not."""
_OTHERS = {"nvidiactl": 255, "nvidia-uvm": 253, "nvidia-uvm-tools": 252}
"""Minor numbers of device nodes that are not GPUs. On a real node nvidia-uvm has another major number."""


class StandIn:
    """The GPUs of the node."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._driver: Driver | None = None

    @property
    def driver(self) -> Driver:
        """Return the stand-in driver. It must be installed."""
        assert self._driver is not None
        return self._driver

    @property
    def mounts(self) -> Mapping[str, Path]:
        """Return folders of the node, and the folders of this machine that they show."""
        return {DRIVER_ROOT: self.driver.root, MACHINE: self._folder}

    def install(self) -> None:
        """Make the GPUs, unless they exist. They stay the same when the node is booted again."""
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
        """Remove the GPUs."""
        if self._driver is not None:
            self._driver.close()
            self._driver = None


def with_stand_in(manifest: Any, *, mounts_driver: bool) -> Any:
    """Add the driver root, as the guide says, and the stand-in's folder to a DaemonSet of the gateway."""
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
    """Do the same with a text of several manifests."""
    manifests = [
        with_stand_in(manifest, mounts_driver=mounts_driver) for manifest in yaml.safe_load_all(text) if manifest
    ]
    return yaml.safe_dump_all(manifests)


if __name__ == "__main__":  # Helm's post-renderer: reads the chart's manifests, and writes those to apply
    sys.stdout.write(render(sys.stdin.read(), mounts_driver=False))
