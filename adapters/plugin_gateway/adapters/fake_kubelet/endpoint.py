"""The fake kubelet's connection to one registered endpoint."""

import asyncio
from pathlib import Path
from typing import TypeAlias

import grpc
import grpc.aio

from plugin_gateway.adapters.fake_kubelet.releases import Release
from plugin_gateway.api.v1beta1 import api_pb2 as wire

ListStream: TypeAlias = "grpc.aio.UnaryStreamCall[bytes, bytes]"


class EndpointError(Exception):
    """A call that the plugin failed, in the words of grpc-go."""


class PluginEndpoint:
    """One connection, over which the list is watched and every other call is made."""

    def __init__(self, path: Path, kubelet: Release) -> None:
        self.path = path
        self.streaming = False
        """Whether its ListAndWatch stream is open."""
        self.options = wire.DevicePluginOptions()
        self.listed: set[str] = set()
        """The ids of its last list."""
        self._kubelet = kubelet
        self._channel = grpc.aio.insecure_channel(
            f"unix:{path}",
            options=(
                ("grpc.default_authority", str(path) if kubelet.authority_is_path else "localhost"),
                ("grpc.primary_user_agent", f"grpc-go/{kubelet.grpc_go}"),
                ("grpc.max_receive_message_length", kubelet.list_limit),
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.enable_retries", 0),
            ),
        )

    async def dial(self, patience: float) -> bool:
        """Connect; False where nobody accepted in time."""
        try:
            async with asyncio.timeout(patience):
                await self._channel.channel_ready()
        except TimeoutError:
            return False
        return True

    async def call(self, method: str, request: bytes, deadline: float | None = None) -> bytes:
        """Make one call.

        Raises:
            EndpointError: the plugin answered with an error.
        """
        unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(self._path(method))
        try:
            return await unary(request, timeout=deadline)
        except grpc.aio.AioRpcError as error:
            code = "".join(word.capitalize() for word in error.code().name.split("_"))
            raise EndpointError(f"rpc error: code = {code} desc = {error.details()}") from error

    def watch(self) -> ListStream:
        """Open the ListAndWatch stream."""
        stream: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = self._channel.unary_stream(self._path("ListAndWatch"))
        return stream(b"")

    async def close(self) -> None:
        """End the connection and everything on it."""
        await self._channel.close()

    def _path(self, method: str) -> str:
        return f"/{self._kubelet.package}.DevicePlugin/{method}"
