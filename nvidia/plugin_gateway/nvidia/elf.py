"""What an ELF file says of itself: for which machine it is, and under which name the dynamic loader looks for it."""

import os
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import BinaryIO

_MAGIC = b"\x7fELF"
_LITTLE_64 = b"\x02\x01"
_HEADER = struct.Struct("<16sHHIQQQIHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_ENTRY = struct.Struct("<qQ")
_LOAD, _DYNAMIC = 1, 2
"""Types of segments: what is loaded, and the dynamic section."""
_END, _STRINGS, _SONAME = 0, 5, 14
"""Tags of the dynamic section."""
_MAX = 1 << 20
"""Bytes of the dynamic section, and of a name, that are read at most."""
MACHINES = {"x86_64": 62, "aarch64": 183}
"""The number of a machine in the header, by its name in uname(2)."""


class Elf(NamedTuple):
    """An ELF file of 64 bits."""

    machine: int
    soname: str
    """Empty if it has none."""


def read_elf(path: str) -> Elf | None:
    """Return what a file says. None if it is no ELF file. One of 32 bits has machine 0, and so has a damaged one.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib is slow to import
        start = file.read(_HEADER.size)
        if not start.startswith(_MAGIC):
            return None
        if start[4:6] != _LITTLE_64 or len(start) < _HEADER.size:
            return Elf(0, "")
        _, _, machine, _, _, offset, _, _, _, size, count = _HEADER.unpack(start)
        if size != _SEGMENT.size:
            return Elf(0, "")
        table = _read(file, offset, size * count)
        return Elf(machine, _soname(file, list(_SEGMENT.iter_unpack(table[: len(table) // size * size]))))


def is_for_this_machine(elf: Elf | None) -> bool:
    """Whether a program of this machine can load it. What is no ELF file is left to the loader."""
    return elf is None or elf.machine == MACHINES.get(os.uname().machine)


def _soname(file: "BinaryIO", segments: "list[tuple[int, ...]]") -> str:
    """Return the name by which the loader knows a library. Empty if it has none."""
    dynamic = next((each for each in segments if each[0] == _DYNAMIC), None)
    if dynamic is None:
        return ""
    data = _read(file, dynamic[2], min(dynamic[5], _MAX))
    entries: dict[int, int] = {}
    for tag, value in _ENTRY.iter_unpack(data[: len(data) // _ENTRY.size * _ENTRY.size]):
        if tag == _END:
            break
        entries.setdefault(tag, value)
    if _STRINGS not in entries or _SONAME not in entries:
        return ""
    for kind, _, offset, address, _, length, _, _ in segments:
        if kind == _LOAD and address <= entries[_STRINGS] < address + length:
            name = (
                _read(file, offset + entries[_STRINGS] - address + entries[_SONAME], 256)
                .split(b"\0")[0]
                .decode("ascii", "replace")
            )
            return name if name.isprintable() and "/" not in name else ""
    return ""


def _read(file: "BinaryIO", offset: int, length: int) -> bytes:
    """Return so many bytes from a place, or fewer. A place behind the end, which a damaged file names, has none."""
    if offset > os.fstat(file.fileno()).st_size:
        return b""
    file.seek(offset)
    return file.read(length)
