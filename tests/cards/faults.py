"""What can happen to the links of the made-up cards, and to single files."""

import contextlib
import os
from enum import Enum
from pathlib import Path

from cards.facts import Function
from cards.files import HostFiles
from cards.writing import link_files

LIVE_INTERFACES = "/sys/devices/virtual/net"
"""Where a genuine folder of this name has to be mounted below the root, if an interface is wired."""


class Broken(Enum):
    """How a file cannot be read, or says nothing of use."""

    MISSING = "missing"
    """ENOENT"""
    FOLDER = "folder"
    """EISDIR"""
    LOOP = "loop"
    """ELOOP, from a link to itself."""
    MEMORY = "memory"
    """EIO, from a link to /proc/self/mem: only for readers that follow links out of the root."""
    EMPTY = "empty"
    GARBAGE = "garbage"
    NOT_UTF8 = "not UTF-8"
    HUGE = "huge"


_CONTENTS = {
    Broken.EMPTY: b"",
    Broken.GARBAGE: b"\x00\x07 :: -999999999999999999999999 \x7f\n",
    Broken.NOT_UTF8: b"\xff\xfe\xc3\x28\n",
    Broken.HUGE: b"9" * 1_000_000,
}
_TARGETS = {Broken.MEMORY: "/proc/self/mem"}


class Faults:
    """Changes of links and of single files."""

    root: Path
    files: HostFiles
    functions: dict[str, Function]

    def function_of_interface(self, name: str) -> Function:
        """Return the function that has this interface."""
        return next(each for each in self.functions.values() if each.net is not None and each.net.name == name)

    def port_folder(self, address: str) -> str:
        """Return the folder of the port of a function."""
        function = self.functions[address]
        assert function.rdma is not None
        return f"{function.folder}/infiniband/{function.rdma.name}/ports/1"

    def net_folder(self, interface: str) -> str:
        """Return the folder of an interface."""
        return f"{self.function_of_interface(interface).folder}/net/{interface}"

    def port_state(self, address: str, state: str, phys_state: str, rate: str | None = None) -> None:
        """Change what the port of a function says of itself, such as ``1: DOWN`` and ``2: Polling``."""
        folder = self.port_folder(address)
        self.files.write(f"{folder}/state", state)
        self.files.write(f"{folder}/phys_state", phys_state)
        if rate is not None:
            self.files.write(f"{folder}/rate", rate)

    def port_down(self, address: str) -> None:
        """Pull the cable of the port of a function, as RDMA sees it."""
        self.port_state(address, "1: DOWN", "3: Disabled", "40 Gb/sec (4X QDR)")

    def port_up(self, address: str) -> None:
        """Put in the cable again."""
        rdma = self.functions[address].rdma
        assert rdma is not None
        rate = rdma.port.rate if rdma.port.state == "4: ACTIVE" else "100 Gb/sec (4X EDR)"
        self.port_state(address, "4: ACTIVE", "5: LinkUp", rate)

    def carrier(self, interface: str, *, is_up: bool) -> None:
        """Let an interface lose its link or get one."""
        folder = self.net_folder(interface)
        net = self.function_of_interface(interface).net
        assert net is not None
        self.files.write_all(folder, link_files(net.speed, is_up=is_up))
        for name in ("carrier_changes", "carrier_up_count" if is_up else "carrier_down_count"):
            self.files.write(f"{folder}/{name}", int(self.files.text(f"{folder}/{name}")) + 1)

    def switch_off(self, interface: str) -> None:
        """Switch an interface off, as ``ip link set down`` does. The kernel then has no carrier to tell."""
        folder = self.net_folder(interface)
        self.carrier(interface, is_up=False)
        self.files.write(f"{folder}/flags", "0x1002")

    def switch_on(self, interface: str) -> None:
        """Switch an interface on. It has a link at once."""
        self.carrier(interface, is_up=True)
        self.files.write(f"{self.net_folder(interface)}/flags", "0x1003")

    def count(self, address: str, counter: str, value: int) -> None:
        """Change a counter of the port of a function, such as ``link_downed``."""
        self.files.write(f"{self.port_folder(address)}/counters/{counter}", value)

    def wire(self, interface: str) -> None:
        """Let an interface be a genuine one of this name, such as a veth.

        A genuine /sys/devices/virtual/net has to be mounted at `LIVE_INTERFACES` below the root.
        """
        folder = self.net_folder(interface)
        self.files.folder(LIVE_INTERFACES)
        self.files.remove(folder)
        self.files.link(folder, f"{LIVE_INTERFACES}/{interface}")
        self.files.link(f"/sys/class/net/{interface}", f"{LIVE_INTERFACES}/{interface}")

    def hang(self, path: str) -> None:
        """Let a file hang whoever opens it, as a dead firmware does, until `answer`."""
        self.files.remove(path)
        os.mkfifo(self.files.at(path))

    def answer(self, path: str, text: str) -> None:
        """Let a file that hangs answer with this text, also those who wait for it."""
        place = self.files.at(path)
        aside = place.with_name(f".{place.name}")
        place.rename(aside)
        self.files.write(path, text)
        with contextlib.suppress(OSError):  # nobody waits, or whoever waited cannot read from a pipe
            waiting = os.open(aside, os.O_WRONLY | os.O_NONBLOCK)
            with os.fdopen(waiting, "wb", buffering=0) as opened:
                opened.write(f"{text}\n".encode())
        aside.unlink()

    def break_file(self, path: str, how: Broken) -> None:
        """Let a file be unreadable, or say nothing of use."""
        self.files.remove(path)
        place = self.files.at(path)
        if how in _CONTENTS:
            place.write_bytes(_CONTENTS[how])
        elif how is Broken.FOLDER:
            place.mkdir()
        elif how is Broken.LOOP:
            place.symlink_to(place.name)
        elif how in _TARGETS:
            place.symlink_to(_TARGETS[how])
