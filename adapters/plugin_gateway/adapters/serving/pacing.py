"""Time between what one kubelet is told of two resources."""

import asyncio
import time

from plugin_gateway.core.resources.names import ResourceName


class Pacing:
    """Keeps messages to a kubelet apart that can crash when two resources change at the same instant (1.8)."""

    def __init__(self, gap: float = 0.05) -> None:
        self.gap = gap
        """Seconds."""
        self._turn = 0.0
        """The last one that was given, on the monotonic clock."""
        self._last: ResourceName | None = None

    async def take(self, resource: ResourceName) -> None:
        """Wait until enough time has passed since the last message of another resource."""
        now = time.monotonic()
        self._turn = max(now, self._turn if resource == self._last else self._turn + self.gap)
        self._last = resource
        if self._turn > now:
            await asyncio.sleep(self._turn - now)
