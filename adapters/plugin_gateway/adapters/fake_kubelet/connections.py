"""The connections of the fake kubelet to its plugins: dialing back, the streams, and what follows from their end."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio

from plugin_gateway.adapters.dialects.dialect import NO_OPTIONS, RegisterRequest
from plugin_gateway.adapters.fake_kubelet.decoding import UnreadableError, readable
from plugin_gateway.adapters.fake_kubelet.endpoint import EndpointError, ListStream, PluginEndpoint, read_answer
from plugin_gateway.adapters.fake_kubelet.events import DeviceList, EventKind, Overlap
from plugin_gateway.adapters.fake_kubelet.releases import DialBack, OptionsFrom, Release, SecondStream, StreamEnd
from plugin_gateway.adapters.fake_kubelet.resource import Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """What the connections ask of the kubelet that they belong to."""

    emit: Callable[[EventKind, str, str], None]
    """Takes the kind of an event, the resource, and a text."""
    spawn: Callable[[Coroutine[Any, Any, None]], None]
    """Runs something in the background until the kubelet ends."""
    on_list: Callable[[DeviceList], None]
    """Called with each list that a plugin sends, before it is applied."""
    on_overlap: Callable[[Overlap], None]
    """Called when a resource gets a second stream."""
    on_stop: Callable[[Resource], None]
    """Called when a resource has lost its last connection."""
    on_end_noticed: Callable[[str, str], None]
    """Called with the resource and the endpoint when everything that follows from the end of a stream has been done."""
    write_checkpoint: Callable[[], None]


class Connections:
    """Every connection of one life of a kubelet, from its start to its end."""

    def __init__(
        self,
        directory: Path,
        kubelet: Release,
        resources: dict[str, Resource],
        owner: Owner,
        *,
        dial_timeout: float,
    ) -> None:
        self._directory = directory
        self._release = kubelet
        self._resources = resources
        """What the device manager knows, by name. The kubelet reads it, and removes what it gives up."""
        self._owner = owner
        self._dial_timeout = dial_timeout

    async def close(self) -> None:
        """Close every connection that the device manager knows."""
        for resource in self._resources.values():
            for endpoint in filter(None, {resource.endpoint, *resource.streams}):
                await endpoint.close()

    async def dial_back(self, request: RegisterRequest) -> str | None:
        """Dial the plugin now or later, as the release does, and return why it failed now, if it did."""
        endpoint = PluginEndpoint(self._directory, request.endpoint, self._release)
        if self._release.dial_back is not DialBack.INSIDE:
            self._owner.spawn(self._connect_later(request, endpoint))
            return None
        resource = self._resources.setdefault(request.resource_name, Resource(request.resource_name, self._release))
        dialing = asyncio.ensure_future(self._dial_inside(resource, endpoint))
        if self._release.outlives_caller:
            self._owner.spawn(_outcome(dialing))
            return await asyncio.shield(dialing)
        return await dialing

    async def _dial_inside(self, resource: Resource, endpoint: PluginEndpoint) -> str | None:
        """Connect and ask for the options before Register is answered; return what failed (1.25 and later)."""
        resource.clients.add(endpoint)
        problem: str | None = "the plugin waits no longer"
        try:
            problem = await self._connect(endpoint)
            if problem is None and endpoint.path in resource.clients.connected:
                problem = f"device plugin already connected: {endpoint.path}"
        finally:
            if problem is not None:
                await self._give_up_connection(resource, endpoint)
        if problem is not None:
            return problem
        self._resources[resource.name] = resource
        resource.clients.connect(endpoint)
        resource.options = endpoint.options
        resource.endpoint, resource.stopped = endpoint, None
        self._owner.spawn(self._watch(resource, endpoint))
        return None

    async def _give_up_connection(self, resource: Resource, endpoint: PluginEndpoint) -> None:
        resource.clients.forget(endpoint)
        if resource.endpoint is None and resource.stopped is None:
            self._resources.pop(resource.name, None)
        await endpoint.close()

    async def _connect(self, endpoint: PluginEndpoint) -> str | None:
        if not await endpoint.dial(self._dial_timeout):
            return "failed to dial device plugin: context deadline exceeded"
        method = self._release.dialect.options
        if method is None:
            return None
        try:
            data = await endpoint.call(method.name, method.write_request(None))
            endpoint.options = read_answer(data, method, self._release)
        except EndpointError as error:
            return f"failed to get device plugin options: {error}"
        return None

    async def _connect_later(self, request: RegisterRequest, endpoint: PluginEndpoint) -> None:
        """Dial after Register is answered. If this fails the plugin is told nothing: a genuine kubelet only logs it."""
        patient = self._release.dial_back is DialBack.AFTER_PATIENTLY
        if patient and not await endpoint.dial(self._dial_timeout):
            self._owner.emit(EventKind.DIAL_BACK_FAILED, request.resource_name, request.endpoint)
            await endpoint.close()
            return
        resource = self._resources.setdefault(request.resource_name, Resource(request.resource_name, self._release))
        of_register = self._release.options_from is OptionsFrom.REGISTER
        kept = self._release.options_from is OptionsFrom.REGISTER_KEPT and request.options is not None
        if of_register or kept:
            resource.options = request.options or NO_OPTIONS
        if self._release.second_stream is SecondStream.CLOSED:
            await self._install(resource, endpoint)
        elif self._release.second_stream is SecondStream.KEPT:
            resource.endpoint, resource.stopped = endpoint, None
        await self._watch(resource, endpoint)

    async def _install(self, resource: Resource, endpoint: PluginEndpoint) -> None:
        """Make it the endpoint of this resource, and close the one before it."""
        older, resource.endpoint, resource.stopped = resource.endpoint, endpoint, None
        if older is not None:
            await older.close()

    async def _watch(self, resource: Resource, endpoint: PluginEndpoint) -> None:
        """Follow a stream from its first message to its end."""
        stream = endpoint.watch()
        try:
            await self._follow(resource, endpoint, stream)
            if not endpoint.streaming:
                self._owner.emit(EventKind.DIAL_BACK_FAILED, resource.name, endpoint.path.name)
            self._stream_ended(resource, endpoint)
            await asyncio.sleep(self._release.end_noticed_after)
        finally:
            stream.cancel()
            self._stream_ended(resource, endpoint)
            await self._conclude(resource, endpoint)
            self._owner.on_end_noticed(resource.name, endpoint.path.name)

    async def _follow(self, resource: Resource, endpoint: PluginEndpoint, stream: ListStream) -> None:
        """Take each list that comes. Every kind of end leads to the same, so that none of them is an error here."""
        with contextlib.suppress(grpc.aio.AioRpcError, UnreadableError):
            while isinstance(data := await stream.read(), bytes) and not endpoint.is_too_large(data):
                now = time.monotonic()
                if not endpoint.streaming:
                    self._opened(resource, endpoint, now)
                await self._take(resource, endpoint, data, now)

    def _opened(self, resource: Resource, endpoint: PluginEndpoint, now: float) -> None:
        endpoint.streaming = True
        if resource.streams:
            self._owner.on_overlap(Overlap(now, resource.name))
        resource.streams.append(endpoint)
        self._owner.emit(EventKind.STREAM_OPENED, resource.name, endpoint.path.name)

    async def _take(self, resource: Resource, endpoint: PluginEndpoint, data: bytes, now: float) -> None:
        dialect = self._release.dialect
        read = dialect.read_list(readable(data, dialect.answer_type("ListAndWatch"), self._release))
        devices = tuple((each.id, each.health) for each in read)
        listed = DeviceList(time=now, resource=resource.name, endpoint=endpoint.path.name, devices=devices)
        self._owner.on_list(listed)
        if self._release.second_stream is SecondStream.CANCELLED_AFTER_LIST and endpoint is not resource.endpoint:
            resource.take_difference(listed, endpoint)
            await self._install(resource, endpoint)
        elif self._release.second_stream is SecondStream.CANCELLED_AFTER_LIST:
            resource.take_difference(listed, endpoint)
        else:
            resource.take(listed)
        self._owner.write_checkpoint()
        self._owner.emit(EventKind.LIST, resource.name, f"{len(resource.healthy)} of {resource.capacity} healthy")

    def _stream_ended(self, resource: Resource, endpoint: PluginEndpoint) -> None:
        """Note that a stream has ended. A second call does nothing."""
        if endpoint.streaming:
            endpoint.streaming = False
            resource.streams.remove(endpoint)
            self._owner.emit(EventKind.STREAM_ENDED, resource.name, endpoint.path.name)

    async def _conclude(self, resource: Resource, endpoint: PluginEndpoint) -> None:
        """Do what this release does after the end of a stream."""
        now = time.monotonic()
        if self._release.dial_back is DialBack.INSIDE:
            await self._client_ended(resource, endpoint, now)
        elif endpoint is resource.endpoint:
            resource.endpoint = None
            resource.stop(now, endpoint)
            self._owner.on_stop(resource)
        if self._release.stream_end is StreamEnd.REMOVED and resource.endpoint is None:
            self._resources.pop(resource.name, None)
        await endpoint.close()

    async def _client_ended(self, resource: Resource, endpoint: PluginEndpoint, now: float) -> None:
        """Disconnect the client that the kubelet takes for the one whose stream ended (1.25 and later).

        Where the kubelet has lost track of its clients, this can be another client, or none.
        """
        known = resource.clients.take(endpoint)
        if known is None:
            return
        await known.close()
        successor, was_connected = resource.clients.disconnect(known)
        if successor is not None:
            resource.endpoint = successor
        elif was_connected:
            resource.endpoint = None
            resource.stop(now, known)
            self._owner.on_stop(resource)


async def _outcome(dialing: "asyncio.Future[str | None]") -> None:
    """Wait for a dial that its caller may have given up."""
    await dialing
