"""The GPUs that the kernel shows on the PCI bus, whether a driver has them or not. It asks no driver."""

import os
from typing import NamedTuple

VENDOR = "0x10de"
"""NVIDIA's number in sysfs."""
DISPLAY_CLASS = "0x03"
"""How the class of a display controller begins in sysfs. A GPU without a display is one too."""
CONFIG_SIZE = 256
"""Bytes of the configuration space. The kernel shows the first 64 of them to a process without CAP_SYS_ADMIN."""
DRIVER = "nvidia"
"""The kernel driver whose GPUs NVML lists."""


class PciFunction(NamedTuple):
    """A GPU on the PCI bus."""

    address: str
    """In the form that sysfs uses, for example 0000:1b:00.0."""
    driver: str | None
    """The kernel driver that has it. None if none has."""

    @property
    def is_for_nvml(self) -> bool:
        """Whether NVML should list it: nobody gave it to another kernel driver."""
        return self.driver in {DRIVER, None}


Functions = tuple[PciFunction, ...]


class PciBus:
    """The PCI bus in sysfs. Which functions are GPUs is only read again when functions came or went."""

    def __init__(self, sysfs: str) -> None:
        self._folder = f"{sysfs}/bus/pci/devices"
        self._names: list[str] = []
        self._gpus: list[str] = []
        self._before: Functions | None = None
        self._latest: Functions | None = None

    def look(self) -> None:
        """Look at the bus, and remember the look before.

        A GPU that comes, goes or gets another driver is seen by NVML a moment earlier or later. Therefore only what two
        looks show alike is compared with NVML's list.
        """
        self._before, self._latest = self._latest, self.gpus() or ()

    @property
    def settled(self) -> Functions:
        """The GPUs that the last two looks show alike. After the first look, those that it showed."""
        before = self._latest if self._before is None else self._before
        return tuple(each for each in self._latest or () if each in (before or ()))

    @property
    def is_quiet(self) -> bool:
        """Whether the last two looks show the same."""
        return self._before == self._latest

    def numa_node(self, address: str) -> int | None:
        """Return the NUMA node of a function. None if there is none (sysfs shows -1) or it is unknown."""
        try:
            node = int(self._read(address, "numa_node"))
        except ValueError:
            return None
        return node if node >= 0 else None

    def path(self, address: str) -> tuple[str, ...]:
        """Return the host bridge and the bridges above a function, as its link names them. Empty if it is unknown."""
        try:
            *above, _ = os.readlink(f"{self._folder}/{address}").split("/")  # noqa: PTH115 - pathlib is slow to import
        except (OSError, ValueError):
            return ()
        root = next((place for place, name in enumerate(above) if name.startswith("pci")), len(above))
        return tuple(name for name in above[root:] if name.isascii())

    def class_of(self, address: str) -> str:
        """Return the class of a function, such as ``0x030200``. Empty if it is unknown."""
        return self._read(address, "class")

    def config(self, address: str) -> bytes | None:
        """Return the configuration space of a function. None if not all of it can be read."""
        try:
            with open(f"{self._folder}/{address}/config", "rb") as file:  # noqa: PTH123 - see above
                data = file.read(CONFIG_SIZE)
        except OSError:
            return None
        return data if len(data) == CONFIG_SIZE else None

    def gpus(self) -> Functions | None:
        """Return all GPUs in the order of their addresses. None if the bus cannot be seen."""
        try:
            names = sorted(os.listdir(self._folder))  # noqa: PTH208 - pathlib is slow to import
        except OSError:
            return None
        if names != self._names:
            self._names, self._gpus = names, [name for name in names if self._is_gpu(name)]
        return tuple(PciFunction(name, self._driver_of(name)) for name in self._gpus)

    def _is_gpu(self, address: str) -> bool:
        """Return whether it is a whole GPU of NVIDIA. A virtual function is a part of one, for a virtual machine."""
        return (
            self._read(address, "vendor") == VENDOR
            and self._read(address, "class").startswith(DISPLAY_CLASS)
            and not os.path.lexists(f"{self._folder}/{address}/physfn")
        )

    def _read(self, address: str, name: str) -> str:
        try:
            with open(f"{self._folder}/{address}/{name}") as file:  # noqa: PTH123 - pathlib is slow to import
                return file.read().strip()
        except (OSError, ValueError):
            return ""

    def _driver_of(self, address: str) -> str | None:
        try:
            return os.readlink(f"{self._folder}/{address}/driver").rpartition("/")[2]  # noqa: PTH115 - see above
        except OSError:
            return None
