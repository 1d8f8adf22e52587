"""What SIGINT, SIGTERM and SIGHUP do to a command that has something to tidy up."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

END_TIMEOUT = 5
"""Seconds for an orderly end; after that the process leaves anyway."""


class Interruption:
    """Ends the process at once while nothing is there to tidy up, and in order while something is."""

    def __init__(self) -> None:
        self.number: int | None = None
        """The signal that asked for an orderly end; further ones change nothing."""
        self._end: Callable[[], object] | None = None

    def heed(self) -> None:
        """Heed them from now on; one that was ignored when the process began stays so, as with nohup."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._come)

    @property
    def status(self) -> int | None:
        """The exit status of a process that a signal ended; None where none did."""
        return None if self.number is None else 128 + self.number

    @contextmanager
    def ending(self, end: Callable[[], object]) -> Iterator[None]:
        """Have ``end`` called instead of leaving at once."""
        before, self._end = self._end, end
        try:
            yield
        finally:
            self._end = before

    def _come(self, number: int, _frame: FrameType | None) -> None:
        if self.number is not None:
            return
        if self._end is None:
            os._exit(128 + number)
        self.number = number
        signal.signal(signal.SIGALRM, lambda *_: os._exit(128 + number))
        signal.alarm(END_TIMEOUT)
        self._end()
