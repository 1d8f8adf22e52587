"""Time between what one kubelet is told of two resources."""

import asyncio
import time

from plugin_gateway.core.resource_names import ResourceName


class Turns:
    """Keeps messages to a kubelet apart that can crash when two resources change at the same instant (1.8)."""

    def __init__(self, gap: float = 0.05) -> None:
        self.gap = gap
        """Seconds."""
        self._next_free = 0.0
        self._last: ResourceName | None = None

    async def take(self, resource: ResourceName) -> None:
        """Wait until enough time has passed since the last message of another resource."""
        now = time.monotonic()
        turn = now if resource == self._last else max(now, self._next_free)
        self._last = resource
        self._next_free = turn + self.gap
        if turn > now:
            await asyncio.sleep(turn - now)
