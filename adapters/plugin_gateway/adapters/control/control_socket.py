"""Server and client of the control socket: a request and an answer, each one line of JSON.

Only root and the user of the gateway may ask.
"""

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from plugin_gateway.adapters.support.connections import Clients
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.unix_files import who_may
from plugin_gateway.core.errors import GatewayError

NAME = "control.sock"
TIMEOUT = 5.0
"""Seconds. The server gives a client so long in all; a client waits so long for each step."""
MAX_REQUEST = 4096
"""Bytes."""
MAX_ANSWER = 64 * 1024 * 1024
"""Bytes."""
MAX_CLIENTS = 8
LOOK_INTERVAL = 10.0
"""Seconds between two checks that the socket file still exists, and between two attempts to make it."""
_PEER = struct.Struct("3i")
"""pid, uid and gid, as the kernel returns them for SO_PEERCRED."""

Answer = Callable[[Mapping[str, Any]], Mapping[str, Any] | Awaitable[Mapping[str, Any]]]
"""Returns the answer to a request at once, or something to await for it. Raises GatewayError with a message for the
operator."""


class ControlError(GatewayError):
    """The gateway cannot be reached, or refuses the command. The message is for the operator."""


class NoAnswerError(ControlError):
    """The gateway accepted the connection, but did not answer in time."""


class ControlServer:
    """Answers in the event loop from what the gateway knows. No request waits for the driver or the kubelet."""

    def __init__(self, directory: Path, answer: Answer) -> None:
        self._path = directory / NAME
        self._answer = answer

    async def run(self) -> None:
        """Serve until cancelled. If the socket cannot be made, log it and try again; the gateway works without it."""
        logged: str | None = None
        while True:
            try:
                listener, inode = _listen(self._path)
            except OSError as error:
                problem = error.strerror or str(error)
                if problem != logged:
                    log.warning("operators cannot reach this gateway", socket=str(self._path), problem=problem)
                logged = problem
                await asyncio.sleep(LOOK_INTERVAL)
            else:
                logged = None
                await self._serve(listener, inode)

    async def _serve(self, listener: socket.socket, inode: int) -> None:
        """Serve while the socket file exists. If another gateway has replaced the file, do not remove it at the end."""
        clients = Clients(max_clients=MAX_CLIENTS, timeout=TIMEOUT, is_allowed=_is_allowed)
        try:
            async with asyncio.TaskGroup() as tasks:
                serving = tasks.create_task(clients.serve(listener, self._converse), name="operators' socket")
                while os.path.lexists(self._path):  # noqa: ASYNC110, ASYNC240 - there is no event for it
                    await asyncio.sleep(LOOK_INTERVAL)
                serving.cancel()
        finally:
            listener.close()
            with contextlib.suppress(OSError):
                if self._path.lstat().st_ino == inode:  # otherwise it belongs to a newer gateway
                    self._path.unlink()

    async def _converse(self, client: socket.socket) -> None:
        """Read one request, and send its answer."""
        loop, data = asyncio.get_running_loop(), b""
        while not data.endswith(b"\n") and len(data) < MAX_REQUEST:
            more = await loop.sock_recv(client, MAX_REQUEST)
            if not more:
                return
            data += more
        await loop.sock_sendall(client, json.dumps(await self._answer_line(data)).encode() + b"\n")

    async def _answer_line(self, data: bytes) -> Mapping[str, Any]:
        try:
            request = json.loads(data)
        except (ValueError, RecursionError):
            return {"error": "the request is not JSON"}
        if not isinstance(request, dict):
            return {"error": "the request has no names with values"}
        try:
            answer = self._answer(request)
            return {"answer": await answer if isinstance(answer, Awaitable) else answer}
        except GatewayError as error:
            return {"error": str(error)}


def _listen(path: Path) -> tuple[socket.socket, int]:
    """Return a listening socket at this path, and its inode.

    It is made under another name and renamed when its mode is 0600. So nobody can connect before the mode is set.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    hidden.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listener.bind(os.fspath(hidden))
        hidden.chmod(0o600)
        listener.listen(MAX_CLIENTS)
        hidden.rename(path)
        return listener, path.lstat().st_ino
    except OSError:
        listener.close()
        with contextlib.suppress(OSError):
            hidden.unlink()
        raise


def _is_allowed(client: socket.socket) -> bool:
    """Return whether the process at the other end belongs to root or to our user."""
    _, uid, _ = _PEER.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return uid in {0, os.geteuid()}


def ask(directory: Path, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Send a request to the gateway of this node, and return its answer.

    Raises:
        NoAnswerError: it does not answer in time.
        ControlError: it cannot be reached, or refuses.
    """
    path = directory / NAME
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(TIMEOUT)
            client.connect(os.fspath(path))
            client.sendall(json.dumps(request).encode() + b"\n")
            with client.makefile("rb") as file:
                data = file.readline(MAX_ANSWER)
    except TimeoutError as error:
        raise NoAnswerError(f"the gateway at {path} did not answer within {TIMEOUT:.0f} s") from error
    except OSError as error:
        raise ControlError(f"no gateway can be asked at {path}: {error.strerror or error}{_hint(error)}") from error
    return _parse(path, data)


def _hint(error: OSError) -> str:
    """Return a likely cause, for the end of the error message."""
    if isinstance(error, PermissionError):
        return f"; {who_may() if os.geteuid() == 0 else 'only root may'}"
    if isinstance(error, ConnectionResetError):
        return "; it is busy with others, try again"
    return "; is it running, and does it have the same --state-dir?"


def _parse(path: Path, data: bytes) -> Mapping[str, Any]:
    """Return the answer in a line of the gateway.

    Raises:
        ControlError: it is an error, or no answer at all.
    """
    try:
        found = json.loads(data)
    except ValueError as error:
        raise ControlError(f"the gateway at {path} hung up; it answers root alone") from error
    if not isinstance(found, dict) or found.keys() not in ({"answer"}, {"error"}):
        raise ControlError(f"what listens at {path} is no gateway of this version")
    if "error" in found:
        raise ControlError(str(found["error"]))
    answer: Mapping[str, Any] = found["answer"]
    return answer
