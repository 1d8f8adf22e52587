"""The tables of `plugin-gateway status`: one of devices, and one of network cards, of which people ask other things."""

from collections.abc import Mapping, Sequence

from plugin_gateway.adapters.gateway.device_status import DeviceStatus
from plugin_gateway.adapters.kubelet.checkpoint import Holder
from plugin_gateway.adapters.kubelet.holders import MAX_NAMES, names_by_device, names_by_resource
from plugin_gateway.adapters.support.terminal import fitted, local_time, table, terminal_width
from plugin_gateway.core.cards import function_words, interface_words, is_card

MAX_HOLDERS = 3
"""Containers that are named for one device. JSON has all."""
_HEAD = ("INDEX", "DEVICE", "PRODUCT", "RESOURCE", "HEALTH", "SINCE", "HELD BY")
_CARD_HEAD = ("DEVICE", "PRODUCT", "FUNCTION", "INTERFACE", "PORT", "RESOURCE", "HEALTH", "SINCE", "HELD BY")


def device_lines(devices: Sequence[DeviceStatus], holders: Sequence[Holder]) -> list[str]:
    """Return the tables, with who holds each device. The table of devices is there even if there is none."""
    held = HeldBy(holders, MAX_HOLDERS)
    cards = [device for device in devices if is_card(device.attributes)]
    others = [device for device in devices if not is_card(device.attributes)]
    lines = table([_HEAD, *((*_cells(device), held.words(device)) for device in others)]) if others or not cards else []
    if not cards:
        return lines
    rows = [_CARD_HEAD, *((*_card_cells(device), held.words(device)) for device in cards)]
    return [*lines, *([""] if lines else []), *fitted(rows, terminal_width())]


class HeldBy:
    """Who holds which device, in words."""

    def __init__(self, holders: Sequence[Holder], most: int = MAX_NAMES) -> None:
        """``most`` containers are named for each device."""
        self._by_device: Mapping[str, str] = names_by_device(holders, most)
        self._by_resource: Mapping[str, str] = names_by_resource(holders, most)

    def words(self, device: DeviceStatus) -> str:
        """Return the containers that hold a device. Who has an id of a pool has all of its devices."""
        if device.is_pooled:
            return self._by_resource.get(device.resource or "", "")
        return self._by_device.get(device.id, "")


def _cells(device: DeviceStatus) -> tuple[str, ...]:
    return (
        device.place_words,
        device.id,
        device.product_words,
        device.offer_words,
        device.health_words,
        _since(device),
    )


def _card_cells(device: DeviceStatus) -> tuple[str, ...]:
    return (
        device.id,
        device.product_words,
        function_words(device.attributes),
        interface_words(device.attributes),
        device.port_words,
        device.offer_words,
        device.health_words,
        _since(device),
    )


def _since(device: DeviceStatus) -> str:
    return local_time(device.since) if device.since is not None else ""
