"""A tile for each physical device on the status page. First those that are not healthy, with what to do."""

from collections.abc import Mapping, Sequence

from plugin_gateway.adapters.gateway.device_status import DeviceStatus
from plugin_gateway.adapters.gateway.status import Status
from plugin_gateway.adapters.monitoring.markup import joined, moment, text
from plugin_gateway.core.cards import function_words, interface_words, is_card
from plugin_gateway.core.health.remedies import Remedies, causes_of

Holders = Mapping[str, str]
"""The containers that hold each device, in words."""


def tiles(status: Status, holders: Holders | None, remedies: Remedies) -> str:
    """Return the tiles. ``holders`` is None if they are not known."""
    groups = sorted(_by_physical(status), key=lambda group: all(_is_well(each) for each in group))
    made = [_tile(group, holders, remedies) for group in groups]
    return f"<div class=tiles>{''.join(made)}</div>" if made else "<p>no devices</p>"


def _by_physical(status: Status) -> Sequence[Sequence[DeviceStatus]]:
    """Return the devices of each physical device: the parts, or itself. Those that are absent come last."""
    groups: dict[str, list[DeviceStatus]] = {}
    for device in (*status.devices, *status.absent):
        groups.setdefault(device.physical or device.id, []).append(device)
    return tuple(groups.values())


def _is_well(device: DeviceStatus) -> bool:
    return device.is_healthy and device.waits_for is None


def _tile(group: Sequence[DeviceStatus], holders: Holders | None, remedies: Remedies) -> str:
    first, sick = group[0], [device for device in group if not _is_well(device)]
    is_whole = first.physical is None
    worst = next((each for each in sick if not each.is_healthy), sick[0] if sick else first)
    state = f"<span class={_kind(worst)}>{text(worst.health_words)}</span>"
    held = f"<span>{_held(first, holders)}</span>" if is_whole else ""
    parts = "" if is_whole else f"<ul class=parts>{''.join(_part(each, holders) for each in group)}</ul>"
    troubles = dict.fromkeys(_trouble(each, remedies) for each in sick)
    return (
        f"<section class='tile{' sick' if sick else ''}'><h3><b>{_name(first)}</b> {state}{held}</h3>"
        f"{''.join(troubles)}{_facts(group)}{parts}</section>"
    )


def _name(device: DeviceStatus) -> str:
    """Return the index of the physical device. A network card is known by its interface."""
    if is_card(device.attributes):
        return text(interface_words(device.attributes) or device.id)
    return "" if device.index is None else str(device.index)


def _kind(device: DeviceStatus) -> str:
    """Return the class of the words for the health."""
    return "wait" if device.is_healthy and device.waits_for is not None else device.health.value


def _held(device: DeviceStatus, holders: Holders | None) -> str:
    """Return which containers hold a device. Those of a pool hold no certain one of its devices."""
    if device.resource is None:
        return ""
    if holders is None:
        return "holder not known"
    if device.is_pooled:
        return "in a pool"
    if device.id in holders:
        return f"held by {text(holders[device.id])}"
    return "free" if _is_well(device) else "not held"


def _part(device: DeviceStatus, holders: Holders | None) -> str:
    state = "" if _is_well(device) else f"<span class={_kind(device)}>{text(device.health_words)}</span> "
    held = _held(device, holders) or text(device.offer_words)
    words = " · ".join(filter(None, (text(device.profile or ""), held)))
    return f"<li title='{text(device.id)}'><b>{text(device.place_words)}</b> {state}{words}</li>"


def _facts(group: Sequence[DeviceStatus]) -> str:
    """Return the lines about a physical device, and under which names it or its parts are offered."""
    device, offered = group[0], ", ".join(dict.fromkeys(each.offer_words for each in group))
    card = (function_words(device.attributes), device.port_words)
    place = "" if device.pci_address == device.id else device.pci_address
    lines = (
        joined(offered, device.product),
        joined(*card),
        f"<code>{joined(device.physical or device.id, place)}</code>",
    )
    return "".join(f"<p class=soft>{line}</p>" for line in lines if line)


def _trouble(device: DeviceStatus, remedies: Remedies) -> str:
    """Return why a device is not given out, and what to do. It is the same for the parts that share a fault."""
    lines = []
    if not device.is_healthy:
        lines.append(f"<p>{text(f'{device.reason}; needs {device.needs}')}{_since(device.since)}</p>")
        lines += [
            f"<p class=todo>{text(f'{each.words}: {each.remedy.todo}')}</p>"
            for each in causes_of(device.evidence, remedies)
            if each.remedy.todo
        ]
    if device.waits_for is not None:
        lines.append(f"<p>{text(device.waits_for.reason)}{_since(device.waits_for.since)}</p>")
        lines += [f"<p class=todo>{text(device.waits_for.todo)}</p>"] if device.waits_for.todo else []
    return "".join(lines)


def _since(epoch: float | None) -> str:
    return f" <span class=soft>since {moment(epoch)}</span>" if epoch is not None else ""
