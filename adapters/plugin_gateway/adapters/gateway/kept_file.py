"""Keeps a value in a file of the state directory, for the next start of the gateway."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.tasks import to_its_end
from plugin_gateway.core.errors import GatewayError

_Value = TypeVar("_Value")

if TYPE_CHECKING:
    from plugin_gateway.adapters.gateway.state_file import Decoded, Written

RETRY = 10.0
"""Seconds before the file is written again after a failure."""
PAUSE = 1.0
"""Seconds before a change is written that can wait, so that a storm of them is written once a second."""
LOOK_INTERVAL = 30.0
"""Seconds between two checks that the file still exists. Somebody may have deleted it."""


class KeptFile(Generic[_Value]):
    """The latest value, and the file that contains it."""

    def __init__(
        self,
        path: Path,
        what: str,
        if_lost: str,
        encode: Callable[[_Value], Mapping[str, object]],
        may_write: Callable[[], bool] = lambda: True,
        can_wait: Callable[[_Value, _Value], bool] = lambda _before, _after: False,
    ) -> None:
        """``what`` is in the file, and ``if_lost`` follows if it cannot be written, both in words.

        ``encode`` makes the JSON value. It is called in the thread that writes. ``may_write`` says whether this is the
        instance that writes the file, if several have it. ``can_wait`` tells whether a change of the value is worth no
        write of its own.
        """
        self._path = path
        self._what = what
        self._if_lost = if_lost
        self._encode = encode
        self._may_write = may_write
        self._can_wait = can_wait
        self._kept: _Value | None = None
        """The content of the file."""
        self._written: Written | None = None
        """The identity of the file. None if this instance has not written one yet."""
        self._read_from: Written | None = None
        """The identity of the file that was read last. None if there was none."""
        self._latest: _Value | None = None
        """What the file should contain. None if nothing has to be kept yet."""
        self._changed = asyncio.Event()
        self._is_urgent = asyncio.Event()
        """Set if a change since the last write cannot wait."""
        self.problem: str | None = None
        """Why the last write failed. None if it succeeded."""

    @property
    def latest(self) -> _Value | None:
        """What the file should contain. None if nothing has to be kept yet."""
        return self._latest

    def read(self, decode: "Callable[[], Callable[[object], Decoded[_Value]]]") -> _Value | None:
        """Return what an earlier instance left. None if there is nothing that can be used.

        A damaged file is renamed and logged. A file that is read in part is copied first. ``decode`` imports the
        function that makes the value from the JSON value; it is only called if there is a file.
        """
        if not os.path.lexists(self._path):
            return None
        from plugin_gateway.adapters.gateway import state_file  # noqa: PLC0415 - only needed if there is a file

        self._read_from = state_file.find(self._path)
        try:
            decoded = state_file.read(self._path, decode())
        except state_file.DamagedFileError as error:
            log.warning(f"what was kept about {self._what} cannot be used", problem=str(error))
            return None
        self._kept = decoded.memory
        if decoded.problems:
            log.warning(
                f"what was kept about {self._what} can be read in part", problems=decoded.problems, copy=self._copy()
            )
        return self._kept

    def read_again(self, decode: "Callable[[], Callable[[object], Decoded[_Value]]]") -> _Value | None:
        """Return what another instance has written since the file was last read or written. None if none has."""
        if not os.path.lexists(self._path):
            return None
        from plugin_gateway.adapters.gateway import state_file  # noqa: PLC0415 - only needed if there is a file

        if state_file.find(self._path) in {self._read_from, self._written}:
            return None
        self._changed.set()
        return self.read(decode)

    def _copy(self) -> str:
        """Copy the file, and return the name of the copy, or why there is none."""
        from plugin_gateway.adapters.gateway import state_file  # noqa: PLC0415 - only needed if there is a file

        try:
            return str(state_file.keep_copy(self._path))
        except OSError as error:
            return f"none: {error.strerror}"
        except GatewayError as error:
            return f"none: {error}"

    def keep(self, value: _Value) -> None:
        """Remember a value for the next write. Returns at once."""
        before = self._latest
        if value == before:
            return
        self._latest = value
        self._changed.set()
        if before is None or not self._can_wait(before, value):
            self._is_urgent.set()

    async def run(self) -> None:
        """Write the file after each change until cancelled, and once more at the end."""
        try:
            while True:
                if await _is_set(self._changed, LOOK_INTERVAL if self._latest is not None else None):
                    await _is_set(self._is_urgent, PAUSE)
                self._changed.clear()
                self._is_urgent.clear()
                if self._may_write():
                    await to_its_end(asyncio.to_thread(self._write))
                if self.problem is not None:
                    await asyncio.sleep(RETRY)
                    self._changed.set()
        finally:
            if self._may_write():
                self._write()

    def _write(self) -> None:
        """Write the file, unless it already exists with the same content."""
        latest = self._latest
        if latest is None:
            return
        from plugin_gateway.adapters.gateway import state_file  # noqa: PLC0415 - only needed to write

        if latest == self._kept and self._written is not None and state_file.find(self._path) == self._written:
            return
        try:
            self._written = state_file.write(self._path, self._encode(latest))
        except OSError as error:
            self._log_problem(f"{self._path}: {error.strerror}")
        else:
            self._kept = latest
            self._log_problem(None)

    def _log_problem(self, problem: str | None) -> None:
        """Log a problem with the file once, and its end."""
        if problem == self.problem:
            return
        self.problem = problem
        if problem is None:
            log.info(f"what is known about {self._what} is kept again")
        else:
            log.warning(self._if_lost, problem=problem)


async def _is_set(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait so long for the event, and return whether it is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
