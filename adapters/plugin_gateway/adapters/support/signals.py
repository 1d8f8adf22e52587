"""Handles SIGINT, SIGTERM and SIGHUP in commands that have something to clean up."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

END_TIMEOUT = 5
"""Seconds for an orderly end. After that the process exits anyway."""


class Interruption:
    """Ends the process at once, or in order inside a block of `ending`."""

    def __init__(self) -> None:
        self.number: int | None = None
        """The number of the first signal that asked for an orderly end. Further signals change nothing."""
        self._end: Callable[[], object] | None = None

    def install(self) -> None:
        """Install the handlers. A signal that was ignored when the process started stays ignored, as with nohup."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._come)

    @property
    def status(self) -> int | None:
        """Return the exit status after a signal: 128 and its number. None without a signal."""
        return None if self.number is None else 128 + self.number

    @contextmanager
    def ending(self, end: Callable[[], object]) -> Iterator[None]:
        """Call ``end`` for a signal inside the block, instead of exiting at once."""
        before, self._end = self._end, end
        try:
            yield
        finally:
            self._end = before

    def _come(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal. The alarm makes sure that the process ends even if ``end`` does not work."""
        if self.number is not None:
            return
        if self._end is None:
            os._exit(128 + number)
        self.number = number
        signal.signal(signal.SIGALRM, lambda *_: os._exit(128 + number))
        signal.alarm(END_TIMEOUT)
        self._end()
