"""Where a backend's thread leaves what it saw, and the event loop finds it."""

import asyncio
import contextlib
import threading
from collections.abc import Hashable

from plugin_gateway.core.observations import DeviceLost, DriverUnavailable, InventorySeen, Observation, XidReported


class Mailbox:
    """Takes observations from any thread without waiting; works before there is an event loop.

    What says the same again replaces what was there, so a storm of events needs no more room than its kinds.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: dict[Hashable, Observation] = {}
        self._reader: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def put(self, observation: Observation) -> None:
        """Leave an observation."""
        key = _key(observation)
        with self._lock:
            self._pending.pop(key, None)
            self._pending[key] = observation
            reader = self._reader
        if reader is not None:
            loop, filled = reader
            with contextlib.suppress(RuntimeError):  # the loop ended before the thread
                loop.call_soon_threadsafe(filled.set)

    async def take(self) -> list[Observation]:
        """Wait for observations and take all of them, in their order."""
        with self._lock:
            if self._reader is None:
                self._reader = (asyncio.get_running_loop(), asyncio.Event())
        _, filled = self._reader
        while not self._pending:
            await filled.wait()
            filled.clear()
        with self._lock:
            taken = list(self._pending.values())
            self._pending.clear()
        return taken


def _key(observation: Observation) -> Hashable:
    match observation:
        case InventorySeen() | DriverUnavailable():
            return "driver"
        case XidReported(xid, device):
            return xid, device
        case DeviceLost(device):
            return device
