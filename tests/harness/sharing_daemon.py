"""A stand-in for NVIDIA's MPS control daemon: its folder, its file, and a socket that takes connections."""

import socket
import threading
from pathlib import Path
from typing import Self


class SharingDaemon:
    """The daemon of one resource below a root. It is a context manager that starts and kills it."""

    def __init__(
        self, root: Path, resource: str = "nvidia.com/gpu", kind: socket.SocketKind = socket.SOCK_SEQPACKET
    ) -> None:
        self.folder = root / resource
        self.ready_file = self.folder / ".started"
        self.socket = self.folder / "pipe" / "control"
        self.taken = 0
        """Connections that were taken."""
        self.kind = kind
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Make the files, and take connections."""
        self.listen()
        self.ready_file.touch()

    def listen(self, *, takes: bool = True, backlog: int = 8) -> None:
        """Listen on the socket. Without ``takes`` the connections wait."""
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        self.socket.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, self.kind)
        self._listener.bind(str(self.socket))
        self._listener.listen(backlog)
        if takes:
            self._thread = threading.Thread(target=self._take, args=(self._listener,), name="sharing daemon")
            self._thread.start()

    def kill(self) -> None:
        """End it as a signal does: all its files stay."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            if self._thread is not None:
                self._thread.join(5)
                assert not self._thread.is_alive()
            self._listener.close()
            self._listener = self._thread = None

    def _take(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.taken += 1
            client.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
