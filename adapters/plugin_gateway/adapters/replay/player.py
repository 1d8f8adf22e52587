"""Plays all lines of a recording, counts them, and passes on what differs."""

from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from plugin_gateway.adapters.replay.comparing import LeftOutError, MissedError
from plugin_gateway.adapters.replay.reading import Happening, Recording
from plugin_gateway.adapters.replay.stage import Stage


class Remark(NamedTuple):
    """Something to print about a line: a difference, or a note."""

    line: int
    what: str
    details: Sequence[str] = ()


@dataclass(slots=True)
class Tally:
    """The counts of a replay."""

    played: int = 0
    compared: int = 0
    """Registrations, lists and answers that were compared with the recorded ones."""
    differences: int = 0
    left_out: "Counter[str]" = field(default_factory=Counter)
    """Lines that could not be played, by reason."""


class Player:
    """Plays one recording."""

    def __init__(self, recording: Recording, write: Callable[[Remark], None]) -> None:
        """``write`` gets each remark as soon as it is found."""
        self._recording = recording
        self._write = write
        self._incomparable: str | None = None
        """Why the rest of the recording cannot be compared; None while it can."""
        self.tally = Tally()

    async def play(self, folder: Path) -> None:
        """Play the whole recording. ``folder`` is the kubelet's directory for this time."""
        stage = Stage(self._recording, folder)
        try:
            await self._play_all(stage)
        finally:
            self.tally.compared = stage.compared
            await stage.side.close()

    async def _play_all(self, stage: Stage) -> None:
        happenings = list(self._recording.happenings)
        first = next((each for each in happenings if each.what != "recalled"), None)
        if first is not None and first.what == "kubelet" and first.fields["is_there"]:
            await stage.side.appear()  # it was there before the gateway, so it may already know the devices
            happenings.remove(first)
            self.tally.played += 1
        turns = _turns(happenings)
        stage.registrar.give_turn(turns[0] if turns else None)
        async with stage.running():
            for happening, turn in zip(happenings, turns, strict=True):
                stage.registrar.give_turn(turn)
                await self._play(stage, happening)
            # After the end of a recording that was cut, anything can have followed.
            if self._recording.ends_in_order and self._incomparable is None:
                await self._find_what_follows(stage, self._recording.last_line)

    async def _play(self, stage: Stage, happening: Happening) -> None:
        if self._incomparable is not None:
            self.tally.left_out[self._incomparable] += 1
            return
        if await self._try(happening.line, stage.play(happening)):
            self.tally.played += 1
        if happening.what in {"kubelet", "replaced"}:
            self._write_further_registrations(stage, happening.line)
        if happening.what == "lost":
            lost = happening.fields["lines"]
            self._write(Remark(happening.line, f"{lost} lines were lost here: nothing after them can be compared"))
            self._incomparable = "after lines that were lost"

    async def _find_what_follows(self, stage: Stage, line: int) -> None:
        """Report the lists and registrations that come after the last line."""
        for stream in stage.side.open_streams():
            await self._try(line, stage.find_further_lists(stream))
        self._write_further_registrations(stage, line)

    async def _try(self, line: int, playing: Coroutine[Any, Any, None]) -> bool:
        """Play a part, and write what differs. Return False if it cannot be played."""
        try:
            await playing
        except MissedError as error:
            self._write_difference(line, error.what, error.details)
        except LeftOutError as error:
            self.tally.left_out[str(error)] += 1
            return False
        return True

    def _write_further_registrations(self, stage: Stage, line: int) -> None:
        for extra in stage.further_registrations():
            self._write_difference(line, extra)

    def _write_difference(self, line: int, what: str, details: Sequence[str] = ()) -> None:
        self.tally.differences += 1
        self._write(Remark(line, what, details))


def _turns(happenings: Sequence[Happening]) -> list[str | None]:
    """Return for each line the next resource that is registered with the same kubelet; None if there is none."""
    turns: list[str | None] = []
    following = None
    for each in reversed(happenings):
        if each.what == "register":
            following = str(each.fields["request"].resource_name)
        turns.append(following)
        if each.what in {"kubelet", "replaced"}:
            following = None
    return turns[::-1]
