"""Looks which containers hold devices, for the status page. Many who look at it are one who asks the kubelet."""

import asyncio
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from plugin_gateway.adapters.kubelet.checkpoint import CheckpointError
from plugin_gateway.adapters.kubelet.holders import living_holders, names_by_device, names_by_resource

FRESH = 5.0
"""Seconds for which an answer is shown again."""
MAX_NAMES = 4
"""Containers that are named for one device or resource."""


class Held(NamedTuple):
    """Which containers hold devices."""

    by_device: Mapping[str, str]
    """In words, by device id."""
    by_resource: Mapping[str, str]
    """In words, by resource."""


class HoldersLook:
    """The latest answer, and who asks for the next one."""

    def __init__(self) -> None:
        self._held: Held | None = None
        self._looked = -math.inf
        """When, on the monotonic clock."""
        self._looking = asyncio.Lock()

    async def take(self, kubelet_dir: str) -> Held | None:
        """Return who holds what. None if that is not known. A thread asks, by one request at a time."""
        async with self._looking:
            if time.monotonic() - self._looked > FRESH:
                self._held = await asyncio.to_thread(_look, Path(kubelet_dir))
                self._looked = time.monotonic()
            return self._held


def _look(kubelet_dir: Path) -> Held | None:
    try:
        holders = living_holders(kubelet_dir)
    except CheckpointError:
        return None
    return Held(names_by_device(holders, MAX_NAMES), names_by_resource(holders, MAX_NAMES))
