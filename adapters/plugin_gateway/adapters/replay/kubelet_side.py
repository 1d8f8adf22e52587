"""The kubelet's side of a recording. It says to the gateway what the recorded kubelet said."""

import asyncio
import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import grpc.aio

from plugin_gateway.adapters.dialects import load_dialects
from plugin_gateway.adapters.dialects.dialect import Dialect, RegisterRequest
from plugin_gateway.adapters.kubelet.directory import KUBELET_SOCKET
from plugin_gateway.adapters.replay.comparing import LeftOutError, MissedError
from plugin_gateway.adapters.support.tasks import to_its_end
from plugin_gateway.adapters.support.unix_files import explain_bind
from plugin_gateway.core.errors import InvalidValueError

TIMEOUT = 7.0
"""Seconds for what the gateway has to do. Its own pauses are as long as ever: a device that was allocated stays in the
list for 5 s."""
LAST_LOOK_TIMEOUT = 0.05
"""Seconds in which a list that was sent arrives."""
MAX_MESSAGE_LENGTH = 64 * 1024 * 1024
"""Bytes."""


class Register(NamedTuple):
    """A Register call that waits for its answer."""

    request: RegisterRequest
    answer: "asyncio.Future[tuple[grpc.StatusCode, str]]"
    """The status code and its text."""
    at: float
    """When it came: seconds since the recording began."""


class StreamEnd(NamedTuple):
    """The gateway ended a stream. The text has the status."""

    words: str


@dataclass(slots=True)
class Stream:
    """A ListAndWatch stream, and what was received on it."""

    channel: grpc.aio.Channel
    call: Any
    api_version: str
    coming: "asyncio.Queue[bytes | StreamEnd]" = field(default_factory=asyncio.Queue)
    """What was received and not taken yet."""
    last: bytes = b""
    """The list that was taken last."""
    is_behind: bool = False
    """Whether the last list that was waited for did not come. Then the next one is not waited for so long."""
    end: StreamEnd | None = None
    """None until the end was taken."""
    reading: "asyncio.Task[None] | None" = None

    async def read(self) -> None:
        """Receive everything until the stream ends."""
        words = "OK"
        try:
            while isinstance(message := await self.call.read(), bytes):
                self.coming.put_nowait(message)
        except grpc.aio.AioRpcError as error:
            words = _words(error)
        self.coming.put_nowait(StreamEnd(words))

    async def take(self, seconds: float) -> bytes | StreamEnd | None:
        """Return what came next; None if nothing comes in time. After the end, return the end."""
        if self.end is not None:
            return self.end
        try:
            async with asyncio.timeout(seconds):
                taken = await self.coming.get()
        except TimeoutError:
            return None
        if isinstance(taken, StreamEnd):
            self.end = taken
        else:
            self.last = taken
        return taken


