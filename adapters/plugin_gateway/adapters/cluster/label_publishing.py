"""Keeps the labels and taints of the node as the devices are, in whichever way was chosen.

Nothing waits for it. A change is written once, at most one in `PAUSE` seconds, and what others undid is written again
after a while. Whatever goes wrong is tried again with growing pauses.
"""

import asyncio
import math
import random
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from plugin_gateway.adapters.cluster.label_way import LabelError, Way
from plugin_gateway.adapters.gateway.status import LabelsStatus
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.problem import Problem
from plugin_gateway.core.labels.lasting import Held, Lasting, hold_taints
from plugin_gateway.core.labels.making import NodeLabels
from plugin_gateway.core.labels.policy import Taint, taint_text

PAUSE = 5.0
"""Seconds at least after a write until the next one, and between two questions whether this gateway writes."""
SOON = 60.0
"""Seconds after a change until the next look. Who wrote the labels before can take them along at its end."""
SETTLE = 0.5
"""Seconds in which news is gathered. What comes together is written together, and a storm makes no labels in vain."""
PATIENCE = 10.0
"""Seconds after which labels are written though not all is known. What is not known is left as it is."""
MIN_RETRY, MAX_RETRY = 1.0, 300.0
"""Seconds between two attempts; the pause doubles after each error. It is up to a half longer, but not the longest."""
LEAVE_TIME = 0.3
"""Seconds at the end in which other gateways that end at the same time are gone as well."""
CLEAR_TIME = 1.0
"""Seconds at the end for what is to be removed. The whole process has not much more."""


class _Content(NamedTuple):
    """What of labels is written. Why the node has them can change without it."""

    labels: Mapping[str, str]
    taints: frozenset[Taint]
    is_complete: bool
    knows_faults: bool


