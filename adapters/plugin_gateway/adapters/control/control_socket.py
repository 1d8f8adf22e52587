"""The server of a gateway's control socket: a request and an answer, each one line of JSON.

Only root and the user of the gateway may ask.
"""

import asyncio
import contextlib
import json
import os
import re
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from plugin_gateway.adapters.support.connections import Clients
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.strict_json import parse
from plugin_gateway.adapters.support.unix_files import find_listener, identify_socket, peer_of
from plugin_gateway.core.errors import GatewayError

_NAME = re.compile(r"control(-[0-9a-f]{10}-[0-9a-f]{4})?\.sock")
"""A control socket. One without an instance belongs to a gateway of a version that had one name for all of them."""
TIMEOUT = 5.0
"""Seconds that a client has in all."""
ANSWER_TIME = 4.0
"""Seconds after which a client is told that its command is still carried out."""
MAX_REQUEST = 4096
"""Bytes."""
MAX_CLIENTS = 8
LOOK_INTERVAL = 10.0
"""Seconds between two checks that the socket file is still ours, and between two attempts to make it."""


class Promise(NamedTuple):
    """A first answer, which is followed by another one on the same connection."""

    first: Mapping[str, Any]
    keep: Callable[[socket.socket], None]
    """Takes the connection, and has to close it. The end of the server does not."""


Answer = Callable[[Mapping[str, Any]], Mapping[str, Any] | Awaitable[Mapping[str, Any]] | Promise]
"""Returns the answer to a request at once, or something to await for it. Raises GatewayError with a message for the
operator."""


def control_sockets(directory: Path) -> Sequence[Path]:
    """Return the control sockets of all gateways with this state directory, the oldest gateway first.

    Some may belong to gateways that are gone.

    Raises:
        OSError: the directory cannot be read.
    """
    return [path for path in sorted(directory.iterdir()) if _NAME.fullmatch(path.name)]


def is_shared(directory: Path, own_instance: str) -> bool:
    """Whether another gateway that runs has this state directory, too. Also True if that cannot be found out."""
    try:
        others = [path for path in control_sockets(directory) if path.name != socket_name(own_instance)]
        return any(find_listener(path) is not None for path in others)
    except FileNotFoundError:
        return False
    except OSError:
        return True


def socket_name(instance: str) -> str:
    """Return the file name of the control socket of a gateway."""
    return f"control-{instance}.sock"


def remove_leftovers(directory: Path) -> None:
    """Remove the sockets of gateways that are gone.

    A gateway listens before its socket gets its name. So nobody is alive behind a socket that refuses a connection.
    """
    with contextlib.suppress(OSError):
        for path in control_sockets(directory):
            with contextlib.suppress(OSError):  # what cannot be looked at may belong to somebody
                _remove_leftover(path)


def _remove_leftover(path: Path) -> None:
    before = path.lstat()
    if stat.S_ISSOCK(before.st_mode) and find_listener(path) is None and os.path.samestat(path.lstat(), before):
        path.unlink()
        log.info("removed the control socket of an earlier instance", socket=path.name)


class ControlServer:
    """Answers in the event loop from what the gateway knows. No request waits for the driver or the kubelet."""

    def __init__(self, directory: Path, instance: str, answer: Answer) -> None:
        """``instance`` names this gateway among those with the same directory; see `plugin_sockets.new_instance`."""
        self._path = directory / socket_name(instance)
        self._answer = answer
        self._lasting: set[asyncio.Future[Mapping[str, Any]]] = set()
        """Answers that are awaited. A client that leaves does not end what it asked for."""

    async def run(self) -> None:
        """Serve until cancelled. If the socket cannot be made, log it and try again; the gateway works without it."""
        logged: str | None = None
        remove_leftovers(self._path.parent)
        while True:
            try:
                listener = _listen(self._path)
            except OSError as error:
                problem = error.strerror or str(error)
                if problem != logged:
                    log.warning("operators cannot reach this gateway", socket=str(self._path), problem=problem)
                logged = problem
                await asyncio.sleep(LOOK_INTERVAL)
            else:
                logged = None
                await self._serve(listener)

    async def _serve(self, listener: socket.socket) -> None:
        """Serve while the socket file is there. Something else in its place is none."""
        own = identify_socket(self._path)
        clients = Clients(max_clients=MAX_CLIENTS, timeout=TIMEOUT, is_allowed=is_allowed)
        try:
            async with asyncio.TaskGroup() as tasks:
                serving = tasks.create_task(clients.serve(listener, self._converse), name="operators' socket")
                while own is not None and identify_socket(self._path) == own:  # noqa: ASYNC110 - there is no event for it
                    await asyncio.sleep(LOOK_INTERVAL)
                serving.cancel()
        finally:
            listener.close()
            if identify_socket(self._path) == own:
                with contextlib.suppress(OSError):
                    self._path.unlink()

    async def _converse(self, client: socket.socket) -> None:
        """Read one request, and send its answer, or the first of two."""
        loop, data = asyncio.get_running_loop(), b""
        while not data.endswith(b"\n") and len(data) < MAX_REQUEST:
            more = await loop.sock_recv(client, MAX_REQUEST)
            if not more:
                return
            data += more
        answer = await self._answer_to(data)
        line, keep = ({"answer": answer.first}, answer.keep) if isinstance(answer, Promise) else (answer, None)
        await loop.sock_sendall(client, json.dumps(line).encode() + b"\n")
        if keep is not None:
            keep(client.dup())

    async def _answer_to(self, data: bytes) -> Mapping[str, Any] | Promise:
        try:
            request = parse(data)
        except ValueError:
            return {"error": "the request is not JSON"}
        if not isinstance(request, dict):
            return {"error": "the request has no names with values"}
        try:
            answer = self._answer(request)
            if isinstance(answer, Promise):
                return answer
            return {"answer": await self._outcome(answer) if isinstance(answer, Awaitable) else answer}
        except TimeoutError:
            return {"error": f"it takes longer than {ANSWER_TIME:g} s and goes on; the log tells the outcome"}
        except GatewayError as error:
            return {"error": str(error)}

    async def _outcome(self, answer: Awaitable[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Await an answer for a limited time. What it does is carried out in any case.

        Raises:
            TimeoutError: it is not there yet.
        """
        lasting = asyncio.ensure_future(answer)
        self._lasting.add(lasting)
        lasting.add_done_callback(self._lasting.discard)
        return await asyncio.wait_for(asyncio.shield(lasting), ANSWER_TIME)


def _listen(path: Path) -> socket.socket:
    """Return a listening socket at this path.

    It is made under another name and renamed when its mode is 0600. So nobody can connect before the mode is set.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}")
    hidden.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listener.bind(os.fspath(hidden))
        hidden.chmod(0o600)
        listener.listen(MAX_CLIENTS)
        hidden.rename(path)
    except OSError:
        listener.close()
        with contextlib.suppress(OSError):
            hidden.unlink()
        raise
    return listener


def is_allowed(client: socket.socket) -> bool:
    """Whether the process at the other end belongs to root or to our user."""
    return peer_of(client).uid in {0, os.geteuid()}
