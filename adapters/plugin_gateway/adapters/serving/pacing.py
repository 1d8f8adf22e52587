"""A pause between messages about two resources."""

import asyncio
import time

from plugin_gateway.core.resources.names import ResourceName


class Pacing:
    """Keeps messages to the kubelet about different resources apart.

    A kubelet of 1.8 updates its map of devices without a lock. It can crash if two resources register or change at the
    same instant. Seen with a genuine kubelet of 1.8.15.
    """

    def __init__(self, gap: float = 0.05) -> None:
        self.gap = gap
        """Seconds between messages about two resources."""
        self._turn = 0.0
        """The time of the latest message that was permitted, on the monotonic clock. It can be in the future."""
        self._last: ResourceName | None = None

    async def take(self, resource: ResourceName) -> None:
        """Wait until enough time has passed since the last message about another resource."""
        now = time.monotonic()
        self._turn = max(now, self._turn if resource == self._last else self._turn + self.gap)
        self._last = resource
        if self._turn > now:
            await asyncio.sleep(self._turn - now)
