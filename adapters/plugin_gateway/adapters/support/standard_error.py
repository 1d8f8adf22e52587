"""Standard error that may be full, or not read by anybody."""

import contextlib
import os
import socket
import stat
import sys
import weakref


class StandardError:
    """Writes a line or drops it. A full disk, or a reader that is gone or does not read, must not stop the gateway."""

    def __init__(self) -> None:
        self._descriptor = sys.stderr.fileno()
        self._socket: socket.socket | None = None
        kind = stat.S_IFMT(os.fstat(self._descriptor).st_mode)
        if kind == stat.S_IFSOCK:
            self._socket = socket.socket(fileno=self._descriptor)
            weakref.finalize(self, self._socket.detach)  # the socket stays open; it belongs to the process
        elif kind != stat.S_IFREG:
            self._open_again()

    def write(self, text: str) -> None:
        """Write one line. A pipe takes a line of up to 4 KiB whole or not at all."""
        data = text.encode(errors="backslashreplace")
        with contextlib.suppress(OSError):
            if self._socket is not None:
                self._socket.send(data, socket.MSG_DONTWAIT)
            else:
                os.write(self._descriptor, data)

    def flush(self) -> None:
        """Do nothing, because nothing is buffered."""

    def _open_again(self) -> None:
        """Open the terminal or pipe again, without blocking.

        O_NONBLOCK would otherwise hold for all processes that share it, such as the shell.
        """
        try:
            again = os.open(f"/proc/self/fd/{self._descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            os.set_blocking(self._descriptor, False)
        else:
            self._descriptor = again
            weakref.finalize(self, os.close, again)
