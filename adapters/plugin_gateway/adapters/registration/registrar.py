"""The task that makes all registrations, one at a time.

The task compares the actual state with the desired state whenever something happened. It alone changes anything. Only
two things run in other tasks: waiting for the kubelet's answer to Register, and closing endpoints.
"""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from plugin_gateway.adapters.dialects.dialect import Dialect
from plugin_gateway.adapters.kubelet.directory import KubeletDirectory
from plugin_gateway.adapters.kubelet.plugin_sockets import PREFIX, OwnSockets
from plugin_gateway.adapters.registration.client import Failure, Refusal, RegistrationClient, ladder, most_specific
from plugin_gateway.adapters.registration.endpoints import ResourceEndpoints
from plugin_gateway.adapters.registration.history import RegistrationRecords, ResourceStatus
from plugin_gateway.adapters.registration.leadership import Leadership
from plugin_gateway.adapters.registration.other_gateways import OtherGateways
from plugin_gateway.adapters.registration.registration import Attempt, Kubelet, Registration, close_all
from plugin_gateway.adapters.registration.retry import BIND_RETRY, Reason
from plugin_gateway.adapters.serving.endpoint import BindError, Endpoint
from plugin_gateway.adapters.serving.resource import Pacing, ServedResource
from plugin_gateway.adapters.serving.stream import StreamHistory
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.tap import tap
from plugin_gateway.adapters.support.unix_files import FileIdentity
from plugin_gateway.core.resources.names import ResourceName

LOOK_INTERVAL = 1.0
"""Seconds between two looks at the directory. They are the only way to notice changes without inotify."""
PREPARATION_DELAY = 0.2
"""Seconds from a registration until the next one is prepared. The kubelet has its list by then."""
CLOSING_GRACE = 1.0
"""Seconds for a running call to finish when its endpoint is closed."""


