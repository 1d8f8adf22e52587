"""The task that follows the kubelet, and gives what happens to the state machine of each resource.

Only this task changes a registration. Two things run in other tasks: waiting for the kubelet's answer to Register, and
closing endpoints.
"""

import asyncio
import math
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from plugin_gateway.adapters.dialects.dialect import Dialect
from plugin_gateway.adapters.kubelet.directory import KubeletDirectory
from plugin_gateway.adapters.kubelet.plugin_sockets import PREFIX, OwnSockets
from plugin_gateway.adapters.registration.endpoints import ResourceEndpoints
from plugin_gateway.adapters.registration.handover import Handover
from plugin_gateway.adapters.registration.history import ResourceStatus
from plugin_gateway.adapters.registration.leadership import Leadership
from plugin_gateway.adapters.registration.link import KubeletLink
from plugin_gateway.adapters.registration.resource_registration import ResourceRegistration, offered
from plugin_gateway.adapters.serving.resource import ServedResource
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.tap import tap
from plugin_gateway.adapters.support.unix_files import FileIdentity
from plugin_gateway.core.registration import pauses
from plugin_gateway.core.registration.failures import Reason
from plugin_gateway.core.registration.order import next_turn
from plugin_gateway.core.registration.precedence import OtherGateway, Precedence
from plugin_gateway.core.registration.states import Accepted, Leaving, Registering, Registration, Streaming
from plugin_gateway.core.registration.values import (
    Added,
    Event,
    Kubelet,
    KubeletGone,
    KubeletSeen,
    OnNode,
    OthersSeen,
    Renewed,
    SocketDeleted,
    StreamEnded,
    StreamOpened,
    Surroundings,
    Tick,
    TurnGiven,
    Withdrawn,
)
from plugin_gateway.core.resources.names import ResourceName

LOOK_INTERVAL = 1.0
"""Seconds from a change in the directory to the next look at it, and between two looks without inotify."""
WATCHED_LOOK_INTERVAL = 5.0
"""Seconds between two looks at a directory in which inotify reports nothing. Each look costs 2 ms of CPU."""
BIND_RETRY = pauses.BIND_RETRY.seconds


