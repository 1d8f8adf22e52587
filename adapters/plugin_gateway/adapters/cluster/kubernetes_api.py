"""The few calls of the Kubernetes API that the gateway needs, with the service account of the pod."""

import asyncio
import errno
import json
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

import h11

from plugin_gateway.adapters.support.strict_json import parse
from plugin_gateway.core.errors import GatewayError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT = 10.0
"""Seconds for a whole call."""
MAX_ANSWER = 1024 * 1024
"""Bytes."""
_CHUNK = 64 * 1024
_KEEP_ALIVE = {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3}
"""Seconds and attempts after which a connection counts as broken that nothing comes over: one minute in all."""
_AGENT = "plugin-gateway"
"""Who writes, as the API server keeps it in the managed fields of an object and in its audit log."""
VERSION = "resourceVersion"
"""The word of an object's metadata that changes with each change of the object."""
_SHOWN = 200
"""Characters of the API server's message that an error shows."""


_OF_THE_MOMENT = {
    HTTPStatus.UNAUTHORIZED,  # the token is renewed in its file now and then
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.TOO_MANY_REQUESTS,
}


class ApiError(GatewayError):
    """The API server cannot be reached, or refuses. The message is for an admin."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status of the answer. None if there was no answer."""

    @property
    def is_final(self) -> bool:
        """Whether the same call would be refused again: every 4xx except those in which only the moment is wrong."""
        is_refusal = (
            self.status is not None and HTTPStatus.BAD_REQUEST <= self.status < HTTPStatus.INTERNAL_SERVER_ERROR
        )
        return is_refusal and self.status not in _OF_THE_MOMENT

    @property
    def is_conflict(self) -> bool:
        """Whether the object has changed since it was read, or exists already."""
        return self.status == HTTPStatus.CONFLICT

    @property
    def is_gone(self) -> bool:
        """Whether the object does not exist."""
        return self.status == HTTPStatus.NOT_FOUND


class Watcher(NamedTuple):
    """Who is told of a watch. Neither function waits."""

    opened: Callable[[], None]
    """Is called when the API server has accepted the watch."""
    seen: Callable[[Any], None]
    """Is called with the JSON value of each event."""


class _Answer(NamedTuple):
    status: int
    body: bytes


