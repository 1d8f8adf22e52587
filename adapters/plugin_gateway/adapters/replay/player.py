"""Plays the kubelet's side of a recording to a gateway of today, line by line."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from plugin_gateway.adapters.dialect import Dialect
from plugin_gateway.adapters.gateway import Gateway, Offering
from plugin_gateway.adapters.kubelet_directory import KubeletDirectory
from plugin_gateway.adapters.kubelet_stream import KUBELET_AGENT
from plugin_gateway.adapters.mailbox import Mailbox
from plugin_gateway.adapters.registrar import Registrar
from plugin_gateway.adapters.replay.comparing import MissedError, compare
from plugin_gateway.adapters.replay.kubelet_side import KubeletSide
from plugin_gateway.adapters.replay.reading import Happening, Recording
from plugin_gateway.adapters.replay.stand_ins import RecordedClock, RecordedNodes

SETTLING = 0.002
"""Seconds in which the gateway's tasks have their turn; the recorded time stands still meanwhile."""


class Difference(NamedTuple):
    """What the gateway does otherwise than then."""

    line: int
    what: str
    details: Sequence[str] = ()


class Player:
    """One gateway, and the recording that is played to it."""

    def __init__(
        self,
        recording: Recording,
        dialects: Sequence[Dialect],
        api_versions: Mapping[str, Sequence[str]],
        tell: Callable[[Difference], None],
    ) -> None:
        """``tell`` is told each difference as soon as it is found."""
        self._recording = recording
        self._dialects = dialects
        allowed = api_versions[recording.configuration.api_version]
        self._allowed = [each for each in dialects if each.version in allowed]
        self._mailbox = Mailbox()
        self._clock = RecordedClock(recording.began)
        self._tell = tell
        self.played = 0
        """Lines that were played."""

    async def play(self, folder: Path) -> None:
        """Play all of it; the folder is the kubelet's directory meanwhile."""
        side = KubeletSide(folder)
        try:
            await self._play_all(side, folder)
        finally:
            await side.vanish()

    async def _play_all(self, side: KubeletSide, directory: Path) -> None:
        happenings = list(self._recording.happenings)
        if happenings and happenings[0].what == "kubelet" and happenings[0].fields["is_there"]:
            await side.appear()  # it was there before the gateway, and may have known the devices
            del happenings[0]
            self.played += 1
        async with self._gateway(directory):
            for happening in happenings:
                await self._play(side, happening)
                self.played += 1
            last = happenings[-1].line if happenings else 1
            for extra in side.left_over():
                self._tell(Difference(last, extra))

    @asynccontextmanager
    async def _gateway(self, directory: Path) -> AsyncIterator[None]:
        gateway = Gateway(
            mailbox=self._mailbox,
            registrar=Registrar(directory=KubeletDirectory(directory), dialects=self._dialects, allowed=self._allowed),
            offering=self._offering(),
            silent_for=lambda: 0.0,
            now=self._clock.now,
        )
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(gateway.run())
            try:
                yield
            finally:
                task.cancel()

    def _offering(self) -> Offering:
        configuration = self._recording.configuration
        answers = [each.fields["answer"] for each in self._recording.happenings if each.what == "call"]
        return Offering(
            rules=configuration.rules,
            policy=configuration.policy,
            nodes=RecordedNodes([answer for answer in answers if answer is not None]),
            unhealthy_first=configuration.unhealthy_first,
            health=configuration.health,
        )

    async def _play(self, side: KubeletSide, happening: Happening) -> None:
        await self._settle()
        self._clock.at = happening.at
        self._mailbox.ring()
        await self._settle()
        try:
            await self._act(side, happening.what, happening.fields)
        except MissedError as error:
            self._tell(Difference(happening.line, error.what, error.details))

    async def _settle(self) -> None:
        """Let the gateway do what is due at the time at which the clock stands, before that goes on."""
        await asyncio.sleep(SETTLING)

    async def _act(self, side: KubeletSide, what: str, fields: Mapping[str, Any]) -> None:
        match what:
            case "seen":
                self._mailbox.put(fields["observation"])
            case "kubelet":
                await (side.appear() if fields["is_there"] else side.vanish())
            case "register":
                await side.expect_register(fields["api_version"], fields["request"].resource_name)
            case "answered":
                side.answer(fields["api_version"], fields["code"], fields["words"])
            case "opened" if fields["agent"].startswith(KUBELET_AGENT):
                await side.open(fields["stream"], fields["service"], fields["resource"], fields["agent"])
            case "list":
                await self._compare_list(side, fields["stream"], fields["message"])
            case "ended":
                await side.end(fields["stream"])
            case "call" if fields["agent"].startswith(KUBELET_AGENT):
                await self._compare_call(side, fields)

    async def _compare_list(self, side: KubeletSide, stream: str, then: bytes) -> None:
        now = await side.next_list(stream)
        if now is not None:
            compare(side.api_version_of(stream), "ListAndWatch", then, now)

    async def _compare_call(self, side: KubeletSide, fields: Mapping[str, Any]) -> None:
        resource, method = fields["resource"], fields["method"]
        now = await side.call(fields["service"], method, resource, fields["agent"], fields["request"])
        then = fields["answer"] if fields["answer"] is not None else fields["error"]
        compare(side.api_version_told(resource), method, then, now)
