"""NVIDIA's table of the sub-codes of NVLink 5 errors, XIDs 144 to 150, and how a sub-code is read from two registers.

A line of the kernel's log has the registers of such an XID. The first one, intrinfo, tells the unit of the GPU in its
lowest bits, and a number in bits 20 to 25. The second one is the unit's error status. Drivers below R575 print the unit
in another form than later ones. The two forms have no value in common for the same XID.
"""

import functools
import operator
from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import NamedTuple

R575 = 575
"""The first branch of the driver that prints the second form."""


class SubCodeAction(IntEnum):
    """The recovery action of a row, in the table's own words. A higher value is severer."""

    IGNORE = 0
    XID_154_EVAL = 1
    """The driver's recovery action decides, which XID 154 announces."""
    RESET_GPU = 2


class Row(NamedTuple):
    """One row of the table."""

    xid: int
    unit: str
    number: int
    """Bits 20 to 25 of intrinfo."""
    below_r575: str
    """The lowest bits of intrinfo, as drivers below R575 print it."""
    from_r575: str
    """The lowest bits of intrinfo, as later drivers print it."""
    status: int | None
    """The error status: one bit of it, or for some units the whole value. None if it does not matter."""
    action: SubCodeAction
    is_bit: bool
    """Whether the status is one bit of several, and not the whole value."""
    says_fatal: bool
    """Whether the driver's line calls it fatal, whatever the action is."""


class _Unit(NamedTuple):
    """The rows of one unit. ``whole`` is for units whose status is a value and not a set of bits."""

    xid: int
    name: str
    below_r575: str
    from_r575: str
    ignore: tuple[int, ...] = ()
    evaluate: tuple[int, ...] = ()
    reset: tuple[int, ...] = ()
    whole: bool = False


_HIGH = 0x80000000
_UNITS = (
    _Unit(144, "SAW_MVB", "0000100001", "0000001", ignore=(0x1, 0x4, 0x8, 0x20), reset=(0x2, 0x10)),
    _Unit(145, "RLW_CTRL", "0001100010", "0000011", ignore=(_HIGH,)),
    _Unit(145, "RLW_REMAP", "0010000010", "0000100", ignore=(0x100, 0x200, _HIGH),
          evaluate=(0x1, 0x2, 0x4, 0x8, 0x10, 0x20), reset=(0x40, 0x80)),
    _Unit(145, "RLW_RSPCOL", "0010100010", "0000101", ignore=(0x1, _HIGH), reset=(0x2,)),
    _Unit(145, "RLW_RXPIPE", "00011000010", "00000110", ignore=(0x1, 0x2, 0x4)),
    _Unit(145, "RLW_RXPIPE", "10011000010", "10000110", reset=(0x1, 0x2, 0x4)),
    _Unit(145, "RLW_RXPIPE", "0011000010", "0000110", ignore=(0x8, _HIGH)),
    _Unit(145, "RLW_SRC_TRACK", "0011100010", "0000111", ignore=(0x2, _HIGH), evaluate=(0x4, 0x8),
          reset=(0x1, 0x10, 0x20)),
    _Unit(145, "RLW_TAGSTATE", "0100000010", "0001000", ignore=(0x1, 0x10000, _HIGH), reset=(0x2, 0x20000, 0x100000)),
    _Unit(146, "TLW_CTRL", "0100100011", "0001001", ignore=(0x1, 0x2, _HIGH), reset=(0x4,)),
    _Unit(146, "TLW_RX/TLW_RX_PIPE0", "0101000011", "0001010", ignore=(0x1, 0x2, _HIGH), reset=(0x4,)),
    _Unit(146, "TLW_RX/TLW_RX_PIPE1", "0101000011", "0001011", ignore=(0x1, 0x2, _HIGH), reset=(0x4,)),
    _Unit(146, "TLW_TX/TLW_TX_PIPE0", "0101100011", "0001100", ignore=(0x1, 0x2, _HIGH), reset=(0x4,)),
    _Unit(146, "TLW_TX/TLW_TX_PIPE1", "0101100011", "0001101", ignore=(0x1, 0x2, _HIGH), reset=(0x4,)),
    _Unit(147, "TREX", "0110000100", "0001110", ignore=(0x1, _HIGH)),
    _Unit(148, "NVLPW_CTRL/NVLPW", "0000000101", "0001111", ignore=(_HIGH,)),
    _Unit(149, "NETIR_BER_EVENT", "1000100110", "0010011", ignore=(0x0, 0x1, 0x2, 0x3), whole=True),
    _Unit(149, "NETIR_MFDE_EVENT", "1001000110", "0010100", ignore=(0x3,), reset=(0x1, 0x4, 0x5, 0x7), whole=True),
    _Unit(150, "MSE Degraded", "0000000000", "0000000", reset=(0x0, 0xFFFFFFFF), whole=True),
    _Unit(150, "MSE_WATCHDOG", "0000000000", "0000000", reset=(0x0,), whole=True),
)  # fmt: skip
_LINK = ("NETIR_LINK_EVT/NETIR_LINK_DOWN", "0111000110", "0010001")
_LINK_DOWN: Mapping[SubCodeAction, tuple[int, ...]] = {
    SubCodeAction.RESET_GPU: (0, 1, 2, 4, 10, 15, 16, 17, 18, 21, 22, 32, 33, 34, 35, 36, 37, 42, 43),
    SubCodeAction.IGNORE: (38, 40),
}
"""The numbers of the unit that reports a link as down."""


