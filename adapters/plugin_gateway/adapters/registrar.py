"""The one place where registrations are made: one at a time, for every reason, and again after a failure."""

import asyncio
import random
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from plugin_gateway.adapters.dialect import Dialect
from plugin_gateway.adapters.endpoint import BindError, Endpoint
from plugin_gateway.adapters.kubelet_directory import KubeletDirectory, KubeletIdentity
from plugin_gateway.adapters.logs import log
from plugin_gateway.adapters.offers import Offer
from plugin_gateway.adapters.own_sockets import PREFIX, OwnSockets
from plugin_gateway.adapters.registration import Failure, Refusal, RegistrationClient, ladder
from plugin_gateway.adapters.resource_endpoints import ResourceEndpoints
from plugin_gateway.adapters.rivalry import Rivalry
from plugin_gateway.adapters.schedule import Reason, Schedule
from plugin_gateway.adapters.serving import Turns
from plugin_gateway.core.resource_names import ResourceName

LOOK_INTERVAL = 1.0
"""Seconds after which the directory is looked at although nothing woke us: the safety net, and all there is without
inotify."""
STREAM_DEADLINE = 10.0
"""Seconds from an accepted Register to the stream; kubelets of 1.10 to 1.24 allow themselves 10 s to dial."""
PREPARATION_DELAY = 0.2
"""Seconds after a registration: by then the kubelet has its list, and nobody waits for us."""
CLOSING_GRACE = 1.0
"""Seconds that a call in progress gets when its endpoint ends."""


@dataclass(slots=True)
class _Candidate:
    """One resource on its way to the kubelet, or there."""

    offer: Offer
    endpoints: ResourceEndpoints
    schedule: Schedule
    rivalry: Rivalry
    endpoint: Endpoint | None = None
    """The one whose name the kubelet was told last; None where that led to nothing, is over, or is being bound."""
    told: object = None
    """The problem that was logged last, so that it is not said again."""


class _Attempt(NamedTuple):
    """A registration in progress."""

    task: asyncio.Task[None]
    candidate: _Candidate
    kubelet: KubeletIdentity


