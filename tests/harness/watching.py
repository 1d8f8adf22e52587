"""What a test sees of a backend: every observation, in its order, with the time when it was reported."""

import threading
import time
from types import TracebackType
from typing import Generic, Self, TypeVar

from plugin_gateway.core.health.observations import Observation
from plugin_gateway.core.ports import Backend

Watched = TypeVar("Watched", bound=Backend)
Kind = TypeVar("Kind")


class Watching(Generic[Watched]):
    """Runs a backend for the length of a block."""

    limit = 5.0
    """Seconds for which an observation, and the end of the backend, are awaited."""

    def __init__(self, backend: Watched) -> None:
        self.backend = backend
        self.seen: list[Observation] = []
        self.times: list[float] = []
        self._more = threading.Condition()

    def __enter__(self) -> Self:
        self.backend.start(self.report)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.backend.stop()
        assert self.backend.join(self.limit)

    def report(self, observation: Observation) -> None:
        with self._more:
            self.times.append(time.monotonic())
            self.seen.append(observation)
            self._more.notify_all()

    def of(self, kind: type[Kind]) -> list[Kind]:
        """Tell the observations of one kind."""
        return [observation for observation in self.seen if isinstance(observation, kind)]

    def next(self, kind: type[Kind], number: int = 1) -> Kind:
        """Wait until so many of a kind were reported; tells the last of these."""
        with self._more:
            assert self._more.wait_for(lambda: len(self.of(kind)) >= number, self.limit), self.seen
        return self.of(kind)[number - 1]
