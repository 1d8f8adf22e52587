"""The devices that a node had, as JSON values, in a form that other versions of the gateway can read.

Reading is lenient: a key that this version does not know is ignored, and a device that cannot be read is still counted.
"""

from collections.abc import Mapping
from typing import NamedTuple

from plugin_gateway.adapters.gateway.state_file import Decoded
from plugin_gateway.adapters.support.strict_json import MisfitError, plain, shown, whole
from plugin_gateway.core.device_count import Known, KnownDevice
from plugin_gateway.core.devices import PhysicalId, parse_device_id
from plugin_gateway.core.errors import InvalidValueError

VERSION = 1
"""Version of the form. Every version can be read."""
MAX_DEVICES = 10_000
MAX_TEXT = 4096
"""Characters of one text."""


class Remembered(NamedTuple):
    """What is kept for the next start of the gateway."""

    known: Known
    told: str | None
    """The missing devices, in the words in which they were said last. Another start does not say the same again."""


def encode(memory: Remembered) -> Mapping[str, object]:
    """Return the memory as values that JSON supports."""
    return {
        "version": VERSION,
        "number": memory.known.number,
        "devices": {device.id: plain(device.pci_address, MAX_TEXT) for device in memory.known.devices},
        "told": plain(memory.told, MAX_TEXT) if memory.told is not None else None,
    }


def decode(value: object) -> Decoded[Remembered]:
    """Return the memory that a file of any version contains.

    Raises:
        InvalidValueError: it contains nothing that a gateway writes.
    """
    if not isinstance(value, dict) or not isinstance(value.get("devices"), dict):
        raise InvalidValueError(f"{shown(value)} where the devices of a node belong")
    problems: list[str] = []
    entries = value["devices"]
    devices = [_device(name, address, problems) for name, address in list(entries.items())[:MAX_DEVICES]]
    known = tuple(device for device in devices if device is not None)
    number = max(_number(value.get("number", len(entries)), len(entries), problems), len(known))
    told = value.get("told")
    if not (told is None or _is_plain(told)):
        problems.append(f"told: {shown(told)}")
        told = None
    return Decoded(Remembered(Known(number, known), told), tuple(problems[:8]))


def _device(name: str, address: object, problems: list[str]) -> KnownDevice | None:
    try:
        device = PhysicalId(parse_device_id(name))
    except InvalidValueError:
        problems.append(f"device: {shown(name)}")
        return None
    if not isinstance(address, str) or not _is_plain(address):
        problems.append(f"address of {device}: {shown(address)}")
        address = ""
    return KnownDevice(device, address)


def _number(value: object, otherwise: int, problems: list[str]) -> int:
    try:
        number = whole(value)
    except MisfitError:
        number = MAX_DEVICES + 1
    if number > MAX_DEVICES:
        problems.append(f"number: {shown(value)}")
        return otherwise
    return number


def _is_plain(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT and value.isprintable()
