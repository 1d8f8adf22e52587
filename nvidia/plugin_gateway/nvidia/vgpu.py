"""Whether a hypervisor made a GPU, and with which driver: its PCI configuration space says so.

Source: NVIDIA/k8s-device-plugin, internal/vgpu. The PCI Local Bus Specification has the list of capabilities.
"""

from typing import NamedTuple

_STATUS, _HAS_LIST, _FIRST = 0x06, 0x10, 0x34
"""Where the status is, its bit for a list of capabilities, and where the place of the first one is."""
_VENDOR = 0x09
"""The number of a capability of the vendor's own."""
_NEXT, _LENGTH, _SIGNATURE, _RECORDS = 1, 2, 3, 5
"""Where a capability has the place of the next one, its length, the signature, and its records."""
_VGPU = b"VF"
_DRIVER_RECORD = 0
_TEXT = 10
"""Bytes of a text. Unused ones are zero."""


class HostDriver(NamedTuple):
    """The driver of the hypervisor. Empty texts if the GPU does not tell it."""

    version: str = ""
    branch: str = ""


def host_driver(config: bytes) -> HostDriver | None:
    """Return the driver of the hypervisor that made a GPU. None if it is a GPU of the machine.

    ``config`` is the whole configuration space.
    """
    capability = _vendors(config)
    if capability[_SIGNATURE:_RECORDS] != _VGPU:
        return None
    place = _RECORDS
    while place + 1 < len(capability):
        record, length = capability[place], capability[place + 1]
        if record == _DRIVER_RECORD:
            texts = capability[place + 2 : place + 2 + 2 * _TEXT]
            return HostDriver(_text(texts[:_TEXT]), _text(texts[_TEXT:]))
        if length == 0:
            break
        place += length
    return HostDriver()


def _vendors(config: bytes) -> bytes:
    """Return the first capability of the vendor's own. Empty if there is none, or the list is not valid."""
    if not config[_STATUS] & _HAS_LIST:
        return b""
    place, visited = config[_FIRST], set[int]()
    while place and place not in visited and place + _LENGTH < len(config):
        visited.add(place)
        if config[place] == _VENDOR:
            return config[place : place + config[place + _LENGTH]]
        place = config[place + _NEXT]
    return b""


def _text(data: bytes) -> str:
    return data.strip(b"\0").decode("ascii", errors="replace")
