"""The handover of resources from one gateway of a node to another, by word over the control sockets.

A gateway that stands by opens a connection to each gateway that it stands by for, and asks it for a word. The first
line of the answer comes at once. The second one comes when the other gateway has given up a resource and its streams
have ended, or when it ends. If the connection breaks without it, and nobody listens on the control socket any more, the
process of the other gateway has ended.

Without a word, a gateway cannot tell this from a kubelet that starts and empties its directory. It then takes over
after `TAKE_OVER`, as it does if the other gateway cannot be asked.
"""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from plugin_gateway.adapters.control.control_socket import Promise, is_allowed, socket_name
from plugin_gateway.adapters.registration.registrar import Registrar
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.core.errors import GatewayError
from plugin_gateway.core.resources.names import ResourceName

COMMAND = "await_leave"
MAX_WAITING = 16
"""Gateways that can wait for a word at a time."""
FIRST_ANSWER = 5.0
"""Seconds that a gateway has for the first line of its answer."""
MAX_ANSWER = 64 * 1024
"""Bytes."""
AGAIN = 0.01
"""Seconds before a gateway is asked again whose connection broke. If its process has ended, nobody listens by then."""
MIN_RETRY, MAX_RETRY = 0.1, 10.0
"""Seconds before a gateway is asked again that did not answer. They double each time."""


class TooManyError(GatewayError):
    """No more gateways can wait for a word."""


class Farewells:
    """The gateways that stand by for this one. Each is told once which of the resources were given up."""

    def __init__(self, registrar: Registrar) -> None:
        self._registrar = registrar
        self._waiting: dict[socket.socket, Collection[str]] = {}
        """The connections, each with the resources that are waited for."""
        registrar.on_given_up = self._tell

    def promise(self, resources: Collection[str]) -> Promise:
        """Return the answer to a gateway that stands by for this one with these resources.

        Raises:
            TooManyError: it cannot wait.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise TooManyError(f"{MAX_WAITING} gateways wait already")
        return Promise({"waits": True}, lambda client: self._keep(client, resources))

    def leave(self) -> None:
        """Tell everybody that everything was given up, at the end of the process."""
        for client, resources in list(self._waiting.items()):
            self._answer(client, resources)

    def _keep(self, client: socket.socket, resources: Collection[str]) -> None:
        self._waiting[client] = resources
        asyncio.get_running_loop().add_reader(client, self._close, client)  # it says nothing more, so it is the end
        self._tell()

    def _tell(self) -> None:
        for client, resources in list(self._waiting.items()):
            left = [name for name in resources if name not in self._registrar.held]
            if left:
                self._answer(client, left)

    def _answer(self, client: socket.socket, left: Collection[str]) -> None:
        with contextlib.suppress(OSError):
            client.send(_line({"answer": {"left": list(left)}}))
        self._close(client)

    def _close(self, client: socket.socket) -> None:
        del self._waiting[client]
        asyncio.get_running_loop().remove_reader(client)
        client.close()


class OtherGateways:
    """The gateways that this one stands by for."""

    def __init__(self, directory: Path, registrar: Registrar) -> None:
        """``directory`` is the state directory, which has to be that of the other gateways."""
        self._directory = directory
        self._registrar = registrar

    async def run(self) -> None:
        """Wait for the word of each of them until cancelled."""
        version, asked = -1, dict[tuple[str, frozenset[ResourceName]], asyncio.Task[None]]()
        async with asyncio.TaskGroup() as tasks:
            while True:
                version, awaited = await self._registrar.awaited.newer_than(version)
                for key in asked.keys() - awaited.items():
                    asked.pop(key).cancel()
                for key in awaited.items() - asked.keys():
                    asked[key] = tasks.create_task(self._ask(*key), name="word of another gateway")

    async def _ask(self, instance: str, resources: frozenset[ResourceName]) -> None:
        """Ask one of them, again and again if it does not answer."""
        pause = MIN_RETRY
        try:
            while True:
                answered_before = instance in self._registrar.answering
                try:
                    if await self._await_word(instance, resources):
                        return
                    await asyncio.Event().wait()  # it takes over as it would without a word
                except (ConnectionRefusedError, FileNotFoundError):
                    if answered_before:
                        self._registrar.note_left(instance, resources)
                        return
                except (OSError, TimeoutError, ValueError, EOFError):
                    pass  # a connection that broke, or an answer that is none
                if not answered_before and instance in self._registrar.answering:
                    pause = MIN_RETRY
                    await asyncio.sleep(AGAIN)
                    continue
                self._registrar.answering.discard(instance)
                await asyncio.sleep(pause)
                pause = min(2 * pause, MAX_RETRY)
        finally:
            self._registrar.answering.discard(instance)

    async def _await_word(self, instance: str, resources: frozenset[ResourceName]) -> bool:
        """Ask once, and wait for the word. Return False at once if it gives none, because it is of an older version.

        Raises:
            OSError, EOFError: the connection cannot be made, or broke.
            TimeoutError: there is no answer.
            ValueError: the answer is none.
        """
        async with _connected(self._directory / socket_name(instance)) as reader:
            async with asyncio.timeout(FIRST_ANSWER):
                await reader.send({"command": COMMAND, "resources": sorted(resources)})
                first = await reader.line()
            self._registrar.answering.add(instance)
            if "error" in first:
                log.info(
                    "the other gateway does not say when it leaves", instance=instance, problem=str(first["error"])
                )
                return False
            log.info("the other gateway will say when it leaves", instance=instance, resources=sorted(resources))
            left = _left(await reader.line())
        self._registrar.note_left(instance, resources & left)
        return True


class _Lines:
    """A connection with JSON values, one a line."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self._data = b""

    async def send(self, value: Mapping[str, Any]) -> None:
        await asyncio.get_running_loop().sock_sendall(self._client, _line(value))

    async def line(self) -> Mapping[str, Any]:
        while b"\n" not in self._data:
            more = await asyncio.get_running_loop().sock_recv(self._client, MAX_ANSWER)
            if not more:
                raise EOFError
            self._data += more
            if len(self._data) > MAX_ANSWER:
                raise ValueError
        line, self._data = self._data.split(b"\n", 1)
        found = json.loads(line)
        if not isinstance(found, dict) or not found.keys() <= {"answer", "error"}:
            raise ValueError
        return found


@asynccontextmanager
async def _connected(path: Path) -> AsyncIterator[_Lines]:
    """Connect to a control socket of root or of our user.

    Raises:
        OSError: nobody listens, or it belongs to somebody else.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as client:
        await asyncio.get_running_loop().sock_connect(client, os.fspath(path))
        if not is_allowed(client):
            raise PermissionError
        yield _Lines(client)


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _left(word: Mapping[str, Any]) -> frozenset[ResourceName]:
    match word:
        case {"answer": {"left": list(left)}}:
            names: Sequence[Any] = left
            return frozenset(ResourceName(name) for name in names if isinstance(name, str))
    raise ValueError
