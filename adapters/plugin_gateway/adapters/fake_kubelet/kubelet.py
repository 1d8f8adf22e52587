"""A kubelet as a device plugin meets it: its directory, its socket, its registrations, streams and device counts."""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Self

import grpc.aio

from plugin_gateway.adapters.dialects.dialect import RegisterRequest
from plugin_gateway.adapters.fake_kubelet import admission
from plugin_gateway.adapters.fake_kubelet.admission import FREE, Freedom
from plugin_gateway.adapters.fake_kubelet.checkpoint import Entry, encode
from plugin_gateway.adapters.fake_kubelet.connections import Connections, Owner
from plugin_gateway.adapters.fake_kubelet.events import (
    Container,
    DeviceList,
    Event,
    EventKind,
    KubeletPanicError,
    Overlap,
    RegisterCall,
)
from plugin_gateway.adapters.fake_kubelet.registration import RegistrationService, refusal
from plugin_gateway.adapters.fake_kubelet.releases import Release, Restored, Wipe
from plugin_gateway.adapters.fake_kubelet.resource import Resource
from plugin_gateway.adapters.support.tasks import to_its_end
from plugin_gateway.core.resources.id_words import grouped_ids

SOCKET = "kubelet.sock"
CHECKPOINT = "kubelet_internal_checkpoint"
FAKE = "FakeKubelet"
"""A key in its checkpoint that the checkpoint of a genuine kubelet does not have."""
DIAL_TIMEOUT = 10.0
GRACE = 300.0
"""Seconds for which a kubelet keeps a resource whose stream ended."""

_numbers = count(1)