class Registrar:
    """Keeps every resource registered with whatever kubelet is there."""

    def __init__(self, *, directory: KubeletDirectory, dialects: Sequence[Dialect], allowed: Sequence[Dialect]) -> None:
        self.allowed = tuple(allowed)
        """The dialects that may be tried, the newest first."""
        self._dialects = tuple(dialects)
        self._directory = directory
        self._own_sockets = OwnSockets(directory.path)
        self._turns = Turns()
        self._wake = asyncio.Event()
        self._candidates: dict[ResourceName, _Candidate] = {}
        self._kubelet: KubeletIdentity | None = None
        self._last: Dialect | None = None
        """What the last kubelet took."""
        self._attempt: _Attempt | None = None
        self._client: RegistrationClient | None = None
        """Made ahead for the next attempt."""
        self._tasks: asyncio.TaskGroup | None = None
        self._absent: str | None = None
        """What all resources wait for."""
        self._told_absent: str | None = None
        self._next_look: asyncio.TimerHandle | None = None
        self._next_preparation: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Register and keep registered until cancelled; then remove the sockets."""
        self._directory.open(PREFIX, self.wake)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._look()
                while True:
                    self._wake.clear()
                    await self._wait(await self._reconcile())
        finally:
            for timer in (self._next_look, self._next_preparation):
                if timer is not None:
                    timer.cancel()
            self._directory.close()
            if self._client is not None:
                await self._client.close()
            await _close(list(self._candidates.values()))

    async def _wait(self, seconds: float | None) -> None:
        """Wait for a wake-up, or until a registration is due."""
        if seconds is None:
            await self._wake.wait()
            return
        due = asyncio.get_running_loop().call_later(seconds, self.wake)
        try:
            await self._wake.wait()
        finally:
            due.cancel()

    def _look(self) -> None:
        """See whether anything changed that nobody told us; once a second, so it does no more than it must."""
        self._next_look = asyncio.get_running_loop().call_later(LOOK_INTERVAL, self._look)
        self._tell_absence()
        if not self._directory.has_changed():
            return
        self.wake()
        if self._own_sockets.has_newcomers():
            for candidate in self._candidates.values():
                candidate.rivalry.look(time.monotonic())

    def _prepare(self) -> None:
        """Make ahead what the next registration needs: a third of the time that it takes."""
        self._client = self._client or RegistrationClient(self._directory.kubelet_socket)
        for candidate in self._candidates.values():
            candidate.endpoints.prepare(self._next_dialect())

    def wake(self) -> None:
        """Look again now."""
        self._wake.set()

    def add(self, offer: Offer) -> None:
        """Offer one more resource."""
        endpoints = ResourceEndpoints(
            offer=offer,
            dialects=self._dialects,
            own_sockets=self._own_sockets,
            turns=self._turns,
            on_stream=self.wake,
            spawn=self._spawn,
        )
        rivalry = Rivalry(self._own_sockets, offer.resource)
        self._candidates[offer.resource] = _Candidate(offer, endpoints, Schedule(), rivalry)
        self.wake()

    async def remove(self, resource: ResourceName) -> None:
        """Offer it no more: its streams end and its socket goes."""
        gone = self._candidates.pop(resource)
        if self._attempt is not None and self._attempt.candidate is gone:
            await self._end_attempt()
        await _close([gone])

    def allow(self, dialects: Sequence[Dialect]) -> None:
        """Try only these dialects from now on; a registration in another one ends, others are not touched."""
        self.allowed = tuple(dialects)
        for candidate in self._candidates.values():
            endpoint = candidate.endpoint
            if endpoint is not None and endpoint.dialect not in self.allowed:
                self._spawn(endpoint.close())
        self.wake()

    def dialect_in_force(self, resource: ResourceName) -> Dialect | None:
        """Tell the dialect of the registration whose stream is open; None where there is none."""
        endpoint = self._candidates[resource].endpoint
        return endpoint.dialect if endpoint is not None and endpoint.streams.open else None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        assert self._tasks is not None
        return self._tasks.create_task(work)

    async def _reconcile(self) -> float | None:
        """Compare what is with what should be; tell the seconds until the next registration, None for none."""
        if not self._directory.exists():
            self._absent = "waiting for the kubelet directory"
            return None
        await self._follow(self._directory.kubelet())
        for candidate in self._candidates.values():
            self._follow_stream(candidate)
        seconds = self._register_next(time.monotonic())
        for candidate in list(self._candidates.values()):
            if candidate.endpoint is not None or not self._is_attempted(candidate):
                await self._keep_in_place(candidate)
        return seconds

    async def _follow(self, kubelet: KubeletIdentity | None) -> None:
        """Follow the kubelet from one life to the next."""
        if self._attempt is not None and (self._attempt.task.done() or self._attempt.kubelet != kubelet):
            await self._end_attempt()
        self._absent = "waiting for the kubelet: no kubelet.sock" if kubelet is None else None
        if kubelet == self._kubelet:
            return
        reason = Reason.KUBELET_APPEARED if self._kubelet is None else Reason.KUBELET_REPLACED
        self._kubelet = kubelet
        if kubelet is None:
            return
        for candidate in self._candidates.values():
            candidate.schedule.start_over(reason, time.monotonic())
            candidate.endpoint = candidate.told = None

    def _follow_stream(self, candidate: _Candidate) -> None:
        if self._is_attempted(candidate) or self._kubelet is None:
            return
        endpoint = candidate.endpoint
        if endpoint is None:
            candidate.endpoint = candidate.endpoints.held_by(self._kubelet)
        elif not endpoint.streams.open:
            candidate.endpoint = None
            opened, ended = endpoint.streams.last_opened, endpoint.streams.last_ended
            candidate.schedule.stream_ended(opened=opened, ended=ended)
            log.warning(
                "the kubelet ended the stream",
                resource=candidate.offer.resource,
                endpoint=endpoint.path.name,
                lasted_s=round(ended - opened, 3),
            )

    async def _keep_in_place(self, candidate: _Candidate) -> None:
        try:
            await candidate.endpoints.keep_in_place(self._next_dialect(), in_use=candidate.endpoint)
        except BindError as error:
            _tell_problem(candidate, Refusal(Failure.CANNOT_SERVE, str(error)))

    def _next_dialect(self) -> Dialect:
        """The dialect that the next registration tries first."""
        return ladder(self.allowed, self._last)[0]

    def _register_next(self, now: float) -> float | None:
        """Begin the registration that is due first, where none is in progress; else tell the seconds until then."""
        waiting = [each for each in self._candidates.values() if each.endpoint is None]
        if self._kubelet is None or self._attempt is not None or not waiting:
            return None
        first = min(waiting, key=lambda each: each.schedule.not_before)
        if first.schedule.not_before > now:
            return first.schedule.not_before - now
        stood_by = first.rivalry.standing_by
        first.schedule.not_before = now + first.rivalry.look(now)
        if stood_by and not first.rivalry.standing_by:
            first.schedule.reason = Reason.OTHER_GATEWAY_LEFT
        if first.schedule.not_before > now:
            return first.schedule.not_before - now
        self._attempt = _Attempt(self._spawn(self._register(first, self._kubelet)), first, self._kubelet)
        return None

    def _is_attempted(self, candidate: _Candidate) -> bool:
        return self._attempt is not None and self._attempt.candidate is candidate

    async def _end_attempt(self) -> None:
        assert self._attempt is not None
        task, candidate = self._attempt.task, self._attempt.candidate
        self._attempt = None
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            candidate.endpoint = None

    async def _register(self, candidate: _Candidate, kubelet: KubeletIdentity) -> None:
        """Climb the ladder once and draw the conclusion."""
        started = time.monotonic()
        client, self._client = self._client or RegistrationClient(self._directory.kubelet_socket), None
        try:
            refusal = await self._climb(candidate, kubelet, client)
        finally:
            await client.close()
        if refusal is None:
            await self._conclude(candidate, started)
        else:
            if refusal.reached_nobody and candidate.endpoint is not None:
                candidate.endpoint.offered_to = None
            candidate.endpoint = None
            candidate.schedule.failed(refusal.failure, time.monotonic(), random.random())  # noqa: S311 - no secret
            _tell_problem(candidate, refusal)
        if self._next_preparation is not None:
            self._next_preparation.cancel()
        self._next_preparation = asyncio.get_running_loop().call_later(PREPARATION_DELAY, self._prepare)
        self.wake()

    async def _climb(
        self, candidate: _Candidate, kubelet: KubeletIdentity, client: RegistrationClient
    ) -> Refusal | None:
        refusals = []
        for dialect in ladder(self.allowed, self._last):
            candidate.endpoint = None
            try:
                endpoint = await candidate.endpoints.fresh(dialect)
            except BindError as error:
                return Refusal(Failure.CANNOT_SERVE, str(error))
            candidate.endpoint, endpoint.offered_to = endpoint, kubelet
            request = dialect.registration(endpoint.path.name, candidate.offer.resource)
            refusal = await client.register(dialect, request) or await self._await_stream(endpoint)
            if endpoint.streams.opened.is_set():
                self._last = dialect
                return None
            assert refusal is not None
            if not refusal.asks_for_another_dialect:
                return refusal
            refusals.append(refusal)
        return _most_telling(refusals)

    async def _await_stream(self, endpoint: Endpoint) -> Refusal | None:
        try:
            async with asyncio.timeout(STREAM_DEADLINE):
                await endpoint.streams.opened.wait()
        except TimeoutError:
            return Refusal(Failure.NO_STREAM, f"none within {STREAM_DEADLINE:.0f} s")
        return None

    async def _conclude(self, candidate: _Candidate, started: float) -> None:
        assert candidate.endpoint is not None
        candidate.schedule.succeeded()
        candidate.told = None
        log.info(
            "registered",
            resource=candidate.offer.resource,
            api_version=candidate.endpoint.dialect.version,
            kubernetes=candidate.endpoint.dialect.kubernetes,
            endpoint=candidate.endpoint.path.name,
            reason=candidate.schedule.reason.value,
            took_ms=round((time.monotonic() - started) * 1000, 1),
        )
        if candidate.endpoint.dialect.one_resource_at_a_time:
            await asyncio.sleep(self._turns.gap)

    def _tell_absence(self) -> None:
        """Log what all resources wait for, once; not at every restart of a kubelet, which takes a moment only."""
        if self._absent is not None and self._absent != self._told_absent:
            log.warning(self._absent, path=str(self._directory.path))
        self._told_absent = self._absent


async def _close(candidates: Sequence[_Candidate]) -> None:
    async with asyncio.TaskGroup() as closing:
        for candidate in candidates:
            closing.create_task(candidate.endpoints.close(CLOSING_GRACE))


def _most_telling(refusals: Sequence[Refusal]) -> Refusal:
    """Of several refused dialects, the version that was refused tells more than the packages that are unknown."""
    refused = [refusal for refusal in refusals if refusal.failure is Failure.VERSION_REFUSED]
    return (refused or list(refusals))[-1]


def _tell_problem(candidate: _Candidate, refusal: Refusal) -> None:
    """Log why a resource is not registered, once for each problem."""
    if refusal == candidate.told:
        return
    candidate.told = refusal
    log.warning(
        "registration failed",
        resource=candidate.offer.resource,
        cause=refusal.failure.value,
        words=refusal.words or None,
    )
