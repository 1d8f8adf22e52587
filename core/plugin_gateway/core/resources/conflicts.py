"""Conflicts about devices: with another device plugin of the node, and with pods that hold devices in another form.

A kubelet takes the registrations of every plugin. If two plugins have the same resource, it keeps the list that came
last, and asks the plugin that registered last. If two plugins offer the same device, two containers can get it.

Two containers can also get a device that is offered in another form than before: under another name, shared or not, or
in parts. A kubelet compares nothing but ids, so the device is free for it in the new form. The gateway withholds it,
which means that it is unhealthy for the kubelet, until the pods that hold it in the old form have ended.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import Enum
from functools import partial
from typing import NamedTuple, TypeAlias

from plugin_gateway.core.devices import Device, DeviceId, Inventory, PhysicalId, device_of, is_replica
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.id_words import is_number
from plugin_gateway.core.resources.names import ResourceName

MAX_FORMS = 8
"""Forms that are named for one device. A layout that changes without end has more, until somebody looks at the pods."""
Pools: TypeAlias = Mapping[str, Collection[DeviceId]]
"""The devices of each resource of which an id stands, or stood, for all of them."""
Given: TypeAlias = Mapping[tuple[str, str], frozenset[DeviceId]]
"""The devices that containers got with an id that stood for all of a resource, by the resource and the id."""
_NO_PARTS: "Mapping[str, FormerPart]" = {}
_NO_POOLS: Pools = {}
_NOT_KNOWN: Given = {}


class Cause(Enum):
    """How a conflict was found. The value is a token for metrics and programs."""

    FOREIGN_DEVICES = "foreign_devices"
    """The kubelet has devices of this resource that this gateway never offered."""
    SAME_DEVICES = "same_devices"
    """The kubelet has devices of this gateway under the name of another resource, too."""
    SOCKET_NAME = "socket_name"
    """The name of another plugin's socket is that of this resource. If both have the same device ids, nothing else
    shows that the kubelet may have them from the other one."""


class Conflict(NamedTuple):
    """Another plugin for the same resource, or for the same devices."""

    resource: ResourceName
    """The resource of this gateway."""
    cause: Cause
    devices: tuple[str, ...] = ()
    """The ids that show it, as the kubelet has them."""
    other_resource: str | None = None
    """The name under which the same devices are offered. None if it is the same resource."""
    sockets: tuple[str, ...] = ()
    """The sockets that may be those of the other plugin. Empty if none is in the kubelet's directory."""


class Sockets(NamedTuple):
    """The names of the sockets in the kubelet's directory on which somebody listens, without those of this gateway."""

    plugins: Sequence[str] = ()
    """Those of other device plugins."""
    gateways: Sequence[str] = ()
    """Those of other gateways."""


def find_conflicts(
    offered: Mapping[ResourceName, Mapping[str, PhysicalId]],
    serving: Collection[ResourceName],
    registered: Mapping[str, Collection[str]],
    sockets: Sockets,
    pools: Pools = _NO_POOLS,
) -> tuple[Conflict, ...]:
    """Return all conflicts.

    ``offered`` has the ids that this gateway offers now, or offered before, each with its physical device. ``serving``
    are the resources whose list the kubelet has from this gateway. ``registered`` are the devices that the kubelet has.
    The ids of ``pools`` say nothing about devices: another plugin counts its own with the same numbers.
    """
    found: list[Conflict] = []
    for resource, ids in offered.items():
        foreign = _foreign(set(ids), registered.get(resource, ())) if resource in serving else ()
        named = tuple(name for name in sockets.plugins if _is_named_for(name, resource))
        if foreign:
            suspects = named or tuple(sockets.plugins)
            found.append(Conflict(resource, Cause.FOREIGN_DEVICES, foreign, sockets=suspects))
        elif named:
            found.append(Conflict(resource, Cause.SOCKET_NAME, sockets=named))
        of_ids = pools[resource] if resource in pools else map(device_of, ids)
        devices, others = {*of_ids, *ids.values()}, registered.keys() - offered.keys()
        found += _with_the_same_devices(resource, devices, others, registered, sockets)
    return tuple(found)


