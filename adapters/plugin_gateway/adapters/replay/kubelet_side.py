"""The kubelet's side of a recorded conversation: it says what was said then, to a gateway of today."""

import asyncio
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import grpc.aio

from plugin_gateway.adapters.kubelet_directory import KUBELET_SOCKET
from plugin_gateway.adapters.replay.comparing import MissedError
from plugin_gateway.adapters.socket_file import explain_bind
from plugin_gateway.adapters.uninterrupted import to_its_end
from plugin_gateway.api.v1beta1 import api_pb2 as wire
from plugin_gateway.core.errors import InvalidValueError

PATIENCE = 5.0
"""Seconds in which the gateway has to do what it did then."""
LONGEST_MESSAGE = 64 * 1024 * 1024


class Register(NamedTuple):
    """One Register that waits for its answer."""

    api_version: str
    endpoint: str
    resource: str
    answer: "asyncio.Future[tuple[grpc.StatusCode, str]]"


@dataclass(slots=True)
class Stream:
    """One ListAndWatch stream."""

    channel: grpc.aio.Channel
    call: Any
    api_version: str
    reading: "asyncio.Task[Any] | None" = None
    """The read that goes on: to give it up would end the stream."""


class KubeletSide:
    """Serves Registration while the kubelet is there, and calls the gateway's endpoints."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._server: grpc.aio.Server | None = None
        self._coming: asyncio.Queue[Register] = asyncio.Queue()
        self._pending: dict[str, list[Register]] = defaultdict(list)
        """By version string, those that wait for their answer."""
        self._not_made_then: list[str] = []
        self._told: dict[str, Register] = {}
        """What was registered last of each resource."""
        self._streams: dict[str, Stream] = {}

    async def appear(self) -> None:
        """Listen, as a kubelet that starts; nothing where one listens already.

        Raises:
            InvalidValueError: the folder has no place for its socket.
        """
        if self._server is not None:
            return
        self._server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        self._server.add_generic_rpc_handlers((_Registration(self._coming),))
        hidden = self._directory / f".{KUBELET_SOCKET}"
        try:
            self._server.add_insecure_port(f"unix:{hidden}")
        except RuntimeError as error:
            raise InvalidValueError(f"cannot make a socket in {self._directory}: {explain_bind(hidden)}") from error
        await to_its_end(self._server.start())
        os.link(hidden, self._directory / KUBELET_SOCKET)
        hidden.unlink()

    async def vanish(self) -> None:
        """End, as a kubelet that is killed."""
        for stream in list(self._streams):
            await self.end(stream)
        server, self._server = self._server, None
        (self._directory / KUBELET_SOCKET).unlink(missing_ok=True)
        if server is not None:
            await to_its_end(server.stop(None))
        self._set_aside_coming()

    async def expect_register(self, api_version: str, expected: str) -> None:
        """Wait for the gateway to register the resource that it registered then.

        Raises:
            MissedError: it does not, or otherwise.
        """
        if self._server is None:
            return  # then nobody listened, and nobody does now
        try:
            async with asyncio.timeout(PATIENCE):
                register = await self._coming.get()
        except TimeoutError:
            raise MissedError(f"{expected} was registered as {api_version} then, and is not now") from None
        self._pending[register.api_version].append(register)
        self._told[register.resource] = register
        if (register.api_version, register.resource) != (api_version, expected):
            raise MissedError(
                f"{expected} was registered as {api_version} then, {register.resource} as {register.api_version} now"
            )

    def answer(self, api_version: str, code: grpc.StatusCode, words: str) -> None:
        """Answer as the kubelet did then."""
        # Whose call ended, with the kubelet or by its deadline, waits no more.
        waiting = [each for each in self._pending[api_version] if not each.answer.done()]
        if waiting:
            waiting.pop(0).answer.set_result((code, words))
        self._pending[api_version] = waiting

    def left_over(self) -> list[str]:
        """List the registrations that were not made then."""
        self._set_aside_coming()
        return self._not_made_then

    def _set_aside_coming(self) -> None:
        while not self._coming.empty():
            register = self._coming.get_nowait()
            self._not_made_then.append(
                f"{register.resource} is registered as {register.api_version} once more than then"
            )

    async def open(self, stream: str, service: str, resource: str, agent: str) -> None:
        """Open a stream to the endpoint that was told last."""
        channel = self._channel(resource, agent)
        listen: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(f"/{service}/ListAndWatch")
        self._streams[stream] = Stream(channel, listen(b""), self.api_version_told(resource))

    def api_version_told(self, resource: str) -> str:
        """Tell in which version a resource was registered last; empty where it was not."""
        return self._told[resource].api_version if resource in self._told else ""

    def api_version_of(self, stream: str) -> str:
        """Tell in which version a stream's resource was registered when it was opened; empty for none."""
        return self._streams[stream].api_version if stream in self._streams else ""

    async def next_list(self, stream: str) -> bytes | None:
        """Take the next list; None for a stream that is not followed.

        Raises:
            MissedError: none comes.
        """
        found = self._streams.get(stream)
        if found is None:
            return None
        found.reading = found.reading or asyncio.get_running_loop().create_task(found.call.read(), name="list")
        await asyncio.wait({found.reading}, timeout=PATIENCE)
        if not found.reading.done():
            raise MissedError("a list was sent then, and none is now")
        reading, found.reading = found.reading, None
        if (error := reading.exception()) is not None:
            words = _words(error) if isinstance(error, grpc.aio.AioRpcError) else "it was given up"
            raise MissedError(f"a list was sent then, the stream ends now: {words}") from error
        message = reading.result()
        if not isinstance(message, bytes):
            raise MissedError("a list was sent then, the stream ends now")
        return message

    async def end(self, stream: str) -> None:
        """End a stream with its connection."""
        found = self._streams.pop(stream, None)
        if found is not None:
            found.call.cancel()
            if found.reading is not None:
                await asyncio.gather(found.reading, return_exceptions=True)
            await found.channel.close()

    async def call(self, service: str, method: str, resource: str, agent: str, request: bytes) -> bytes | str:
        """Make a call; tells the error in words where there is one."""
        channel = self._channel(resource, agent)
        unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{service}/{method}")
        try:
            return await unary(request, timeout=PATIENCE)
        except grpc.aio.AioRpcError as error:
            return _words(error)
        finally:
            await channel.close()

    def _channel(self, resource: str, agent: str) -> grpc.aio.Channel:
        """Connect to a resource's endpoint.

        Raises:
            MissedError: it was not registered.
        """
        if resource not in self._told:
            raise MissedError(f"the kubelet called {resource} then, which is not registered now")
        return grpc.aio.insecure_channel(
            f"unix:{self._directory / self._told[resource].endpoint}",
            options=(
                ("grpc.default_authority", "localhost"),
                ("grpc.primary_user_agent", agent.split(maxsplit=1)[0]),
                ("grpc.max_receive_message_length", LONGEST_MESSAGE),
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.enable_retries", 0),
            ),
        )


def _words(error: grpc.aio.AioRpcError) -> str:
    """Write a status as the recorder does."""
    return f"{error.code().name}: {error.details() or ''}"


class _Registration(grpc.GenericRpcHandler):
    def __init__(self, coming: "asyncio.Queue[Register]") -> None:
        self._coming = coming

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if not handler_call_details.method.endswith(".Registration/Register"):
            return None
        return grpc.unary_unary_rpc_method_handler(self._register)

    async def _register(self, request: bytes, context: Any) -> bytes:
        told = wire.RegisterRequest.FromString(request)
        answer: asyncio.Future[tuple[grpc.StatusCode, str]] = asyncio.get_running_loop().create_future()
        await self._coming.put(Register(told.version, told.endpoint, told.resource_name, answer))
        code, words = await answer
        if code is not grpc.StatusCode.OK:
            await context.abort(code, words)
        return b""
