"""Keeps the faults of the devices in a file, for the next start of the gateway."""

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.tasks import to_its_end
from plugin_gateway.core.errors import GatewayError
from plugin_gateway.core.health.memory import Memory, recall, remember
from plugin_gateway.core.health.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from plugin_gateway.adapters.gateway.health_document import WrittenBy
    from plugin_gateway.adapters.gateway.health_file import Written

NAME = "health.json"
"""Name of the file in the state directory."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""The kernel file with the id of this boot."""
RETRY = 10.0
"""Seconds before the file is written again after a failure."""
LOOK_INTERVAL = 30.0
"""Seconds between two checks that the file still exists. Somebody may have deleted it."""


class HealthMemory:
    """The latest faults, and the file that contains them."""

    def __init__(
        self, directory: Path, boot_id: Path = BOOT_ID, written_by: "Callable[[Memory], WrittenBy] | None" = None
    ) -> None:
        """``written_by`` makes the header of the file; it is called in the thread that writes."""
        self._path = directory / NAME
        self._boot_id = _read_boot_id(boot_id)
        self._written_by = written_by
        self._kept: Memory | None = None
        """The content of the file."""
        self._written: Written | None = None
        """The identity of the file. None if this instance has not written one yet."""
        self._latest: Memory | None = None
        """What the file should contain. None if no device has ever been unhealthy."""
        self._changed = asyncio.Event()
        self._problem: str | None = None
        """Why the last write failed. None if it succeeded."""

    def recall(self) -> State:
        """Return the state that an earlier instance left. A damaged file is renamed and logged."""
        if os.path.lexists(self._path):
            self._read()
        state = (
            recall(self._kept, self._boot_id, time.clock_gettime(time.CLOCK_BOOTTIME))
            if self._kept is not None
            else State()
        )
        for device, fault in state.faults.items():
            log.warning("device was unhealthy before", device=device, reason=fault.reason, needs=fault.lacks)
        return state

    def _read(self) -> None:
        from plugin_gateway.adapters.gateway import health_file  # noqa: PLC0415 - only needed if there is a file

        try:
            self._kept, problems = health_file.read(self._path)
        except health_file.DamagedFileError as error:
            log.warning("what was kept about unhealthy devices cannot be used", problem=str(error))
            return
        if problems:
            log.warning("what was kept about unhealthy devices can be read in part", problems=problems)

    def keep(self, state: State) -> None:
        """Remember the faults of a state for the next write. Returns at once."""
        memory = remember(state, self._boot_id)
        if self._latest is None and not state.faults and not state.taken_out:
            return  # no device was ever unhealthy, so no file is needed
        if memory != self._latest:
            self._latest = memory
            self._changed.set()

    async def run(self) -> None:
        """Write the file after each change until cancelled, and once more at the end."""
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_INTERVAL if self._latest is not None else None):
                        await self._changed.wait()
                self._changed.clear()
                await to_its_end(asyncio.to_thread(self._write))
                if self._problem is not None:
                    await asyncio.sleep(RETRY)
                    self._changed.set()
        finally:
            self._write()

    def _write(self) -> None:
        """Write the file, unless it already exists with the same content."""
        latest = self._latest
        if latest is None:
            return
        from plugin_gateway.adapters.gateway import health_file  # noqa: PLC0415 - only needed to write

        if latest == self._kept and self._written is not None and health_file.find(self._path) == self._written:
            return
        try:
            header = self._written_by(latest) if self._written_by is not None else None
            self._written = health_file.write(self._path, latest, header)
        except OSError as error:
            self._log_problem(f"{self._path}: {error.strerror}")
        else:
            self._kept = latest
            self._log_problem(None)

    def _log_problem(self, problem: str | None) -> None:
        """Log a problem with the file once, and its end."""
        if problem == self._problem:
            return
        self._problem = problem
        if problem is None:
            log.info("what is known about unhealthy devices is kept again")
        else:
            log.warning("a restart will forget which devices are unhealthy", problem=problem)


def _read_boot_id(path: Path) -> str:
    """Return the id of this boot.

    Raises:
        GatewayError: the kernel does not provide it.
    """
    try:
        return path.read_text().strip()
    except OSError as error:
        raise GatewayError(f"cannot tell this boot from others: {path}: {error.strerror}") from error
