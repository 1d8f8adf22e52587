"""Wrappers that record the calls of one endpoint for `run --record`."""

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from typing import Any

from plugin_gateway.adapters.serving.stream import user_agent

_numbers = count(1)
Note = Callable[..., None]
"""Receives a kind of event and its fields."""
Unary = Callable[[bytes, Any], Awaitable[bytes]]
"""A method with one request and one response."""
Listing = Callable[[bytes, Any], AsyncIterator[bytes]]
"""ListAndWatch: one request and a stream of responses."""


def tapped_unary(answering: Unary, note: Note, *, service: str, method: str, resource: str) -> Unary:
    """Return the method, wrapped so that each call and its answer are recorded."""

    async def answer(request: bytes, context: Any) -> bytes:
        about = {"service": service, "method": method, "resource": resource, "agent": user_agent(context)}
        try:
            data = await answering(request, context)
        except BaseException:
            code = context.code()
            error = f"{getattr(code, 'name', 'CANCELLED')}: {context.details() or ''}"
            note("call", **about, request=request, answer=None, error=error)
            raise
        note("call", **about, request=request, answer=data, error=None)
        return data

    return answer


def tapped_listing(
    listing: Listing, note: Note, *, service: str, resource: str, is_ending: Callable[[], bool]
) -> Listing:
    """Return the stream, wrapped so that its beginning, its messages and its end are recorded.

    The record of the end says which side ended it. ``is_ending`` returns whether the gateway is closing the endpoint.
    """

    async def list_and_watch(request: bytes, context: Any) -> AsyncIterator[bytes]:
        stream, by_us = str(next(_numbers)), False
        note("opened", stream=stream, service=service, resource=resource, agent=user_agent(context))
        try:
            async for message in listing(request, context):
                note("list", stream=stream, message=message)
                yield message
            by_us = True
        finally:
            note("ended", stream=stream, by="gateway" if by_us or is_ending() else "kubelet")

    return list_and_watch
