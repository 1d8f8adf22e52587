"""A gateway of today with a stand-in for everything around it, to which one recorded line after the other is played."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from plugin_gateway.adapters.dialects.dialect import Dialect
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
"""Seconds in which the gateway's tasks have their turn; the recorded time stands still meanwhile."""
UNDER_WAY = 0.1
"""Seconds after something was seen in which its list may not have been sent yet: those of 1.8 and 1.9 are paced."""
REGISTERING = 0.05
"""Seconds in which a registration that is due may not have been made yet."""
SAME_BREATH = 0.005
"""Seconds between two things that the driver told and the gateway read at once, so that the kubelet was told once."""

Fields = Mapping[str, Any]
Act = Callable[[Fields], Awaitable[None]]


class Stage:
    """The gateway and the kubelet's side of it."""

    def __init__(
        self,
        recording: Recording,
        dialects: Sequence[Dialect],
        api_versions: Mapping[str, Sequence[str]],
        folder: Path,
    ) -> None:
        self._dialects = dialects
        self._api_versions = api_versions
        self._signs_are_written = recording.version > 1
        self._clock, state = _beginning(recording)
        self._observations = ObservationQueue()
        self._nodes = RecordedNodes()
        self.registrar = PlayedRegistrar(
            directory=KubeletDirectory(folder), dialects=dialects, allowed=self._allowed(recording.configuration)
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
        """When the driver told something last."""
        self._of_others: set[str | None] = set()
        """Streams that another client than the kubelet opened."""
        self.side = KubeletSide(folder, lambda: self._clock.at)
        self.compared = 0
        """Registrations, lists and answers that were put beside those of then."""
        self._acts: Mapping[str, Act] = {
            "seen": self._see,
            "waited": self._wait,
            "recalled": self._pass_over,
            "cleared": self._clear,
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
            "lost": self._pass_over,
            "stopping": self._stop,
            "end": self._pass_over,
        }

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Have the gateway run meanwhile."""
        async with asyncio.TaskGroup() as tasks:
            self._running = tasks.create_task(self._gateway.run())
            try:
                yield
            finally:
                self._running.cancel()

    async def play(self, happening: Happening) -> None:
        """Play one line, at its time.

        Raises:
            MissedError: the gateway does not do what it did then.
            LeftOutError: it cannot be played.
        """
        before, self._previous = self._previous, happening
        if before is None or not _is_same_breath(before, happening):
            await self._move_to(happening)
        self._clock.at = happening.at
        self._leave_others_out(happening.fields)
        await self._acts[happening.what](happening.fields)
        self._pace.note(happening)

    async def _move_to(self, happening: Happening) -> None:
        await self._settle()
        await asyncio.sleep(self._pace.wait_for(happening))
        self._clock.at = happening.at
        if not self._signs_are_written and happening.what != "seen":
            self._clock.sign_at = happening.at  # nobody knows better
        self._observations.wake()
        await self._settle()

    async def find_further_lists(self, stream: str) -> None:
        """Look for lists that were not sent then; one that the end came before may have been just under way.

        Raises:
            MissedError: there are some.
            LeftOutError: the stream was not opened.
        """
        before, lists = self.side.last_list(stream), await self.side.further_lists(stream)
        if lists and self._clock.at - self._seen_at >= UNDER_WAY:
            raise describe_further(self.side.api_version_of(stream), before, lists)

    def further_registrations(self) -> list[str]:
        """List the registrations that were not made then; one that its kubelet went before may have been under way."""
        return self.side.left_over(until=self._clock.at - REGISTERING)

    def _allowed(self, configuration: Configuration) -> list[Dialect]:
        versions = self._api_versions[configuration.api_version]
        return [each for each in self._dialects if each.version in versions]

    def _serving_policy(self, configuration: Configuration) -> ServingPolicy:
        return ServingPolicy(
            rules=configuration.rules,
            policy=configuration.policy,
            nodes=self._nodes,
            unhealthy_first=configuration.unhealthy_first,
            health=configuration.health,
        )

    async def _settle(self) -> None:
        """Let the gateway do what is due at the time at which the clock stands, before that goes on."""
        await asyncio.sleep(SETTLING)

    def _leave_others_out(self, fields: Fields) -> None:
        """Leave out what other clients than the kubelet asked, and what they were told."""
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
        """Have the gateway conclude what it concluded then from nothing but the time."""
        self._clock.sign_at = max(self._clock.sign_at, self._clock.at - fields["silence"])
        self._observations.wake()
        await self._settle()

    async def _clear(self, fields: Fields) -> None:
        self._gateway.clear(fields["device"])

    async def _configure(self, fields: Fields) -> None:
        self.registrar.allow(self._allowed(fields["configuration"]))
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

    async def _leave_cut(self, _fields: Fields) -> None:
        raise LeftOutError("cut")

    async def _pass_over(self, _fields: Fields) -> None:
        """Do nothing: the line is for whoever reads the recording."""

    async def _stop(self, _fields: Fields) -> None:
        assert self._running is not None
        self._running.cancel()


def _is_same_breath(before: Happening, happening: Happening) -> bool:
    return before.what == happening.what == "seen" and 0 <= happening.at - before.at < SAME_BREATH


def _beginning(recording: Recording) -> tuple[RecordedClock, State]:
    """Begin with what an earlier instance left, and on the clock that its times are on."""
    for each in recording.happenings:
        if each.what == "recalled":
            memory = each.fields["memory"]
            clock = RecordedClock(recording.began, each.fields["uptime"] - each.at)
            return clock, recall(memory, memory.boot_id)
    return RecordedClock(recording.began, 0.0), State()