class FakeKubelet:
    """Plays the kubelet of one release in one directory.

    Everything that it has seen can be read at any time; ``wait_for`` waits until it has seen something.
    """

    def __init__(
        self,
        directory: Path,
        kubelet: Release,
        *,
        dial_timeout: float = DIAL_TIMEOUT,
        grace: float = GRACE,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self.directory = directory
        self.release = kubelet
        self.registrations: list[RegisterCall] = []
        self.lists: list[DeviceList] = []
        self.overlaps: list[Overlap] = []
        self.on_register: Callable[[RegisterCall], Awaitable[str | None]] | None = None
        """Called before the release's own checks, to inject a fault: it may wait, and may return words of refusal."""
        self._dial_timeout = dial_timeout
        self._grace = grace
        self._on_event = on_event
        self._resources: dict[str, Resource] = {}
        self._connections = self._new_connections()
        self._gone: set[str] = set()
        """Resources that were given up after their grace time, and that the node goes on listing with a count of 0."""
        self._pods = admission.Pods()
        self._server: grpc.aio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Empty the directory as this release does, and listen."""
        self.directory.mkdir(parents=True, exist_ok=True)
        _wipe(self.directory, self.release.wipe)
        self._resources, self._gone = self._restored(), set()
        self._connections = self._new_connections()
        self._pods.forget_answers(keep=not self.release.asks_at_every_start)
        self._server = grpc.aio.server(options=(("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)))
        self._server.add_generic_rpc_handlers(
            (RegistrationService(self.release, self._register, self._emit_unknown_method),)
        )
        # Bound under another name and linked, so that ending the server leaves the file behind, as kill -9 does.
        hidden = self.directory / f".{SOCKET}-{os.getpid()}-{next(_numbers)}"
        self._server.add_insecure_port(f"unix:{hidden}")
        await self._server.start()
        os.link(hidden, self.directory / SOCKET)
        hidden.unlink()
        for resource in self._resources.values():
            self._stopped(resource)
        self._emit(EventKind.STARTED, "", f"kubelet {self.release.name}")

    def _new_connections(self) -> Connections:
        return Connections(
            self.directory,
            self.release,
            self._resources,
            Owner(
                emit=self._emit,
                spawn=self._spawn,
                on_list=lambda listed: self.lists.append(listed),  # noqa: PLW0108 - the list may be another one by then
                on_overlap=lambda overlap: self.overlaps.append(overlap),  # noqa: PLW0108 - likewise
                on_stop=self._stopped,
                on_end_noticed=self._end_noticed,
                write_checkpoint=self._keep_lists,
            ),
            dial_timeout=self._dial_timeout,
        )

    def _restored(self) -> dict[str, Resource]:
        """Return what this release finds in its checkpoint about the resources of the kubelet's earlier life."""
        found: dict[str, Resource] = {}
        for name, before in self._resources.items():
            after = Resource(name, self.release)
            if Restored.NOTHING in {self.release.restored, before.kubelet.restored}:
                continue
            if not before.listed:
                continue
            after.listed = True
            if self.release.restored is Restored.DEVICES:
                after.healthy = set(before.healthy)
            else:
                after.stopped = time.monotonic()
            found[name] = after
        return found

    async def stop(self) -> None:
        """End in an orderly way. A second call does nothing."""
        if self._server is not None:
            (self.directory / SOCKET).unlink(missing_ok=True)
        await self.kill()
        if self._failures:
            raise self._failures.pop()

    async def kill(self) -> None:
        """End as after kill -9: connections break, and kubelet.sock stays although nobody listens on it any more."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(None)  # before anything else, or a plugin could still register with the dead
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._connections.close()
        if server is not None:
            self._emit(EventKind.STOPPED, "", f"kubelet {self.release.name}")

    async def restart(self, kubelet: Release | None = None, *, kill: bool = False) -> None:
        """End and start again, perhaps as another release."""
        await to_its_end(self._restart(kubelet or self.release, kill=kill))

    async def _restart(self, after: Release, *, kill: bool) -> None:
        await (self.kill() if kill else self.stop())
        self.release = after
        await self.start()

    @property
    def resources(self) -> list[str]:
        """The names of the resources that the device manager knows."""
        return list(self._resources)

    def devices(self, resource: str) -> Mapping[str, str]:
        """Return the health of each device, by its id."""
        return self._resources[resource].devices if resource in self._resources else {}

    def capacity(self, resource: str) -> int | None:
        """Return how many devices the resource has; None for one that the device manager does not know."""
        held = self._shown(resource)
        return held.capacity if held else None

    def allocatable(self, resource: str) -> int | None:
        """Return how many of its devices can be given to pods; None for a resource that is not known."""
        held = self._shown(resource)
        return len(held.healthy) if held else None

    def open_streams(self, resource: str) -> int:
        """Return how many ListAndWatch streams are open, including those that the kubelet has lost track of."""
        return len(self._resources[resource].streams) if resource in self._resources else 0

    async def allocate(
        self,
        resource: str,
        wanted: int = 1,
        *,
        pod: str,
        container: str = "main",
        ids: list[str] | None = None,
        freedom: Freedom = FREE,
    ) -> Container:
        """Admit a pod whose container wants devices, and start the container.

        A container that wants several resources is admitted resource by resource, under a name for each of them. A
        plugin is asked the same questions in the same order then.

        Raises:
            AdmissionError: the pod is refused, or the start failed; the message has the release's own words.
        """
        held, gone = self._resources.get(resource), resource in self._gone
        if held is not None and not held.is_offered:
            gone, held = held.stopped is not None, None
        try:
            started = await admission.admit(
                self._pods, self.release, held, resource, wanted, pod, container, ids, gone=gone, freedom=freedom
            )
        except KubeletPanicError:
            await self.kill()
            raise
        self._write_checkpoint()
        self._emit(EventKind.ALLOCATED, resource, f"{pod}/{container}: {', '.join(grouped_ids(started.ids))}")
        return started

    async def start_container(self, pod: str, container: str = "main") -> Container:
        """Start a container of an admitted pod again.

        Raises:
            AdmissionError: the start failed.
        """
        return await admission.start(self._pods, self.release, self._resources, pod, container)

    async def readmit(self, pod: str, container: str = "main") -> Container:
        """Admit a pod again, as a kubelet does after a restart of its own, and start the container.

        Raises:
            AdmissionError: the pod is refused, or the start failed; the message has the release's own words.
        """
        return await admission.admit_again(self._pods, self.release, self._resources, pod, container)

    async def age(self, seconds: float) -> None:
        """Pretend that the resources that have stopped did so this many seconds earlier."""
        for resource in list(self._resources.values()):
            if resource.stopped is not None:
                resource.stopped -= seconds
                self._give_up(resource)

    @property
    def pods(self) -> list[str]:
        """The names of the pods that hold devices."""
        return list(dict.fromkeys(pod for pod, _ in self._pods.containers))

    async def remove(self, pod: str) -> None:
        """Remove a pod, so that its devices are free again."""
        self._pods.remove(pod)

    async def drop_stream(self, resource: str) -> None:
        """Close the connection of the current endpoint; the kubelet lives on."""
        endpoint = self._resources[resource].endpoint
        if endpoint is not None:
            await endpoint.close()
        await self.wait_for(lambda: endpoint is None or not endpoint.streaming, what="the end of the stream")

    async def wait_for(self, condition: Callable[[], bool], *, timeout: float = 5.0, what: str) -> None:  # noqa: ASYNC109
        """Wait until the condition holds.

        Raises:
            TimeoutError: the message says what was waited for, and what was seen instead.
        """
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(f"no {what} within {timeout} s; {self._summary()}") from None

    def _summary(self) -> str:
        resources = {name: f"{len(held.healthy)}/{held.capacity}" for name, held in self._resources.items()}
        calls = [f"{call.version} {call.endpoint}: {call.error or 'accepted'}" for call in self.registrations[-3:]]
        return f"kubelet {self.release.name}, allocatable/capacity {resources}, last registrations {calls}"

    def _keep_lists(self) -> None:
        """Write the checkpoint after a list, where it has lists."""
        if self.release.restored is not Restored.NOTHING:
            self._write_checkpoint()

    def _write_checkpoint(self) -> None:
        """Write the checkpoint in the layout of this release. The fake kubelet itself never reads it."""
        known = {name: sorted(resource.healthy) for name, resource in self._resources.items()}
        entries = [
            Entry(pod, name, held.resource, held.ids, self._pods.encoded_answer(pod, name, self.release))
            for (pod, name), held in self._pods.containers.items()
        ]
        content = encode(self.release.checkpoint, entries, known)
        half_made = self.directory / f".{CHECKPOINT}"
        with contextlib.suppress(OSError):  # a kubelet that runs does not care if its directory is gone
            half_made.write_text(json.dumps({FAKE: self.release.name, **content}))
            half_made.replace(self.directory / CHECKPOINT)

    def _stopped(self, resource: Resource) -> None:
        """Give the resource up when its grace time is over, unless it is registered again before."""
        if self.release.grace and self._server is not None:
            self._spawn(self._give_up_later(resource))

    async def _give_up_later(self, resource: Resource) -> None:
        await asyncio.sleep(self._grace)
        self._give_up(resource)

    def _give_up(self, resource: Resource) -> None:
        name, stopped = resource.name, resource.stopped if self.release.grace else None
        if stopped is None or time.monotonic() - stopped < self._grace or self._resources.get(name) is not resource:
            return
        self._resources.pop(name)
        if self.release.gone_stays:
            self._gone.add(name)
        self._emit(EventKind.GIVEN_UP, name, f"no registration for {self._grace:g} s")

    def _end_noticed(self, resource: str, endpoint: str) -> None:
        """Report that the end of a stream was noticed; a kubelet that has ended itself reports nothing more."""
        if self._server is None:
            self._wake()
        else:
            self._emit(EventKind.END_NOTICED, resource, endpoint)

    def _shown(self, resource: str) -> Resource | None:
        held = self._resources.get(resource)
        hidden = held is None or not held.is_known or (self.release.zero_is_unknown and not held.healthy)
        return None if hidden else held

    def _emit(self, kind: EventKind, resource: str, text: str) -> None:
        self._wake()
        if self._on_event is not None:
            self._on_event(Event(kind, time.monotonic(), resource, text))

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _emit_unknown_method(self, method: str) -> None:
        self._emit(EventKind.UNKNOWN_METHOD, "", method)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._failures.append(failure)

    async def _register(self, request: RegisterRequest) -> str | None:
        call = RegisterCall(
            time=time.monotonic(),
            version=request.version,
            endpoint=request.endpoint,
            resource=request.resource_name,
        )
        self.registrations.append(call)
        self._emit(EventKind.REGISTER, call.resource, f"{call.version} {call.endpoint}")
        if self.on_register is not None:
            call.error = await self.on_register(call)
        call.error = call.error or refusal(self.release, request)
        if call.error is None:
            call.error = await self._connections.dial_back(request)
        kind = EventKind.REGISTERED if call.error is None else EventKind.REGISTER_REFUSED
        self._emit(kind, call.resource, f"{call.version} {call.endpoint}: {call.error or 'accepted'}")
        return call.error


def _wipe(directory: Path, rule: Wipe) -> None:
    for path in directory.iterdir():
        if path.name != CHECKPOINT and _is_deleted(path, rule):
            path.unlink(missing_ok=True)


def _is_deleted(path: Path, rule: Wipe) -> bool:
    if rule is Wipe.SOCKETS:
        return path.is_socket()
    if rule is Wipe.FILES_AND_LINKS and path.is_symlink():
        return True
    return path.exists() and not path.is_dir()
