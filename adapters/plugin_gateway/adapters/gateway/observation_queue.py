"""Where a backend's thread leaves what it saw, and the event loop finds it."""

import threading
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plugin_gateway.core.health.observations import Observation


class ObservationQueue:
    """Takes observations from any thread without waiting; works before there is an event loop.

    An event that says the same again replaces what was there, so a storm of them needs no more room than its kinds. All
    is read in the order in which each came last.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: dict[Hashable, Observation] = {}
        self._wake: Callable[[], object] | None = None

    def put(self, observation: "Observation") -> None:
        """Leave an observation."""
        topic = observation.topic
        with self._lock:
            self._pending.pop(topic, None)
            self._pending[object() if topic is None else topic] = observation
            if self._wake is not None:
                self._wake()

    def attach(self, wake: Callable[[], object]) -> None:
        """Have the reader woken by every observation, also those that are here already; any thread may call it."""
        with self._lock:
            self._wake = wake
            if self._pending:
                wake()

    def wake(self) -> None:
        """Wake the reader although nothing is here: the time may have passed."""
        with self._lock:
            if self._wake is not None:
                self._wake()

    def detach(self) -> None:
        """Wake nobody any more: the reader is about to go."""
        with self._lock:
            self._wake = None

    def take(self) -> "list[Observation]":
        """Take everything that is here."""
        with self._lock:
            taken = list(self._pending.values())
            self._pending.clear()
        return taken