def _rows() -> Iterator[Row]:
    for unit in _UNITS:
        for action, statuses in zip(SubCodeAction, (unit.ignore, unit.evaluate, unit.reset), strict=True):
            for status in statuses:
                parts = (unit.xid, unit.name, 0, unit.below_r575, unit.from_r575, status, action)
                yield Row(*parts, is_bit=not unit.whole, says_fatal=False)
    reset = SubCodeAction.RESET_GPU
    yield Row(149, "NETIR/NETIR_INT", 0, "0000000110", "0011000", None, reset, is_bit=False, says_fatal=True)
    for action, numbers in _LINK_DOWN.items():
        for number in numbers:
            name, below, later = _LINK
            yield Row(149, name, number, below, later, None, action, is_bit=False, says_fatal=True)


ROWS: tuple[Row, ...] = tuple(_rows())
"""Every row. A row of the sheet with a second action, which depends on one more bit, is two rows here."""

SEVEREST: Mapping[int, SubCodeAction] = {
    xid: max(row.action for row in ROWS if row.xid == xid) for xid in sorted({row.xid for row in ROWS})
}
"""The severest action of each XID that has sub-codes."""


class Registers(NamedTuple):
    """What a line tells about an NVLink 5 error."""

    intrinfo: int
    status: int | None
    """None if the line has only one register."""
    says_fatal: bool
    """Whether the line has the word Fatal."""


class Decoded(NamedTuple):
    """The meaning of a sub-code."""

    action: SubCodeAction
    what: str
    """In words, without what differs from line to line."""


@functools.lru_cache(maxsize=256)
def decode(xid: int, registers: Registers, branch: int | None) -> Decoded:
    """Return what a sub-code asks for. If the table does not have it, the severest action of its XID.

    ``branch`` is the first number of the driver's version. The form of that branch is tried first, then the other one,
    because there are drivers of later branches that still print the first form. Without a branch both are tried.
    Of several bits the severest counts. A bit that the table does not have makes the sub-code unknown. So does a line
    that calls itself fatal where the table does not.
    """
    is_later = branch is None or branch >= R575
    for later in (is_later, not is_later):
        rows = [row for row in ROWS if row.xid == xid and _fits(row, registers.intrinfo, later=later)]
        if meant := _meant(rows, registers):
            return meant
    return Decoded(SEVEREST[xid], f"XID {xid} with a sub-code that NVIDIA's table does not have")


def _fits(row: Row, intrinfo: int, *, later: bool) -> bool:
    lowest = row.from_r575 if later else row.below_r575
    return intrinfo >> 20 & 0x3F == row.number and intrinfo & ((1 << len(lowest)) - 1) == int(lowest, 2)


def _meant(rows: list[Row], registers: Registers) -> Decoded | None:
    """Return what the rows of one unit say about a status. None if they do not have it."""
    status = registers.status
    found = [row for row in rows if row.status is None or row.status == status]
    if not found and status:
        found = [row for row in rows if row.is_bit and row.status and row.status & status]
        if functools.reduce(operator.or_, (row.status or 0 for row in found), 0) != status:
            return None
    if not found:
        return None
    row = max(found, key=lambda each: each.action)
    if registers.says_fatal and row.action is not SubCodeAction.RESET_GPU and not row.says_fatal:
        return None
    return Decoded(row.action, words_of_row(row))


def words_of_row(row: Row) -> str:
    """Return the row in words, as a log has it."""
    return f"XID {row.xid} {row.unit}{_detail(row)}: {row.action.name}"


def _detail(row: Row) -> str:
    return f" number {row.number}" if row.status is None else f" status 0x{row.status:08x}"
