"""Plays the kubelet's side of a recording to a gateway of today, line by line."""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from plugin_gateway.adapters.dialect import Dialect
from plugin_gateway.adapters.gateway import Gateway, Offering
from plugin_gateway.adapters.kubelet_directory import KubeletDirectory
from plugin_gateway.adapters.kubelet_stream import KUBELET_AGENT
from plugin_gateway.adapters.mailbox import Mailbox
from plugin_gateway.adapters.registrar import Registrar
from plugin_gateway.adapters.replay.comparing import (
    LeftOutError,
    MissedError,
    compare,
    compare_registers,
    describe_further,
)
from plugin_gateway.adapters.replay.kubelet_side import KubeletSide
from plugin_gateway.adapters.replay.reading import Happening, Recording
from plugin_gateway.adapters.replay.stand_ins import RecordedClock, RecordedNodes

SETTLING = 0.002
"""Seconds in which the gateway's tasks have their turn; the recorded time stands still meanwhile."""
UNDER_WAY = 0.1
"""Seconds after something was seen in which its list may not have been sent yet: those of 1.8 and 1.9 are paced."""


class Difference(NamedTuple):
    """What the gateway does otherwise than then."""

    line: int
    what: str
    details: Sequence[str] = ()


@dataclass(slots=True)
class Tally:
    """What became of the lines."""

    played: int = 0
    compared: int = 0
    """Registrations, lists and answers that were put beside those of then."""
    differences: int = 0
    left_out: "Counter[str]" = field(default_factory=Counter)
    """Lines that could not be played, by reason."""


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
        self._seen_at = -math.inf
        """When the driver told something last."""
        self._of_others: set[str | None] = set()
        """Streams that another client than the kubelet opened."""
        self._gateway_task: asyncio.Task[None] | None = None
        self.tally = Tally()

    async def play(self, folder: Path) -> None:
        """Play all of it; the folder is the kubelet's directory meanwhile."""
        side = KubeletSide(folder)
        try:
            await self._play_all(side, folder)
        finally:
            await side.close()

    async def _play_all(self, side: KubeletSide, directory: Path) -> None:
        happenings = list(self._recording.happenings)
        if happenings and happenings[0].what == "kubelet" and happenings[0].fields["is_there"]:
            await side.appear()  # it was there before the gateway, and may have known the devices
            del happenings[0]
            self.tally.played += 1
        async with self._gateway(directory):
            for happening in happenings:
                await self._play(side, happening)
            if self._recording.ends_in_order:  # of one that was cut nobody knows what would follow
                await self._find_what_follows(side, self._recording.last_line)

    async def _find_what_follows(self, side: KubeletSide, line: int) -> None:
        for stream in side.open_streams():
            await self._try(line, self._find_further_lists(side, stream))
        self._tell_left_over(side, line)

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
            self._gateway_task = tasks.create_task(gateway.run())
            try:
                yield
            finally:
                self._gateway_task.cancel()

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
        if await self._try(happening.line, self._act(side, happening.what, happening.fields)):
            self.tally.played += 1
        if happening.what == "kubelet":
            self._tell_left_over(side, happening.line)

    async def _try(self, line: int, playing: Coroutine[Any, Any, None]) -> bool:
        """Play a part and tell what differs; False where it cannot be played."""
        try:
            await playing
        except MissedError as error:
            self._tell_difference(line, error.what, error.details)
        except LeftOutError as error:
            self.tally.left_out[str(error)] += 1
            return False
        return True

    def _tell_difference(self, line: int, what: str, details: Sequence[str] = ()) -> None:
        self.tally.differences += 1
        self._tell(Difference(line, what, details))

    def _tell_left_over(self, side: KubeletSide, line: int) -> None:
        for extra in side.left_over():
            self._tell_difference(line, extra)

    async def _settle(self) -> None:
        """Let the gateway do what is due at the time at which the clock stands, before that goes on."""
        await asyncio.sleep(SETTLING)

    async def _act(self, side: KubeletSide, what: str, fields: Mapping[str, Any]) -> None:
        self._leave_others_out(fields)
        match what:
            case "seen":
                self._seen_at = self._clock.at
                self._mailbox.put(fields["observation"])
            case "kubelet":
                await (side.appear() if fields["is_there"] else side.vanish())
            case "register":
                await self._compare_register(side, fields)
            case "answered":
                side.answer(fields["request"].resource_name, fields["code"], fields["words"])
            case "opened":
                await side.open(fields["stream"], fields["service"], fields["resource"], fields["agent"])
            case "list":
                await self._compare_list(side, fields["stream"], fields["message"])
            case "ended":
                await self._end(side, fields["stream"], fields["by"])
            case "call":
                await self._compare_call(side, fields)
            case "stopping":
                assert self._gateway_task is not None
                self._gateway_task.cancel()

    def _leave_others_out(self, fields: Mapping[str, Any]) -> None:
        """Leave out what other clients than the kubelet asked, and what they were told."""
        stream = fields.get("stream")
        if "agent" in fields and not fields["agent"].startswith(KUBELET_AGENT):
            self._of_others.add(stream)
            raise LeftOutError("of another client than the kubelet")
        if stream is not None and stream in self._of_others:
            raise LeftOutError("of another client than the kubelet")

    async def _compare_register(self, side: KubeletSide, fields: Mapping[str, Any]) -> None:
        now = await side.expect_register(fields["api_version"], fields["request"])
        self.tally.compared += 1
        compare_registers(fields["request"], now)

    async def _compare_list(self, side: KubeletSide, stream: str, then: bytes) -> None:
        now = await side.next_list(stream)
        self.tally.compared += 1
        compare(side.api_version_of(stream), "ListAndWatch", then, now)

    async def _end(self, side: KubeletSide, stream: str, by: str | None) -> None:
        try:
            await self._find_further_lists(side, stream)
        finally:
            await side.end(stream, by)

    async def _find_further_lists(self, side: KubeletSide, stream: str) -> None:
        """Look for lists that were not sent then; one that the end came before may have been just under way."""
        before, lists = side.last_list(stream), await side.further_lists(stream)
        if lists and self._clock.at - self._seen_at >= UNDER_WAY:
            raise describe_further(side.api_version_of(stream), before, lists)

    async def _compare_call(self, side: KubeletSide, fields: Mapping[str, Any]) -> None:
        resource, method = fields["resource"], fields["method"]
        now = await side.call(fields["service"], method, resource, fields["agent"], fields["request"])
        then = fields["answer"] if fields["answer"] is not None else fields["error"]
        self.tally.compared += 1
        compare(side.api_version_told(resource), method, then, now)
