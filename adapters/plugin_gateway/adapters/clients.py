"""Connections to a listening socket: so many at a time, each for so long, and the rest is turned away at once."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

from plugin_gateway.adapters.logs import log

PAUSE = 0.1
"""Seconds after a connection could not be taken."""
Converse = Callable[[socket.socket], Awaitable[None]]


class Clients:
    """Those who are connected at this moment."""

    def __init__(self, *, most: int, patience: float, is_allowed: Callable[[socket.socket], bool]) -> None:
        self._most = most
        self._patience = patience
        self._is_allowed = is_allowed
        self._count = 0

    async def serve(self, listener: socket.socket, converse: Converse) -> None:
        """Let ``converse`` talk to each until cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            while True:
                try:
                    client, _ = await loop.sock_accept(listener)
                except OSError:  # no descriptor is left, or the client is gone already
                    await asyncio.sleep(PAUSE)
                    continue
                if self._count >= self._most or not self._is_allowed(client):
                    client.close()
                    continue
                self._count += 1
                tasks.create_task(self._serve(client, converse), name="client")

    async def _serve(self, client: socket.socket, converse: Converse) -> None:
        try:
            with client, contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(self._patience):
                    await converse(client)
        except Exception as error:  # noqa: BLE001 - a fault in one answer is no reason to leave the kubelet
            log.exception("answer failed", error)
        finally:
            self._count -= 1
