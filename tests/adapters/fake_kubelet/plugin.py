"""A device plugin of which a test says every word: nothing of the gateway is in it."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from plugin_gateway.adapters.fake_kubelet import Release
from plugin_gateway.api.v1alpha import api_pb2 as wire19
from plugin_gateway.api.v1alpha1 import api_pb2 as wire18
from plugin_gateway.api.v1beta1 import api_pb2 as wire

RESOURCE = "example.com/thing"
OK = (grpc.StatusCode.OK, "")
KUBELET = (("grpc.default_authority", "localhost"), ("grpc.use_local_subchannel_pool", 1))


def healthy(*ids: str) -> dict[str, str]:
    return dict.fromkeys(ids, "Healthy")


def not_utf8(devices: Sequence[tuple[str, str]], replaced: str) -> bytes:
    """A list with two bytes in an id that no text has."""
    return listed(devices).replace(replaced.encode(), b"\xff\xfe")


def listed(devices: Sequence[tuple[str, str]]) -> bytes:
    message = wire.ListAndWatchResponse(devices=[wire.Device(ID=each, health=health) for each, health in devices])
    return message.SerializeToString()


def container_answer(release: Release) -> bytes:
    """One answer for whatever is asked, in the form of the release."""
    if release.api_version == "0.1":
        spec = wire18.DeviceRuntimeSpec(envs={"THING": "first"})
        return wire18.AllocateResponse(
            spec=[spec, wire18.DeviceRuntimeSpec(envs={"THING": "second"})]
        ).SerializeToString()
    if release.api_version == "v1alpha2":
        return wire19.AllocateResponse(envs={"THING": "first"}).SerializeToString()
    container = wire.ContainerAllocateResponse(
        envs={"THING": "first"},
        mounts=[wire.Mount(container_path="/in", host_path="/out", read_only=True)],
        annotations={"a": "b"},
        cdi_devices=[wire.CDIDevice(name="v.com/c=d")],
    )
    return wire.AllocateResponse(container_responses=[container]).SerializeToString()


class Plugin:
    """One socket; every stream on it starts with the devices as they are then."""

    def __init__(
        self, directory: Path, release: Release, name: str = "thing.sock", ids: Sequence[str] = ("a", "b")
    ) -> None:
        self.release = release
        self.name = name
        self.devices: list[tuple[str, str]] = list(healthy(*ids).items())
        self.options = wire.DevicePluginOptions()
        self.answers: Mapping[str, bytes | str] = {"Allocate": container_answer(release)}
        """By method: the bytes that are answered, or the words of an error."""
        self.unknown: Collection[str] = ()
        """Methods that it does not have."""
        self.code = grpc.StatusCode.INTERNAL
        """With which words are an error."""
        self.silent = False
        """Whether its streams say nothing."""
        self.delays: Mapping[str, float] = {}
        """By method: seconds before it is answered."""
        self.called: list[str] = []
        self.requests: dict[str, bytes] = {}
        """The last one of each method."""
        self.deadlines: dict[str, float | None] = {}
        """How many seconds each method had the last time; None for as many as it likes."""
        self.streams = 0
        """How many are open."""
        self.agents: list[str] = []
        """By which user agent each stream was opened."""
        self._path = directory / name
        self._kubelet = directory / "kubelet.sock"
        self._server = grpc.aio.server()
        self._streams: set[asyncio.Queue[bytes | None]] = set()

    async def __aenter__(self) -> Self:
        self._server.add_generic_rpc_handlers((_Methods(self),))
        self._server.add_insecure_port(f"unix:{self._path}")
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.stop(None)

    async def register(
        self,
        *,
        version: str | None = None,
        name: str = RESOURCE,
        package: str | None = None,
        method: str = "Register",
        seconds: float = 10,
    ) -> tuple[grpc.StatusCode, str]:
        """Register as a genuine plugin does; tells code and words of the answer."""
        request = wire.RegisterRequest(
            version=self.release.api_version if version is None else version, endpoint=self.name, resource_name=name
        )
        if self.options.ByteSize():
            request.options.CopyFrom(self.options)
        async with grpc.aio.insecure_channel(f"unix:{self._kubelet}", options=KUBELET) as channel:
            call: Any = channel.unary_unary(f"/{package or self.release.package}.Registration/{method}")
            try:
                await call(request.SerializeToString(), timeout=seconds)
            except grpc.aio.AioRpcError as refused:
                return refused.code(), refused.details() or ""
        return grpc.StatusCode.OK, ""

    def list(self, *devices: tuple[str, str]) -> None:
        """Send another list to every stream."""
        self.devices = list(devices)
        for stream in self._streams:
            stream.put_nowait(listed(self.devices))

    def send(self, message: bytes) -> None:
        """Send what need not be a list."""
        for stream in self._streams:
            stream.put_nowait(message)

    def end_streams(self) -> None:
        for stream in self._streams:
            stream.put_nowait(None)

    async def watch(self, _request: bytes, context: Any) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._streams.add(queue)
        self.streams += 1
        self.agents.append(next(value for key, value in context.invocation_metadata() if key == "user-agent"))
        try:
            if not self.silent:
                yield listed(self.devices)
            while (message := await queue.get()) is not None:
                yield message
        finally:
            self._streams.discard(queue)
            self.streams -= 1

    async def answer(self, method: str, request: bytes, context: Any) -> bytes:
        self.called.append(method)
        self.requests[method] = request
        self.deadlines[method] = context.time_remaining()
        await asyncio.sleep(self.delays.get(method, 0))
        if method == "GetDevicePluginOptions" and method not in self.answers:
            return self.options.SerializeToString()
        answer = self.answers.get(method, b"")
        if isinstance(answer, str):
            await context.abort(self.code, answer)
        assert isinstance(answer, bytes)
        return answer


class _Methods(grpc.GenericRpcHandler):
    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        service, _, method = handler_call_details.method.lstrip("/").rpartition("/")
        if service != f"{self._plugin.release.package}.DevicePlugin":
            return None
        if method == "ListAndWatch":
            return grpc.unary_stream_rpc_method_handler(self._plugin.watch)

        if method in self._plugin.unknown:
            return None

        async def answer(request: bytes, context: Any) -> bytes:
            return await self._plugin.answer(method, request, context)

        return grpc.unary_unary_rpc_method_handler(answer)
