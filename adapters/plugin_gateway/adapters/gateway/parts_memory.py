"""Keeps in a file which parts of devices there were, for the next start of the gateway.

A pod can hold a part that is gone. Without this file the next gateway would not know of which device it was a part.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from plugin_gateway.adapters.gateway.kept_file import KeptFile
from plugin_gateway.core.devices import Inventory

if TYPE_CHECKING:
    from plugin_gateway.adapters.gateway.state_file import Decoded
    from plugin_gateway.core.resources.conflicts import FormerPart

NAME = "known-parts.json"
"""Name of the file in the state directory."""
Parts = Mapping[str, "FormerPart"]
"""By their ids, the one that was seen last at the end."""


class PartsMemory:
    """The parts that there are and were. There is no file on a node that never had one."""

    def __init__(self, directory: Path, may_write: Callable[[], bool]) -> None:
        self._file = KeptFile[Parts](
            directory / NAME,
            "parts of devices",
            "a restart will forget of which device a part was that a pod holds",
            _encode,
            may_write,
        )
        self._inventories: dict[str, Inventory] = {}
        """The latest one of each backend."""

    def recall(self) -> Parts:
        """Return the parts that another gateway, or this one, has written."""
        return self._file.read(_decoder) or {}

    def keep(self, backend: str, inventory: Inventory | None) -> None:
        """Remember the parts of a backend's inventory for the next write. Returns at once."""
        if inventory is None or inventory is self._inventories.get(backend):
            return
        self._inventories[backend] = inventory
        if len(inventory.devices) == sum(device.is_whole for device in inventory.devices):
            return
        from plugin_gateway.adapters.gateway.known_parts import with_parts  # noqa: PLC0415 - only with parts

        known = self._file.latest if self._file.latest is not None else self.recall()
        self._file.keep(with_parts(known, inventory))

    async def run(self) -> None:
        """Write the file after each change until cancelled, and once more at the end."""
        await self._file.run()


def _encode(parts: Parts) -> Mapping[str, object]:
    from plugin_gateway.adapters.gateway.known_parts import encode  # noqa: PLC0415 - only needed to write

    return encode(parts)


def _decoder() -> "Callable[[object], Decoded[Parts]]":
    from plugin_gateway.adapters.gateway.known_parts import decode  # noqa: PLC0415 - only needed if there is a file

    return decode