class Registrar:
    """Keeps every resource registered with the kubelet of the node."""

    def __init__(self, *, directory: KubeletDirectory, dialects: Sequence[Dialect], allowed: Sequence[Dialect]) -> None:
        self._allowed = tuple(allowed)
        self._dialects = tuple(dialects)
        self._directory = directory
        self._own_sockets = OwnSockets(directory.path)
        self.instance = self._own_sockets.instance
        self._leadership = Leadership(self._own_sockets)
        self.before_register: Callable[[], None] = lambda: None
        """Called before each registration. Another gateway may have served the kubelet until then."""
        self.on_folder_change: Callable[[], None] = lambda: None
        """Called within a second after the content of the kubelet's directory changed."""
        self._pacing = Pacing()
        self._wake = asyncio.Event()
        self._registrations: dict[ResourceName, Registration] = {}
        self._removed: list[Registration] = []
        self._closing: list[Registration] = []
        self._histories: dict[ResourceName, StreamHistory] = {}
        self._records: dict[ResourceName, RegistrationRecords] = {}
        self.kubelets_seen = 0
        """Number of kubelets seen so far. A restarted one counts again."""
        self._kubelet: Kubelet | None = None
        """The kubelet that was seen last."""
        self._is_present: bool | None = None
        """Whether there was a kubelet at the last look. None before the first look."""
        self._last: Dialect | None = None
        """The dialect that a kubelet accepted last."""
        self._attempt: Attempt | None = None
        self._client: RegistrationClient | None = None
        """Prepared for the next attempt."""
        self._tasks: asyncio.TaskGroup | None = None
        self._logged_absent: str | None = None
        """What was missing at the last look. It is not logged again."""
        self._newcomers = False
        """Whether sockets of other gateways have appeared since the last comparison."""
        self._next_look: asyncio.TimerHandle | None = None
        self._next_preparation: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Register all resources and keep them registered until cancelled. Then close their sockets."""
        self._directory.open(PREFIX, self.wake)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._look()
                while True:
                    self._wake.clear()
                    await self._wait(until=await self._reconcile())
        finally:
            if tap.note is not None:
                tap.note("stopping")
            for timer in (self._next_look, self._next_preparation):
                if timer is not None:
                    timer.cancel()
            self._directory.close()
            for client in (self._client, self._attempt.client if self._attempt is not None else None):
                if client is not None:
                    await client.close()
            await close_all([*self._registrations.values(), *self._removed, *self._closing], CLOSING_GRACE)

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
        """Look for changes that inotify did not report. It runs once a second, so it does little work."""
        self._next_look = asyncio.get_running_loop().call_later(LOOK_INTERVAL, self._look)
        self._log_absence()
        changed = self._directory.has_changed()
        if changed:
            self.on_folder_change()
        self._newcomers |= changed and self._own_sockets.has_newcomers()
        if changed or self._newcomers or any(each.other_gateways.is_known for each in self._registrations.values()):
            self.wake()

    def _prepare(self) -> None:
        """Prepare what the next registration needs. This saves a third of its time."""
        self._client = self._client or RegistrationClient(self._directory.kubelet_socket)
        for registration in self._registrations.values():
            registration.endpoints.prepare(self._next_dialect())

    def wake(self) -> None:
        """Compare the actual state with the desired state now."""
        self._wake.set()

    def add(self, served: ServedResource) -> None:
        """Start to serve a resource."""
        history = self._histories.setdefault(served.resource, StreamHistory())
        endpoints = ResourceEndpoints(
            served=served,
            dialects=self._dialects,
            own_sockets=self._own_sockets,
            pacing=self._pacing,
            history=history,
            on_stream=self.wake,
            spawn=self._spawn,
        )
        other_gateways = OtherGateways(self._own_sockets, served.resource)
        records = self._records.setdefault(served.resource, RegistrationRecords())
        self._registrations[served.resource] = Registration(served, endpoints, other_gateways, history, records)
        self.wake()

    def status(self) -> Sequence[ResourceStatus]:
        """Return the state of the registration of each resource."""
        return [registration.status() for registration in self._registrations.values()]

    def leads(self) -> bool:
        """Whether it is this gateway, of those on the node, that writes what is known of the devices."""
        has_stream = any(each.stream_opened is not None for each in self.status())
        return self._leadership.decide(self._registrations.keys(), has_stream=has_stream)

    def renew(self, resource: ResourceName, reason: Reason) -> None:
        """End the registration of a resource and register again, if the kubelet holds its stream."""
        registration = self._registrations.get(resource)
        if registration is not None and registration.endpoint is not None and not self._is_attempted(registration):
            registration.renew(reason)
            self.wake()

    def kubelet_agent(self) -> str | None:
        """The user agent of the kubelet, from its latest streams. None if it never opened one. For any thread."""
        return next((each.agent for each in list(self._histories.values()) if each.agent), None)

    def without_socket(self) -> Sequence[ResourceName]:
        """Return the resources without a socket in the directory. Empty if there is no directory."""
        if not self._directory.exists():
            return []
        return [name for name, registration in self._registrations.items() if not registration.endpoints.is_in_place]

    def remove(self, resource: ResourceName) -> None:
        """Stop serving a resource. Its streams end after the last list, and its socket is removed."""
        registration = self._registrations.pop(resource)
        registration.remove()
        self._removed.append(registration)
        self.wake()

    def allow(self, dialects: Sequence[Dialect]) -> None:
        """Use only these dialects from now on. A registration in another dialect ends."""
        self._allowed = tuple(dialects)
        self.wake()

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        assert self._tasks is not None
        return self._tasks.create_task(work)

    async def _reconcile(self) -> float:
        """Compare the actual state with the desired state. Returns when to compare again at the latest."""
        exists = self._directory.exists()
        found = self._directory.kubelet() if exists else None
        await self._follow_attempt(found)
        self._close_removed()
        self._follow_kubelet(found)
        self._follow_streams()
        self._follow_other_gateways()
        again = [await self._register_next()]
        if exists:
            again.append(await self._keep_in_place())
        if self._attempt is not None:
            again.append(self._attempt.registration.answer_deadline)
        return min([*again, *(registration.deadline for registration in self._registrations.values())])

    def _close_removed(self) -> None:
        """Close the endpoints of removed resources in tasks of their own, because calls may still run.

        A resource whose Register is in progress is closed after the answer. The next pause is counted from that time.
        """
        leaving = [registration for registration in self._removed if not self._is_attempted(registration)]
        self._removed = [registration for registration in self._removed if registration not in leaving]
        for registration in leaving:
            self._closing.append(registration)
            self._spawn(self._close(registration))

    async def _close(self, registration: Registration) -> None:
        await registration.endpoints.close(CLOSING_GRACE)
        self._closing.remove(registration)

    def _follow_kubelet(self, found: FileIdentity | None) -> None:
        """React to a kubelet that has appeared, ended or been replaced."""
        was_present, self._is_present = self._is_present, found is not None
        if tap.note is not None and was_present is not self._is_present:
            tap.note("kubelet", is_there=self._is_present)
        elif tap.note is not None and found and self._kubelet and self._kubelet.identity != found:
            tap.note("replaced", is_same_file=self._kubelet.identity.shares_inode(found))
        if found is None:
            return
        if self._kubelet is not None and self._kubelet.identity == found and was_present:
            return
        if self._kubelet is None or self._kubelet.identity != found:
            just_started = was_present is False
            self._kubelet = Kubelet(found, time.monotonic(), just_started)
            self.kubelets_seen += 1
        for registration in self._registrations.values():
            registration.follow_kubelet(
                self._kubelet, Reason.KUBELET_REPLACED if was_present else Reason.KUBELET_APPEARED
            )

    def _follow_streams(self) -> None:
        """React to streams that have opened or ended, or have not opened in time."""
        now = time.monotonic()
        for registration in self._registrations.values():
            if self._is_attempted(registration):
                continue
            if registration.endpoint is not None and registration.endpoint.dialect not in self._allowed:
                registration.renew(Reason.SETTINGS_CHANGED)
            registration.follow(now, is_kubelet_present=bool(self._is_present))

    def _follow_other_gateways(self) -> None:
        """Look for other gateways if some are known, or new sockets have appeared."""
        came, now = self._newcomers, time.monotonic()
        for registration in self._registrations.values():
            if not (came or registration.other_gateways.is_known):
                continue
            registration.endpoints.show_stream()  # restores the sticky bit if somebody changed the mode
            if registration.endpoint is None:
                registration.other_gateways.look(now)
            elif registration.is_expected and registration.other_gateways.has_lost_one(now):
                registration.renew(Reason.OTHER_GATEWAY_LEFT)
            elif registration.endpoint.stream.is_open and (reason := registration.other_gateways.reason_to_end(now)):
                registration.renew(reason)
        self._newcomers = came and self._own_sockets.has_newcomers()

    async def _keep_in_place(self) -> float:
        """Make sure that every resource has its socket. Returns when to try again, infinity if all have one."""
        again = math.inf
        for registration in list(self._registrations.values()):
            try:
                await registration.endpoints.keep_in_place(self._next_dialect(), in_use=registration.endpoint)
            except BindError as error:
                registration.log_failure(Refusal(Failure.CANNOT_SERVE, str(error)))
                again = time.monotonic() + BIND_RETRY
        return again

    def _next_dialect(self) -> Dialect:
        """Return the dialect that the next registration tries first."""
        return ladder(self._allowed, self._last)[0]

    async def _register_next(self) -> float:
        """Start the registration that is due. Returns when the next one is due, infinity if none is waiting."""
        kubelet, now = self._kubelet, time.monotonic()
        waiting = self._waiting()
        if kubelet is None or not self._is_present or not waiting or self._is_kubelet_busy():
            return math.inf
        first = min(waiting, key=lambda each: each.due(kubelet))
        if first.due(kubelet) > now:
            return first.due(kubelet)
        first.schedule.not_before = now + first.other_gateways.look(now)
        if first.schedule.not_before > now:
            return min(each.due(kubelet) for each in waiting)
        if first.other_gateways.takes_over():
            first.schedule.reason = Reason.OTHER_GATEWAY_LEFT
        self.before_register()
        first.begin()
        client, self._client = self._client or RegistrationClient(self._directory.kubelet_socket), None
        self._attempt = Attempt(first, kubelet, client)
        await self._try_next_dialect(self._attempt)
        return math.inf

    def _waiting(self) -> list[Registration]:
        """Return the registrations that have no endpoint yet."""
        return [each for each in self._registrations.values() if each.endpoint is None]

    def _is_kubelet_busy(self) -> bool:
        """Whether no other resource may be registered at the moment."""
        return self._attempt is not None or any(each.keeps_kubelet_busy for each in self._registrations.values())

    def _is_attempted(self, registration: Registration) -> bool:
        return self._attempt is not None and self._attempt.registration is registration

    async def _follow_attempt(self, found: FileIdentity | None) -> None:
        """Handle the kubelet's answer to Register, or end the attempt if the kubelet has gone."""
        attempt = self._attempt
        if attempt is None or attempt.endpoint is None or attempt.answer is None:
            return
        if attempt.kubelet.identity != found:
            await self._close_attempt(attempt)
            attempt.registration.close()
        elif attempt.answer.done():
            await self._take_answer(attempt, attempt.endpoint, attempt.answer.result())
        elif time.monotonic() >= attempt.registration.answer_deadline:
            await self._close_attempt(attempt)
            attempt.registration.close_unanswered()

    async def _take_answer(self, attempt: Attempt, endpoint: Endpoint, refusal: Refusal | None) -> None:
        """Handle the answer to Register. An open stream counts as acceptance, even if the answer was lost."""
        if refusal is None or endpoint.stream.opened is not None:
            self._last = endpoint.dialect
            attempt.registration.accepted()
            await self._close_attempt(attempt)
            if attempt.registration.is_removed and not endpoint.stream.is_open:
                attempt.registration.close()
        elif refusal.asks_for_another_dialect and not attempt.registration.is_removed:
            attempt.refused.append((endpoint.dialect, refusal))
            await self._try_next_dialect(attempt)
        elif attempt.registration.is_removed:
            await self._close_attempt(attempt)
            attempt.registration.close()
        else:
            await self._close_attempt(attempt)
            attempt.registration.fail(refusal)

    async def _try_next_dialect(self, attempt: Attempt) -> None:
        """Send Register in the next dialect. The registration fails if none is left."""
        tried = [dialect for dialect, _ in attempt.refused]
        left = [dialect for dialect in ladder(self._allowed, self._last) if dialect not in tried]
        registration = attempt.registration
        if not left:
            await self._close_attempt(attempt)
            registration.fail(most_specific([refusal for _, refusal in attempt.refused]), self._hint())
            return
        try:
            endpoint = await registration.endpoints.fresh(left[0])
        except BindError as error:
            await self._close_attempt(attempt)
            registration.fail(Refusal(Failure.CANNOT_SERVE, str(error)))
            return
        registration.note_endpoint(endpoint, attempt.kubelet)
        attempt.endpoint, attempt.answer = endpoint, self._spawn(self._register(attempt.client, endpoint, registration))
        attempt.answer.add_done_callback(lambda _: self.wake())

    async def _register(
        self, client: RegistrationClient, endpoint: Endpoint, registration: Registration
    ) -> Refusal | None:
        """Send Register. The comparison handles the answer."""
        resource = registration.served.resource
        if endpoint.dialect.one_resource_at_a_time:
            await self._pacing.take(resource)
        return await client.register(endpoint.dialect, endpoint.dialect.registration(endpoint.path.name, resource))

    async def _close_attempt(self, attempt: Attempt) -> None:
        """Cancel the Register call if it is still open, and close the connection."""
        if attempt.answer is not None and not attempt.answer.done():
            attempt.answer.cancel()
            await asyncio.wait({attempt.answer})
        await attempt.client.close()
        self._attempt = None
        if self._next_preparation is not None:
            self._next_preparation.cancel()
        self._next_preparation = asyncio.get_running_loop().call_later(PREPARATION_DELAY, self._prepare)

    def _hint(self) -> str | None:
        if len(self._allowed) == len(self._dialects):
            return None
        return f"--api-version allows only {', '.join(dialect.version for dialect in self._allowed)}"

    def _log_absence(self) -> None:
        """Log once what is missing. A restart of a kubelet is too short to be logged."""
        absent = self._directory.explain_absence() if self._is_present is False else None
        if absent is not None and absent != self._logged_absent:
            log.warning(absent, path=str(self._directory.path))
        self._logged_absent = absent
