"""Looks for devices that a pod holds in another form than the one in which they are offered now.

A resource can be renamed, or shared in another way, while pods hold its devices. `core.resources.conflicts` says which
devices have to be withheld then.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.terminal import printable
from plugin_gateway.core.devices import DeviceId
from plugin_gateway.core.errors import CannotCheckError, GatewayError
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.conflicts import Held, Holding, find_withheld, forms_of, holding_of
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule

if TYPE_CHECKING:
    from plugin_gateway.adapters.gateway.forms import Forms
    from plugin_gateway.adapters.gateway.gateway import Gateway
    from plugin_gateway.adapters.kubelet.checkpoint import Holder
    from plugin_gateway.adapters.serving.resource import ServedResource
    from plugin_gateway.core.devices import Inventory

LOOK_INTERVAL = 5.0
"""Seconds between two looks at who holds the devices that are withheld."""
TO_BE_CUT = "the driver is about to be asked which parts are to be offered"
"""Why a part is withheld while the backend is exchanged for one that gives out other parts."""


class Withheld(NamedTuple):
    """Why a device is withheld."""

    reason: str
    since: float
    """In seconds since the epoch."""


def held_devices(holders: "Iterable[Holder]") -> Held:
    """Return who holds which device, and in which form. Holders whose pod is gone do not count."""
    from plugin_gateway.adapters.kubelet.holders import listed  # noqa: PLC0415 - not needed at the start

    held: dict[Holding, list[str]] = {}
    for holder in holders:
        container = printable(f"{holder.pod} {holder.container}")
        forms = {holding_of(each, holder.resource) for each in (() if holder.is_gone else holder.devices)}
        for holding in forms:
            held.setdefault(holding, []).append(container)
    return {holding: listed(containers) for holding, containers in held.items()}


def just_granted(resources: "Iterable[ServedResource]") -> Held:
    """Return what was granted a moment ago. The kubelet may not have stored it yet."""
    return {holding_of(each, served.resource): "a new pod" for served in resources for each in served.granted()}


def withheld_now(
    wanted: Mapping[ResourceName, Advertisement],
    held: Held,
    before: Mapping[DeviceId, Withheld],
    epoch: float,
    forms: "Forms | None",
    outgoing: "Sequence[Inventory]",
) -> Mapping[DeviceId, Withheld]:
    """Return the devices to withhold. Those that were withheld before keep the time since when they are.

    ``forms`` knows the parts that there were. Other parts are about to be offered instead of ``outgoing``.
    """
    offered = {device.id for each in wanted.values() for device in each.devices} if outgoing else ()
    parts = (device for inventory in outgoing for device in inventory.devices if device.id in offered)
    found = {
        **{device.id: TO_BE_CUT for device in parts if not device.is_whole},
        **find_withheld(wanted, held, forms.parts if forms is not None else {}),
    }
    return {device: Withheld(why, before[device].since if device in before else epoch) for device, why in found.items()}


def changes_form(gateway: "Gateway", rules: Sequence[ResourceRule]) -> bool:
    """Whether these rules offer a device under another name than now, shared or not, or one that is not offered now.

    Such a device can be held from a time when it was offered in a third form.
    """
    before, after = (forms_of(gateway.offer(each).wanted) for each in (gateway.rules, rules))
    return any(before.get(device) != form for device, form in after.items())


async def look_for_holders(gateway: "Gateway", kubelet_dir: Path) -> None:
    """Tell the gateway who holds which device: now, and again and again as long as a device is withheld."""
    problem: str | None = None
    while True:
        rules = gateway.rules
        gateway.forms_changed.clear()
        try:
            holders = await read_holders(kubelet_dir)
            if gateway.rules != rules or gateway.forms_changed.is_set():
                continue  # the answer can be older than what was seen before the names changed
            gateway.see_holders(holders)
        except GatewayError as error:
            if problem is None:
                log.warning("it cannot be seen which pods hold devices", problem=str(error))
            problem = str(error)
        else:
            problem = None
        await _wait(gateway.forms_changed)
        while not (gateway.withheld or gateway.forms_changed.is_set()):
            await _wait(gateway.forms_changed)


async def _wait(changed: asyncio.Event) -> None:
    """Wait for the time of the next look, or until devices have another form."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LOOK_INTERVAL):
            await changed.wait()


async def see_holders_before(
    gateway: "Gateway", rules: Sequence[ResourceRule], kubelet_dir: Path, *, is_recut: bool = False
) -> None:
    """Tell the gateway who holds which device, if these rules offer a device in another form than now.

    ``is_recut`` says that the backend will give out devices in another form, too.

    Raises:
        CannotCheckError: it cannot be seen, so a device that a pod holds could be given to another pod.
    """
    if not is_recut and not changes_form(gateway, rules):
        return
    try:
        gateway.see_holders(await read_holders(kubelet_dir))
    except GatewayError as error:
        raise CannotCheckError(
            "the resources are renamed, shared or divided in another way, and it cannot be seen which pods hold their "
            f"devices: {error}"
        ) from error


async def read_holders(kubelet_dir: Path) -> "tuple[Holder, ...]":
    """Return the containers that hold devices.

    Raises:
        GatewayError: neither the kubelet nor its checkpoint tells.
    """
    from plugin_gateway.adapters.kubelet.holders import living_holders  # noqa: PLC0415 - not needed at the start

    return await asyncio.to_thread(living_holders, kubelet_dir)
