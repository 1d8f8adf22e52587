"""The endpoints of one resource.

There is always one current endpoint whose socket is in the directory. Older endpoints stay only as long as the kubelet
holds a stream on them.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from plugin_gateway.adapters.dialects.dialect import Dialect
from plugin_gateway.adapters.kubelet.plugin_sockets import OwnSockets
from plugin_gateway.adapters.serving.endpoint import BindError, Endpoint
from plugin_gateway.adapters.serving.resource import Pacing, ServedResource
from plugin_gateway.adapters.serving.stream import KubeletStream
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.core.registration.values import Event

CLOSE_DELAY = 0.25
"""Seconds before an unused endpoint is closed.

Closing takes as long as binding. After this time, a kubelet that has just started has its registration.
"""

Spawn = Callable[[Coroutine[Any, Any, None]], object]
"""Starts a coroutine as a task of a task group."""


class ResourceEndpoints:
    """Binds, replaces and closes the endpoints of one resource."""

    def __init__(
        self,
        *,
        served: ServedResource,
        dialects: Sequence[Dialect],
        own_sockets: OwnSockets,
        pacing: Pacing,
        on_event: Callable[[Event], None],
        spawn: Spawn,
    ) -> None:
        self.served = served
        """What is offered."""
        self._dialects = dialects
        self._own_sockets = own_sockets
        self._pacing = pacing
        self._on_event = on_event
        self._spawn = spawn
        self._current: Endpoint | None = None
        self._older: list[Endpoint] = []
        self._prepared: Endpoint | None = None
        self._closing: set[Endpoint] = set()
        self._close_next_now = asyncio.Event()

    async def keep_in_place(self, dialect: Dialect, in_use: Endpoint | None) -> None:
        """Bind a missing socket again, and close endpoints that are no longer used.

        ``in_use`` is the endpoint of the present registration. It is neither closed nor replaced, unless its socket is
        gone.

        Raises:
            BindError: the socket cannot be created at the moment.
        """
        for idle in [each for each in self._older if not each.stream.is_open and each is not in_use]:
            self._older.remove(idle)
            self._close_soon(idle)
        current = self._current
        if current is None:
            self._current = await self._bind(dialect)
        elif not current.is_in_place():
            self._current = await self._replace(current, current.dialect)
            if current.stream.is_open:  # otherwise a kubelet is starting, which deletes all sockets
                log.info(
                    "own socket was gone, bound again",
                    resource=self.served.resource,
                    endpoint=self._current.path.name,
                )
        elif current.stream.attempt is not None and not current.stream.is_open and current is not in_use:
            # A kubelet knows this name already, so the next registration needs another one.
            self._current = await self._replace(current, dialect)

    async def fresh(self, dialect: Dialect) -> Endpoint:
        """Return an endpoint of this dialect whose name was never sent to a kubelet.

        Raises:
            BindError: the socket cannot be created at the moment.
        """
        current = self._current
        if current is None:
            self._current = await self._bind(dialect)
        elif current.stream.attempt is not None or current.dialect is not dialect or not current.is_in_place():
            self._current = await self._replace(current, dialect)
        assert self._current is not None
        return self._current

    @property
    def is_in_place(self) -> bool:
        """Whether there is a current endpoint and its socket is still in the directory."""
        return self._current is not None and self._current.is_in_place()

    def prepare(self, dialect: Dialect) -> None:
        """Create the next endpoint without binding it.

        This is nearly half of the work that has to be done when a kubelet restarts.
        """
        if self._prepared is None:
            self._prepared = self._make(dialect)

    def close_endpoint(self, endpoint: Endpoint) -> None:
        """Close an endpoint without a delay, so that a kubelet that dials late finds no socket."""
        if endpoint is self._current:
            self._current = None
        elif endpoint in self._older:
            self._older.remove(endpoint)
        else:
            return
        self._close_soon(endpoint)
        self._close_next_now.set()

    def show_stream(self) -> None:
        """Mark on each socket whether a kubelet holds a stream, for other gateways."""
        is_open = any(each.stream.is_open for each in self._all())
        for each in self._all():
            each.show_stream(is_open=is_open)

    def end_lists(self) -> None:
        """End the streams after their last list."""
        self.served.advertisement.close()

    async def close(self, grace: float) -> None:
        """Close all endpoints, first their streams. Calls get ``grace`` seconds to finish.

        Another call has no effect.
        """
        self.end_lists()
        everything = [*self._all(), *self._closing, *([self._prepared] if self._prepared else [])]
        self._current, self._older, self._prepared = None, [], None
        for endpoint in everything:
            await endpoint.close(grace)

    def _close_soon(self, idle: Endpoint) -> None:
        """Close an endpoint after a delay, or as soon as another endpoint has to be closed.

        The delay keeps the work away from a registration. Closing an endpoint takes as long as creating one.
        """
        self._close_next_now.set()
        self._close_next_now = asyncio.Event()
        self._closing.add(idle)
        self._spawn(self._close_later(idle, self._close_next_now))

    async def _close_later(self, idle: Endpoint, at_once: asyncio.Event) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(at_once.wait(), CLOSE_DELAY)
        await idle.close()
        self._closing.discard(idle)

    def _all(self) -> list[Endpoint]:
        return [*self._older, *([self._current] if self._current else [])]

    async def _replace(self, old: Endpoint, dialect: Dialect) -> Endpoint:
        new = await self._bind(dialect)
        self._older.append(old)
        new.show_stream(is_open=any(each.stream.is_open for each in self._all()))
        return new

    async def _bind(self, dialect: Dialect) -> Endpoint:
        endpoint, self._prepared = self._prepared, None
        if endpoint is not None and endpoint.dialect is not dialect:
            self._close_soon(endpoint)
            endpoint = None
        endpoint = endpoint or self._make(dialect)
        try:
            await endpoint.bind()
        except (BindError, asyncio.CancelledError):
            await endpoint.close()
            raise
        return endpoint

    def _make(self, dialect: Dialect) -> Endpoint:
        return Endpoint(
            path=self._own_sockets.fresh_path(self.served.resource),
            dialect=dialect,
            dialects=self._dialects,
            served=self.served,
            pacing=self._pacing,
            stream=KubeletStream(self._on_event),
        )
