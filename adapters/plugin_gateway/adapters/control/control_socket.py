"""The socket by which an operator's commands reach the gateway: one line of JSON each way.

For root, and for the user that the gateway runs as.
"""

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from plugin_gateway.adapters.support.connections import Clients
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.core.errors import GatewayError

NAME = "control.sock"
TIMEOUT = 5.0
"""Seconds that either side gives the other."""
MAX_REQUEST = 4096
MAX_ANSWER = 64 * 1024 * 1024
MAX_CLIENTS = 8
LOOK_INTERVAL = 10.0
"""Seconds between two looks at whether the socket is still there."""
_PEER = struct.Struct("3i")
"""pid, uid and gid, as SO_PEERCRED has them."""

Answer = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Answers a request at once; raises GatewayError with what the operator is told instead."""


class ControlError(GatewayError):
    """The gateway cannot be reached, or refuses; the message is for the operator."""


class NoAnswerError(ControlError):
    """It is there and does not answer in time."""


class ControlServer:
    """Answers in the event loop, from what is known: no request waits for the driver or the kubelet."""

    def __init__(self, directory: Path, answer: Answer) -> None:
        self._path = directory / NAME
        self._answer = answer

    async def run(self) -> None:
        """Serve until cancelled; without a socket the gateway does its work all the same, and tries again."""
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
        """Serve until the place is empty; one that another gateway took is left to it."""
        clients = Clients(max_clients=MAX_CLIENTS, timeout=TIMEOUT, is_allowed=_is_allowed)
        try:
            async with asyncio.TaskGroup() as tasks:
                serving = tasks.create_task(clients.serve(listener, self._converse), name="operators' socket")
                while os.path.lexists(self._path):  # noqa: ASYNC110, ASYNC240 - nobody tells that a file is gone
                    await asyncio.sleep(LOOK_INTERVAL)
                serving.cancel()
        finally:
            listener.close()
            with contextlib.suppress(OSError):
                if self._path.lstat().st_ino == inode:  # or it belongs to the gateway that came after
                    self._path.unlink()

    async def _converse(self, client: socket.socket) -> None:
        loop, data = asyncio.get_running_loop(), b""
        while not data.endswith(b"\n") and len(data) < MAX_REQUEST:
            more = await loop.sock_recv(client, MAX_REQUEST)
            if not more:
                return
            data += more
        await loop.sock_sendall(client, json.dumps(self._answer_line(data)).encode() + b"\n")

    def _answer_line(self, data: bytes) -> Mapping[str, Any]:
        try:
            request = json.loads(data)
        except (ValueError, RecursionError):
            return {"error": "the request is not JSON"}
        if not isinstance(request, dict):
            return {"error": "the request has no names with values"}
        try:
            return {"answer": self._answer(request)}
        except GatewayError as error:
            return {"error": str(error)}


def _listen(path: Path) -> tuple[socket.socket, int]:
    """Make the socket under another name, so that nobody meets it before its mode is right, and take the place."""
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
    _, uid, _ = _PEER.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return uid in {0, os.geteuid()}


def ask(directory: Path, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Ask the gateway of this node.

    Raises:
        ControlError: it cannot be reached, does not answer, or refuses.
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
    if isinstance(error, PermissionError):
        return "; only root may"
    if isinstance(error, ConnectionResetError):
        return "; it is busy with others, try again"
    return "; is it running, and does it have the same --state-dir?"


def _parse(path: Path, data: bytes) -> Mapping[str, Any]:
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
