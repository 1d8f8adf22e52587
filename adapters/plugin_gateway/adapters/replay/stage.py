"""Runs a gateway with stand-ins for everything around it, and plays one recorded line at a time to it."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from plugin_gateway.adapters.dialects import dialects_for, load_dialects
from plugin_gateway.adapters.gateway.gateway import ServingPolicy
from plugin_gateway.adapters.gateway.observation_queue import ObservationQueue
from plugin_gateway.adapters.kubelet.directory import KubeletDirectory
from plugin_gateway.adapters.replay.comparing import (
    LeftOutError,
    compare,
    compare_registers,
    describe_further,
    named_nodes,
)
from plugin_gateway.adapters.replay.kubelet_side import KubeletSide
from plugin_gateway.adapters.replay.pace import Pace
from plugin_gateway.adapters.replay.reading import Configuration, Happening, Recording
from plugin_gateway.adapters.replay.stand_ins import (
    PlayedGateway,
    PlayedRegistrar,
    RecordedClock,
    RecordedNodes,
)
from plugin_gateway.adapters.serving.stream import KUBELET_AGENT
from plugin_gateway.core.health.memory import recall
from plugin_gateway.core.health.observations import DriverSilence
from plugin_gateway.core.health.state import State

SETTLING = 0.002
"""Seconds in which the tasks of the gateway do what is due. The recorded time stands still meanwhile."""
UNDER_WAY = 0.1
"""Seconds after an observation in which its list may not have been sent yet: those to 1.8 and 1.9 are paced."""
REGISTERING = 0.05
"""Seconds in which a registration that is due may not have been made yet."""
SAME_BREATH = 0.005
"""Seconds. Observations that came closer together than this were read at once, and led to one list."""

Fields = Mapping[str, Any]
Act = Callable[[Fields], Awaitable[None]]
"""Plays a line of one kind."""


class Stage:
    """A gateway in a replay, and the kubelet's side of it."""

    def __init__(self, recording: Recording, folder: Path) -> None:
        self._signs_are_written = recording.version > 1
        self._clock, state = _beginning(recording)
        self._observations = ObservationQueue(lambda: self._clock.now().uptime)
        self._nodes = RecordedNodes()
        self.registrar = PlayedRegistrar(
            directory=KubeletDirectory(folder),
            dialects=load_dialects(),
            allowed=dialects_for(recording.configuration.api_version),
        )
        self._gateway = PlayedGateway(
            observations=self._observations,
            registrar=self.registrar,
            serving_policy=self._serving_policy(recording.configuration),
            silent_for=self._clock.silent_for,
            now=self._clock.now,
            state=state,
        )
        self._running: asyncio.Task[None] | None = None
        self._pace = Pace()
        self._previous: Happening | None = None
        self._seen_at = -math.inf
        """When the last observation was played; in seconds since the recording began."""
        self._of_others: set[str | None] = set()
        """Streams that were opened by another client than the kubelet."""
        self.side = KubeletSide(folder, lambda: self._clock.at)
        self.compared = 0
        """Registrations, lists and answers that were compared with the recorded ones."""
        self._acts: Mapping[str, Act] = {
            "seen": self._see,
            "waited": self._wait,
            "recalled": self._pass_over,
            "cleared": self._clear,
            "withheld": self._withhold,
            "configured": self._configure,
            "kubelet": self._have_kubelet,
            "replaced": self._replace_kubelet,
            "register": self._expect_register,
            "answered": self._answer,
            "opened": self._open,
            "list": self._expect_list,
            "ended": self._end,
            "call": self._call,
            "cut": self._leave_cut,
            "unknown": self._leave_unknown,
            "lost": self._pass_over,
            "stopping": self._stop,
            "end": self._pass_over,
        }

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the gateway inside the block."""
        async with asyncio.TaskGroup() as tasks:
            self._running = tasks.create_task(self._gateway.run())
            try:
                yield
            finally:
                self._running.cancel()

    async def play(self, happening: Happening) -> None:
        """Play one line at its recorded time.

        Raises:
            MissedError: the gateway does not do what was recorded.
            LeftOutError: the line cannot be played.
        """
        before, self._previous = self._previous, happening
        if before is None or not _is_same_breath(before, happening):
            await self._move_to(happening)
        self._clock.at = happening.at
        self._leave_others_out(happening.fields)
        await self._acts[happening.what](happening.fields)
        self._pace.note(happening)

    async def _move_to(self, happening: Happening) -> None:
        """Move the recorded time to that of a line, and let the gateway do what is due before it."""
        await self._settle()
        await asyncio.sleep(self._pace.wait_for(happening))
        self._clock.at = happening.at
        if not self._signs_are_written and happening.what != "seen":
            # Version 1 does not say when the driver gave a sign, so it is taken to answer all the time.
            self._clock.sign_at = happening.at
        self._observations.wake()
        await self._settle()

    async def find_further_lists(self, stream: str) -> None:
        """Look for lists that were not recorded. One that may have been on its way at the recorded end does not count.

        Raises:
            MissedError: there are some.
            LeftOutError: the stream is not open.
        """
        before, lists = self.side.last_list(stream), await self.side.further_lists(stream)
        if lists and self._clock.at - self._seen_at >= UNDER_WAY:
            raise describe_further(self.side.api_version_of(stream), before, lists)

    def further_registrations(self) -> list[str]:
        """Return descriptions of the registrations that were not recorded.

        One that may have been on its way when its kubelet ended does not count.
        """
        return self.side.left_over(until=self._clock.at - REGISTERING)

    def _serving_policy(self, configuration: Configuration) -> ServingPolicy:
        return ServingPolicy(
            rules=configuration.rules,
            policy=configuration.policy,
            nodes=self._nodes,
            unhealthy_first=configuration.unhealthy_first,
            numa_hints=configuration.numa_hints,
            health=configuration.health,
        )

    async def _settle(self) -> None:
        """Let the gateway do what is due before the recorded time moves on."""
        await asyncio.sleep(SETTLING)

    def _leave_others_out(self, fields: Fields) -> None:
        """Leave out calls and streams of other clients than the kubelet.

        Raises:
            LeftOutError: the line is of another client.
        """
        stream = fields.get("stream")
        is_of_another = "agent" in fields and not fields["agent"].startswith(KUBELET_AGENT)
        if is_of_another:
            self._of_others.add(stream)
        if is_of_another or (stream is not None and stream in self._of_others):
            raise LeftOutError("of another client than the kubelet")

    async def _see(self, fields: Fields) -> None:
        observation = fields["observation"]
        silence = observation.seconds if isinstance(observation, DriverSilence) else 0.0
        self._clock.sign_at = max(self._clock.sign_at, self._clock.at - silence)
        self._seen_at = self._clock.at
        self._observations.put(observation)

    async def _wait(self, fields: Fields) -> None:
        """Let the gateway conclude what it concluded then because time had passed."""
        self._clock.sign_at = max(self._clock.sign_at, self._clock.at - fields["silence"])
        self._observations.wake()
        await self._settle()

    async def _clear(self, fields: Fields) -> None:
        self._gateway.clear(fields["device"])

    async def _withhold(self, fields: Fields) -> None:
        self._gateway.withhold(fields["devices"])

    async def _configure(self, fields: Fields) -> None:
        self.registrar.allow(dialects_for(fields["configuration"].api_version))
        self._gateway.apply(self._serving_policy(fields["configuration"]))

    async def _replace_kubelet(self, fields: Fields) -> None:
        await self.side.replace(is_same_file=fields["is_same_file"])

    async def _have_kubelet(self, fields: Fields) -> None:
        await (self.side.appear() if fields["is_there"] else self.side.vanish())

    async def _expect_register(self, fields: Fields) -> None:
        timeout = self._pace.timeout(self._clock.at)
        now = await self.side.expect_register(fields["api_version"], fields["request"], timeout)
        self.compared += 1
        compare_registers(fields["request"], now)

    async def _answer(self, fields: Fields) -> None:
        self.side.answer(fields["request"].resource_name, fields["code"], fields["words"])

    async def _open(self, fields: Fields) -> None:
        await self.side.open(fields["stream"], fields["service"], fields["resource"], fields["agent"])

    async def _expect_list(self, fields: Fields) -> None:
        now = await self.side.next_list(fields["stream"])
        self.compared += 1
        compare(self.side.api_version_of(fields["stream"]), "ListAndWatch", fields["message"], now)

    async def _end(self, fields: Fields) -> None:
        try:
            await self.find_further_lists(fields["stream"])
        finally:
            await self.side.end(fields["stream"], fields["by"])

    async def _call(self, fields: Fields) -> None:
        resource, method = fields["resource"], fields["method"]
        self._nodes.named = named_nodes(self.side.api_version_registered(resource), fields["answer"])
        now = await self.side.call(fields["service"], method, resource, fields["agent"], fields["request"])
        then = fields["answer"] if fields["answer"] is not None else fields["error"]
        self.compared += 1
        compare(self.side.api_version_registered(resource), method, then, now)

    async def _leave_unknown(self, _fields: Fields) -> None:
        raise LeftOutError("of a kind that this version does not know")

    async def _leave_cut(self, _fields: Fields) -> None:
        raise LeftOutError("cut")

    async def _pass_over(self, _fields: Fields) -> None:
        """Do nothing. The line is only information for people, or was used at the beginning."""

    async def _stop(self, _fields: Fields) -> None:
        assert self._running is not None
        self._running.cancel()


def _is_same_breath(before: Happening, happening: Happening) -> bool:
    """Return whether both lines are observations that the gateway read at once."""
    return before.what == happening.what == "seen" and 0 <= happening.at - before.at < SAME_BREATH


def _beginning(recording: Recording) -> tuple[RecordedClock, State]:
    """Return clock and state at the beginning. The state is what an earlier instance left, if that was recorded."""
    for each in recording.happenings:
        if each.what == "recalled":
            memory = each.fields["memory"]
            clock = RecordedClock(recording.began, each.fields["uptime"] - each.at)
            return clock, recall(memory, memory.boot_id)
    return RecordedClock(recording.began, 0.0), State()
