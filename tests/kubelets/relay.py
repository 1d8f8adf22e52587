"""A socket between the gateway and a kubelet on which the first resource to register gets no answer."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from plugin_gateway.adapters.fake_kubelet.kubelet import SOCKET
from plugin_gateway.adapters.fake_kubelet.releases import Release

LIMIT = 30.0
"""Seconds in which the kubelet answers what is passed on."""


class Relay(grpc.GenericRpcHandler):
    """Passes each call on as it is, and the kubelet's answer back. It keeps Register of one resource to itself."""

    def __init__(self, kubelet: grpc.aio.Channel, of: Release) -> None:
        """``of`` is the kubelet's release. What it refuses whatever the resource, is passed on and refused."""
        self.kept = ""
        """The resource of which no Register is passed on: the first one that the kubelet would accept."""
        self.began = 0.0
        """When the first Register came, in whatever dialect, in seconds of the monotonic clock."""
        self._kubelet = kubelet
        self._dialect = of.dialect
        self._answers = asyncio.Event()

    def answer(self) -> None:
        """Pass on what was kept, and everything from now on."""
        self._answers.set()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a call."""
        method = handler_call_details.method

        async def handle(request: bytes, context: Any) -> bytes:
            self.began = self.began or time.monotonic()
            if self._is_kept(method, request):
                await self._answers.wait()
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._kubelet.unary_unary(method)
            try:
                return await call(request, timeout=LIMIT)
            except grpc.aio.AioRpcError as refused:
                await context.abort(refused.code(), refused.details() or "")
                raise

        return grpc.unary_unary_rpc_method_handler(handle)

    def _is_kept(self, method: str, request: bytes) -> bool:
        if method != self._dialect.register_method:
            return False
        asked = self._dialect.read_registration(request)
        if asked.version != self._dialect.version:
            return False
        self.kept = self.kept or asked.resource_name
        return asked.resource_name == self.kept


@asynccontextmanager
async def relay(directory: Path, of: Release) -> AsyncIterator[Relay]:
    """Stand between a gateway and the kubelet of this directory inside the block.

    The kubelet's socket gets another name: it dials endpoints in the directory whatever the name of its own socket.
    """
    socket = directory / SOCKET
    renamed = socket.rename(directory / "renamed.sock")
    options = (("grpc.default_authority", "localhost"), ("grpc.use_local_subchannel_pool", 1))
    async with grpc.aio.insecure_channel(f"unix:{renamed}", options=options) as channel:
        await asyncio.wait_for(channel.channel_ready(), LIMIT)
        made = Relay(channel, of)
        server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        server.add_generic_rpc_handlers((made,))
        server.add_insecure_port(f"unix:{socket}")
        await server.start()
        try:
            yield made
        finally:
            await server.stop(None)
            renamed.rename(socket)
