"""The driver of the cluster's node: the stand-in library, and device nodes that containers really get."""

import json
import os
import shutil
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from cluster.nvidia_runtime import CAPS, DRIVER_ROOT, LIBRARY, MACHINE, MIG_DEVICES, cap_node
from driver.driver import VERSION, Driver, build, build_cuda
from driver.mig import MONITOR

SYSFS = f"{MACHINE}/machine/sys"
"""The folder on the node with what the kernel shows of the GPUs and their kernel module."""
MAJOR = 195
"""The major number of NVIDIA's character devices. No driver has it here: open fails with ENXIO if it is allowed, and
with EPERM if not."""
CAPS_MAJOR = 500
"""The major number of the device nodes of MIG. The driver gets one from the kernel, so any that is free will do."""
HOST_PROC = "/run/network-cards/proc"
"""The folder on the node that has what the kernel says of Onload. A real pod sees it in its own /proc."""
LAYOUT = "0:3g.40gb,1g.10gb,1g.10gb;1:7g.80gb"
Lay = Callable[[str], None]
"""Changes the layout of the node's MIG devices."""
_OTHERS = {"nvidiactl": 255, "nvidia-modeset": 254, "nvidia-uvm": 253, "nvidia-uvm-tools": 252}
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
        library = self._driver.root / LIBRARY
        library.unlink()
        for made in (build(library.parent), build_cuda(library.parent)):
            made.symlink_to(made.rename(made.with_suffix(f".{VERSION}")).name)  # as a driver is installed
        dev = self._driver.root / "dev"
        for name in {*_OTHERS, *(node.name for node in dev.iterdir())}:
            node = dev / name
            minor = _OTHERS[name] if name in _OTHERS else int(name.removeprefix("nvidia"))
            make_node(node, MAJOR, minor)
        (self._driver.root / CAPS).mkdir()
        _make_cap(self._driver.root / cap_node(MONITOR), MONITOR)
        self._driver.mig.make_node = _make_cap
        self._driver.mig.permit_by(f"/{cap_node(MONITOR)}")

    def lay_out(self, layout: str) -> None:
        """Change the MIG devices to those of a layout, see `driver.mig`, and their device nodes."""
        self.driver.mig(layout)
        (self._folder / MIG_DEVICES).write_text(json.dumps(self.driver.mig.nodes()))

    def close(self) -> None:
        """Remove the GPUs."""
        if self._driver is not None:
            self._driver.close()
            self._driver = None


def make_node(node: Path, major: int, minor: int) -> None:
    """Make a device node that everybody may open, in the place of what is there."""
    node.unlink(missing_ok=True)
    os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(major, minor))
    node.chmod(0o666)


def _make_cap(node: Path, minor: int) -> None:
    """Make a device node of MIG, unless there is one: the driver does not make it anew either."""
    if not node.exists():
        make_node(node, CAPS_MAJOR, minor)


def with_stand_in(manifest: Any, *, mounts_driver: bool) -> Any:
    """Add the driver root, as the guide says, and the stand-in's folder to a DaemonSet of the gateway."""
    if manifest["kind"] != "DaemonSet":
        return manifest
    pod = manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    add_folder(pod, "machine", MACHINE, MACHINE, is_readonly=False)
    if any(volume["name"] == "host-sys" for volume in pod["volumes"]):
        add_folder(pod, "host-proc", HOST_PROC, "/host/proc")
    if mounts_driver:
        add_folder(pod, "driver-root", DRIVER_ROOT, "/driver-root")
        container["args"] += [f"--driver-root={DRIVER_ROOT}", "--driver-root-ctr-path=/driver-root"]
    return manifest


def add_folder(pod: Any, name: str, host: str, inside: str, *, is_readonly: bool = True) -> None:
    """Give the container of a pod a folder of the host."""
    (container,) = pod["containers"]
    pod["volumes"].append({"name": name, "hostPath": {"path": host, "type": "Directory"}})
    container["volumeMounts"].append({"name": name, "mountPath": inside, "readOnly": is_readonly})


def render(text: str, *, mounts_driver: bool) -> str:
    """Do the same with a text of several manifests."""
    manifests = [
        with_stand_in(manifest, mounts_driver=mounts_driver) for manifest in yaml.safe_load_all(text) if manifest
    ]
    return yaml.safe_dump_all(manifests)


if __name__ == "__main__":  # Helm's post-renderer: reads the chart's manifests, and writes those to apply
    sys.stdout.write(render(sys.stdin.read(), mounts_driver=False))