class KubeletSide:
    """Serves Registration while the recorded kubelet is there, and calls the endpoints of the gateway."""

    def __init__(self, directory: Path, now: Callable[[], float] = lambda: 0.0) -> None:
        """``now`` returns the time of the recording, in seconds since it began."""
        self._directory = directory
        self._now = now
        self._server: grpc.aio.Server | None = None
        self._coming: asyncio.Queue[Register] = asyncio.Queue()
        """Registrations that no recorded line has asked for yet."""
        self._pending: dict[str, list[Register]] = defaultdict(list)
        """Registrations without an answer, by resource."""
        self._registers: dict[str, Register] = {}
        """The last registration of each resource."""
        self._streams: dict[str, Stream] = {}
        self._unopened: set[str] = set()
        """Streams that could not be opened, because their resource is not registered now."""

    async def appear(self) -> None:
        """Listen, as a kubelet that starts. Do nothing if one listens already.

        Raises:
            InvalidValueError: the socket cannot be made in this folder.
        """
        if self._server is None:
            self._server = await self._listen()

    async def replace(self, *, is_same_file: bool) -> None:
        """Replace the socket by that of another kubelet, without a moment in between; or only change its time.

        Raises:
            InvalidValueError: the socket cannot be made in this folder.
        """
        if is_same_file and self._server is not None:
            os.utime(self._directory / KUBELET_SOCKET)
            return
        before, self._server = self._server, await self._listen()
        if before is not None:
            await to_its_end(before.stop(None))

    async def _listen(self) -> grpc.aio.Server:
        server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        server.add_generic_rpc_handlers((_Registration(self._coming, self._now),))
        hidden = self._directory / f".{KUBELET_SOCKET}"
        try:
            server.add_insecure_port(f"unix:{hidden}")
        except RuntimeError as error:
            raise InvalidValueError(f"cannot make a socket in {self._directory}: {explain_bind(hidden)}") from error
        await to_its_end(server.start())
        hidden.rename(self._directory / KUBELET_SOCKET)
        return server

    async def vanish(self) -> None:
        """Stop to listen, as a kubelet that ends. Streams stay until the recording ends them."""
        server, self._server = self._server, None
        (self._directory / KUBELET_SOCKET).unlink(missing_ok=True)
        if server is not None:
            await to_its_end(server.stop(None))

    async def close(self) -> None:
        """End all streams, and stop to listen."""
        for stream in list(self._streams):
            await self._drop(stream)
        await self.vanish()

    async def expect_register(
        self, api_version: str, expected: RegisterRequest, seconds: float = TIMEOUT
    ) -> RegisterRequest:
        """Wait for a registration, and return its request.

        Raises:
            MissedError: there is none, or it is of another resource or version.
            LeftOutError: no kubelet listens at this point of the recording.
        """
        if self._server is None:
            raise LeftOutError("no kubelet in this recording")
        try:
            async with asyncio.timeout(seconds):
                register = await self._coming.get()
        except TimeoutError:
            raise MissedError(
                f"{expected.resource_name} was registered as {api_version} then, and is not now"
            ) from None
        self._pending[register.request.resource_name].append(register)
        self._registers[register.request.resource_name] = register
        now = register.request
        if (now.version, now.resource_name) != (api_version, expected.resource_name):
            raise MissedError(
                f"{expected.resource_name} was registered as {api_version} then, "
                f"{now.resource_name} as {now.version} now"
            )
        return now

    def answer(self, resource: str, code: grpc.StatusCode, words: str) -> None:
        """Answer the first registration of this resource that waits, as the recorded kubelet did."""
        # Calls that ended, with their kubelet or by their deadline, need no answer.
        waiting = [each for each in self._pending[resource] if not each.answer.done()]
        if waiting:
            waiting.pop(0).answer.set_result((code, words))
        self._pending[resource] = waiting

    def left_over(self, until: float) -> list[str]:
        """Take the registrations that no line asked for, and describe those that came until this time."""
        left = []
        while not self._coming.empty():
            left.append(self._coming.get_nowait())
        return [
            f"{each.request.resource_name} is registered as {each.request.version} once more than then"
            for each in left
            if each.at <= until
        ]

    async def open(self, stream: str, service: str, resource: str, agent: str) -> None:
        """Open a stream to the last endpoint of the resource.

        Raises:
            MissedError: the resource is not registered.
        """
        self._unopened.add(stream)
        channel = self._channel(resource, agent)
        self._unopened.discard(stream)
        listen: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(f"/{service}/ListAndWatch")
        await self._drop(stream)
        opened = self._streams[stream] = Stream(channel, listen(b""), self.api_version_registered(resource))
        opened.reading = asyncio.get_running_loop().create_task(opened.read(), name="lists")

    def api_version_registered(self, resource: str) -> str:
        """Return the version with which a resource was registered last; empty if it was not."""
        return self._registers[resource].request.version if resource in self._registers else ""

    def api_version_of(self, stream: str) -> str:
        """Return the version of a stream.

        Raises:
            LeftOutError: the stream is not open.
        """
        return self._followed(stream).api_version

    async def next_list(self, stream: str) -> bytes:
        """Return the next list.

        Raises:
            MissedError: there is none.
            LeftOutError: the stream is not open.
        """
        found = self._followed(stream)
        taken = await found.take(LAST_LOOK_TIMEOUT if found.is_behind else TIMEOUT)
        found.is_behind = taken is None
        match taken:
            case bytes(message):
                return message
            case StreamEnd(words):
                raise MissedError(f"a list was sent then, the stream ends now: {words}")
        raise MissedError("a list was sent then, and none is now")

    async def further_lists(self, stream: str) -> list[bytes]:
        """Return the lists that were received and not taken.

        Raises:
            LeftOutError: the stream is not open.
        """
        found = self._followed(stream)
        lists = []
        while isinstance(message := await found.take(LAST_LOOK_TIMEOUT), bytes):
            lists.append(message)
        return lists

    async def end(self, stream: str, by: str | None) -> None:
        """End a stream and its connection. ``by`` is the side that ended it, or None if that is not known.

        Raises:
            MissedError: the other side ends it now.
            LeftOutError: the stream is not open.
        """
        found = self._followed(stream)
        if by == "gateway" and found.end is None:
            await found.take(TIMEOUT)
        try:
            if by == "gateway" and found.end is None:
                raise MissedError("the gateway ended the stream then, and does not now")
            if by == "kubelet" and found.end is not None:
                raise MissedError(f"the kubelet ended the stream then, the gateway does now: {found.end.words}")
        finally:
            await self._drop(stream)

    def last_list(self, stream: str) -> bytes:
        """Return the list that was taken last."""
        return self._followed(stream).last

    def open_streams(self) -> list[str]:
        """Return the names of all open streams."""
        return list(self._streams)

    async def _drop(self, stream: str) -> None:
        found = self._streams.pop(stream, None)
        if found is None:
            return
        found.call.cancel()
        if found.reading is not None:
            await asyncio.gather(found.reading, return_exceptions=True)
        await found.channel.close()

    def _followed(self, stream: str) -> Stream:
        """Return a stream.

        Raises:
            LeftOutError: it is not open.
        """
        found = self._streams.get(stream)
        if found is None:
            is_missed = stream in self._unopened
            raise LeftOutError("its stream is not there now" if is_missed else "no such stream in this recording")
        return found

    async def call(self, service: str, method: str, resource: str, agent: str, request: bytes) -> bytes | str:
        """Make a call. Return the answer as bytes, or the error as text.

        Raises:
            MissedError: the resource is not registered.
        """
        channel = self._channel(resource, agent)
        unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{service}/{method}")
        try:
            return await unary(request, timeout=TIMEOUT)
        except grpc.aio.AioRpcError as error:
            return _words(error)
        finally:
            await channel.close()

    def _channel(self, resource: str, agent: str) -> grpc.aio.Channel:
        """Return a channel to the last endpoint of a resource, with the kubelet's settings.

        Raises:
            MissedError: the resource is not registered.
        """
        if resource not in self._registers:
            raise MissedError(f"the kubelet called {resource} then, which is not registered now")
        return grpc.aio.insecure_channel(
            f"unix:{self._directory / self._registers[resource].request.endpoint}",
            options=(
                ("grpc.default_authority", "localhost"),
                ("grpc.primary_user_agent", agent.split(maxsplit=1)[0]),
                ("grpc.max_receive_message_length", MAX_MESSAGE_LENGTH),
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.enable_retries", 0),
            ),
        )


def _words(error: grpc.aio.AioRpcError) -> str:
    """Return a status as the recorder writes it."""
    return f"{error.code().name}: {error.details() or ''}"


class _Registration(grpc.GenericRpcHandler):
    """Puts each Register call into a queue, and answers when the recording says so."""

    def __init__(self, coming: "asyncio.Queue[Register]", now: Callable[[], float]) -> None:
        self._coming = coming
        self._now = now
        self._methods = {each.register_method: self._register(each) for each in reversed(load_dialects())}
        """The dialects of one package read a registration in the same way."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._methods.get(handler_call_details.method)

    def _register(self, dialect: Dialect) -> Any:
        async def register(data: bytes, context: Any) -> bytes:
            answer: asyncio.Future[tuple[grpc.StatusCode, str]] = asyncio.get_running_loop().create_future()
            await self._coming.put(Register(dialect.read_registration(data), answer, self._now()))
            code, words = await answer
            if code is not grpc.StatusCode.OK:
                await context.abort(code, words)
            return b""

        return grpc.unary_unary_rpc_method_handler(register)
