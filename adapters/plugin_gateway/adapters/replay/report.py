"""Runs a replay for the command line: prints the differences and the summary, and returns the exit status."""

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plugin_gateway.adapters.dialects import api_versions
from plugin_gateway.adapters.kubelet.plugin_sockets import MAX_DIRECTORY_LENGTH
from plugin_gateway.adapters.replay.player import Player, Remark, Tally
from plugin_gateway.adapters.replay.reading import Recording, read_recording
from plugin_gateway.adapters.support.logs import LogFormat, set_up_logs
from plugin_gateway.adapters.support.signals import Interruption
from plugin_gateway.adapters.support.tasks import leaves
from plugin_gateway.adapters.support.terminal import printable
from plugin_gateway.adapters.support.unix_files import MAX_PATH
from plugin_gateway.core.errors import InvalidValueError


def replay(path: Path, interruption: Interruption) -> int:
    """Play a recording. Return 0 without differences, and 1 if there are any or nothing could be compared.

    After a signal return 128 and its number.

    Raises:
        InvalidValueError: the file is no recording of a known version, or there is no folder in which to play it.
    """
    set_up_logs("error", LogFormat.TEXT)
    recording = read_recording(path, tuple(api_versions()))
    report = _Report(path)
    player = Player(recording, report.show)
    try:
        with socket_folder(interruption) as folder:
            asyncio.run(_play(player, folder, interruption))
    except ExceptionGroup as group:
        mistakes = [each for each in leaves(group) if isinstance(each, InvalidValueError)]
        if not mistakes:
            raise
        raise mistakes[0] from group
    report.conclude(recording, player.tally, is_interrupted=interruption.number is not None)
    return interruption.status or (1 if player.tally.differences or not player.tally.compared else 0)


class _Report:
    """Prints each remark as soon as it is found, because the next one can take long."""

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


async def _play(player: Player, folder: Path, interruption: Interruption) -> None:
    """Play the recording. A signal cancels it, and is no error."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    with interruption.ending(lambda: loop.call_soon_threadsafe(task.cancel)):
        try:
            if interruption.number is None:
                await player.play(folder)
        except asyncio.CancelledError:
            if interruption.number is None:
                raise


@contextmanager
def socket_folder(interruption: Interruption) -> Iterator[Path]:
    """Yield a temporary folder for the sockets. It is removed at the end, also after a signal.

    Raises:
        InvalidValueError: there is no temporary folder, or its path is too long for a socket.
    """
    with interruption.ending(lambda: None):
        try:
            made = tempfile.TemporaryDirectory(prefix="replay-", ignore_cleanup_errors=True)
        except OSError as error:
            raise InvalidValueError(f"no folder for the sockets: {error.strerror}; set TMPDIR to one") from error
        with made as folder:
            length = len(os.fsencode(folder))
            if length > MAX_DIRECTORY_LENGTH:
                raise InvalidValueError(
                    f"temporary folder {folder}: {length} bytes, allowed are {MAX_DIRECTORY_LENGTH}, since the path of "
                    f"a unix socket in it has at most {MAX_PATH}; set TMPDIR to a shorter one, such as /tmp"
                )
            yield Path(folder)
