"""The gRPC methods of one endpoint: requests go in as bytes, answers from memory go out as bytes."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import grpc
import grpc.aio

from plugin_gateway.adapters.dialect import Call, Dialect, MalformedRequestError
from plugin_gateway.adapters.logs import log
from plugin_gateway.adapters.offers import Offer
from plugin_gateway.adapters.publication import PublicationClosed
from plugin_gateway.core.errors import AllocationError, UnhealthyDeviceError
from plugin_gateway.core.resource_names import ResourceName
from plugin_gateway.core.resources import Advertisement

REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
KUBELET_AGENT = "grpc-go/"
"""Every kubelet's user agent begins so, without a name of its own; grpcurl and Python clients put theirs first."""

_STATUS: dict[type[Exception], grpc.StatusCode] = {
    MalformedRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    UnhealthyDeviceError: grpc.StatusCode.FAILED_PRECONDITION,
    AllocationError: grpc.StatusCode.INVALID_ARGUMENT,
}

_Context = grpc.aio.ServicerContext[bytes, bytes]
_Unary = Callable[[bytes, _Context], Awaitable[bytes]]


class Streams:
    """The ListAndWatch streams that the kubelet holds on one endpoint."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.open = 0
        self.opened = asyncio.Event()
        self.last_opened = self.last_ended = 0.0
        """On the monotonic clock, in seconds."""
        self._on_change = on_change

    def enter(self) -> None:
        """Count a stream that the kubelet opened."""
        self.open += 1
        self.last_opened = time.monotonic()
        self.opened.set()
        self._on_change()

    def leave(self) -> None:
        """Count one that ended."""
        self.open -= 1
        self.last_ended = time.monotonic()
        self._on_change()


class Turns:
    """Keeps messages to a kubelet apart that can crash when two resources change at the same instant (1.8)."""

    def __init__(self, gap: float = 0.05) -> None:
        self.gap = gap
        """Seconds."""
        self._next_free = 0.0
        self._last: ResourceName | None = None

    async def take(self, resource: ResourceName) -> None:
        """Wait until enough time has passed since the last message of another resource."""
        now = time.monotonic()
        turn = now if resource == self._last else max(now, self._next_free)
        self._last = resource
        self._next_free = turn + self.gap
        if turn > now:
            await asyncio.sleep(turn - now)


class Serving(grpc.GenericRpcHandler):
    """Finds the method for a request; the dialect in force decides where two dialects share a name."""

    def __init__(
        self, *, dialect: Dialect, dialects: Sequence[Dialect], offer: Offer, streams: Streams, turns: Turns
    ) -> None:
        shown = {other.package: other for other in reversed(dialects)} | {dialect.package: dialect}
        self._dialects = tuple(shown.values())
        self._offer = offer
        self._streams = streams
        self._turns = turns
        self._methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {}
        for served in self._dialects:
            self._add(served)
        self._methods[f"/{REFLECTION}/ServerReflectionInfo"] = grpc.stream_stream_rpc_method_handler(self._reflect)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        """Look the method up; None makes gRPC answer UNIMPLEMENTED."""
        return self._methods.get(handler_call_details.method)

    def _add(self, dialect: Dialect) -> None:
        for name, call in dialect.calls.items():
            answering = _answering(name, call, self._offer)
            self._methods[f"/{dialect.service}/{name}"] = grpc.unary_unary_rpc_method_handler(answering)
        self._methods[f"/{dialect.service}/ListAndWatch"] = grpc.unary_stream_rpc_method_handler(self._listing(dialect))

    def _listing(self, dialect: Dialect) -> Callable[[bytes, _Context], AsyncIterator[bytes]]:
        async def list_and_watch(_request: bytes, context: _Context) -> AsyncIterator[bytes]:
            of_kubelet = _user_agent(context).startswith(KUBELET_AGENT)
            if of_kubelet:
                self._streams.enter()
            try:
                with contextlib.suppress(PublicationClosed):
                    async for advertisement in self._follow(paced=of_kubelet and dialect.one_resource_at_a_time):
                        yield dialect.device_list(advertisement)
            finally:
                if of_kubelet:
                    self._streams.leave()

        return list_and_watch

    async def _follow(self, *, paced: bool) -> AsyncIterator[Advertisement]:
        version = -1
        while True:
            version, advertisement = await self._offer.advertisement.newer_than(version)
            if paced:
                await self._turns.take(self._offer.resource)
            yield advertisement

    async def _reflect(self, requests: AsyncIterator[bytes], context: _Context) -> AsyncIterator[bytes]:
        from plugin_gateway.adapters.reflection import reflect  # noqa: PLC0415 - costs nothing until somebody asks

        async for answer in reflect(self._dialects, requests, context):
            yield answer


def _user_agent(context: _Context) -> str:
    metadata = context.invocation_metadata() or ()
    return next((str(value) for key, value in metadata if key == "user-agent"), "")


def _answering(name: str, call: Call, offer: Offer) -> _Unary:
    async def answer(request: bytes, context: _Context) -> bytes:
        try:
            return call(request, offer)
        except tuple(_STATUS) as error:
            log.warning("request refused", method=name, resource=offer.resource, problem=str(error))
            await context.abort(next(code for kind, code in _STATUS.items() if isinstance(error, kind)), str(error))
        except Exception as error:  # noqa: BLE001 - gRPC would send the exception's own text to the kubelet
            log.exception("request failed", error, method=name, resource=offer.resource)
            await context.abort(grpc.StatusCode.INTERNAL, "internal error of plugin-gateway, see its log")

    return answer
