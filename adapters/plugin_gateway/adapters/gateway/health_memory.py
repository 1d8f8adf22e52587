"""Keeps the faults of the devices in a file, for the next start of the gateway."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from plugin_gateway.adapters.gateway.change_log import log_recalled
from plugin_gateway.adapters.gateway.kept_file import KeptFile
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.core.health.memory import Memory, has_only_more_evidence, recall, remember
from plugin_gateway.core.health.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from plugin_gateway.adapters.gateway.health_document import WrittenBy
    from plugin_gateway.adapters.gateway.state_file import Decoded

NAME = "health.json"
"""Name of the file in the state directory, of the first backend."""


def name_of_further(backend: str) -> str:
    """Return the name of the file of a further backend."""
    return f"health-{backend}.json"


BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""The kernel file with the id of this boot."""


class HealthMemory:
    """The latest faults, and the file that contains them."""

    def __init__(
        self,
        directory: Path,
        boot_id: Path = BOOT_ID,
        written_by: "Callable[[Memory], WrittenBy] | None" = None,
        may_write: "Callable[[], bool]" = lambda: True,
        name: str = NAME,
    ) -> None:
        """``written_by`` makes the header of the file; it is called in the thread that writes.

        ``may_write`` says whether this is the gateway that writes the file, if several have it. The file
        has this ``name``.
        """
        self._boot_id = _read_boot_id(boot_id)
        self._written_by = written_by
        self._file = KeptFile[Memory](
            directory / name,
            "unhealthy devices",
            "a restart will forget which devices are unhealthy",
            self._encode,
            may_write,
            has_only_more_evidence,
        )

    def recall(self) -> State:
        """Return the state that an earlier instance left. A damaged file is renamed and logged."""
        kept = self._file.read(_decoder)
        if kept is None:
            return State()
        state = self._recalled(kept)
        log_recalled(state.faults)
        return state

    def read_again(self) -> State | None:
        """Return the state that another gateway left since the file was last read or written. None if none did."""
        kept = self._file.read_again(_decoder)
        return self._recalled(kept) if kept is not None else None

    def _recalled(self, kept: Memory) -> State:
        return recall(kept, self._boot_id, time.clock_gettime(time.CLOCK_BOOTTIME))

    def keep(self, state: State) -> None:
        """Remember the faults of a state for the next write. Returns at once."""
        if self._file.latest is None and not (state.faults or state.taken_out or state.repeated):
            return  # no device was ever unhealthy, so no file is needed
        self._file.keep(remember(state, self._boot_id))

    async def run(self) -> None:
        """Write the file after each change until cancelled, and once more at the end."""
        await self._file.run()

    def _encode(self, memory: Memory) -> Mapping[str, object]:
        from plugin_gateway.adapters.gateway.health_document import encode  # noqa: PLC0415 - only needed to write

        return encode(memory, self._written_by(memory) if self._written_by is not None else None)


def _decoder() -> "Callable[[object], Decoded[Memory]]":
    from plugin_gateway.adapters.gateway.health_document import decode  # noqa: PLC0415 - only needed if there is a file

    return decode


def _read_boot_id(path: Path) -> str:
    """Return the id of this boot. Empty, with a warning, if the kernel does not tell it."""
    try:
        return path.read_text().strip()
    except OSError as error:
        log.warning(
            "this boot cannot be told from others",
            problem=f"{path}: {error.strerror}",
            hint="a reboot does not make an unhealthy device healthy; plugin-gateway health clear does",
        )
        return ""
