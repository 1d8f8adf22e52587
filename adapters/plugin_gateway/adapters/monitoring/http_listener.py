"""An HTTP listener for a few small pages: GET and HEAD only, one request per connection, limits for all of it."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

import h11

from plugin_gateway.adapters.support.connections import Clients
from plugin_gateway.adapters.support.terminal import printable

TIMEOUT = 5.0
"""Seconds for a connection: request and answer together."""
MAX_CLIENTS = 32
"""Connections at a time. One more closes the oldest."""
MAX_REQUEST = 16 * 1024
"""Bytes of the request line and the headers together."""
_CHUNK = 4096
NOT_ALLOWED = 405
"""The status of a method that no page has."""
TEXT = "text/plain; charset=utf-8"


class Page(NamedTuple):
    """An answer. The body is a text in UTF-8."""

    body: str
    content_type: str = TEXT
    status: int = 200
    policy: str = "default-src 'none'"
    """What a browser may load and run for it: the value of `Content-Security-Policy`."""


Pages = Mapping[str, Callable[[], Page | Awaitable[Page]]]
"""Pages by path. A page that is awaited is not made in the event loop alone, and has the time of the connection."""


async def serve(listener: socket.socket, pages: Pages) -> None:
    """Answer requests until cancelled. The listener is closed at the end."""

    async def converse(client: socket.socket) -> None:
        await _answer(client, pages)

    with listener:
        clients = Clients(max_clients=MAX_CLIENTS, timeout=TIMEOUT, is_allowed=lambda _: True)
        await clients.serve(listener, converse)


async def _answer(client: socket.socket, pages: Pages) -> None:
    """Read one request, and send its answer."""
    loop, connection = asyncio.get_running_loop(), h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST)
    with_body = True
    try:
        request = await _request(client, connection)
        found = _find(pages, request) if request is not None else None
        page = await found if isinstance(found, Awaitable) else found
        with_body = request is None or request.method != b"HEAD"
    except h11.RemoteProtocolError as error:
        page = Page(f"{printable(str(error))}\n", status=error.error_status_hint)
    if page is not None and connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
        await loop.sock_sendall(client, _written(connection, page, with_body=with_body))
        client.shutdown(socket.SHUT_WR)
        while await loop.sock_recv(client, _CHUNK):
            pass  # closing with unread bytes would reset the connection, and the client could lose the answer


async def _request(client: socket.socket, connection: h11.Connection) -> h11.Request | None:
    """Return the request; None if the client closed the connection before it was complete."""
    loop = asyncio.get_running_loop()
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        connection.receive_data(await loop.sock_recv(client, _CHUNK))


def _find(pages: Pages, request: h11.Request) -> Page | Awaitable[Page]:
    if request.method not in {b"GET", b"HEAD"}:
        return Page("expected GET or HEAD\n", status=NOT_ALLOWED)
    make = pages.get(_path(request.target.decode("ascii", errors="replace")))
    return make() if make is not None else Page(f"there are {', '.join(pages)}\n", status=404)


def _path(target: str) -> str:
    """Return the path of a target. A proxy can send it behind scheme and host (RFC 9112, 3.2.2)."""
    target = target.partition("?")[0]
    if target.lower().startswith(("http://", "https://")):
        return f"/{target.partition('://')[2].partition('/')[2]}"
    return target


def _written(connection: h11.Connection, page: Page, *, with_body: bool) -> bytes:
    body = page.body.encode()
    headers = [
        ("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())),
        ("Content-Type", page.content_type),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Content-Security-Policy", page.policy),
        ("Referrer-Policy", "no-referrer"),
    ]
    if page.status == NOT_ALLOWED:
        headers.append(("Allow", "GET, HEAD"))
    sent = [h11.Data(data=body)] if with_body else []
    events = (h11.Response(status_code=page.status, headers=headers), *sent, h11.EndOfMessage())
    return b"".join(connection.send(event) or b"" for event in events)
