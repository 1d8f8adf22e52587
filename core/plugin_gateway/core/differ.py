"""What is different between two device lists."""

from collections.abc import Sequence
from typing import NamedTuple

from plugin_gateway.core.devices import Device


class Difference(NamedTuple):
    """Devices by what became of them, each in the order of its list."""

    added: tuple[Device, ...]
    removed: tuple[Device, ...]
    altered: tuple[Device, ...]
    """Same id, other attributes; as they are afterwards."""


def diff(before: Sequence[Device], after: Sequence[Device]) -> Difference:
    """Compare by device id."""
    old = {device.id: device for device in before}
    new = {device.id for device in after}
    return Difference(
        added=tuple(device for device in after if device.id not in old),
        removed=tuple(device for device in before if device.id not in new),
        altered=tuple(device for device in after if device.id in old and device != old[device.id]),
    )
