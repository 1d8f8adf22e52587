"""What one inventory has that another has not."""

from collections.abc import Sequence
from typing import NamedTuple

from plugin_gateway.core.devices import Device


class Difference(NamedTuple):
    """The difference between two lists of devices. Each field keeps the order of its list."""

    added: tuple[Device, ...]
    removed: tuple[Device, ...]
    altered: tuple[Device, ...]
    """Devices with the same id but other attributes, as they are in the new list."""


def diff(before: Sequence[Device], after: Sequence[Device]) -> Difference:
    """Return which devices were added, removed or altered. Devices are compared by id."""
    old = {device.id: device for device in before}
    new = {device.id for device in after}
    return Difference(
        added=tuple(device for device in after if device.id not in old),
        removed=tuple(device for device in before if device.id not in new),
        altered=tuple(device for device in after if device.id in old and device != old[device.id]),
    )