class KubernetesApi:
    """The API server of this cluster. Address and service account are found where Kubernetes puts them for each pod."""

    def __init__(self, environment: Mapping[str, str], service_account: Path = SERVICE_ACCOUNT) -> None:
        self._host = environment.get("KUBERNETES_SERVICE_HOST", "").strip("[]")
        self._port = environment.get("KUBERNETES_SERVICE_PORT_HTTPS") or environment.get(
            "KUBERNETES_SERVICE_PORT", "443"
        )
        self._service_account = service_account

    def namespace(self) -> str:
        """Return the namespace of the pod.

        Raises:
            ApiError: it cannot be read.
        """
        path = self._service_account / "namespace"
        try:
            name = path.read_text().strip()
        except (OSError, ValueError) as error:
            raise ApiError(f"the namespace of the pod is not known: {error}") from error
        if not name.isprintable() or not name:
            raise ApiError(f"the namespace of the pod is not known: {path} has no name in it")
        return name

    async def post(self, path: str, body: Mapping[str, Any]) -> None:
        """Create an object.

        Raises:
            ApiError: it was not created.
        """
        await self._call("POST", path, {"Content-Type": "application/json"}, body)

    async def merge(self, path: str, body: Mapping[str, Any]) -> None:
        """Change a part of an object with a merge patch (RFC 7386): null removes, and lists are replaced.

        Raises:
            ApiError: it was not changed.
        """
        await self._call("PATCH", path, {"Content-Type": "application/merge-patch+json"}, body)

    async def delete(self, path: str) -> None:
        """Delete an object.

        Raises:
            ApiError: it was not deleted.
        """
        await self._call("DELETE", path, {})

    async def patch(self, path: str, body: Mapping[str, Any]) -> None:
        """Change a part of an object with a strategic merge patch.

        It merges lists by their keys, so other conditions stay. Each release from 1.8 on does so.

        Raises:
            ApiError: it was not changed.
        """
        await self._call("PATCH", path, {"Content-Type": "application/strategic-merge-patch+json"}, body)

    async def get(self, path: str, accept: str = "application/json") -> Any:
        """Return the JSON value of an object. ``accept`` is the form that is asked for.

        Raises:
            ApiError: it could not be read.
        """
        try:
            return parse((await self._call("GET", path, {"Accept": accept})).body)
        except ValueError as error:
            raise ApiError(f"GET {path}: the answer is not JSON") from error

    async def watch(self, path: str, accept: str, watcher: Watcher, seconds: float) -> None:
        """Follow a watch until the API server ends it, ``seconds`` after its begin.

        Raises:
            ApiError: it was refused, broke, or went on for longer.
        """
        await self._call("GET", path, {"Accept": accept}, None, watcher, seconds)

    async def _call(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
        watcher: Watcher | None = None,
        seconds: float = 0,
    ) -> _Answer:
        """Send a request, with a JSON body if there is one, and return the answer. A watch has none but errors.

        The answer may take ``seconds`` longer than usual.

        Raises:
            ApiError: there is no service account, no answer in time, or an error from the server.
        """
        asked = f"{method} {path.partition('?')[0]}"  # without what differs at each call, so that it is said once
        if not self._host or not self._port.isdigit():
            raise ApiError("no API server is known: KUBERNETES_SERVICE_HOST is not set, so this is no pod")
        try:
            headers = {**headers, "Authorization": f"Bearer {self._token()}"}
            context = ssl.create_default_context(cafile=str(self._service_account / "ca.crt"))
        except (OSError, ValueError) as error:
            raise ApiError(f"the service account cannot be used: {error}") from error
        try:
            async with asyncio.timeout(seconds + TIMEOUT):
                data = b"" if body is None else json.dumps(body).encode()
                answer = await self._exchange(context, method, path, headers, data, watcher)
        except TimeoutError as error:
            raise ApiError(f"{asked}: no answer within {seconds + TIMEOUT:.0f} s") from error
        except ConnectionError as error:
            raise ApiError(f"{asked}: {os.strerror(error.errno or errno.ECONNRESET)}") from error
        except (OSError, ValueError, OverflowError, h11.ProtocolError) as error:  # OverflowError: no such port
            raise ApiError(f"{asked}: {str(error) or type(error).__name__}") from error
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:  # no redirection is followed, so nothing was done
            raise ApiError(f"{asked}: {_named(answer.status)}{_explained(answer.body)}", answer.status)
        return answer

    async def _exchange(
        self,
        context: ssl.SSLContext,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        watcher: Watcher | None,
    ) -> _Answer:
        own = {
            "Host": f"{self._host}:{self._port}",
            "User-Agent": _AGENT,
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        request = h11.Request(method=method, target=path, headers=[*own.items(), *headers.items()])
        connection = h11.Connection(h11.CLIENT)
        reader, writer = await asyncio.open_connection(self._host, int(self._port))
        try:
            _keep_alive(writer.get_extra_info("socket"))
            # In a step of its own: where asyncio does both, a cancellation between the two leaves the connection open.
            await writer.start_tls(context, server_hostname=self._host)
            for event in (request, h11.Data(data=body), h11.EndOfMessage()):
                writer.write(connection.send(event) or b"")
            await writer.drain()
            return await _read(reader, connection, watcher)
        finally:
            writer.transport.abort()  # close() would wait until the other side ends TLS as well

    def _token(self) -> str:
        """Read the token for each call, because the kubelet renews the file."""
        token = (self._service_account / "token").read_text().strip()
        if not token.isprintable():
            raise ValueError("its token is not one line of text")
        return token


def metadata_of(value: Any, what: str, word: str = VERSION) -> tuple[Mapping[str, Any], str]:
    """Return the metadata of an object, and one text of it, which every object has. ``what`` is the object, for people.

    Raises:
        ApiError: it is no such object.
    """
    metadata = value.get("metadata") if isinstance(value, dict) else None
    text = metadata.get(word) if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or not isinstance(text, str) or not text.isprintable():
        raise ApiError(f"the API server answered with something that is no {what}")
    return metadata, text


def _keep_alive(connection: socket.socket) -> None:
    """Have the kernel notice an API server that has gone without a word, which a watch would wait for."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEP_ALIVE.items():
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


async def _read(reader: asyncio.StreamReader, connection: h11.Connection, watcher: Watcher | None) -> _Answer:
    """Return the answer. What a watch answers is given to the watcher, line by line, and not returned."""
    status, body = 0, b""
    while True:
        event = connection.next_event()
        match event:
            case h11.NEED_DATA:
                connection.receive_data(await reader.read(_CHUNK))
            case h11.Response():
                status = event.status_code
                watcher = watcher if status < HTTPStatus.MULTIPLE_CHOICES else None
                if watcher is not None:
                    watcher.opened()
            case h11.Data():
                body += event.data
                if watcher is not None:
                    *lines, body = body.split(b"\n")
                    for line in filter(None, lines):
                        watcher.seen(parse(line))
            case h11.EndOfMessage() | h11.ConnectionClosed():
                break
        if len(body) > MAX_ANSWER:
            raise ValueError(f"the answer has more than {MAX_ANSWER} bytes")
    return _Answer(status, body)


def _named(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _explained(text: bytes) -> str:
    """Return the message of a Status object, for the end of an error message."""
    try:
        words = parse(text)["message"]
    except (ValueError, KeyError, TypeError):
        return ""
    return f": {str(words)[:_SHOWN]}"
