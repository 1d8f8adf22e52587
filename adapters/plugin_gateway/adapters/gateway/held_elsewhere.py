"""Devices that a pod holds under another resource name than the one under which they are offered now.

A resource can be renamed while pods hold its devices. A kubelet knows nothing of that: under the new name the devices
are free. They are withheld, which means unhealthy for the kubelet, until these pods have ended.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.terminal import printable
from plugin_gateway.core.devices import DeviceId, whole_device
from plugin_gateway.core.errors import CannotCheckError, GatewayError
from plugin_gateway.core.resources.assignment import Advertisement, ResourceRule
from plugin_gateway.core.resources.names import ResourceName

if TYPE_CHECKING:
    from plugin_gateway.adapters.gateway.gateway import Gateway
    from plugin_gateway.adapters.kubelet.checkpoint import Holder

LOOK_INTERVAL = 5.0
"""Seconds between two looks at who holds the devices that are withheld."""

Held = Mapping[str, Mapping[str, str]]
"""For each device the resources under which it is held, each with the containers in words."""


class Withheld(NamedTuple):
    """Why a device is withheld."""

    reason: str
    since: float
    """In seconds since the epoch."""


def held_devices(holders: "Iterable[Holder]") -> Held:
    """Return who holds which device. Holders whose pod is gone do not count."""
    held: dict[str, dict[str, str]] = {}
    for holder in holders:
        container = printable(f"{holder.pod} {holder.container}")
        for device in () if holder.is_gone else holder.devices:
            resources = held.setdefault(whole_device(device), {})
            known = resources.get(holder.resource)
            resources[holder.resource] = container if known is None else f"{known}, {container}"
    return held


def find_withheld(wanted: Mapping[ResourceName, Advertisement], held: Held) -> Mapping[DeviceId, str]:
    """Return the devices that are held under another name than the one they are wanted under, with the reason."""
    return {
        device.id: f"held as {', '.join(f'{printable(other)} by {names}' for other, names in others.items())}"
        for name, advertisement in wanted.items()
        for device in advertisement.devices
        if (others := {other: names for other, names in held.get(device.id, {}).items() if other != name})
    }


async def look_for_holders(gateway: "Gateway", kubelet_dir: Path) -> None:
    """Tell the gateway who holds which device: now, and again and again as long as a device is withheld."""
    problem: str | None = None
    while True:
        rules = gateway.rules
        try:
            holders = await read_holders(kubelet_dir)
            if gateway.rules != rules:
                continue  # the answer can be older than what was seen before the names changed
            gateway.see_holders(holders)
        except GatewayError as error:
            if problem is None:
                log.warning("it cannot be seen which pods hold devices", problem=str(error))
            problem = str(error)
        else:
            problem = None
        await asyncio.sleep(LOOK_INTERVAL)
        while not gateway.withheld:  # noqa: ASYNC110 - a wake-up of its own would cost more
            await asyncio.sleep(LOOK_INTERVAL)


async def see_holders_before(gateway: "Gateway", rules: Sequence[ResourceRule], kubelet_dir: Path) -> None:
    """Tell the gateway who holds which device, if these rules offer a device under another name than now.

    Raises:
        CannotCheckError: it cannot be seen, so a device that a pod holds could be given to another pod.
    """
    if not gateway.renames(rules):
        return
    try:
        gateway.see_holders(await read_holders(kubelet_dir))
    except GatewayError as error:
        raise CannotCheckError(
            f"the resources are renamed, and it cannot be seen which pods hold their devices: {error}"
        ) from error


async def read_holders(kubelet_dir: Path) -> "tuple[Holder, ...]":
    """Return the containers that hold devices.

    Raises:
        GatewayError: neither the kubelet nor its checkpoint tells.
    """
    from plugin_gateway.adapters.kubelet.holders import living_holders  # noqa: PLC0415 - not needed at the start

    return await asyncio.to_thread(living_holders, kubelet_dir)
