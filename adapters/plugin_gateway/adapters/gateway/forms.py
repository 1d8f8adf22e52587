"""Remembers in which form devices were offered, so that one whose form changes is not given to two pods.

Another inventory can offer a device under another name, shared or not, in parts or as a whole, while a pod still holds
it in the form of before. `core.resources.conflicts` says which forms stand in the way of which devices.
"""

from collections.abc import Mapping, Sequence

from plugin_gateway.core.devices import Device, DeviceId, Inventory
from plugin_gateway.core.health.state import State
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.conflicts import Held, Holding, forms_of, in_the_way
from plugin_gateway.core.resources.names import ResourceName

NOT_LOOKED_FOR = "a pod, unless a look at the pods says otherwise"
"""Who may hold a device, until the next look."""
MAX_PARTS = 4096
"""Parts that are remembered, those that were seen last. No machine has so many at a time."""


class Forms:
    """The last form in which each device was offered, also of those that are not there now."""

    def __init__(self) -> None:
        self.parts: dict[str, Device] = {}
        """The parts that there were, the one that was seen last at the end."""
        self.outgoing: Sequence[Inventory] = ()
        """The inventories of backends that are exchanged for such that give out other parts."""
        self._last: dict[DeviceId, Holding] = {}

    def see(self, state: State, offered: Mapping[ResourceName, Advertisement]) -> None:
        """Remember which devices there are, and how they are offered, before one of the two changes."""
        for part in (device for device in state.devices if not device.is_whole):
            self.parts.pop(part.id, None)
            self.parts[part.id] = part
        replaced = self.outdated(offered)
        kept = {device: form for device, form in self._last.items() if form not in replaced}
        self._last = {**kept, **forms_of(offered)}
        for gone in list(self.parts)[:-MAX_PARTS]:
            self._last.pop(self.parts.pop(gone).id, None)

    def outdated(self, wanted: Mapping[ResourceName, Advertisement]) -> Held:
        """Return the forms that stand in the way of what is wanted, as held by somebody who is not known."""
        found = in_the_way(wanted, self._last.values(), self.parts)
        return {holding: NOT_LOOKED_FOR for holdings in found.values() for holding in holdings}
