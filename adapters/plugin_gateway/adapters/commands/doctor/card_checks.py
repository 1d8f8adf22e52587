"""Checks of backends whose devices are network cards. What a node needs for them, their vendor knows."""

from collections.abc import Iterator, Sequence

from plugin_gateway.adapters.commands.doctor.findings import Finding, hint, mend, well
from plugin_gateway.core.devices import Device, Inventory
from plugin_gateway.core.health.observations import DriverUnavailable
from plugin_gateway.core.resources.rules import ResourceRule, excluded, unmatched

_MAX_NAMED = 8
"""Cards in one line."""


def check_inventory(
    inventory: Inventory | DriverUnavailable, rules: Sequence[ResourceRule], word: str
) -> Iterator[Finding]:
    """Check which cards there are, and which are offered. ``word`` is the common word for one of them.

    A node has cards for itself as well, so one that is not offered is no fault.
    """
    if isinstance(inventory, DriverUnavailable):
        yield mend(f"no {word} can be seen: {inventory.problem}", inventory.todo or "see dmesg on the host")
        return
    if inventory.physical:
        products = sorted({device.product for device in inventory.physical} - {""})
        named = f": {', '.join(products)}" if products else ""
        yield well(f"{_counted(len(inventory.physical), word)} on this machine{named}")
    elif not inventory.rejected:
        yield hint(f"no {word} is on this machine", "see `lspci -nn`, whether the machine has the card")
    for rejected in inventory.rejected:
        yield mend(f"{rejected.place} cannot be offered: {rejected.problem}", rejected.todo or "see dmesg on the host")
    for aside in inventory.set_aside:
        yield hint(f"{aside.place} is left to others: {aside.problem}")
    if left := unmatched(inventory.devices, rules):
        yield hint(
            f"{_counted(len(left), word)} in no resource: {_named(left)}",
            "plugin-gateway devices --explain tells of each which rule did not take it, and why",
        )
    if never := excluded(inventory.devices, rules):
        yield hint(f"not offered, as a rule says: {_named(never)}")


def _counted(count: int, word: str) -> str:
    return f"1 {word} is" if count == 1 else f"{count} {word}s are"


def _named(devices: Sequence[Device]) -> str:
    more = len(devices) - _MAX_NAMED
    return ", ".join(device.id for device in devices[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
