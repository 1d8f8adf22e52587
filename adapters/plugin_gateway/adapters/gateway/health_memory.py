"""Keeps what the next instance has to know, whenever it changes, without holding anybody up."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.tasks import to_its_end
from plugin_gateway.core.errors import GatewayError
from plugin_gateway.core.health.memory import Memory, recall, remember
from plugin_gateway.core.health.state import State

if TYPE_CHECKING:
    from plugin_gateway.adapters.gateway.health_file import Written

NAME = "health.json"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
RETRY = 10.0
"""Seconds after which a file that could not be written is tried again."""
LOOK_INTERVAL = 30.0
"""Seconds between two looks at whether the file is still there: somebody may clean up where it lies."""


class HealthMemory:
    """The latest state, and the file that it belongs in."""

    def __init__(self, directory: Path, boot_id: Path = BOOT_ID) -> None:
        self._path = directory / NAME
        self._boot_id = _read_boot_id(boot_id)
        self._kept: Memory | None = None
        """What the file has."""
        self._written: Written | None = None
        """Which file that is; None before the first was written by us."""
        self._latest: Memory | None = None
        self._changed = asyncio.Event()
        self._problem: str | None = None

    def recall(self) -> State:
        """Tell what an earlier instance left; a file that is no good is set aside and said."""
        if os.path.lexists(self._path):
            self._read()
        state = recall(self._kept, self._boot_id) if self._kept is not None else State()
        for device, fault in state.faults.items():
            log.warning("device was unhealthy before", device=device, reason=fault.reason, needs=fault.lacks)
        return state

    def _read(self) -> None:
        from plugin_gateway.adapters.gateway import health_file  # noqa: PLC0415 - only where there is something to read

        try:
            self._kept = health_file.read(self._path)
        except health_file.DamagedFileError as error:
            log.warning("what was kept about unhealthy devices cannot be used", problem=str(error))

    def keep(self, state: State) -> None:
        """Take a state; returns at once."""
        memory = remember(state, self._boot_id)
        if self._latest is None and not state.faults and not state.taken_out:
            return  # a node whose devices were always well needs no file
        if memory != self._latest:
            self._latest = memory
            self._changed.set()

    async def run(self) -> None:
        """Write what changes until cancelled, and what changed last before that."""
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
        latest = self._latest
        if latest is None:
            return
        from plugin_gateway.adapters.gateway import health_file  # noqa: PLC0415 - only where there is something to write

        if latest == self._kept and self._written is not None and health_file.find(self._path) == self._written:
            return
        try:
            self._written = health_file.write(self._path, latest)
        except OSError as error:
            self._log_problem(f"{self._path}: {error.strerror}")
        else:
            self._kept = latest
            self._log_problem(None)

    def _log_problem(self, problem: str | None) -> None:
        """Log a problem once for as long as it stays the same."""
        if problem == self._problem:
            return
        self._problem = problem
        if problem is None:
            log.info("what is known about unhealthy devices is kept again")
        else:
            log.warning("a restart will forget which devices are unhealthy", problem=problem)


def _read_boot_id(path: Path) -> str:
    """Read which boot this is.

    Raises:
        GatewayError: the kernel does not say.
    """
    try:
        return path.read_text().strip()
    except OSError as error:
        raise GatewayError(f"cannot tell this boot from others: {path}: {error.strerror}") from error
