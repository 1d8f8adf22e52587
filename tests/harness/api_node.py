"""The node of a small API server: GET and watch, as the real one answers them, and what can go wrong with them."""

import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

TICK = 0.02
"""Seconds in which a watch notices that it is to end."""


class ApiNode:
    """A node with labels. Tests change it in their own thread."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = f"/api/v1/nodes/{name}"
        self.asked: list[tuple[str, str]] = []
        """Path and wanted form of each call that was accepted."""
        self.endings = 0
        """How many watches the server has ended by itself."""
        self.error: dict[str, Any] | None = None
        """An event of a watch, sent once in place of others."""
        self.words: bytes | None = None
        """The answer to a GET, in place of the node."""
        self._labels: dict[str, str] = {}
        self._version = 1
        self._changed = threading.Condition()
        self._ends = 0
        self._closed = False

    def label(self, **labels: str | None) -> None:
        """Set labels, or remove them with None. Two underscores stand for a slash, one for a dot."""
        with self._changed:
            for written, value in labels.items():
                key = written.replace("__", "/").replace("_", ".")
                self._labels.pop(key, None)
                if value is not None:
                    self._labels[key] = value
            self._version += 1
            self._changed.notify_all()

    def end_watches(self) -> None:
        """End all watches of now."""
        with self._changed:
            self._ends += 1
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def watches(self) -> list[dict[str, list[str]]]:
        """The questions of the watches that were accepted."""
        return [parse_qs(urlsplit(path).query) for path, _ in self.asked if "watch=true" in path]

    @property
    def gets(self) -> int:
        return sum(path == self.path for path, _ in self.asked)

    def answer(self, found: dict[str, Any] | None = None) -> bytes:
        """Return the answer to a GET of the node, or of another object that was found."""
        return json.dumps(found or self.object()).encode() if self.words is None else self.words

    def object(self) -> dict[str, Any]:
        metadata = {"name": self.name, "resourceVersion": str(self._version), "labels": dict(self._labels)}
        return {"kind": "PartialObjectMetadata", "metadata": metadata}

    def events(self, query: str) -> Iterator[bytes]:
        """Return the lines of a watch that begins now, and nothing now and then, until it ends."""
        return self._events(int(parse_qs(query)["resourceVersion"][0]), self._ends)

    def _events(self, known: int, ends: int) -> Iterator[bytes]:
        while True:
            with self._changed:
                if self._version == known and self._ends == ends and not self._closed:
                    self._changed.wait(TICK)
                if self._closed or self._ends > ends:
                    self.endings += 1
                    return
                event = None
                if self._version > known:
                    known, error, self.error = self._version, self.error, None
                    event = error or {"type": "MODIFIED", "object": self.object()}
            yield json.dumps(event).encode() + b"\n" if event else b""
