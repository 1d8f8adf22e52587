"""Genuine events of the kernel for a process in a network namespace of its own. Run as a program, it makes them there.

That program reads orders from its input, a line each, and answers each with the time just before it was carried out.
"""

import fcntl
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

DEVICE = Path("/sys/class/misc/fuse/uevent")
"""A device of which the kernel tells everybody, and nobody does anything about it."""
PEER = "bench-peer"
GET_FLAGS, SET_FLAGS, UP = 0x8913, 0x8914, 1


class Wire:
    """A wire in the network namespace of another process, whose ends are switched on and off."""

    def __init__(self, pid: int) -> None:
        self._command = ["nsenter", "--net", f"--target={pid}", sys.executable, __file__]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=10)

    def tell_of_device(self) -> float:
        """Have the kernel tell that a device changed. Return when."""
        return self._order("device")

    def make(self, name: str) -> None:
        """Make an interface of this name that has a link."""
        self._order(f"make {name}")

    def switch(self, *, on: bool) -> float:
        """Switch the other end of the wire on or off. Return when."""
        return self._order("on" if on else "off")

    def _order(self, words: str) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{words}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


def _make(name: str) -> None:
    for words in (
        ("add", name, "type", "veth", "peer", "name", PEER),
        ("set", name, "up"),
        ("set", PEER, "up"),
    ):
        subprocess.run(("ip", "link", *words), check=True, timeout=10)


def _switch(*, on: bool) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH14x", PEER.encode(), 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(control, GET_FLAGS, request), 16)
        fcntl.ioctl(control, SET_FLAGS, struct.pack("16sH14x", PEER.encode(), flags | UP if on else flags & ~UP))


def main() -> None:
    """Carry out orders until there are no more."""
    for line in sys.stdin:
        order, _, name = line.strip().partition(" ")
        moment = time.monotonic()
        if order == "device":
            DEVICE.write_text("change\n")
        elif order == "make":
            _make(name)
        else:
            _switch(on=order == "on")
        print(moment, flush=True)


if __name__ == "__main__":
    main()
