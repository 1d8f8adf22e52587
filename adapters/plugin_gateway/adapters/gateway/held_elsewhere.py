"""Looks for devices that a pod holds in another form than the one in which they are offered now.

A resource can be renamed, or shared in another way, while pods hold its devices. `core.resources.conflicts` says which
devices have to be withheld then.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from plugin_gateway.adapters.gateway.change_log import log_withheld
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.terminal import printable
from plugin_gateway.core.devices import DeviceId, Recipe
from plugin_gateway.core.errors import CannotCheckError, GatewayError
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.conflicts import Held, Holding, find_withheld, forms_of, given_in, holdings_of
from plugin_gateway.core.resources.daemons import through_of
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule

if TYPE_CHECKING:
    from plugin_gateway.adapters.gateway.forms import Forms
    from plugin_gateway.adapters.gateway.gateway import Gateway
    from plugin_gateway.adapters.kubelet.checkpoint import Holder
    from plugin_gateway.adapters.serving.resource import ServedResource
    from plugin_gateway.core.devices import Inventory
    from plugin_gateway.core.health.state import State
    from plugin_gateway.core.resources.conflicts import Given, Pools

LOOK_INTERVAL = 2.0
"""Seconds between two looks at who holds the devices that are withheld."""
STORED_WITHIN = 1.0
"""Seconds after which a kubelet has certainly stored what it was granted. It takes milliseconds."""
NOT_SEEN = "it is not known yet which pods hold devices"
"""Why all devices are withheld at the start, if the checkpoint does not tell it."""
AWAY = "its driver shows no device nodes here, as if another network namespace has it"
"""Why a device is withheld that the kubelet takes for free, and of which an allocation found nothing."""
TO_BE_CUT = "the driver is about to be asked which parts are to be offered"
"""Why a part is withheld while the backend is exchanged for one that gives out other parts."""


_HINT = "a device that has another name now, or is shared in another way, can be given to a second pod"


class Withheld(NamedTuple):
    """Why a device is withheld."""

    reason: str
    since: float
    """In seconds since the epoch."""


Answers = Mapping[tuple[str, str], bytes]
"""What the kubelet was answered for each id of a resource."""


def held_devices(
    holders: "Iterable[Holder]",
    answers: Answers | None = None,
    recipes: Iterable[Recipe] = (),
    pools: "Pools | None" = None,
    given: "Given | None" = None,
) -> Held:
    """Return who holds which device, and in which form. Holders whose pod is gone do not count.

    ``answers`` say through which daemon of the ``recipes`` a container shares a device. Who holds an id of one of the
    ``pools`` holds what was ``given`` with it, or all devices of it if that is not known.
    """
    from plugin_gateway.adapters.kubelet.holders import listed  # noqa: PLC0415 - not needed at the start

    def forms_of_id(offered: str, resource: str) -> Iterable[Holding]:
        through = through_of((answers or {}).get((resource, offered), b""), recipes)
        return holdings_of(offered, resource, through, pools or {}, given or {})

    held: dict[Holding, list[str]] = {}
    for holder in holders:
        container = printable(f"{holder.pod} {holder.container}")
        ids = () if holder.is_gone else holder.devices
        forms = {form for each in ids for form in forms_of_id(each, holder.resource)}
        for holding in forms:
            held.setdefault(holding, []).append(container)
    return {holding: listed(containers) for holding, containers in held.items()}


def held_now(gateway: "Gateway", holders: "Iterable[Holder]", answers: Answers | None = None) -> Held:
    """Return who holds which device of a gateway, as `held_devices` does."""
    pools = gateway.pools
    given = given_in(answers or {}, inventories_of(gateway)) if pools else {}
    return held_devices(holders, answers, gateway.recipes, pools, given)


def inventories_of(gateway: "Gateway") -> "Sequence[Inventory]":
    """Return the inventory of each backend that has told one."""
    return [state.inventory for state in gateway.states if state.inventory is not None]


def just_granted(resources: "Iterable[ServedResource]", known: Held, since: float = 0.0) -> Held:
    """Return what was granted a moment ago, or since a time on the monotonic clock, and is not ``known`` already.

    The kubelet may not have stored it yet.
    """
    told = {each._replace(through=None) for each in known}
    found: dict[Holding, str] = {}
    for served in resources:
        offered, by_id = served.advertisement.value, served.advertisement.value.by_id
        pools: Pools = {served.resource: [device.id for device in offered.devices]} if offered.is_pool else {}
        for each in served.granted(since):
            through = offered.word_of(by_id[each].device) if each in by_id else None
            for holding in holdings_of(each, served.resource, through, pools):
                if holding._replace(through=None) not in told:
                    found[holding] = "a new pod"
    return found


def held_at(look: float, held: Held, resources: "Iterable[ServedResource]", forms: "Forms") -> dict[Holding, str]:
    """Return who holds what after a look at the pods that began at this time, on the monotonic clock, and found this.

    The look can be too early for what was granted just before it.
    """
    from plugin_gateway.adapters.gateway.forms import with_suspected  # noqa: PLC0415 - not at the start

    forms.is_unknown = False
    known = {**just_granted(resources, held, look - STORED_WITHIN), **held}
    return dict(with_suspected(known, forms.suspected_at(look)))


def withheld_now(
    wanted: Mapping[ResourceName, Advertisement],
    held: Held,
    before: Mapping[DeviceId, Withheld],
    epoch: float,
    forms: "Forms",
    states: "Iterable[State]",
    away: Iterable[DeviceId] = (),
) -> Mapping[DeviceId, Withheld]:
    """Return the devices to withhold. Those that were withheld before keep the time since when they are.

    ``forms`` knows the parts that there were, and whether other parts than those of ``states`` are about to be offered.
    ``away`` are the devices of which an allocation found nothing.
    """
    devices = [device.id for each in wanted.values() for device in each.devices]
    outgoing = {device.id for each in forms.outgoing_of(states) for device in each.devices if not device.is_whole}
    found = {
        **dict.fromkeys(away, AWAY),
        **{device: NOT_SEEN for device in devices if forms.is_unknown},
        **{device: TO_BE_CUT for device in devices if device in outgoing},
        **find_withheld(wanted, held, forms.parts),
    }
    return {device: Withheld(why, before[device].since if device in before else epoch) for device, why in found.items()}


def note_withheld(before: Mapping[DeviceId, Withheld], now: Mapping[DeviceId, Withheld]) -> None:
    """Log which devices are withheld, if they are not the same as before."""
    log_withheld(before, now)


def changes_form(gateway: "Gateway", rules: Sequence[ResourceRule], backends: Sequence[str] = ()) -> bool:
    """Whether these rules offer a device under another name than now, shared or not, or one that is not offered now.

    Such a device can be held from a time when it was offered in a third form. ``backends`` are those that there will
    be, if they are not those of now.
    """
    before, after = forms_of(gateway.offer(gateway.rules).wanted), forms_of(gateway.offer(rules, backends).wanted)
    return any(before.get(device) != form for device, form in after.items())


async def look_for_holders(gateway: "Gateway", kubelet_dir: Path) -> None:
    """Tell the gateway who holds which device: now, and again and again as long as a device is withheld."""
    problem: str | None = None
    while True:
        rules = gateway.rules
        gateway.forms_changed.clear()
        began = time.monotonic()
        try:
            holders, answers = await read_holders(kubelet_dir), await read_answers(kubelet_dir)
            if gateway.rules != rules or gateway.forms_changed.is_set():
                continue  # the answer can be older than what was seen before the names changed
            gateway.see_holders(holders, answers, began)
            gateway.forms_changed.clear()  # what this look withholds needs no other one at once
        except GatewayError as error:
            if problem is None:
                log.warning("it cannot be seen which pods hold devices", problem=str(error), hint=_HINT)
            problem = str(error)
            gateway.see_nobody()
        else:
            problem = None
        await _wait(gateway, began)
        if not gateway.withheld:
            await gateway.forms_changed.wait()


async def _wait(gateway: "Gateway", before: float) -> None:
    """Wait for the time of the look after the one that began ``before``, or until devices have another form."""
    now = time.monotonic()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(gateway.forms.next_look(now + LOOK_INTERVAL, before) - now, 0.0)):
            await gateway.forms_changed.wait()


async def see_holders_before(
    gateway: "Gateway",
    rules: Sequence[ResourceRule],
    kubelet_dir: Path,
    *,
    is_recut: bool = False,
    backends: Sequence[str] = (),
) -> None:
    """Tell the gateway who holds which device, if these rules offer a device in another form than now.

    ``is_recut`` says that the backend will give out devices in another form, too. ``backends`` are as for
    `changes_form`.

    Raises:
        CannotCheckError: it cannot be seen, so a device that a pod holds could be given to another pod.
    """
    if not is_recut and not changes_form(gateway, rules, backends):
        return
    began = time.monotonic()
    try:
        gateway.see_holders(await read_holders(kubelet_dir), await read_answers(kubelet_dir), began)
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


async def read_answers(kubelet_dir: Path) -> Answers:
    """Return what the kubelet was answered for the ids that containers hold, as far as it is known."""
    from plugin_gateway.adapters.kubelet.holders import known_answers  # noqa: PLC0415 - not needed at the start

    return await asyncio.to_thread(known_answers, kubelet_dir)
