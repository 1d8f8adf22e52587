"""The gRPC methods of one endpoint. Requests and responses are bytes, and all answers come from memory."""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

import grpc
import grpc.aio

from plugin_gateway.adapters.dialects.dialect import Dialect, MalformedMessageError
from plugin_gateway.adapters.serving.calls import Calls, Unary
from plugin_gateway.adapters.serving.resource import Pacing, ServedResource
from plugin_gateway.adapters.serving.stream import Context, KubeletStream, user_agent
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.tap import tap
from plugin_gateway.adapters.support.tasks import PublicationClosed
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.names import ResourceName

REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
HEALTH = "grpc.health.v1.Health"


class Serving(grpc.GenericRpcHandler):
    """Finds the method for a request.

    If two dialects share a package, as 1.8 and 1.9 do, the dialect of the endpoint is served.
    """

    def __init__(
        self,
        *,
        dialect: Dialect,
        dialects: Sequence[Dialect],
        served: ServedResource,
        stream: KubeletStream,
        pacing: Pacing,
    ) -> None:
        shown = {other.package: other for other in reversed(dialects)} | {dialect.package: dialect}
        self._dialects = tuple(shown.values())
        self._served = served
        self._stream = stream
        self._pacing = pacing
        self._methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {}
        for each in self._dialects:
            self._add(each)
        self._dialect = dialect
        self.is_ending = False
        """Whether the gateway is closing the endpoint, so that it is the side that ends the calls."""
        self._methods[f"/{HEALTH}/Check"] = grpc.unary_unary_rpc_method_handler(self._check_health)
        self._methods[f"/{REFLECTION}/ServerReflectionInfo"] = grpc.stream_stream_rpc_method_handler(self._reflect)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        """Return the method. None makes gRPC answer UNIMPLEMENTED."""
        return self._methods.get(handler_call_details.method)

    def _add(self, dialect: Dialect) -> None:
        calls = Calls(dialect, self._served, lambda: self._stream.agent)
        for name, answering in calls.handlers():
            handler = self._noting_options(answering) if name == dialect.options_method else answering
            self._methods[f"/{dialect.service}/{name}"] = grpc.unary_unary_rpc_method_handler(handler)
        listing = self._listing(dialect, calls)
        if tap.note is not None:
            from plugin_gateway.adapters.serving.recorded import tapped_listing  # noqa: PLC0415 - only for a recording

            listing = tapped_listing(
                listing,
                tap.note,
                service=dialect.service,
                resource=self._served.resource,
                is_ending=lambda: self.is_ending,
            )
        self._methods[f"/{dialect.service}/ListAndWatch"] = grpc.unary_stream_rpc_method_handler(listing)

    def _listing(self, dialect: Dialect, calls: Calls) -> Callable[[bytes, Context], AsyncIterator[bytes]]:
        """Return the ListAndWatch method of a dialect."""

        async def list_and_watch(_request: bytes, context: Context) -> AsyncIterator[bytes]:
            agent = user_agent(context)
            of_kubelet = self._stream.claim(agent)
            if of_kubelet:
                self._served.look_at_kubelet = calls.look
                calls.look()  # it says if this kubelet gets something else
            try:
                if of_kubelet and self._is_unhealthy_first(dialect, agent):
                    unhealthy = self._served.advertisement.value.with_all_unhealthy()
                    yield _device_list(dialect, unhealthy, self._served.resource)
                with contextlib.suppress(PublicationClosed):
                    async for advertisement in self._follow(paced=of_kubelet and dialect.one_resource_at_a_time):
                        yield _device_list(dialect, advertisement, self._served.resource)
            finally:
                if of_kubelet:
                    self._stream.end()

        return list_and_watch

    def _noting_options(self, answering: Unary) -> Unary:
        """Return the method, wrapped so that the stream records that the kubelet called it."""

        async def answer(request: bytes, context: Context) -> bytes:
            self._stream.note_options_asked(user_agent(context))
            return await answering(request, context)

        return answer

    def _is_unhealthy_first(self, dialect: Dialect, user_agent: str) -> bool:
        """Whether this stream starts with a list in which every device is unhealthy."""
        applies = self._served.unhealthy_first.applies(
            forgetful_agent=dialect.forgetful_agent, user_agent=user_agent, may_be_known=self._stream.may_be_known
        )
        if applies:
            log.debug("every device is unhealthy for a moment", resource=self._served.resource)
        return applies

    async def _follow(self, *, paced: bool) -> AsyncIterator[Advertisement]:
        """Yield the current advertisement and every later one."""
        version = -1
        while True:
            newer, advertisement = await self._served.advertisement.newer_than(version)
            if not self._served.may_list.is_set():
                await self._served.may_list.wait()
                continue
            version = newer
            if paced:
                await self._pacing.take(self._served.resource)
            yield advertisement

    async def _check_health(self, request: bytes, context: Context) -> bytes:
        from plugin_gateway.adapters.serving.grpc_health import check  # noqa: PLC0415 - not needed for the kubelet

        in_force = self._dialect.service if self._stream.is_open else None
        try:
            answer = check(request, served=[served.service for served in self._dialects], in_force=in_force)
        except MalformedMessageError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        if answer is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return answer

    async def _reflect(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        from plugin_gateway.adapters.serving.reflection import reflect  # noqa: PLC0415 - not needed for the kubelet

        async for answer in reflect(self._dialects, requests, context):
            yield answer


def _device_list(dialect: Dialect, advertisement: Advertisement, resource: ResourceName) -> bytes:
    """Return the encoded device list, and log if it is too long for all devices."""
    data, missing = dialect.fitting_list(advertisement)
    if missing:
        log.error("more devices than fit in a list for the kubelet", resource=resource, left_out=missing)
    return data
