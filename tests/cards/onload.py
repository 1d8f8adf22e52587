"""What Onload adds to the made-up Solarflare card."""

from typing import Self

from cards.facts import Function
from cards.files import HostFiles

MODULES = {"onload": 1, "sfc_resource": 2, "sfc_char": 0}
"""The modules of Onload, each with how often it is in use."""
NODES = {"onload_epoll": 236, "onload": 237, "sfc_char": 238}
"""Its char devices, each with its major number."""
VERSION = "9.0.2.140"
_CHARACTER_DEVICES = {1: "mem", 4: "tty", 5: "ptmx", 10: "misc", 136: "pts"}
LIBRARIES = "/opt/onload/usr/lib64"


class Onload:
    """Changes of Onload's modules and files."""

    files: HostFiles
    functions: dict[str, Function]

    def write_driver_of_solarflare(self) -> None:
        """Write what the network driver alone has."""
        self.files.write("/sys/module/sfc/initstate", "live")
        self._write_proc_devices({})

    def load_onload(self) -> Self:
        """Load the modules of Onload, and install its files for containers."""
        for module, count in MODULES.items():
            self.files.write(f"/sys/module/{module}/initstate", "live")
            self.files.write(f"/sys/module/{module}/refcnt", count)
        parameters = "/sys/module/onload/parameters"
        self.files.write(f"{parameters}/cplane_spawn_server", "Y")
        self.files.write(f"{parameters}/cplane_server_path", "")
        self.files.write(f"{parameters}/cplane_server_params", "")
        self.files.write("/sys/module/sfc_resource/parameters/enable_accel_by_default", 1)
        for function in self._solarflare_functions():
            self.accelerate(function.address, is_on=True)
        self._write_proc_devices(NODES)
        for name in NODES:
            self.add_onload_node(name)
        self.onload_version(VERSION)
        self.files.touch("/proc/driver/onload/stacks_ul")
        self.install_onload()
        return self

    def unload_onload(self) -> Self:
        """Unload the modules of Onload. Its files for containers stay."""
        for module in MODULES:
            self.files.remove(f"/sys/module/{module}")
        for function in self._solarflare_functions():
            self.files.remove(f"{function.folder}/sfc_resource")
        self._write_proc_devices({})
        for name in NODES:
            self.remove_onload_node(name)
        self.files.remove("/proc/driver/onload")
        return self

    def accelerate(self, address: str, *, is_on: bool) -> None:
        """Write whether Onload may use a function."""
        self.files.write(f"{self.functions[address].folder}/sfc_resource/enable", int(is_on))

    def onload_version(self, version: str, interface: str = "0123456789abcdef" * 2) -> None:
        """Write the version of the module."""
        lines = ("onload_product: OpenOnload", f"onload_version: {version}", f"uk_intf_ver: {interface}")
        self.files.write("/proc/driver/onload/version", "\n".join(lines))

    def install_onload(self, libraries: str = LIBRARIES) -> None:
        """Install Onload's files for containers."""
        self.files.write(f"{libraries}/libonload.so", "libonload")
        self.files.write(f"{libraries}/libonload_ext.so.2.0.0", "libonload_ext")
        self.files.link(f"{libraries}/libonload_ext.so.2", f"{libraries}/libonload_ext.so.2.0.0")
        self.files.write("/opt/onload/usr/bin/onload", "#!/bin/sh")

    def add_onload_node(self, name: str) -> None:
        """Create a char device of Onload."""
        folder = f"/sys/devices/virtual/{name}/{name}"
        self.files.write(f"{folder}/dev", f"{NODES[name]}:0")
        lines = (f"MAJOR={NODES[name]}", "MINOR=0", f"DEVNAME={name}", "DEVMODE=0666")
        self.files.write(f"{folder}/uevent", "\n".join(lines))
        self.files.link(f"/sys/class/{name}/{name}", folder)
        self.files.touch(f"/dev/{name}")

    def remove_onload_node(self, name: str) -> None:
        """Remove a char device of Onload."""
        self.files.remove(f"/sys/class/{name}")
        self.files.remove(f"/sys/devices/virtual/{name}")
        self.files.remove(f"/dev/{name}")

    def _solarflare_functions(self) -> list[Function]:
        return [each for each in self.functions.values() if each.driver == "sfc"]

    def _write_proc_devices(self, more: dict[str, int]) -> None:
        numbers = sorted({**_CHARACTER_DEVICES, **{number: name for name, number in more.items()}}.items())
        lines = ["Character devices:", *(f"{number:3} {name}" for number, name in numbers)]
        self.files.write("/proc/devices", "\n".join([*lines, "", "Block devices:", "259 blkext"]))