class LabelPublisher:
    """Writes what the node should have, in one way, until the end of the process or of the way."""

    def __init__(
        self,
        way: Way,
        make: Callable[[], Lasting],
        *,
        may_write: Callable[[], bool],
        clears_labels: bool,
        is_alone: Callable[[], bool],
    ) -> None:
        """``make`` returns the labels of this moment.

        ``may_write`` says whether this gateway writes, if there are several. ``is_alone``: no other one goes on at the
        end. ``clears_labels``: labels are removed then as well, and not only taints.
        """
        self._way = way
        self._make = make
        self._may_write = may_write
        self._clears_labels = clears_labels
        self._is_alone = is_alone
        self._changed = asyncio.Event()
        self._problem = Problem("the labels of the node cannot be written", "the labels of the node are written again")
        self._left_alone = Problem("labels of the node are left as they are", "no label of the node is left as it is")
        self._held: Held = {}
        self._incomplete_since: float | None = None
        """Since when not all is known, on the clock of the event loop. None if all is."""
        self._done: _Content | None = None
        """What the node has, as far as anybody knows. None if nobody does."""
        self._look_at = math.inf
        """When to write the same again, because others can have undone it."""
        self._retry = MIN_RETRY
        self._can_have_taints = True
        """Whether the node can have taints of this gateway, or of an earlier one."""
        self.wanted: NodeLabels | None = None
        """What the node should have. None before the first look."""
        self.written: NodeLabels | None = None
        """What the node has by this gateway. None before the first write."""
        self.left_alone: Mapping[str, str] = {}
        """Why a label or a taint is not as it should be, by its name, for people: somebody else writes it."""

    @property
    def problem(self) -> str | None:
        """Why the labels cannot be written. None if they can."""
        return self._problem.logged

    def status(self, way: str) -> LabelsStatus:
        """Return what is known of the labels. ``way`` is the word of the setting."""
        wanted, written = self.wanted, self.written
        return LabelsStatus(
            way=way,
            where=self._way.where,
            wanted=wanted.labels if wanted is not None else {},
            taints=tuple(map(taint_text, wanted.taints)) if wanted is not None else (),
            is_written=written is not None and wanted is not None and _content(written) == _content(wanted),
            problem=self.problem,
            left_alone=self.left_alone,
            left_out=wanted.left_out if wanted is not None else {},
        )

    def note(self) -> None:
        """Take that the labels can be other ones now. Does not wait."""
        self._changed.set()

    async def run(self) -> None:
        """Write what is due until cancelled, and remove at the end what must not stay."""
        try:
            await self._keep_writing()
        finally:
            await self._clear()

    async def _keep_writing(self) -> None:
        while True:
            await asyncio.sleep(SETTLE)
            try:
                await self._step()
            except LabelError as error:
                await self._fail(str(error))
            except Exception as error:  # noqa: BLE001 - no error of labels may end the gateway
                problem = f"{type(error).__name__}: {error}"
                if problem != self.problem:
                    log.exception("labels meet a fault of the gateway", error)
                await self._fail(problem)

    async def _step(self) -> None:
        """Look what the node should have. Write it if that is due, otherwise wait until it can be.

        Raises:
            LabelError: it could not be written.
        """
        self._changed.clear()
        now = asyncio.get_running_loop().time()
        wanted, look_again_at = self._look(now)
        if not self._may_write():
            self._done = None  # the other gateway writes, so that nobody knows what the node has
            self._way.forget()
            await asyncio.sleep(PAUSE)
        elif now < (due := self._due(wanted)):
            if self._done is not None:
                self._succeed()
            await self._wait_until(min(due, look_again_at))
        else:
            await self._write(wanted)
            await asyncio.sleep(PAUSE)

    def _look(self, now: float) -> tuple[NodeLabels, float]:
        """Return what the node should have, and when that can be something else without any news."""
        made = self._make()
        held, self._held = hold_taints(made.labels, self._held, now)
        self.wanted = wanted = held.labels
        if wanted.is_complete:
            self._incomplete_since = None
        elif self._incomplete_since is None:
            self._incomplete_since = now
        until = math.inf if made.until is None else now + max(made.until - uptime(), 0.0)
        return wanted, until if held.until is None else min(until, held.until)

    def _due(self, wanted: NodeLabels) -> float:
        """Return when to write this."""
        if self._incomplete_since is not None and self._done != _content(wanted):
            return self._incomplete_since + PATIENCE
        return self._look_at if self._done == _content(wanted) else -math.inf

    async def _write(self, wanted: NodeLabels) -> None:
        """Write what the node should have.

        Raises:
            LabelError: it could not be written.
        """
        self._done = None  # as long as it is under way, and after an error
        self._can_have_taints = self._can_have_taints or bool(wanted.taints)
        written = await self._way.write(wanted)
        self._can_have_taints = bool(wanted.taints) or not wanted.is_complete
        self._done = _content(wanted)
        interval = min(SOON, self._way.look_interval) if written.has_changed else self._way.look_interval
        self._look_at = asyncio.get_running_loop().time() + interval * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
        self.written, self.left_alone = wanted, written.left_alone
        self._succeed()
        told = "; ".join(f"{name}: {why}" for name, why in written.left_alone.items())
        self._left_alone.log(told or None)

    def _succeed(self) -> None:
        """Say that there is no problem any more."""
        self._problem.log(None)
        self._retry = MIN_RETRY

    async def _fail(self, problem: str) -> None:
        """Say what the problem is, and wait until the next attempt."""
        self._problem.log(problem)
        await asyncio.sleep(min(self._retry * random.uniform(1, 1.5), MAX_RETRY))  # noqa: S311 - no secret
        self._retry = min(2 * self._retry, MAX_RETRY)

    async def _wait_until(self, time: float) -> None:
        """Wait for news, or for a time of the event loop."""
        try:
            async with asyncio.timeout_at(time if time < math.inf else None):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _clear(self) -> None:
        """Remove what must not stay without a gateway, in the little time that is left."""
        if not (self._can_have_taints or self._clears_labels) or not await self._remains_alone():
            return
        problem: str | None = None
        try:
            async with asyncio.timeout(CLEAR_TIME):
                await self._way.clear(labels=self._clears_labels)
        except TimeoutError:
            problem = f"they were not removed within {CLEAR_TIME:g} s"
        except Exception as error:  # noqa: BLE001 - whatever it is, the gateway ends in order
            problem = str(error) if isinstance(error, LabelError) else f"{type(error).__name__}: {error}"
        if problem is not None:
            log.warning("labels or taints can have stayed on the node", problem=problem)

    async def _remains_alone(self) -> bool:
        """Whether no other gateway goes on. One that ends now as well does not, and would wait for this one."""
        until = asyncio.get_running_loop().time() + LEAVE_TIME
        while not self._is_alone():
            if asyncio.get_running_loop().time() >= until:
                return False
            await asyncio.sleep(LEAVE_TIME / 10)
        return True


def uptime() -> float:
    """Return the seconds since the machine was started, those included in which it slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _content(labels: NodeLabels) -> _Content:
    return _Content(labels.labels, frozenset(labels.taints), labels.is_complete, labels.knows_faults)
