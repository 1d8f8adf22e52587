"""What became of every registration of a resource: for people who look, and for metrics."""

import time
from collections import Counter, deque
from typing import NamedTuple

MAX_KEPT = 32


class Registered(NamedTuple):
    """A registration that led to a stream."""

    at: float
    """When the stream was seen, in seconds since the epoch."""
    api_version: str
    reason: str
    endpoint: str
    took_ms: float


class Failed(NamedTuple):
    """A registration that led to nothing."""

    at: float
    cause: str
    words: str
    """The kubelet's own, where it said something."""


class RegistrationRecords:
    """Of one resource, the latest; the counts are of all."""

    def __init__(self) -> None:
        self.registered: deque[Registered] = deque(maxlen=MAX_KEPT)
        self.failed: deque[Failed] = deque(maxlen=MAX_KEPT)
        self.registrations: Counter[tuple[str, str]] = Counter()
        """By version string and reason."""
        self.failures: Counter[str] = Counter()
        """By cause."""

    def note_registered(self, *, api_version: str, reason: str, endpoint: str, took_ms: float) -> None:
        """Note a stream that was opened."""
        self.registered.append(Registered(time.time(), api_version, reason, endpoint, took_ms))
        self.registrations[api_version, reason] += 1

    def note_failed(self, cause: str, words: str) -> None:
        """Note an attempt that led to nothing; one for the same cause takes the place of the one before."""
        if self.failed and self.failed[-1].cause == cause:
            self.failed.pop()
        self.failed.append(Failed(time.time(), cause, words))
        self.failures[cause] += 1


class ResourceStatus(NamedTuple):
    """How far a resource is with the kubelet."""

    resource: str
    api_version: str | None
    """Of the dialect in force; None while it is not registered."""
    endpoint: str | None
    stream_opened: float | None
    """When the kubelet opened the stream that is open, in seconds since the epoch."""
    stands_by: bool
    """Whether another gateway of this node has the resource."""
    records: RegistrationRecords
