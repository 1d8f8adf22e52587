"""Counts the devices of the node, remembers how many there were, and says which are missing.

The file is read after the start, because no call of the kubelet depends on it.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from plugin_gateway.adapters.gateway.kept_file import KeptFile
from plugin_gateway.adapters.gateway.status import CountStatus
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.core.device_count import FIRST_LOOK_TIME, DeviceCount, accept, expect, say, see
from plugin_gateway.core.errors import GatewayError

if TYPE_CHECKING:
    from plugin_gateway.adapters.gateway.known_devices import Remembered
    from plugin_gateway.adapters.gateway.state_file import Decoded
    from plugin_gateway.core.health.state import State

NAME = "known-devices.json"
"""Name of the file in the state directory."""
BY_MEMORY = "what this node had before"
"""What decides about the number if the administrator gave none."""
_GONE_AFTER_BOOT = frozenset({"tmpfs", "ramfs", "rootfs", "overlay"})
"""File systems in memory, and that of a container's own files, which go with the container."""


class NotAcceptedError(GatewayError):
    """The devices that are here cannot be taken as the expected ones. The message is for the operator."""


class Given(NamedTuple):
    """The number of devices that the administrator gave."""

    number: int | None
    """None if the node should have what it had before."""
    source: str
    """Where it was given."""


class DeviceCounter:
    """The number of devices, and the file that remembers it."""

    def __init__(
        self,
        directory: Path,
        word: str,
        given: Given,
        tell: Callable[[str | None, bool], None],
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        """``word`` is the word for a device. ``tell`` gets which devices are missing, and whether that is news.

        ``may_write`` says whether this is the gateway that writes the file, if several have it.
        """
        self._directory = directory
        self._source = given.source
        self._tell = tell
        self._count = DeviceCount(word, given.number, awaited_until=time.monotonic() + FIRST_LOOK_TIME)
        self._file = KeptFile["Remembered"](
            directory / NAME,
            "the devices of this node",
            "a restart will forget which devices were here",
            _encode,
            may_write,
        )
        self._file_system: str | None = None
        self._lost_with: str | None = None
        self._latest: State | None = None
        self._is_recalled = False
        self._surplus = 0
        self._changed = asyncio.Event()

    def keep(self, state: "State") -> None:
        """Take a new state. Does not wait."""
        self._latest = state
        if self._is_recalled and state.inventory is not None and state.inventory is not self._count.inventory:
            self._update(see(self._count, state.inventory, time.monotonic()))

    def expect(self, given: Given) -> None:
        """Expect another number from now on."""
        self._source = given.source
        self._update(expect(self._count, given.number, time.monotonic()))

    def accept(self) -> Mapping[str, Any]:
        """Take the devices that are here now as the expected ones. Returns both numbers, as JSON values.

        Raises:
            NotAcceptedError: the administrator gave the number, or the devices cannot be counted now.
        """
        if self._count.given is not None:
            raise NotAcceptedError(f"the number is given by {self._source}: change it there")
        state, before = self._latest, self._count
        if state is None or before.inventory is None or state.driver_problem is not None or state.driver_is_silent:
            why = state.driver_problem if state is not None and state.driver_problem else "the driver has not answered"
            raise NotAcceptedError(f"the devices cannot be counted now: {why}")
        missed = before.comparison.missing if before.comparison is not None else ()
        self._update(accept(before, time.monotonic()))
        log.warning(
            "an operator accepts the devices that are here",
            expected=self._count.expected,
            before=before.expected,
            not_missed=[each.id for each in missed] or None,
        )
        told = {"expected": self._count.expected, "before": before.expected, "missed": [str(each) for each in missed]}
        return {**told, "word": before.word}

    def status(self) -> CountStatus:
        """Return what is expected and what is here."""
        count, found = self._count, self._count.comparison
        by_memory = BY_MEMORY if count.known is not None else None
        return CountStatus(
            word=count.word,
            expected=count.expected,
            decided_by=self._source if count.given is not None else by_memory,
            present=count.present,
            missing=found.missing if found is not None else (),
            rejected=found.rejected if found is not None else (),
            problem=count.told,
            kept_in=str(self._directory / NAME),
            not_kept=self._file.problem,
            file_system=self._file_system,
            outlives_boot=self._file_system is not None and self._file_system not in _GONE_AFTER_BOOT,
            lost_with=self._lost_with,
        )

    async def run(self) -> None:
        """Read the file, then count and say until cancelled. The file is written after each change."""
        remembered = await asyncio.to_thread(self._recall)
        if self._lost_with is not None:
            log.warning(
                "health is not kept over a restart, the state directory is no folder of the host",
                state_dir=str(self._directory),
                lost_with=self._lost_with,
            )
        if remembered is not None:
            self._count = self._count._replace(known=remembered.known, told=remembered.told)
            if remembered.told is not None:
                self._tell(remembered.told, False)  # noqa: FBT003 - as the protocol of a callable
                log.warning("devices were missing before", problem=remembered.told)
        self._is_recalled = True
        if self._latest is not None:
            self.keep(self._latest)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._file.run(), name="file of devices")
            tasks.create_task(self._say_what_is_due(), name="missing devices")

    def _recall(self) -> "Remembered | None":
        from plugin_gateway.adapters.gateway.state_folder import lost_with  # noqa: PLC0415 - after the start
        from plugin_gateway.adapters.support.unix_files import file_system_of  # noqa: PLC0415 - after the start

        self._file_system, self._lost_with = file_system_of(self._directory), lost_with(self._directory)
        return self._file.read(_decoder)

    def _update(self, count: DeviceCount) -> None:
        self._count = count
        if count.known is not None and self._is_recalled:
            self._keep_file()
        surplus = count.comparison.surplus if count.comparison is not None else 0
        if surplus and surplus != self._surplus:
            log.info("there are more devices than expected", surplus=surplus, **self._numbers())
        self._surplus = surplus
        self._changed.set()

    def _keep_file(self) -> None:
        from plugin_gateway.adapters.gateway.known_devices import Remembered  # noqa: PLC0415 - after the start

        if self._count.known is not None:
            self._file.keep(Remembered(self._count.known, self._count.told))

    async def _say_what_is_due(self) -> None:
        while True:
            self._changed.clear()
            self._say()
            due = self._count.due
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(due - time.monotonic(), 0) if due is not None else None):
                    await self._changed.wait()

    def _say(self) -> None:
        """Log and tell what is due: which devices are missing, or that none is any more."""
        before, self._count = self._count, say(self._count, time.monotonic())
        told = self._count.told
        if told == before.told:
            return
        self._keep_file()
        if told is None:
            log.info("no device is missing any more", **self._numbers())
        else:
            log.warning("devices are missing", problem=told, decided_by=self.status().decided_by)
        self._tell(told, True)  # noqa: FBT003 - as the protocol of a callable

    def _numbers(self) -> Mapping[str, int]:
        found = self._count.comparison
        return {"expected": found.expected, "present": found.present} if found is not None else {}


def _encode(memory: "Remembered") -> Mapping[str, object]:
    from plugin_gateway.adapters.gateway.known_devices import encode  # noqa: PLC0415 - after the start

    return encode(memory)


def _decoder() -> "Callable[[object], Decoded[Remembered]]":
    from plugin_gateway.adapters.gateway.known_devices import decode  # noqa: PLC0415 - after the start

    return decode
