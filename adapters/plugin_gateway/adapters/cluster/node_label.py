"""Follows one label of the node of this pod, with a GET and a watch of this node alone.

The API server may be asked by each node of a large cluster at the same time, so every time is drawn at random: the
first call, the end of each watch, and the pauses after an error. The gateway never waits for the API server, except
for `ask_within` before it starts.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote

from plugin_gateway.adapters.cluster.kubernetes_api import ApiError, KubernetesApi, Watcher, metadata_of
from plugin_gateway.adapters.support.problem import Problem

START_JITTER = 10.0
"""Seconds at most before the first call of `follow`."""
MIN_WATCH, MAX_WATCH = 300.0, 600.0
"""Seconds after which a watch ends. The node is then read again."""
MIN_RETRY, MAX_RETRY = 1.0, 60.0
"""Seconds between two attempts; the pause doubles after each error."""
SHORT_WATCH = 30.0
"""Seconds. A watch that ends earlier counts as an error, so that the node is not read over and over."""
STEADY = 5.0
"""Seconds that a watch lasts until a problem counts as over. One that breaks at once would be logged each time."""
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
"""Asks for the metadata alone. API servers before 1.15 do not know this form, and send the whole node."""


class Target(NamedTuple):
    """Which label to follow."""

    node: str
    label: str


class NodeLabel:
    """The value of one label of the node. Empty if the node does not have it."""

    def __init__(self, target: Target, api: KubernetesApi) -> None:
        self._target = target
        self._api = api
        self._problem = Problem(
            "the label of the node cannot be read",
            "the label of the node is read again",
            node=target.node,
            label=target.label,
        )

    @property
    def problem(self) -> str | None:
        """Why the label cannot be read. None if it can."""
        return self._problem.logged

    async def ask_within(self, seconds: float) -> str | None:
        """Return the value. None if the API server does not tell it within this time."""
        retry = MIN_RETRY
        try:
            async with asyncio.timeout(seconds):
                while True:
                    try:
                        return (await self._ask()).value
                    except ApiError as error:
                        self._problem.log(str(error))
                    await _pause(retry)
                    retry *= 2
        except TimeoutError:
            return None

    async def follow(self, tell: Callable[[str], None]) -> None:
        """Call ``tell`` with the value whenever it was read, until cancelled. It does not wait."""
        await asyncio.sleep(random.uniform(0, START_JITTER))  # noqa: S311 - no secret
        retry = MIN_RETRY
        while True:
            began = time.monotonic()
            try:
                seen = await self._ask()
                tell(seen.value)
                await self._watch(seen.version, tell)
            except ApiError as error:
                self._problem.log(str(error))
            is_short = time.monotonic() - began < SHORT_WATCH
            retry = min(2 * retry, MAX_RETRY) if is_short else MIN_RETRY
            await _pause(retry)

    async def _ask(self) -> "_Seen":
        return _seen(await self._api.get(f"/api/v1/nodes/{quote(self._target.node)}", METADATA), self._target.label)

    async def _watch(self, version: str, tell: Callable[[str], None]) -> None:
        """Tell each change that follows a version of the node, until the API server ends the watch.

        Raises:
            ApiError: it was refused, or broke.
        """
        seconds = random.uniform(MIN_WATCH, MAX_WATCH)  # noqa: S311 - no secret
        path = (
            f"/api/v1/nodes?watch=true&fieldSelector=metadata.name%3D{quote(self._target.node)}"
            f"&resourceVersion={quote(version)}&timeoutSeconds={seconds:.0f}"
        )

        with contextlib.ExitStack() as at_end:

            def opened() -> None:
                timer = asyncio.get_running_loop().call_later(STEADY, self._problem.log, None)
                at_end.callback(timer.cancel)

            def take(event: Any) -> None:
                value = _event(event, self._target.label)
                if value is not None:
                    tell(value)

            await self._api.watch(path, METADATA, Watcher(opened, take), seconds)
        self._problem.log(None)


class _Seen(NamedTuple):
    """The label in one version of the node."""

    value: str
    version: str


async def _pause(seconds: float) -> None:
    await asyncio.sleep(seconds * random.uniform(0.5, 1))  # noqa: S311 - no secret


def _seen(node: Any, label: str) -> _Seen:
    """Return the label of a Node, or of its metadata alone.

    Raises:
        ApiError: it is neither.
    """
    metadata, version = metadata_of(node, "node")
    labels = metadata.get("labels")
    value = labels.get(label) if isinstance(labels, dict) else None
    return _Seen(value if isinstance(value, str) else "", version)


def _event(event: Any, label: str) -> str | None:
    """Return the label after an event of a watch. None if it says nothing of it: a node that is deleted is told so.

    Raises:
        ApiError: the API server ends the watch with an error, such as a version that is too old, or it is no event.
    """
    kind = event.get("type") if isinstance(event, dict) else None
    if kind == "ERROR":
        status = event.get("object")
        words = status.get("message") if isinstance(status, dict) else None
        raise ApiError(f"the watch of the node ended: {str(words)[:200]}")
    if not isinstance(kind, str):
        raise ApiError("the watch of the node has something that is no event")
    return _seen(event.get("object"), label).value if kind in {"ADDED", "MODIFIED"} else None
