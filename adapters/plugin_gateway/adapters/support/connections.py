"""Serves the clients of a listening socket. Each has a limited time, and there is a limited number of them.

If there are too many, the oldest connection is closed. So clients that hang cannot keep the kubelet's probes out.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

from plugin_gateway.adapters.support.logs import log

PAUSE = 0.1
"""Seconds to wait after a connection could not be accepted."""
Converse = Callable[[socket.socket], Awaitable[None]]
"""Talks to one client, and returns when the conversation is over."""


class Clients:
    """The connections of one listening socket."""

    def __init__(self, *, max_clients: int, timeout: float, is_allowed: Callable[[socket.socket], bool]) -> None:
        """``timeout`` is the time in seconds that each client has. A client that is not allowed is disconnected."""
        self._max_clients = max_clients
        self._timeout = timeout
        self._is_allowed = is_allowed
        self._tasks: dict[asyncio.Task[None], None] = {}
        """The oldest first. It is a dict to keep the order."""

    async def serve(self, listener: socket.socket, converse: Converse) -> None:
        """Accept clients until cancelled, and call ``converse`` for each."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            while True:
                try:
                    client, _ = await loop.sock_accept(listener)
                except OSError:  # no file descriptor is left, or the client is gone already
                    await asyncio.sleep(PAUSE)
                    continue
                if not self._is_allowed(client):
                    client.close()
                    continue
                if len(self._tasks) >= self._max_clients:
                    self._send_away(next(iter(self._tasks)))
                task = tasks.create_task(self._serve(client, converse), name="client")
                self._tasks[task] = None
                task.add_done_callback(lambda done, client=client: self._forget(done, client))  # type: ignore[misc]

    def _send_away(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        task.cancel()

    def _forget(self, task: asyncio.Task[None], client: socket.socket) -> None:
        self._tasks.pop(task, None)
        client.close()  # also if the task was cancelled before it began

    async def _serve(self, client: socket.socket, converse: Converse) -> None:
        try:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(self._timeout):
                    await converse(client)
        except Exception as error:  # noqa: BLE001 - a fault in one answer must not end the gateway
            log.exception("answer failed", error)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket. Its clients wait until they are accepted.

    Raises:
        OSError: the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener
