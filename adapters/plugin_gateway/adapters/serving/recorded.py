"""Listens in on the calls of one endpoint, for a recording."""

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from typing import Any

from plugin_gateway.adapters.serving.stream import user_agent

_numbers = count(1)
Note = Callable[..., None]
Unary = Callable[[bytes, Any], Awaitable[bytes]]
Listing = Callable[[bytes, Any], AsyncIterator[bytes]]


def tapped_unary(answering: Unary, note: Note, *, service: str, method: str, resource: str) -> Unary:
    """Note each call and what was answered."""

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
    """Note the stream from its beginning to its end, and whose end it is: ``is_ending`` is asked whether it is ours."""

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
