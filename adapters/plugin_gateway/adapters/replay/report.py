"""Runs a replay for the command line: prints the differences and the summary, and returns the exit status."""

import sys
from pathlib import Path

from plugin_gateway.adapters.replay.player import Player, Remark, Tally
from plugin_gateway.adapters.replay.reading import Recording, read_recording
from plugin_gateway.adapters.support.signals import Interruption
from plugin_gateway.adapters.support.terminal import printable


def replay(path: Path, interruption: Interruption) -> int:
    """Play a recording. Return 0 without differences, and 1 if there are any or nothing could be compared.

    After a signal return 128 and its number.

    Raises:
        InvalidValueError: the file is no recording of a known version.
    """
    recording = read_recording(path)
    report = _Report(path)
    player = Player(recording, report.show)
    with interruption.ending(lambda: None):
        player.play(lambda: interruption.number is not None)
    report.conclude(recording, player.tally, is_interrupted=interruption.number is not None)
    return interruption.status or (1 if player.tally.differences or not player.tally.compared else 0)


class _Report:
    """Prints each remark as soon as it is found."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def show(self, remark: Remark) -> None:
        """Print one remark."""
        self._write(remark.line, remark.what, *remark.details)

    def conclude(self, recording: Recording, tally: Tally, *, is_interrupted: bool) -> None:
        """Print whether the recording is complete, and the summary."""
        if recording.is_cut:
            self._write(recording.last_line, "the line is cut: the disk was full, or this copy is not whole")
        elif recording.version == 1:
            self._write(recording.last_line, "whether the recording is whole cannot be told: none of version 1 says it")
        elif not recording.ends_in_order:
            self._write(
                recording.last_line, "the recording does not end in order: it was cut, or its gateway was killed"
            )
        parts = [f"{_count(tally.played, 'line')} played"]
        if tally.left_out:
            parts.append(f"{tally.left_out.total()} skipped ({_reasons(tally)})")
        parts.append(_found(tally) + (" until it was interrupted" if is_interrupted else ""))
        sys.stdout.write(f"{', '.join(parts)}\n")

    def _write(self, line: int, *words: str) -> None:
        """Print lines about one line of the recording, without control characters: the texts can be anybody's."""
        lines = (f"{self._path}:{line}: {words[0]}", *words[1:])
        sys.stdout.write("".join(f"{printable(each)}\n" for each in lines))
        sys.stdout.flush()


def _reasons(tally: Tally) -> str:
    """Return the reasons for lines that were not played; with numbers if there is more than one reason."""
    reasons = tally.left_out.most_common()
    return reasons[0][0] if len(reasons) == 1 else "; ".join(f"{number}: {reason}" for reason, number in reasons)


def _found(tally: Tally) -> str:
    if tally.differences:
        return _count(tally.differences, "difference")
    return "no difference" if tally.compared else "nothing was compared"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
