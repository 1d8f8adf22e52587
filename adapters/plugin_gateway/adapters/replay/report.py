"""Runs a replay for the command line: plays all lines, prints what differs and a summary, and returns the status."""

import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from plugin_gateway.adapters.replay.comparing import LeftOutError, MissedError
from plugin_gateway.adapters.replay.reading import Happening, Recording, read_recording
from plugin_gateway.adapters.replay.stage import Stage
from plugin_gateway.adapters.support.signals import Interruption
from plugin_gateway.adapters.support.terminal import printable

_ENDS = frozenset({"kubelet", "replaced", "stopping"})
"""The kinds of lines that can end a kubelet or the gateway. What was due before has to be recorded by then."""


def replay(path: Path, interruption: Interruption) -> int:
    """Play a recording. Return 0 without differences, and 1 if there are any or nothing could be compared.

    After a signal return 128 and its number.

    Raises:
        InvalidValueError: the file is no recording of a known version.
    """
    report = _Report(path, read_recording(path))
    with interruption.ending(lambda: None):
        report.play(lambda: interruption.number is not None)
    is_alike = report.conclude(is_interrupted=interruption.number is not None)
    return interruption.status or int(not is_alike)


class _Report:
    """Plays one recording, prints each difference as soon as it is found, and counts."""

    def __init__(self, path: Path, recording: Recording) -> None:
        self._path = path
        self._recording = recording
        self._stage = Stage(recording)
        self._incomparable: str | None = None
        """Why the rest of the recording cannot be compared; None while it can."""
        self._played = 0
        self._differences = 0
        self._left_out: Counter[str] = Counter()
        """Lines that could not be played, by reason."""

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
            self._find_further_registrations(self._recording.last_line)

    def conclude(self, *, is_interrupted: bool) -> bool:
        """Print whether the recording is complete, and the summary. Return whether all is as it was."""
        recording, compared = self._recording, self._stage.compared
        if recording.is_cut:
            self._print(recording.last_line, "the line is cut: the disk was full, or this copy is not whole")
        elif recording.version == 1:
            self._print(recording.last_line, "whether the recording is whole cannot be told: none of version 1 says it")
        elif not recording.ends_in_order:
            words = "the recording does not end in order: it was cut, or its gateway was killed"
            self._print(recording.last_line, words)
        parts = [f"{_count(self._played, 'line')} played"]
        if self._left_out:
            parts.append(f"{self._left_out.total()} skipped ({_reasons(self._left_out)})")
        alike = "no difference" if compared else "nothing was compared"
        found = _count(self._differences, "difference") if self._differences else alike
        parts.append(found + (" until it was interrupted" if is_interrupted else ""))
        sys.stdout.write(f"{', '.join(parts)}\n")
        return bool(compared and not self._differences)

    def _play(self, happening: Happening) -> None:
        if self._incomparable is not None:
            self._left_out[self._incomparable] += 1
            return
        self._stage.move_to(happening)
        if happening.what in _ENDS:
            self._find_further_registrations(happening.line)
        if self._try(happening.line, partial(self._stage.play, happening)):
            self._played += 1
        if happening.what == "lost":
            lost = happening.fields["lines"]
            self._print(happening.line, f"{lost} lines were lost here: nothing after them can be compared")
            self._incomparable = "after lines that were lost"

    def _try(self, line: int, play: Callable[[], None]) -> bool:
        """Play a part, and print what differs. Return False if it cannot be played."""
        try:
            play()
        except MissedError as error:
            self._differences += 1
            self._print(line, error.what, *error.details)
        except LeftOutError as error:
            self._left_out[str(error)] += 1
            return False
        return True

    def _find_further_registrations(self, line: int) -> None:
        for extra in self._stage.further_registrations():
            self._differences += 1
            self._print(line, extra)

    def _print(self, line: int, *words: str) -> None:
        """Print lines about one line of the recording, without control characters: the texts can be anybody's."""
        lines = (f"{self._path}:{line}: {words[0]}", *words[1:])
        sys.stdout.write("".join(f"{printable(each)}\n" for each in lines))
        sys.stdout.flush()


def _reasons(left_out: "Counter[str]") -> str:
    """Return the reasons for lines that were not played; with numbers if there is more than one reason."""
    reasons = left_out.most_common()
    return reasons[0][0] if len(reasons) == 1 else "; ".join(f"{number}: {reason}" for reason, number in reasons)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
