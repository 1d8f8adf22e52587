"""The made-up cards on disk: a folder that looks like the root of a host, for everything that can be told a root.

`Cards` writes the three cards of `facts`, and changes them as the kernel, an administrator or a pod would. Everything
is done in the kernel's order: a function's link on the bus goes first, and comes last.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Self

from cards.facts import CONNECTX6, SOLARFLARE, Function, connectx6_vf, infiniband, many
from cards.faults import Faults
from cards.files import HostFiles
from cards.onload import Onload
from cards.writing import (
    is_loaded,
    remove_rdma_cm,
    uevent,
    write_char_devices,
    write_common,
    write_driver,
    write_function,
    write_interface,
    write_rdma,
    write_rdma_cm,
    write_rdma_modules,
)

GIVEN_AWAY = ("net", "infiniband", "infiniband_verbs", "infiniband_mad")
"""The folders of a function that are empty while a pod has it."""
CLASSES = ("net", "infiniband", "infiniband_verbs", "infiniband_mad")


class Cards(Faults, Onload):
    """The made-up cards of a host, below a folder. A function is named by its PCI address."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.files = HostFiles(root)
        self.functions: dict[str, Function] = {}
        """What is on the bus."""
        self.unplugged: dict[str, Function] = {}
        write_common(self.files)

    def connectx6(self) -> Self:
        """Add a ConnectX-6 with two ports, RoCE, and four virtual functions on the first one (tree A)."""
        return self.add(CONNECTX6)

    def infiniband(self, number: int | None = None) -> Self:
        """Add an HCA of InfiniBand whose port is down (tree B). ``number`` is that of its uverbs, else the next one."""
        return self.add([infiniband(self._next_number() if number is None else number)])

    def solarflare(self, *, loaded: bool = True) -> Self:
        """Add a Solarflare X2522 (tree C), with the modules of Onload or without them."""
        self.add(SOLARFLARE)
        self.write_driver_of_solarflare()
        if loaded:
            self.load_onload()
        return self

    def many(self, hcas: int = 8, vfs: int = 16) -> Self:
        """Add this many HCAs, each with this many virtual functions."""
        return self.add(many(hcas, vfs))

    def add(self, functions: Iterable[Function]) -> Self:
        """Add functions. Those with RDMA bring its modules."""
        for function in functions:
            if function.rdma is not None and not is_loaded(self.files, "ib_core"):
                write_rdma_modules(self.files)
            write_function(self.files, function)
            self.functions[function.address] = function
        return self

    def _next_number(self) -> int:
        numbers = [each.rdma.number for each in self.functions.values() if each.rdma is not None]
        return max(numbers, default=-1) + 1

    def unplug(self, address: str) -> None:
        """Take a function off the bus, with its virtual functions."""
        for each in [each for each in self.functions.values() if each.parent == address]:
            self.unplug(each.address)
        function = self.functions.pop(address)
        self.unplugged[address] = function
        self.files.remove(f"/sys/bus/pci/devices/{address}")
        if function.parent is not None:
            self.files.remove(f"/sys/devices/{function.bridges}/{function.parent}/virtfn{function.vf_number}")
        self._take_from_driver(function)
        self.files.remove(f"/sys/bus/pci/drivers/{function.driver}/{address}")
        self.files.remove(function.folder)

    def plug(self, address: str) -> None:
        """Put a function on the bus again, as it was made. Its virtual functions do not come by themselves."""
        function = self.unplugged.pop(address)
        has_vfs = function.total_vfs and function.vfs
        self.add([replace(function, vfs=0) if has_vfs else function])

    def numvfs(self, address: str, count: int, first_uverbs: int | None = None) -> None:
        """Write ``sriov_numvfs``. Virtual functions come from none only, with uverbs from this number on.

        They are what they were before, and new ones are like those of tree A.
        """
        for each in [each for each in self.functions.values() if each.parent == address]:
            self.unplug(each.address)
        function = replace(self.functions[address], vfs=count)
        self.functions[address] = function
        self.files.write(f"{function.folder}/sriov_numvfs", count)
        first = self._next_number() if first_uverbs is None else first_uverbs
        self.add(self._vf(address, vf, first + vf) for vf in range(count))

    def _vf(self, parent: str, vf: int, number: int) -> Function:
        """Return a virtual function, as it was before if it was there."""
        before = [each for each in self.unplugged.values() if (each.parent, each.vf_number) == (parent, vf)]
        if not before:
            return connectx6_vf(vf, number)
        known = self.unplugged.pop(before[0].address)
        return replace(known, rdma=None if known.rdma is None else replace(known.rdma, number=number))

    def give_away(self, address: str, *, with_rdma: bool = True) -> None:
        """Let a pod have a function, as its interface goes to the pod's network namespace.

        Its RDMA device goes too, unless RDMA devices are shared among namespaces. Its device nodes stay.
        """
        function = self.functions[address]
        folders = GIVEN_AWAY if with_rdma else ("net",)
        self._leave_classes(function, folders)
        for folder in folders:
            self.files.folder(f"{function.folder}/{folder}")
            self.files.clear(f"{function.folder}/{folder}")

    def take_back(self, address: str, number: int | None = None) -> None:
        """Let a function come back when its pod has ended. ``number`` is that of its uverbs, if it is another one."""
        function = self.functions[address]
        self.give_away(address)
        if number is not None and function.rdma is not None:
            for kind in ("uverbs", "umad", "issm"):
                self.files.remove(f"/dev/infiniband/{kind}{function.rdma.number}")
            function = replace(function, rdma=replace(function.rdma, number=number))
            self.functions[address] = function
        if function.net is not None:
            write_interface(self.files, function, function.net)
        if function.rdma is not None and is_loaded(self.files, "mlx5_ib"):
            write_rdma(self.files, function, function.rdma)

    def no_driver(self, address: str) -> None:
        """Unbind the driver of a function."""
        function = self.functions[address]
        self._take_from_driver(function)
        self.files.remove(f"/sys/bus/pci/drivers/{function.driver}/{address}")
        self.files.remove(f"{function.folder}/driver")
        for folder in GIVEN_AWAY:
            self.files.remove(f"{function.folder}/{folder}")
        text = uevent(function, function.vendor.upper(), function.device.upper(), driver="")
        self.files.write(f"{function.folder}/uevent", text)

    def bind(self, address: str) -> None:
        """Give a function to its driver again."""
        function = self.functions[address]
        text = uevent(function, function.vendor.upper(), function.device.upper())
        self.files.write(f"{function.folder}/uevent", text)
        write_driver(self.files, function)

    def unload_mlx5_ib(self) -> None:
        """Unload the module that makes RDMA devices. The functions keep their parts for it."""
        for function in self.functions.values():
            self._drop_rdma(function)
        self.files.remove("/sys/module/mlx5_ib")

    def load_mlx5_ib(self) -> None:
        """Load the module that makes RDMA devices."""
        self.files.write("/sys/module/mlx5_ib/initstate", "live")
        for function in self.functions.values():
            if function.rdma is not None and function.driver is not None:
                write_rdma(self.files, function, function.rdma)

    def unload_ib_uverbs(self) -> None:
        """Unload the module that makes the device nodes of RDMA devices."""
        for function in self.functions.values():
            self.remove_node(function.address)
        self.files.remove("/sys/module/ib_uverbs")

    def remove_node(self, address: str) -> None:
        """Remove the uverbs of a function."""
        function = self.functions[address]
        self._leave_classes(function, ("infiniband_verbs",))
        self.files.remove(f"{function.folder}/infiniband_verbs")
        if function.rdma is not None:
            self.files.remove(f"/dev/infiniband/uverbs{function.rdma.number}")

    def add_node(self, address: str) -> None:
        """Create uverbs and umad of a function."""
        function = self.functions[address]
        if function.rdma is not None:
            write_char_devices(self.files, function, function.rdma)

    def unload_rdma_ucm(self) -> None:
        """Unload the module that makes rdma_cm."""
        remove_rdma_cm(self.files)

    def load_rdma_ucm(self) -> None:
        """Load the module that makes rdma_cm."""
        write_rdma_cm(self.files)

    def make_exclusive(self) -> None:
        """Let each RDMA device belong to one network namespace."""
        self.files.write("/sys/module/ib_core/parameters/netns_mode", "N")

    def rename_interface(self, name: str, new: str) -> None:
        """Rename an interface."""
        function = self.function_of_interface(name)
        assert function.net is not None
        folder = f"{function.folder}/net"
        self.files.remove(f"/sys/class/net/{name}")
        self.files.at(f"{folder}/{name}").rename(self.files.at(f"{folder}/{new}"))
        self.files.write(f"{folder}/{new}/uevent", f"INTERFACE={new}\nIFINDEX={function.net.ifindex}")
        self.files.link(f"/sys/class/net/{new}", f"{folder}/{new}")
        self.functions[function.address] = replace(function, net=replace(function.net, name=new))

    def _take_from_driver(self, function: Function) -> None:
        self._drop_rdma(function)
        self._leave_classes(function, CLASSES)
        for part in function.auxiliary:
            self.files.remove(f"/sys/bus/auxiliary/devices/{part}")
            self.files.remove(f"{function.folder}/{part}")

    def _drop_rdma(self, function: Function) -> None:
        """Remove everything of the RDMA device of a function."""
        self._leave_classes(function, CLASSES[1:])
        for folder in CLASSES[1:]:
            self.files.remove(f"{function.folder}/{folder}")
        if function.rdma is not None:
            for kind in ("uverbs", "umad", "issm"):
                self.files.remove(f"/dev/infiniband/{kind}{function.rdma.number}")

    def _leave_classes(self, function: Function, classes: Iterable[str]) -> None:
        """Remove the links to what a function has, as each class has one."""
        for each in classes:
            for name in self.files.names(f"{function.folder}/{each}"):
                self.files.remove(f"/sys/class/{each}/{name}")