def _foreign(ours: Collection[str], registered: Collection[str]) -> tuple[str, ...]:
    return tuple(sorted(device for device in registered if device not in ours))


def _with_the_same_devices(
    resource: ResourceName,
    ours: Collection[str],
    others: Collection[str],
    registered: Mapping[str, Collection[str]],
    sockets: Sockets,
) -> list[Conflict]:
    found = []
    for other in sorted(others):
        devices = tuple(sorted(device for device in registered[other] if device_of(device) in ours))
        named = tuple(name for name in sockets.plugins if _is_named_for(name, other))
        if devices:
            suspects = named or (*sockets.plugins, *sockets.gateways)
            found.append(Conflict(resource, Cause.SAME_DEVICES, devices, other, suspects))
    return found


class Holding(NamedTuple):
    """The form in which somebody holds a device."""

    device: DeviceId
    resource: str
    is_shared: bool
    """Whether others may hold replicas of the same device under this name."""
    through: str | None = None
    """The daemon through which it is shared, in a word of the backend. Empty if there is none. None if not known."""

    def fits(self, form: "Holding | None") -> bool:
        """Whether it is the form in which the device is wanted, as far as it is known."""
        return form is not None and (self if self.through is not None else self._replace(through=form.through)) == form


Held = Mapping[Holding, str]
"""Who holds what: the containers, in words for people."""


def holding_of(offered: str, resource: str, through: str | None = None) -> Holding:
    """Return the form in which a container holds an id of a resource. ``through`` is as in `Holding`."""
    return Holding(device_of(offered), resource, is_replica(offered), through)


def holdings_of(
    offered: str, resource: str, through: str | None = None, pools: Pools = _NO_POOLS, given: Given = _NOT_KNOWN
) -> tuple[Holding, ...]:
    """Return the forms in which a container holds what an id of a resource stands for: one for each device.

    An id of one of the ``pools`` stands for the devices that were ``given`` with it, or for all if that is not known.
    """
    devices = (given.get((resource, offered)) or pools.get(resource, ())) if is_number(offered) else ()
    held = tuple(Holding(device, resource, is_shared=True, through=through) for device in devices)
    return held or (holding_of(offered, resource, through),)


def given_in(answers: Mapping[tuple[str, str], bytes], inventories: Iterable[Inventory]) -> Given:
    """Return the devices that containers were given with ids that stand for all devices of a resource.

    ``answers`` has what the kubelet was answered for each id of a resource. A device was given if all its nodes were.
    It has to be one that is of no use without them.
    """
    devices = [each for known in inventories for each in known.devices if known.recipes[each.kind].is_complete]
    found: dict[bytes, frozenset[DeviceId]] = {}  # thousands of ids can have the same answer
    given: dict[tuple[str, str], frozenset[DeviceId]] = {}
    for key, answer in answers.items() if devices else ():
        if not is_number(key[1]):
            continue
        if answer not in found:
            has = partial(_has, answer)
            found[answer] = frozenset(each.id for each in devices if each.nodes and all(map(has, each.nodes)))
        if found[answer]:
            given[key] = found[answer]
    return given


def pools_in(given: Given) -> Mapping[str, frozenset[DeviceId]]:
    """Return the devices of each resource that containers were given with an id that stands for all of them."""
    found: dict[str, frozenset[DeviceId]] = {}
    for resource, devices in {(resource, devices) for (resource, _), devices in given.items()}:
        found[resource] = found.get(resource, frozenset()).union(devices)
    return found


def _has(answer: bytes, path: str) -> bool:
    """Whether an answer has a path, and not only one that begins with it."""
    return re.search(re.escape(path.encode()) + rb"(?![\w.-])", answer) is not None


class FormerPart(NamedTuple):
    """A part of a physical device that there was at some time. A pod can hold it although it is gone."""

    physical: PhysicalId
    nodes: tuple[str, ...]


