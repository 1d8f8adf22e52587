"""A node whose labels are published in virtual time, by a way that can fail and take its time."""

import asyncio
import contextlib
import itertools
import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

from harness.virtual_time import now
from plugin_gateway.adapters.cluster.label_publishing import LabelPublisher
from plugin_gateway.adapters.cluster.label_way import LabelError, Written
from plugin_gateway.core.labels.lasting import Lasting
from plugin_gateway.core.labels.making import NodeLabels
from plugin_gateway.core.labels.names import LabelName
from plugin_gateway.core.labels.policy import FAULT_TAINT, Effect, Taint

NAME = "example.com/x"
TAINT = Taint(LabelName(FAULT_TAINT), "code-7", Effect.NO_SCHEDULE)


def labels(value: str, *taints: Taint, is_complete: bool = True) -> NodeLabels:
    why: dict[str, str] = {NAME: "a test", **{each.name: "a fault" for each in taints}}
    return NodeLabels({NAME: value}, tuple(taints), why, is_complete=is_complete)


class Attempt(NamedTuple):
    """One call of the way."""

    began: float
    ended: float
    wanted: NodeLabels
    succeeded: bool


class MadeUpWay:
    """Takes labels, and keeps every attempt."""

    where = "a made-up node"
    look_interval = 300.0

    def __init__(self) -> None:
        self.problem: Exception | None = None
        """What each attempt fails with."""
        self.seconds = 0.0
        """How long each attempt takes."""
        self.attempts: list[Attempt] = []
        self.cleared: list[bool] = []
        """Whether the labels were to go, at each end."""
        self.left_alone: Mapping[str, str] = {}
        self.has_changed = False
        """Whether the node had something else before each write."""
        self.is_busy = False
        self.forgotten = 0
        """How often it was to forget what it wrote."""

    async def write(self, wanted: NodeLabels) -> Written:
        await self._work(wanted)
        return Written(self.has_changed, self.left_alone)

    async def read(self) -> Mapping[str, str]:
        return self.written[-1].wanted.labels if self.written else {}

    def forget(self) -> None:
        self.forgotten += 1

    async def clear(self, *, labels: bool) -> None:
        assert not self.is_busy
        self.cleared.append(labels)
        await asyncio.sleep(self.seconds)
        if self.problem is not None:
            raise self.problem

    async def _work(self, wanted: NodeLabels) -> None:
        assert not self.is_busy, "never twice at the same time"
        self.is_busy, began, problem = True, now(), self.problem
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.is_busy = False
        self.attempts.append(Attempt(began, now(), wanted, problem is None))
        if problem is not None:
            raise problem

    @property
    def written(self) -> list[Attempt]:
        """The attempts that succeeded."""
        return [each for each in self.attempts if each.succeeded]

    @property
    def times(self) -> list[float]:
        """When each attempt that succeeded began."""
        return [each.began for each in self.written]


class Scene:
    """What the publisher is told."""

    def __init__(self) -> None:
        self.way = MadeUpWay()
        self.wanted = labels("1")
        self.until: float | None = None
        """Until when this stays so, by itself. The uptime is the time of the loop."""
        self.error: Exception | None = None
        """What the making of labels fails with."""
        self.looks = 0
        self.leads = True
        self.is_alone = True
        self.publisher = self.new()

    def new(self, *, clears_labels: bool = False) -> LabelPublisher:
        self.publisher = LabelPublisher(
            self.way,
            self._make,
            may_write=lambda: self.leads,
            clears_labels=clears_labels,
            is_alone=lambda: self.is_alone,
        )
        return self.publisher

    def _make(self) -> Lasting:
        self.looks += 1
        if self.error is not None:
            raise self.error
        return Lasting(self.wanted, self.until)

    def want(self, wanted: NodeLabels) -> None:
        """Have other labels from now on."""
        self.wanted = wanted
        self.publisher.note()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[LabelPublisher]:
        """Have labels written meanwhile."""
        task = asyncio.create_task(self.publisher.run())
        try:
            yield self.publisher
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def storm(scene: Scene, seconds: float, make: Callable[[int], NodeLabels], pause: float) -> None:
    """Have other labels again and again for a time."""
    for number in range(math.ceil(seconds / pause)):
        scene.want(make(number))
        await asyncio.sleep(pause)


def gaps(times: Iterable[float]) -> list[float]:
    """Return the seconds between each two that follow each other."""
    return [after - before for before, after in itertools.pairwise(times)]


ERROR = LabelError("403 Forbidden")
