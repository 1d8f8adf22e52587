"""Standard input, output and error as we were given them: closed, full, or with a reader that stands still."""

import contextlib
import os
import socket
import stat
import sys
import weakref


def open_missing_streams() -> None:
    """Lead to nowhere what was closed; otherwise the next file that is opened would get our output."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            lowest_free = os.open(os.devnull, os.O_RDWR)  # which is the one that was closed
            setattr(sys, name, open(lowest_free, mode, closefd=False))  # noqa: SIM115 - for ever


class StandardError:
    """Writes a line or loses it: a full disk, or a reader that went or stands still, must stop nothing."""

    def __init__(self) -> None:
        self._descriptor = sys.stderr.fileno()
        self._socket: socket.socket | None = None
        kind = stat.S_IFMT(os.fstat(self._descriptor).st_mode)
        if kind == stat.S_IFSOCK:
            self._socket = socket.socket(fileno=self._descriptor)
            weakref.finalize(self, self._socket.detach)  # it is not ours to close
        elif kind != stat.S_IFREG:
            self._open_again()

    def write(self, text: str) -> None:
        """Write one line, whole or not at all where it is short enough for a pipe (4 KiB)."""
        data = text.encode(errors="backslashreplace")
        with contextlib.suppress(OSError):
            if self._socket is not None:
                self._socket.send(data, socket.MSG_DONTWAIT)
            else:
                os.write(self._descriptor, data)

    def flush(self) -> None:
        """Do nothing: nothing is kept back."""

    def _open_again(self) -> None:
        """Open a terminal or a pipe once more, so that nobody but us does without waiting for it: a shell shares it."""
        try:
            again = os.open(f"/proc/self/fd/{self._descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            os.set_blocking(self._descriptor, False)
        else:
            self._descriptor = again
            weakref.finalize(self, os.close, again)