def find_withheld(
    wanted: Mapping[ResourceName, Advertisement], held: Held, parts: Mapping[str, FormerPart] = _NO_PARTS
) -> Mapping[DeviceId, str]:
    """Return the devices that somebody holds in another form than the one in which they are wanted, with the reason.

    ``parts`` are as for `in_the_way`.
    """
    found = in_the_way(wanted, held, parts)
    forms = forms_of(wanted) if found else {}
    return {device: _reason(holdings, forms[device], held) for device, holdings in found.items()}


def _reason(holdings: Sequence[Holding], form: Holding, held: Held) -> str:
    """Return why a device is withheld that is wanted in this form."""
    named = [f"{_words(each, form)} by {held[each]}" for each in holdings[:MAX_FORMS]]
    more = len(holdings) - len(named)
    return f"held as {', '.join(named)}{f', and in {more} more forms' if more else ''}"


def in_the_way(
    wanted: Mapping[ResourceName, Advertisement], held: Iterable[Holding], parts: Mapping[str, FormerPart] = _NO_PARTS
) -> Mapping[DeviceId, Sequence[Holding]]:
    """Return what stands in the way of each device that is wanted, for those for which anything does.

    All replicas of a device under one name have the same form, however many there are. What is held in a form in which
    it is wanted stands in the way of nothing. A physical device that was held as a whole stands in the way of its parts
    if it is wanted in parts only. A former one of the ``parts`` stands in the way of its physical device as a whole,
    and of a part with the same device nodes, which whoever holds the former one can open.
    """
    forms = forms_of(wanted)
    outdated: dict[str, list[Holding]] = {}
    for holding in held:
        if not holding.fits(forms.get(holding.device)):
            outdated.setdefault(holding.device, []).append(holding)
    if not outdated:
        return {}
    former: dict[PhysicalId, list[str]] = {}
    for part in (each for each in outdated if each in parts and DeviceId(each) not in forms):
        former.setdefault(parts[part].physical, []).append(part)
    found = {}
    for device in (device for advertisement in wanted.values() for device in advertisement.devices):
        physical = device.physical.id
        in_whole = outdated.get(physical, ()) if DeviceId(physical) not in forms else ()
        replaced = (part for part in former.get(physical, ()) if _replaces(device, parts[part]))
        in_parts = (holding for part in replaced for holding in outdated[part])
        if holdings := (*outdated.get(device.id, ()), *in_whole, *in_parts):
            found[device.id] = holdings
    return found


def _replaces(device: Device, former: FormerPart) -> bool:
    """Whether a device gives what a former part of the same physical device gave: all of it, or the same nodes."""
    return device.is_whole or (bool(device.nodes) and device.nodes == former.nodes)


def forms_of(wanted: Mapping[ResourceName, Advertisement]) -> Mapping[DeviceId, Holding]:
    """Return in which form each device is offered."""
    return {
        device.id: Holding(device.id, name, each.replica is not None, advertisement.word_of(device))
        for name, advertisement in wanted.items()
        for each in advertisement.offered
        if not each.replica  # the further replicas have the same form
        for device in each.devices
    }


def _words(holding: Holding, form: Holding) -> str:
    """Return a holding in words, with what sets it apart from the form that is wanted."""
    if holding.resource != form.resource:
        return holding.resource
    if holding.device != form.device:
        return f"{holding.resource} ({holding.device})"
    if holding.is_shared and form.is_shared:
        return f"{holding.resource} (shared {f'through {holding.through}' if holding.through else 'without a daemon'})"
    return f"{holding.resource} ({'shared' if holding.is_shared else 'not shared'})"


def _is_named_for(socket: str, resource: str) -> bool:
    """Whether a socket has the name of a resource: ``a-b.sock``, ``a.com_b.sock`` or ``a.sock`` for ``a.com/b``.

    The domain alone is not enough, because one vendor can have plugins for several kinds of devices.
    """
    domain, _, last = resource.lower().partition("/")
    vendor, name = domain.partition(".")[0], socket.lower()
    return name == f"{vendor}.sock" or (name.startswith(vendor) and last in name.removeprefix(vendor))
