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
from plugin_gateway.core.labels.lasting import Lasting
from plugin_gateway.core.labels.making import NodeLabels
from plugin_gateway.core.labels.policy import Taint, taint_text

PAUSE = 5.0
"""Seconds at least between two writes, and between two questions whether this gateway writes."""
PATIENCE = 10.0
"""Seconds after which labels are written though not all is known. What is not known is left as it is."""
MIN_RETRY, MAX_RETRY = 1.0, 300.0
"""Seconds between two attempts; the pause doubles after each error."""
CLEAR_TIME = 1.0
"""Seconds at the end for what is to be removed. The whole process has not much more."""


class _Content(NamedTuple):
    """What of labels is written. Why the node has them can change without it."""

    labels: Mapping[str, str]
    taints: frozenset[Taint]
    is_complete: bool


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
        self._tried: NodeLabels | None = None
        """What was to be written last. The node can have it though no answer came."""
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
        loop, retry = asyncio.get_running_loop(), MIN_RETRY
        done, look_at = None, math.inf
        incomplete_since: float | None = None
        while True:
            self._changed.clear()
            now, lasting = loop.time(), self._make()
            self.wanted = lasting.labels
            if lasting.labels.is_complete:
                incomplete_since = None
            elif incomplete_since is None:
                incomplete_since = now
            ready_at = -math.inf if incomplete_since is None else incomplete_since + PATIENCE
            if not self._may_write():
                done = None  # the other gateway writes, so that nobody knows what the node has
                await asyncio.sleep(PAUSE)
            elif now < ready_at:
                await self._wait_until(ready_at)
            elif done == _content(lasting.labels) and now < look_at:
                await self._wait_until(min(look_at, self._on_this_clock(lasting.until)))
            else:
                has_changed = await self._write(lasting.labels)
                if has_changed is None:
                    done = None
                    await asyncio.sleep(retry * random.uniform(0.5, 1))  # noqa: S311 - no secret
                    retry = min(2 * retry, MAX_RETRY)
                else:
                    done, retry = _content(lasting.labels), MIN_RETRY
                    look_at = loop.time() + self._way.look_interval * random.uniform(0.8, 1.2)  # noqa: S311 - the same
                    await asyncio.sleep(PAUSE if has_changed else 0)

    async def _write(self, wanted: NodeLabels) -> bool | None:
        """Write, and return whether something had to be. None if it failed."""
        self._tried = wanted
        try:
            written = await self._way.write(wanted)
        except LabelError as error:
            self._problem.log(str(error))
            return None
        self._problem.log(None)
        self.written, self.left_alone = wanted, written.left_alone
        told = "; ".join(f"{name}: {why}" for name, why in written.left_alone.items())
        self._left_alone.log(told or None)
        return written.has_changed

    async def _wait_until(self, time: float) -> None:
        """Wait for a change, or for a time of the event loop."""
        try:
            async with asyncio.timeout_at(time if time < math.inf else None):
                await self._changed.wait()
        except TimeoutError:
            return

    def _on_this_clock(self, until: float | None) -> float:
        """Return the time of the event loop at an uptime. Infinite if there is none."""
        return math.inf if until is None else asyncio.get_running_loop().time() + max(until - uptime(), 0.0)

    async def _clear(self) -> None:
        """Remove what must not stay without a gateway, in the little time that is left."""
        has_taints = any(each.taints for each in (self._tried, self.written) if each is not None)
        if self._tried is None or not (has_taints or self._clears_labels) or not self._is_alone():
            return
        try:
            async with asyncio.timeout(CLEAR_TIME):
                await self._way.clear(labels=self._clears_labels)
        except TimeoutError:
            log.warning("labels or taints stay on the node", problem=f"they were not removed within {CLEAR_TIME:g} s")
        except LabelError as error:
            log.warning("labels or taints stay on the node", problem=str(error))


def uptime() -> float:
    """Return the seconds since the machine was started, those included in which it slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _content(labels: NodeLabels) -> _Content:
    return _Content(labels.labels, frozenset(labels.taints), labels.is_complete)
