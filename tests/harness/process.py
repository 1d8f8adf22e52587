"""The gateway as a separate process, started as a user starts it."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from plugin_gateway.adapters.support.unix_files import Listener, find_listener

PROGRAM = str(Path(sys.executable).with_name("plugin-gateway"))
COMMAND = (PROGRAM, "run")
"""What starts the gateway."""


class Process:
    """A running `plugin-gateway run` and its log lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lines: list[dict[str, Any]] = []
        self._more = asyncio.Event()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._process.returncode is not None

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def read(self) -> None:
        """Read log lines until the process ends."""
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self.lines.append(json.loads(line))
            self._more.set()

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]

    async def wait_for_event(self, event: str, times: int = 1, limit: float = 10) -> dict[str, Any]:
        """Wait until the log has this event so many times, and return the last line with it."""
        async with asyncio.timeout(limit):
            while self.events().count(event) < times:
                self._more.clear()
                await self._more.wait()
        return [line for line in self.lines if line["event"] == event][-1]

    async def wait_for_control(self, limit: float = 10) -> None:
        """Wait until the control socket of this process exists."""
        folder = Path(os.environ["STATE_DIR"])
        async with asyncio.timeout(limit):
            while Listener(self.pid) not in map(find_listener, folder.glob("control*.sock")):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def ended(self, limit: float = 10) -> int:
        """Wait for the end, and return the exit status."""
        async with asyncio.timeout(limit):
            return await self._process.wait()


@asynccontextmanager
async def started(
    *arguments: str, environment: Mapping[str, str] | None = None, within: Sequence[str] = ()
) -> AsyncIterator[Process]:
    """Run the gateway inside the block, and read its log as JSON. ``within`` is a program that starts it."""
    child = await asyncio.create_subprocess_exec(
        *within,
        *COMMAND,
        *arguments,
        env={**os.environ, **(environment or {})},
        stderr=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL,
    )
    process = Process(child)
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(process.read())
        try:
            yield process
        finally:
            if child.returncode is None:
                child.terminate()
            try:
                await process.ended()
            except TimeoutError:
                child.kill()
                raise
            await reading


async def run_to_end(
    *arguments: str, environment: Mapping[str, str] | None = None, within: Sequence[str] = (), limit: float = 30
) -> tuple[int, str, str]:
    """Run the program until it ends, and return status, output and errors. ``within`` is a program that starts it."""
    child = await asyncio.create_subprocess_exec(
        *within,
        PROGRAM,
        *arguments,
        env={**os.environ, **(environment or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(limit):
        output, errors = await child.communicate()
    assert child.returncode is not None
    return child.returncode, output.decode(), errors.decode()
