"""The history of the registrations of each resource, for status, doctor and metrics."""

import time
from collections import Counter, deque
from typing import NamedTuple

from plugin_gateway.core.registration.failures import Failure, Reason

MAX_KEPT = 32
"""Entries kept for each resource."""


class Registered(NamedTuple):
    """A registration for which the kubelet opened the stream."""

    at: float
    """When the stream was opened, in seconds since the epoch."""
    api_version: str
    """The API version of the stream."""
    reason: str
    """Why the gateway registered, for people."""
    endpoint: str
    """The name of the socket."""
    took_ms: float
    """Milliseconds from the beginning of the registration to the stream."""


class Failed(NamedTuple):
    """A registration that failed."""

    at: float
    """In seconds since the epoch."""
    cause: str
    """What went wrong, for people."""
    words: str
    """The kubelet's error text. Empty if there is none."""


class RegistrationRecords:
    """The latest registrations of one resource, and counters of all."""

    def __init__(self) -> None:
        self.registered: deque[Registered] = deque(maxlen=MAX_KEPT)
        self.failed: deque[Failed] = deque(maxlen=MAX_KEPT)
        self.ended: deque[float] = deque(maxlen=MAX_KEPT)
        """When a stream ended, whoever ended it, in seconds since the epoch."""
        self.since = time.time()
        """Since when there are records, in seconds since the epoch."""
        self.registrations: Counter[tuple[str, Reason]] = Counter()
        """Number of registrations, by API version and reason."""
        self.failures: Counter[Failure] = Counter()
        """Number of failures, by cause."""

    def note_registered(self, *, api_version: str, reason: Reason, endpoint: str, took_ms: float) -> None:
        """Record a registration for which the kubelet opened the stream."""
        self.registered.append(Registered(time.time(), api_version, reason.value, endpoint, took_ms))
        self.registrations[api_version, reason] += 1

    def note_ended(self) -> None:
        """Record that the stream ended."""
        self.ended.append(time.time())

    def note_failed(self, cause: Failure, words: str) -> None:
        """Record a failed attempt. It replaces the previous entry if that has the same cause."""
        if self.failed and self.failed[-1].cause == cause.value:
            self.failed.pop()
        self.failed.append(Failed(time.time(), cause.value, words))
        self.failures[cause] += 1


class ResourceStatus(NamedTuple):
    """The state of the registration of one resource."""

    resource: str
    api_version: str | None
    """The API version of the open stream. None if no stream is open."""
    endpoint: str | None
    """The socket name that was sent to the kubelet last. None if there is none."""
    stream_opened: float | None
    """When the open stream was opened, in seconds since the epoch. None if no stream is open."""
    stands_by: bool
    """Whether another gateway on this node serves the resource."""
    others_answer: bool
    """Whether each gateway that it stands by for answers on its control socket."""
    records: RegistrationRecords
