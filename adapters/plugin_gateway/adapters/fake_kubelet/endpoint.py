"""The fake kubelet's connection to one registered endpoint."""

import asyncio
import os
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import grpc.aio

from plugin_gateway.adapters.dialects.dialect import NO_OPTIONS, Answer, Method
from plugin_gateway.adapters.fake_kubelet.decoding import UnreadableError, readable
from plugin_gateway.adapters.fake_kubelet.releases import Release

ListStream: TypeAlias = "grpc.aio.UnaryStreamCall[bytes, bytes]"


class EndpointError(Exception):
    """A call of the plugin failed. The text is that of grpc-go."""


class PluginEndpoint:
    """One connection to a plugin: the ListAndWatch stream and all other calls go over it."""

    def __init__(self, directory: Path, name: str, kubelet: Release) -> None:
        self.path = path = Path(os.path.normpath(f"{directory}/{name}"))
        self.streaming = False
        """Whether its ListAndWatch stream is open."""
        self.options = NO_OPTIONS
        self.listed: set[str] = set()
        """The ids in its last list."""
        self._kubelet = kubelet
        self._calls: set[asyncio.Task[bytes]] = set()
        """The calls that have not been answered yet."""
        self._channel = grpc.aio.insecure_channel(
            f"unix:{path}",
            options=(
                ("grpc.default_authority", str(path) if kubelet.authority_is_path else "localhost"),
                ("grpc.primary_user_agent", f"grpc-go/{kubelet.grpc_go}"),
                ("grpc.max_receive_message_length", -1),
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.enable_retries", 0),
            ),
        )

    async def dial(self, patience: float) -> bool:
        """Connect, and return whether somebody accepted the connection in time."""
        try:
            async with asyncio.timeout(patience):
                await self._channel.channel_ready()
        except TimeoutError:
            return False
        return True

    async def call(self, method: str, request: bytes, deadline: float | None = None) -> bytes:
        """Make one call and return the answer.

        Raises:
            EndpointError: the plugin answered with an error, or the connection ended before it answered.
        """
        calling = asyncio.ensure_future(self._call(method, request, deadline))
        self._calls.add(calling)
        calling.add_done_callback(self._calls.discard)
        try:
            return await calling
        except grpc.aio.AioRpcError as error:
            raise EndpointError(f"rpc error: code = {_code(error)} desc = {error.details()}") from error
        except asyncio.CancelledError:
            if not calling.cancelled():
                raise
            raise EndpointError(f"rpc error: code = {self._kubelet.closing}") from None

    async def _call(self, method: str, request: bytes, deadline: float | None) -> bytes:
        unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(self._path(method))
        answer = await unary(request, timeout=deadline)
        if self.is_too_large(answer):
            limits = f"({len(answer)} vs. {self._kubelet.list_limit})"
            raise EndpointError(
                f"rpc error: code = ResourceExhausted desc = grpc: received message larger than max {limits}"
            )
        return answer

    def is_too_large(self, message: bytes) -> bool:
        """Return whether a message of this size is too large for the release's gRPC."""
        return 0 <= self._kubelet.list_limit < len(message)

    def watch(self) -> ListStream:
        """Open the ListAndWatch stream."""
        stream: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = self._channel.unary_stream(self._path("ListAndWatch"))
        return stream(b"")

    async def close(self) -> None:
        """Close the connection and end everything on it; 1.8 waits for the answers to its calls first."""
        if self._kubelet.asks_at_every_start and self._calls:
            await asyncio.wait(self._calls)
        for call in self._calls:
            call.cancel()
        await self._channel.close()

    def _path(self, method: str) -> str:
        return f"/{self._kubelet.package}.DevicePlugin/{method}"


def _code(error: grpc.aio.AioRpcError) -> str:
    """Return the name of a status code as Go writes it."""
    if error.code() is grpc.StatusCode.CANCELLED:
        return "Canceled"
    return "".join(word.capitalize() for word in error.code().name.split("_"))


def read_answer(data: bytes, method: Method[Any, Answer], kubelet: Release) -> Answer:
    """Return what the plugin answered to a call of a method.

    Raises:
        EndpointError: the bytes are not such a message.
    """
    try:
        return method.read_answer(readable(data, kubelet.dialect.answer_type(method.name), kubelet))
    except UnreadableError as error:
        raise EndpointError(f"rpc error: code = Internal desc = {error}") from error