class Registrar:
    """Keeps every resource registered with the kubelet of the node."""

    def __init__(self, *, directory: KubeletDirectory, dialects: Sequence[Dialect], allowed: Sequence[Dialect]) -> None:
        self._directory = directory
        self._own_sockets = OwnSockets(directory.path)
        self.instance = self._own_sockets.instance
        self._leadership = Leadership(self._own_sockets)
        self.before_register: Callable[[Reason], None] = lambda _reason: None
        """Called before each registration. Another gateway may have served the kubelet until then."""
        self.on_folder_change: Callable[[], None] = lambda: None
        """Called within a second after the content of the kubelet's directory changed."""
        self._link = KubeletLink(
            socket=directory.kubelet_socket,
            dialects=dialects,
            allowed=allowed,
            prepare_endpoints=self._prepare_endpoints,
        )
        self.has_sent = self._link.has_sent
        """Whether a Register was sent since the start."""
        self._wake = asyncio.Event()
        self._resources: dict[ResourceName, ResourceRegistration] = {}
        """Every resource that was ever offered."""
        self.handover = Handover(
            self.instance, self._resources, self._note, self._note_others, self.kubelet_agent, self.wake
        )
        self._happened: list[tuple[ResourceRegistration, Event, float]] = []
        """Events that were not given to a state machine yet, each with its time on the monotonic clock."""
        self.kubelets_seen = 0
        """Number of kubelets seen so far. A restarted one counts again."""
        self._kubelet: Kubelet | None = None
        """The kubelet that was seen last."""
        self._identity: FileIdentity | None = None
        """The socket of that kubelet."""
        self._is_present: bool | None = None
        """Whether there was a kubelet at the last look. None before the first look."""
        self._agent: str | None = None
        self._recorded: dict[ResourceName, Sequence[OtherGateway]] = {}
        """The other gateways of each resource, as they were recorded last."""
        self._tasks: asyncio.TaskGroup | None = None
        self._logged_absent: str | None = None
        """What was missing at the last look. It is not logged again."""
        self._newcomers = False
        """Whether sockets of other gateways have appeared since the last comparison."""
        self._next_look: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Register all resources and keep them registered until cancelled. Then close their sockets."""
        self._directory.open(PREFIX, wake=self.wake, look_soon=self._look_soon)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._look()
                while True:
                    self._wake.clear()
                    await self._wait(until=await self._follow())
        finally:
            if tap.note is not None:
                tap.note("stopping")
            if self._next_look is not None:
                self._next_look.cancel()
            self._directory.close()
            await self._link.close()
            async with asyncio.TaskGroup() as closing:
                for resource in self._resources.values():
                    closing.create_task(resource.close())

    async def _wait(self, until: float) -> None:
        """Wait for a wake-up, or for a time on the monotonic clock."""
        if until == math.inf:
            await self._wake.wait()
            return
        due = asyncio.get_running_loop().call_later(until - time.monotonic(), self.wake)
        try:
            await self._wake.wait()
        finally:
            due.cancel()

    def _look(self) -> None:
        """Look for changes that inotify did not report, or that need no decision at once."""
        self._log_absence()
        changed = self._directory.has_changed()
        if changed:
            self.on_folder_change()
        self._newcomers |= changed and self._has_newcomers()
        goes_on = changed or self._newcomers or any(each.registration.precedence.known for each in self._offered())
        if goes_on:
            self.wake()
        is_quiet = self._directory.is_watched() and not goes_on
        self._look_in(WATCHED_LOOK_INTERVAL if is_quiet else LOOK_INTERVAL)

    def _look_soon(self) -> None:
        """Look a moment after the first of several changes."""
        loop = asyncio.get_running_loop()
        if self._next_look is None or self._next_look.when() > loop.time() + LOOK_INTERVAL:
            self._look_in(LOOK_INTERVAL)

    def _look_in(self, seconds: float) -> None:
        if self._next_look is not None:
            self._next_look.cancel()
        self._next_look = asyncio.get_running_loop().call_later(seconds, self._look)

    def wake(self) -> None:
        """Follow what has changed now."""
        self._wake.set()

    def add(self, served: ServedResource) -> None:
        """Start to serve a resource."""
        resource = self._resources.get(served.resource)
        if resource is None:
            known = Registration(
                Precedence(self.instance), kubelet=self._kubelet, is_kubelet_present=bool(self._is_present)
            )
            resource = self._resources[served.resource] = ResourceRegistration(
                served.resource,
                known,
                link=self._link,
                spawn=self._spawn,
                note=self._note,
                look_for_others=self._note_others,
                before_register=self._begin_registration,
                running=self._own_sockets.running,
            )
        resource.endpoints = ResourceEndpoints(
            served=served,
            dialects=self._link.dialects,
            own_sockets=self._own_sockets,
            pacing=self._link.pacing,
            on_event=partial(self._note, resource),
            spawn=self._spawn,
        )
        self._note(resource, Added())

    def remove(self, name: ResourceName) -> None:
        """Stop serving a resource. Its streams end after the last list, and its socket is removed."""
        resource = self._resources[name]
        resource.withdraw()
        self._note(resource, Withdrawn())

    def renew(self, name: ResourceName, reason: Reason) -> None:
        """End the registration of a resource and register again, if the kubelet holds its stream."""
        if name in self._resources:
            self._note(self._resources[name], Renewed(reason))

    def allow(self, dialects: Sequence[Dialect]) -> None:
        """Use only these dialects from now on. A registration in another dialect ends."""
        self._link.allowed = tuple(dialects)
        self.wake()

    def status(self) -> Sequence[ResourceStatus]:
        """Return the state of the registration of each resource."""
        return [resource.status(self.handover.answering) for resource in self._offered()]

    def leads(self) -> bool:
        """Whether it is this gateway, of those on the node, that writes what is known of the devices."""
        if self.handover.is_giving_way:
            return False
        has_stream = any(each.stream_opened is not None for each in self.status())
        return self._leadership.decide([each.resource for each in self._offered()], has_stream=has_stream)

    def kubelet_agent(self) -> str | None:
        """The user agent of the kubelet, from its latest streams. None if it never opened one. For any thread."""
        return self._agent

    def without_socket(self) -> Sequence[ResourceName]:
        """Return the resources without a socket in the directory. Empty if there is no directory."""
        if not self._directory.exists():
            return []
        return [each.resource for each in self._offered() if each.endpoints and not each.endpoints.is_in_place]

    def _offered(self) -> list[ResourceRegistration]:
        return offered(self._resources)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        assert self._tasks is not None
        return self._tasks.create_task(work)

    def _note(self, resource: ResourceRegistration, event: Event) -> None:
        """Note that something has happened."""
        self._note_now(resource, event)
        self.wake()

    def _note_now(self, resource: ResourceRegistration, event: Event) -> None:
        """Note what the task itself has seen. It is taken before the task waits again, so nothing wakes it."""
        self._happened.append((resource, event, time.monotonic()))

    def _note_others(self, resource: ResourceRegistration) -> None:
        """Look for the other gateways of a resource."""
        if running := self._own_sockets.running():  # otherwise a kubelet may have emptied the directory just now
            resource.seen_running = running
        others = self._own_sockets.look_for_others(resource.resource)
        strangers = self._own_sockets.look_for_strangers(resource.resource)
        related = self.handover.in_the_way(resource, strangers)
        self._note_now(resource, OthersSeen([*others, *related] if related else others))

    def _begin_registration(self, reason: Reason) -> None:
        self.before_register(reason)

    async def _follow(self) -> float:
        """Give the state machines what has happened. Returns when to look again at the latest."""
        await self._take_all(Added, Withdrawn)
        exists = self._directory.exists()
        await self._follow_kubelet(self._directory.kubelet() if exists else None)
        await self._take_all()
        self._look_for_others()
        for resource in self._offered():
            self._look_for_socket(resource)
        for resource in self._resources.values():
            await self._take(resource, Tick(), time.monotonic())
        await self._take_all()
        await self._give_turns()
        self.handover.publish()
        again = math.inf
        if exists and not all([await resource.keep_in_place() for resource in self._offered()]):
            again = time.monotonic() + BIND_RETRY
        return min([again, *(each.registration.deadline for each in self._resources.values())])

    async def _take_all(self, *kinds: type[Event]) -> None:
        """Let the state machines decide about everything that has happened, or about some kinds of events."""
        while taken := [each for each in self._happened if not kinds or isinstance(each[1], kinds)]:
            self._happened = [each for each in self._happened if kinds and not isinstance(each[1], kinds)]
            for resource, event, at in taken:
                # A pause after what is done now begins now, even if the process was stopped since the event.
                is_past = isinstance(event, StreamOpened | StreamEnded)
                await self._take(resource, event, at if is_past else time.monotonic())

    async def _take(self, resource: ResourceRegistration, event: Event, at: float) -> None:
        """Let the state machine of a resource decide about an event."""
        if tap.note is not None and isinstance(event, OnNode):
            self._record(tap.note, resource.resource, event)
        around = Surroundings(at, self._link.ladder, random.random())  # noqa: S311 - not a secret
        await resource.take(event, around)
        state = resource.registration.state
        if isinstance(state, Accepted | Streaming):
            self._link.last = state.dialect.version
            self._agent = resource.agent or self._agent

    def _record(self, note: Callable[..., None], name: ResourceName, event: OnNode) -> None:
        """Record an event that no conversation shows. Other gateways are recorded when there are others than before."""
        if isinstance(event, OthersSeen):
            before, self._recorded[name] = self._recorded.get(name, []), event.others
            if event.others == before:
                return
        note("event", resource=name, instance=self.instance, event=event)

    async def _follow_kubelet(self, found: FileIdentity | None) -> None:
        """React to a kubelet that has appeared, ended or been replaced."""
        was_present, self._is_present = self._is_present, found is not None
        if tap.note is not None and was_present is not self._is_present:
            tap.note("kubelet", is_there=self._is_present)
        if found is None:
            if was_present:
                await self._tell_all(KubeletGone())
            return
        before, self._identity = self._identity, found
        if self._kubelet is not None and before == found and was_present:
            return
        is_same_file = before is not None and self._is_same_file(before, found)
        if tap.note is not None and was_present and before and before != found:
            tap.note("replaced", is_same_file=is_same_file)
        touched = self._kubelet.life if self._kubelet is not None and is_same_file else None
        if self._kubelet is None or before != found:
            self.kubelets_seen += 1
            self._kubelet = Kubelet(self.kubelets_seen, time.monotonic(), just_started=was_present is False)
        reason = Reason.KUBELET_REPLACED if was_present else Reason.KUBELET_APPEARED
        await self._tell_all(KubeletSeen(self._kubelet, reason, touched))

    def _is_same_file(self, before: FileIdentity, found: FileIdentity) -> bool:
        """Whether kubelet.sock can be the same file as before, which somebody touched.

        A new kubelet deletes the sockets in its directory before it makes its own, which can get the inode of one.
        """
        attempts = [each for each in self._offered() if isinstance(each.registration.state, Registering)]
        return before.shares_inode(found) and all(each.endpoint and each.endpoint.is_in_place() for each in attempts)

    async def _tell_all(self, event: KubeletSeen | KubeletGone) -> None:
        """Tell each state machine about the kubelet.

        A stream that has ended already, as far as this process knows, is not the one of a kubelet whose socket was
        touched, unless this process ended it, because the resource was withdrawn.
        """
        ended = [(resource, each.attempt) for resource, each, _ in self._happened if isinstance(each, StreamEnded)]
        for resource in self._resources.values():
            is_withdrawn = isinstance(resource.registration.state, Leaving)
            is_over = not is_withdrawn and (resource, resource.registration.attempt) in ended
            own = event._replace(touched=None) if isinstance(event, KubeletSeen) and is_over else event
            await self._take(resource, own, time.monotonic())

    def _look_for_others(self) -> None:
        """Look for other gateways if some are known, or new sockets have appeared."""
        came = self._newcomers
        for resource in self._offered():
            if came or resource.registration.precedence.known:
                assert resource.endpoints is not None
                resource.endpoints.show_stream()  # restores the sticky bit if somebody changed the mode
                self._note_others(resource)
        self._newcomers = came and self._has_newcomers()

    def _has_newcomers(self) -> bool:
        return bool(self._offered()) and self._own_sockets.has_newcomers()

    def _look_for_socket(self, resource: ResourceRegistration) -> None:
        """Notice that the socket which the kubelet has to dial is gone."""
        state, endpoint = resource.registration.state, resource.endpoint
        if isinstance(state, Accepted) and endpoint is not None and not endpoint.is_in_place():
            self._note_now(resource, SocketDeleted(state.attempt))

    async def _give_turns(self) -> None:
        """Let one of the registrations go on that wait for others."""
        chosen = next_turn(each.registration for each in self._resources.values())
        for resource in self._resources.values():
            if resource.registration is chosen:
                await self._take(resource, TurnGiven(), time.monotonic())
                return

    def _prepare_endpoints(self) -> None:
        for resource in self._offered():
            assert resource.endpoints is not None
            resource.endpoints.prepare(self._link.next_dialect())

    def _log_absence(self) -> None:
        """Log once what is missing. A restart of a kubelet is too short to be logged."""
        absent = self._directory.explain_absence() if self._is_present is False else None
        if absent is not None and absent != self._logged_absent:
            log.warning(absent, path=str(self._directory.path))
        self._logged_absent = absent
