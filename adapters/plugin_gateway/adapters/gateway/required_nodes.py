"""Looks whether the node has the device nodes without which no container may be given a device.

They can come after the gateway has started, and go. So the gateway looks every 2 s, and whenever what a backend knows
changes. As long as one is missing, the devices are in the list and unhealthy. An allocation looks once more.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from plugin_gateway.core.health.observations import RequirementSeen
from plugin_gateway.core.resources.extras import missing

if TYPE_CHECKING:
    from plugin_gateway.core.devices import Recipe
    from plugin_gateway.core.health.observations import Observation
    from plugin_gateway.core.ports import HostNodes

LOOK_INTERVAL = 2.0
"""Seconds between two looks."""
NOT_LOOKED_FOR = RequirementSeen("nobody has looked yet for what every container needs")


class RequiredNodes:
    """Looks for the required device nodes of the devices of one backend."""

    def __init__(self, put: "Callable[[Observation], None]", recipes: "Callable[[], Collection[Recipe]]") -> None:
        """``put`` takes what was seen, if that is news. ``recipes`` are those of the backend, as far as it has any."""
        self._put = put
        self._recipes = recipes
        self._required: Sequence[str] = ()
        self._nodes: HostNodes | None = None
        self._told: RequirementSeen | None = None

    def require(self, required: Sequence[str], nodes: "HostNodes") -> None:
        """Look for these from now on, in words of the backend, and at once."""
        self._required, self._nodes = required, nodes
        self.look()

    def look(self) -> None:
        """Look now."""
        seen = self._seen()
        if seen != self._told:
            self._told = seen
            self._put(seen)

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            self.look()

    def _seen(self) -> RequirementSeen:
        recipes = self._recipes()
        if self._required and not recipes:
            return NOT_LOOKED_FOR
        lacking = missing(recipes, self._required, self._nodes) if self._nodes is not None else {}
        paths = ", ".join(path for extra in lacking.values() for path in extra.nodes)
        todo = "; ".join(extra.todo for extra in lacking.values())
        return RequirementSeen(f"{paths}, which every container needs, is not there" if lacking else "", todo)
