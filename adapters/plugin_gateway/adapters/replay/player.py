"""Plays all lines of a recording, counts them, and passes on what differs."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from plugin_gateway.adapters.replay.comparing import LeftOutError, MissedError
from plugin_gateway.adapters.replay.reading import Happening, Recording
from plugin_gateway.adapters.replay.stage import Stage

_ENDS = frozenset({"kubelet", "replaced", "stopping"})
"""The kinds of lines that can end a kubelet or the gateway. What was due before has to be recorded by then."""


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
        self._stage = Stage(recording)
        self._incomparable: str | None = None
        """Why the rest of the recording cannot be compared; None while it can."""
        self.tally = Tally()

    def play(self, is_interrupted: Callable[[], bool]) -> None:
        """Play the recording. The function is asked before each line whether to leave the rest out."""
        for happening in self._recording.happenings:
            if is_interrupted():
                return
            self._play(happening)
        # After the end of a recording that was cut, anything can have followed.
        if self._recording.ends_in_order and self._incomparable is None:
            for stream in self._stage.open_streams():
                self._try(self._recording.last_line, partial(self._stage.find_further_lists, stream))
            self._write_further_registrations(self._recording.last_line)

    def _play(self, happening: Happening) -> None:
        if self._incomparable is not None:
            self.tally.left_out[self._incomparable] += 1
            return
        self._stage.move_to(happening)
        if happening.what in _ENDS:
            self._write_further_registrations(happening.line)
        if self._try(happening.line, partial(self._stage.play, happening)):
            self.tally.played += 1
        self.tally.compared = self._stage.compared
        if happening.what == "lost":
            lost = happening.fields["lines"]
            self._write(Remark(happening.line, f"{lost} lines were lost here: nothing after them can be compared"))
            self._incomparable = "after lines that were lost"

    def _try(self, line: int, play: Callable[[], None]) -> bool:
        """Play a part, and write what differs. Return False if it cannot be played."""
        try:
            play()
        except MissedError as error:
            self._write_difference(line, error.what, error.details)
        except LeftOutError as error:
            self.tally.left_out[str(error)] += 1
            return False
        return True

    def _write_further_registrations(self, line: int) -> None:
        for extra in self._stage.further_registrations():
            self._write_difference(line, extra)

    def _write_difference(self, line: int, what: str, details: Sequence[str] = ()) -> None:
        self.tally.differences += 1
        self._write(Remark(line, what, details))
