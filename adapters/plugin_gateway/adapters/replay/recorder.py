"""Writes the conversation down as JSON lines, in a thread of its own: nobody waits for a disk."""

import json
import os
import queue
import threading
import time
from collections.abc import Mapping
from typing import Any, TextIO

from plugin_gateway.adapters.logs import log
from plugin_gateway.adapters.replay.plain import plain
from plugin_gateway.core.errors import GatewayError

VERSION = 2
MOST_WAITING = 10_000
"""Lines that wait for the file; a disk that is slower than that loses some, and the log says so."""
JOIN_PATIENCE = 1.0


class RecordingError(GatewayError):
    """The file cannot be made."""


class Recorder:
    """A recording in progress."""

    def __init__(self, path: str, about: Mapping[str, Any]) -> None:
        """Begin.

        Raises:
            RecordingError: the file is there already, or cannot be made.
        """
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RecordingError(f"--record: {path}: {error.strerror}") from error
        self._began = time.monotonic()
        self._lines: queue.Queue[object] = queue.Queue(MOST_WAITING)
        self._lines.put({"recording": VERSION, "at": time.time(), **about})
        self._lost = 0
        self._thread = threading.Thread(target=self._write, args=(descriptor,), name="recording", daemon=True)
        self._thread.start()

    def note(self, what: str, **fields: Any) -> None:
        """Write one thing; returns at once."""
        line = {"t": round(time.monotonic() - self._began, 6), "what": what, **fields}
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._lost += 1

    def close(self) -> None:
        """End it, with a line that tells a whole recording from one that was cut."""
        self.note("end")
        if self._lost:
            log.warning("the recording is not whole", lines_lost=self._lost)
        try:
            self._lines.put(None, timeout=JOIN_PATIENCE)
        except queue.Full:
            return
        self._thread.join(JOIN_PATIENCE)

    def _write(self, descriptor: int) -> None:
        try:
            with os.fdopen(descriptor, "w") as file:
                self._write_lines(file)
        except OSError as error:  # from closing as well, which writes what is left
            log.error("recording ended", problem=error.strerror)

    def _write_lines(self, file: TextIO) -> None:
        while (line := self._lines.get()) is not None:
            file.write(json.dumps(plain(line)) + "\n")
            if self._lines.empty():
                file.flush()
