"""Remembers in which form devices were offered, so that one whose form changes is not given to two pods.

Another inventory can offer a device under another name, shared or not, in parts or as a whole, while a pod still holds
it in the form of before. `core.resources.conflicts` says which forms stand in the way of which devices.
"""

from collections.abc import Iterable, Mapping, Sequence

from plugin_gateway.core.devices import DeviceId, Inventory
from plugin_gateway.core.health.state import State
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.conflicts import FormerPart, Held, Holding, Pools, forms_of, in_the_way
from plugin_gateway.core.resources.names import ResourceName

NOT_LOOKED_FOR = "a pod, unless a look at the pods says otherwise"
"""Who may hold a device, until the next look."""
MAX_PARTS = 4096
"""Parts that are remembered, those that were seen last. No machine has so many at a time."""


def with_suspected(held: Held, suspected: Held) -> Held:
    """Return what is held, and what may be held, if nobody is known to hold it in the same form."""
    told = {each._replace(through=None) for each in held}
    return {**{form: who for form, who in suspected.items() if form not in told}, **held}


class Forms:
    """The last form in which each device was offered, also of those that are not there now."""

    def __init__(self) -> None:
        self.parts: dict[str, FormerPart] = {}
        """The parts that there were, the one that was seen last at the end."""
        self.pools: dict[str, frozenset[DeviceId]] = {}
        """The devices of each resource of which an id stood for all of them."""
        self.outgoing: Sequence[Inventory] = ()
        """The inventories of backends that are exchanged for such that give out other parts."""
        self.is_unknown = False
        """Whether it could not be seen who holds what, and the next look at the pods is awaited."""
        self._last: dict[DeviceId, Holding] = {}
        self._suspected: dict[Holding, float] = {}
        """Forms in which somebody may hold a device, each with the time of the look that says it, on the monotonic
        clock. An earlier look says nothing about them."""

    def must_wait(self, states: Iterable[State]) -> bool:
        """Whether devices are withheld although nobody is known to hold them."""
        return self.is_unknown or bool(self.outgoing_of(states))

    def outgoing_of(self, states: Iterable[State]) -> Sequence[Inventory]:
        """Return the latest inventories that are still those of backends that are exchanged."""
        present = [state.inventory for state in states]
        return [each for each in self.outgoing if any(each is one for one in present)]

    def suspect(self, forms: Iterable[Holding], until: float) -> Held:
        """Take these forms for held until a look at the pods that begins at this time, on the monotonic clock."""
        self._suspected |= dict.fromkeys(forms, until)
        return dict.fromkeys(self._suspected, NOT_LOOKED_FOR)

    def suspected_at(self, look: float) -> Held:
        """Return the forms about which a look at the pods that began at this time says nothing."""
        self._suspected = {form: until for form, until in self._suspected.items() if look < until}
        return dict.fromkeys(self._suspected, NOT_LOOKED_FOR)

    def next_look(self, latest: float, before: float) -> float:
        """Return when to look at the pods again: as soon as a look says anything new after the one ``before``."""
        return min([latest, *(until for until in self._suspected.values() if before < until)])

    def see(self, state: State, offered: Mapping[ResourceName, Advertisement]) -> None:
        """Remember which devices there are, and how they are offered, before one of the two changes."""
        for part in (device for device in state.devices if not device.is_whole):
            self.parts.pop(part.id, None)
            self.parts[part.id] = FormerPart(part.physical.id, part.nodes)
        self.pools.update(self.pools_with(offered))
        replaced = self.outdated(offered)
        kept = {device: form for device, form in self._last.items() if form not in replaced}
        self._last = {**kept, **forms_of(offered)}
        for gone in list(self.parts)[:-MAX_PARTS]:
            del self.parts[gone]
            self._last.pop(DeviceId(gone), None)

    def pools_with(self, offered: Mapping[ResourceName, Advertisement]) -> Mapping[str, frozenset[DeviceId]]:
        """Return the devices of each resource of which an id stood for all of them, or does so now."""
        found = dict(self.pools)
        for name, each in offered.items():
            if each.is_pool:
                found[name] = self.pools.get(name, frozenset()).union(device.id for device in each.devices)
        return found

    def learn_pools(self, pools: Pools) -> None:
        """Remember which devices an earlier gateway gave with ids that stood for all devices of a resource."""
        for name, devices in pools.items():
            self.pools[name] = self.pools.get(name, frozenset()).union(devices)

    def outdated(self, wanted: Mapping[ResourceName, Advertisement]) -> Held:
        """Return the forms that stand in the way of what is wanted, as held by somebody who is not known."""
        found = in_the_way(wanted, self._last.values(), self.parts)
        return {holding: NOT_LOOKED_FOR for holdings in found.values() for holding in holdings}
