"""Which Events a node gets, and when: one for each device and cause, counted, and never more than the API server bears.

An Event is created once for each device and cause. What happens again is counted, and the Event is patched with the
count and the last time, at most once in a minute. All Events and patches of a node together take tokens from one
bucket: 25 at once, then one in 300 s, as client-go limits one source. Of the states of one device only the last one
waits for a token, so that the last word always gets through, however long the API server was away.

Nothing here has a clock: times come in as arguments. Durations are measured in seconds on a monotonic clock, ``epoch``
is the time for people.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

BURST = 25
"""Events and patches that may be sent at once."""
TOKEN_INTERVAL = 300.0
"""Seconds until one more may be sent."""
PATCH_INTERVAL = 60.0
"""Seconds at least between two patches of one Event."""
MAX_CAUSES = 100
"""Causes that are remembered; each device's last state is remembered beyond that."""


class Cause(NamedTuple):
    """What an Event is about: whatever has the same cause is counted in the same Event."""

    subject: str
    """The device; empty for the node as a whole."""
    reason: str
    """The reason of the Event, in one word."""
    detail: str
    """What tells it from others with the same reason, such as the evidence."""
    is_state: bool = False
    """Whether it is a state of the subject: the next one takes its place as long as it was not sent."""


class Sending(NamedTuple):
    """What is to be sent now."""

    cause: Cause
    name: str | None
    """The Event to patch; None where one is to be created."""
    message: str
    kind: str
    """``Normal`` or ``Warning``."""
    times: int
    first: float
    last: float
    """Seconds since the epoch."""


@dataclass(slots=True)
class _Event:
    message: str
    kind: str
    first: float
    last: float
    count: int = 0
    name: str | None = None
    sent: int = 0
    """The count that the API server knows."""
    sent_at: float = -math.inf
    """On the monotonic clock."""
    failures: int = 0
    """Attempts in a row that failed for the moment."""


class EventLedger:
    """The Events of one node: what happened, and what the API server knows of it."""

    def __init__(self) -> None:
        self._events: dict[Cause, _Event] = {}
        """In the order in which each happened last."""
        self._tokens = float(BURST)
        self._filled_at = -math.inf

    def note(self, cause: Cause, message: str, *, kind: str, epoch: float, times: int = 1) -> None:
        """Count what happened."""
        if cause.is_state:
            self._replace_states_of(cause)
        event = self._events.pop(cause, None) or _Event(message, kind, first=epoch, last=epoch)
        event.count += times
        event.message, event.last = message, epoch
        self._events[cause] = event
        self._forget_oldest()

    def next(self, now: float) -> Sending | None:
        """Return what may be sent now; None where nothing is to be sent, or nothing may be."""
        self._fill(now)
        if self._tokens < 1:
            return None
        return next((self._sending(cause) for cause in self._waiting(now)), None)

    def due(self, now: float) -> float:
        """Return when something may be sent, on the clock of ``now``; infinity where nothing waits."""
        self._fill(now)
        times = [max(now, event.sent_at + PATCH_INTERVAL) for event in self._events.values() if _is_unsaid(event)]
        token = now if self._tokens >= 1 else now + (1 - self._tokens) * TOKEN_INTERVAL
        return max(min(times), token) if times else math.inf

    def sent(self, sending: Sending, name: str, now: float) -> None:
        """Take a token for what the API server took."""
        self._tokens -= 1
        event = self._events.get(sending.cause)
        if event is not None:
            event.name, event.sent, event.sent_at = name, min(sending.times, event.count), now
            event.failures = 0

    def failed(self, sending: Sending) -> None:
        """Let the others go first: the API server may refuse this one alone."""
        event = self._events.get(sending.cause)
        if event is not None:
            event.failures += 1

    def refused(self, sending: Sending, now: float) -> None:
        """Forget what the API server will never take; what happens again is tried again a minute later."""
        self._tokens -= 1
        event = self._events.get(sending.cause)
        if event is not None:
            event.sent, event.sent_at = event.count, now

    def gone(self, sending: Sending) -> None:
        """Have an Event created anew: the API server has it no more."""
        self._tokens -= 1
        event = self._events.get(sending.cause)
        if event is not None and _is_unsaid(event):
            event.name, event.first, event.count, event.sent = None, event.last, event.count - event.sent, 0
        elif event is not None:
            del self._events[sending.cause]  # another state of the device took its place meanwhile

    def _fill(self, now: float) -> None:
        if self._filled_at > -math.inf:
            self._tokens = min(float(BURST), self._tokens + (now - self._filled_at) / TOKEN_INTERVAL)
        self._filled_at = now

    def _waiting(self, now: float) -> Iterator[Cause]:
        """List what waits: states first, then what failed least often, and then in the order in which it happened."""
        ready = [
            cause
            for cause, event in self._events.items()
            if _is_unsaid(event) and now >= event.sent_at + (PATCH_INTERVAL if event.sent else 0)
        ]
        return iter(sorted(ready, key=lambda cause: (not cause.is_state, self._events[cause].failures)))

    def _sending(self, cause: Cause) -> Sending:
        event = self._events[cause]
        return Sending(cause, event.name, event.message, event.kind, event.count, event.first, event.last)

    def _replace_states_of(self, cause: Cause) -> None:
        """Have no earlier state of the subject wait any more."""
        for other in [each for each in self._events if each.is_state and each.subject == cause.subject]:
            if other != cause and not self._events[other].sent:
                del self._events[other]
            elif other != cause:
                self._events[other].count = self._events[other].sent

    def _forget_oldest(self) -> None:
        """Remember so many causes at most: first goes what was said, then the oldest evidence that was not."""
        if len(self._events) <= MAX_CAUSES:
            return
        said = [cause for cause, event in self._events.items() if not _is_unsaid(event)]
        evidence = [cause for cause in list(self._events)[:-1] if not cause.is_state]
        for cause in (*said, *evidence)[:1]:
            del self._events[cause]


def _is_unsaid(event: _Event) -> bool:
    return event.count > event.sent
