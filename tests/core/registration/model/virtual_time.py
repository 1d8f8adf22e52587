"""Time that passes only when something happens, and processes that can be stopped and killed in it."""

import random
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any, NamedTuple

Work = Callable[..., None]
MAX_TOLD = 200


class InvariantError(AssertionError):
    """Something happened that must never happen."""


class Told(NamedTuple):
    """A line of the story."""

    at: float
    who: str
    what: tuple[object, ...]

    def __str__(self) -> str:
        return f"{self.at:10.4f}  {self.who:12} {' '.join(map(str, self.what))}"


class Time:
    """A seeded simulation of discrete events. It also keeps the story of what happened last."""

    def __init__(self, seed: int) -> None:
        self.now = 100.0
        self.random = random.Random(seed)
        self._list_random = random.Random(seed)
        self._due: list[tuple[float, int, Work, tuple[Any, ...]]] = []
        self._numbers = count()
        self._story: deque[Told] = deque(maxlen=MAX_TOLD)

    def after(self, seconds: float, work: Work, *arguments: Any) -> None:
        """Do something later."""
        heappush(self._due, (self.now + seconds, next(self._numbers), work, arguments))

    def soon(self, work: Work, *arguments: Any) -> None:
        """Do something after the delay of a message on one machine."""
        self.after(self.delay(), work, *arguments)

    def delay(self) -> float:
        """Return a random delay of a message on one machine: usually below 1 ms, sometimes 5 ms."""
        chance = self.random.random()
        return 0.005 * chance**4 + 0.00005

    def list_delay(self) -> float:
        """Return a random delay of a list."""
        return 0.005 * self._list_random.random() ** 4 + 0.00005

    def run(self, seconds: float) -> None:
        """Let everything happen that is due in these seconds."""
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            at, _, work, arguments = heappop(self._due)
            self.now = max(self.now, at)
            work(*arguments)
        self.now = max(self.now, end)

    def jump(self, seconds: float) -> None:
        """Let time pass in which nothing can happen. What was due in it happens late."""
        self.now += seconds

    def tell(self, who: str, *what: object) -> None:
        """Add a line to the story."""
        self._story.append(Told(self.now, who, what))

    def story(self) -> str:
        """Return the last lines of the story."""
        return "\n".join(map(str, self._story))

    def must(self, holds: object, text: str) -> None:
        """Fail with the story unless something holds."""
        if not holds:
            raise InvariantError(f"{text}, at {self.now:.4f}\n{self.story()}")


class Process:
    """Something that can be killed, or stopped for a while. What reaches it meanwhile waits."""

    def __init__(self, time: Time, name: str) -> None:
        self.time = time
        self.name = name
        self.is_alive = True
        self._late: list[tuple[Work, tuple[Any, ...]]] | None = None

    @property
    def is_stopped(self) -> bool:
        return self._late is not None

    def deliver(self, work: Work, *arguments: Any) -> None:
        """Let the process do something now, or when it goes on."""
        if not self.is_alive:
            return
        if self._late is None:
            work(*arguments)
        else:
            self._late.append((work, arguments))

    def soon(self, work: Work, *arguments: Any) -> None:
        """Let the process do something after the delay of a message."""
        self.time.soon(self.deliver, work, *arguments)

    def later(self, seconds: float, work: Work, *arguments: Any) -> None:
        """Let the process do something after a while."""
        self.time.after(seconds, self.deliver, work, *arguments)

    def stop(self) -> None:
        """Stop as after SIGSTOP."""
        if self.is_alive and self._late is None:
            self.time.tell(self.name, "is stopped")
            self._late = []

    def go_on(self) -> None:
        """Go on as after SIGCONT."""
        if self._late is not None:
            self.time.tell(self.name, "goes on")
            late, self._late = self._late, None
            for work, arguments in late:
                self.deliver(work, *arguments)
