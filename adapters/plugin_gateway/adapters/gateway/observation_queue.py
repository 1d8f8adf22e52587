"""The way from the backend's thread to the event loop: for observations, and for what it finds of files."""

import threading
import time
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plugin_gateway.core.cdi import DriverFiles
    from plugin_gateway.core.health.observations import Observation


def _uptime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ObservationQueue:
    """A queue that accepts observations from any thread without waiting. It needs no event loop.

    An observation with the same topic as an earlier one takes its place, and counts it, so a storm of equal
    observations needs little memory. Observations are read in the order in which each topic came last, and an answer
    of the driver is older by the time that it waited here.
    """

    def __init__(self, now: Callable[[], float] = _uptime) -> None:
        """``now`` returns the time in seconds. It is called in any thread."""
        self._now = now
        self._lock = threading.Lock()
        self._pending: dict[Hashable, tuple[Observation, float]] = {}
        """Each observation, and when it came."""
        self._wake: Callable[[], object] | None = None

    def put(self, observation: "Observation") -> None:
        """Add an observation, and wake the reader if it has taken all earlier ones."""
        topic = observation.topic
        with self._lock:
            was_empty = not self._pending
            earlier = self._pending.pop(topic, None)
            if earlier is not None:
                from plugin_gateway.core.health.observations import merged  # noqa: PLC0415 - after the start

                observation = merged(earlier[0], observation)
            self._pending[object() if topic is None else topic] = observation, self._now()
            if was_empty and self._wake is not None:
                self._wake()

    def attach(self, wake: Callable[[], object]) -> None:
        """Call ``wake`` when the queue is no longer empty from now on, and now if it is not.

        ``wake`` is called in any thread.
        """
        with self._lock:
            self._wake = wake
            if self._pending:
                wake()

    def wake(self) -> None:
        """Wake the reader without an observation, because something may be due at another time."""
        with self._lock:
            if self._wake is not None:
                self._wake()

    def detach(self) -> None:
        """Stop calling the reader."""
        with self._lock:
            self._wake = None

    def take(self) -> "list[Observation]":
        """Return all waiting observations, and remove them."""
        with self._lock:
            taken = list(self._pending.values())
            self._pending.clear()
        if not taken:
            return []
        from plugin_gateway.core.health.observations import aged  # noqa: PLC0415 - after the start

        now = self._now()
        return [aged(observation, now - came_at) for observation, came_at in taken]


class FilesBox:
    """What one backend found last of what containers need of the files of its driver. It needs no event loop."""

    def __init__(self) -> None:
        self.latest: DriverFiles | None = None
        """None until the backend has found something."""
        self._lock = threading.Lock()
        self._wake: Callable[[], object] | None = None

    def put(self, files: "DriverFiles") -> None:
        """Take what was found. Any thread may call it; it returns at once."""
        with self._lock:
            self.latest = files
            if self._wake is not None:
                self._wake()

    def attach(self, wake: Callable[[], object] | None) -> None:
        """Call ``wake`` in any thread when something is found. None: call nobody."""
        with self._lock:
            self._wake = wake
