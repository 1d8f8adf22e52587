"""Reads records of the kernel's log: XIDs of GPUs, and SXids of NVSwitches.

A record of /dev/kmsg is ``prefix,sequence,time,flags;message`` (Documentation/ABI/testing/dev-kmsg in the kernel). The
facility is in the prefix above its three lowest bits. What a program writes to /dev/kmsg never has the kernel's one.
"""

import re
from typing import NamedTuple

from plugin_gateway.nvidia.sub_codes import SEVEREST, Registers

MARK = b"Xid"
"""A record without these bytes is of no interest. It is looked for before anything is decoded."""
_KERNEL = 0
"""The facility of the kernel's own records."""
_RECORD = re.compile(rb"(\d{1,10}),[^;\n]*;([^\n]*)")
_ADDRESS = r"\((?:PCI:)?([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})(?:\.[0-7])?\)"
_XID = re.compile(rf"NVRM: Xid {_ADDRESS}: (\d{{1,5}}),.*", re.IGNORECASE)
_SXID = re.compile(rf"nvidia-nvswitch\d+: SXid {_ADDRESS}: (\d{{1,6}}), (Non-fatal|Fatal)\b.*", re.IGNORECASE)
_SUB_CODE = re.compile(
    r"\b(Fatal|Non-?fatal)\s+XC.*?[(\[]0x([0-9a-f]{1,8})(?:\s+0x([0-9a-f]{1,8})[\s)\]]|[)\]])", re.IGNORECASE
)
"""The severity, intrinfo, and the error status if the line has it. A line that was cut before does not match."""


class XidLine(NamedTuple):
    """A line about an XID."""

    address: str
    """The PCI address of the GPU, in the form that sysfs uses."""
    xid: int
    registers: Registers | None
    """Of an NVLink 5 error, if the line has them."""


class SxidLine(NamedTuple):
    """A line about an SXid, an error of an NVSwitch."""

    address: str
    """The PCI address of the NVSwitch, in the form that sysfs uses."""
    sxid: int
    is_fatal: bool


def parse(record: bytes) -> XidLine | SxidLine | None:
    """Return what a record says about a GPU or an NVSwitch. None if it says nothing, or is not of the kernel."""
    found = _RECORD.match(record)
    if found is None or int(found[1]) >> 3 != _KERNEL:
        return None
    message = found[2].decode(errors="replace").strip()
    if (xid := _XID.fullmatch(message)) is not None:
        number = int(xid[4])
        return XidLine(_address(xid), number, _registers(message) if number in SEVEREST else None)
    if (sxid := _SXID.fullmatch(message)) is not None:
        return SxidLine(_address(sxid), int(sxid[4]), is_fatal=sxid[5].lower() == "fatal")
    return None


def _address(found: re.Match[str]) -> str:
    return f"{int(found[1], 16):04x}:{found[2]}:{found[3]}.0".lower()


def _registers(message: str) -> Registers | None:
    found = _SUB_CODE.search(message)
    if found is None:
        return None
    status = int(found[3], 16) if found[3] else None
    return Registers(int(found[2], 16), status, says_fatal=found[1].lower() == "fatal")
