"""The one place where registrations are made: one at a time, for every reason, and again after a failure.

One task compares what is with what should be whenever something happened, and it alone changes anything; the only thing
that it leaves to another task is to wait for the kubelet's answer.
"""

import asyncio
import math
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from plugin_gateway.adapters.dialects.dialect import Dialect
from plugin_gateway.adapters.kubelet.directory import KubeletDirectory
from plugin_gateway.adapters.kubelet.plugin_sockets import PREFIX, OwnSockets
from plugin_gateway.adapters.registration.client import Failure, Refusal, RegistrationClient, ladder
from plugin_gateway.adapters.registration.endpoints import ResourceEndpoints
from plugin_gateway.adapters.registration.history import RegistrationRecords, ResourceStatus
from plugin_gateway.adapters.registration.other_gateways import Rivalry
from plugin_gateway.adapters.registration.registration import Candidacy, Kubelet
from plugin_gateway.adapters.registration.retry import BIND_RETRY, Reason
from plugin_gateway.adapters.serving.endpoint import BindError, Endpoint
from plugin_gateway.adapters.serving.pacing import Turns
from plugin_gateway.adapters.serving.resource import Offer
from plugin_gateway.adapters.serving.stream import StreamHistory
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.tap import conversation
from plugin_gateway.adapters.support.unix_files import FileIdentity
from plugin_gateway.core.resources.names import ResourceName

LOOK_INTERVAL = 1.0
"""Seconds after which the directory is looked at although nothing woke us: the safety net, and all there is without
inotify."""
PREPARATION_DELAY = 0.2
"""Seconds after a registration: by then the kubelet has its list, and nobody waits for us."""
CLOSING_GRACE = 1.0
"""Seconds that a call in progress gets when its endpoint ends."""


@dataclass(slots=True)
class _Attempt:
    """A registration in progress: the ladder of dialects, climbed with one kubelet."""

    candidacy: Candidacy
    kubelet: Kubelet
    client: RegistrationClient
    endpoint: Endpoint | None = None
    """The one that the kubelet is being told."""
    answer: asyncio.Task[Refusal | None] | None = None
    refused: list[tuple[Dialect, Refusal]] = field(default_factory=list)


class Registrar:
    """Keeps every resource registered with whatever kubelet is there."""

    def __init__(self, *, directory: KubeletDirectory, dialects: Sequence[Dialect], allowed: Sequence[Dialect]) -> None:
        self._allowed = tuple(allowed)
        self._dialects = tuple(dialects)
        self._directory = directory
        self._own_sockets = OwnSockets(directory.path)
        self._turns = Turns()
        self._wake = asyncio.Event()
        self._candidacies: dict[ResourceName, Candidacy] = {}
        self._withdrawn: list[Candidacy] = []
        self._closing: list[Candidacy] = []
        self._histories: dict[ResourceName, StreamHistory] = {}
        self._records: dict[ResourceName, RegistrationRecords] = {}
        self.kubelets_seen = 0
        """How many lives of a kubelet there were."""
        self._kubelet: Kubelet | None = None
        """The last one that was there."""
        self._is_present: bool | None = None
        """Whether there was one at the last look; None before the first."""
        self._last: Dialect | None = None
        """What the last kubelet took."""
        self._attempt: _Attempt | None = None
        self._client: RegistrationClient | None = None
        """Made ahead for the next attempt."""
        self._tasks: asyncio.TaskGroup | None = None
        self._told_absent: str | None = None
        """What all resources waited for at the last look."""
        self._newcomers = False
        """Whether sockets of other instances came since the last comparison."""
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
                    await self._wait(until=await self._reconcile())
        finally:
            if conversation.note is not None:
                conversation.note("stopping")
            for timer in (self._next_look, self._next_preparation):
                if timer is not None:
                    timer.cancel()
            self._directory.close()
            for client in (self._client, self._attempt.client if self._attempt is not None else None):
                if client is not None:
                    await client.close()
            await _close([*self._candidacies.values(), *self._withdrawn, *self._closing])

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
        """See whether anything changed that nobody told us; once a second, so it does no more than it must."""
        self._next_look = asyncio.get_running_loop().call_later(LOOK_INTERVAL, self._look)
        self._tell_absence()
        changed = self._directory.has_changed()
        self._newcomers |= changed and self._own_sockets.has_newcomers()
        if changed or self._newcomers or any(each.rivalry.is_known for each in self._candidacies.values()):
            self.wake()

    def _prepare(self) -> None:
        """Make ahead what the next registration needs: a third of the time that it takes."""
        self._client = self._client or RegistrationClient(self._directory.kubelet_socket)
        for candidacy in self._candidacies.values():
            candidacy.endpoints.prepare(self._next_dialect())

    def wake(self) -> None:
        """Compare again now."""
        self._wake.set()

    def add(self, offer: Offer) -> None:
        """Offer one more resource."""
        history = self._histories.setdefault(offer.resource, StreamHistory())
        endpoints = ResourceEndpoints(
            offer=offer,
            dialects=self._dialects,
            own_sockets=self._own_sockets,
            turns=self._turns,
            history=history,
            on_stream=self.wake,
            spawn=self._spawn,
        )
        rivalry = Rivalry(self._own_sockets, offer.resource)
        records = self._records.setdefault(offer.resource, RegistrationRecords())
        self._candidacies[offer.resource] = Candidacy(offer, endpoints, rivalry, history, records)
        self.wake()

    def status(self) -> Sequence[ResourceStatus]:
        """Tell of every resource how far it is."""
        return [candidacy.status() for candidacy in self._candidacies.values()]

    def without_socket(self) -> Sequence[ResourceName]:
        """Name the resources that no kubelet could reach, although its directory is there."""
        if not self._directory.exists():
            return []
        return [name for name, candidacy in self._candidacies.items() if not candidacy.endpoints.is_in_place]

    def remove(self, resource: ResourceName) -> None:
        """Offer it no more: its streams end after its last list, and its socket goes."""
        candidacy = self._candidacies.pop(resource)
        candidacy.withdraw()
        self._withdrawn.append(candidacy)
        self.wake()

    def allow(self, dialects: Sequence[Dialect]) -> None:
        """Try only these dialects from now on; a registration in another one ends, others are not touched."""
        self._allowed = tuple(dialects)
        self.wake()

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        assert self._tasks is not None
        return self._tasks.create_task(work)

    async def _reconcile(self) -> float:
        """Compare what is with what should be; tell when to do so again although nothing happened."""
        exists = self._directory.exists()
        found = self._directory.kubelet() if exists else None
        await self._follow_attempt(found)
        self._close_withdrawn()
        self._follow_kubelet(found)
        self._follow_streams()
        self._heed_rivals()
        again = [await self._register_next()]
        if exists:
            again.append(await self._keep_in_place())
        if self._attempt is not None:
            again.append(self._attempt.candidacy.answer_deadline)
        return min([*again, *(candidacy.deadline for candidacy in self._candidacies.values())])

    def _close_withdrawn(self) -> None:
        """Close what is offered no more, beside everything else: its last call may take a moment.

        What is just being registered stays until the kubelet has answered, which gives us an end to count from.
        """
        leaving = [candidacy for candidacy in self._withdrawn if not self._is_attempted(candidacy)]
        self._withdrawn = [candidacy for candidacy in self._withdrawn if candidacy not in leaving]
        for candidacy in leaving:
            self._closing.append(candidacy)
            self._spawn(self._close(candidacy))

    async def _close(self, candidacy: Candidacy) -> None:
        await candidacy.endpoints.close(CLOSING_GRACE)
        self._closing.remove(candidacy)

    def _follow_kubelet(self, found: FileIdentity | None) -> None:
        """Follow the kubelet from one life to the next."""
        was_present, self._is_present = self._is_present, found is not None
        if conversation.note is not None and was_present is not self._is_present:
            conversation.note("kubelet", is_there=self._is_present)
        elif conversation.note is not None and found and self._kubelet and self._kubelet.identity != found:
            conversation.note("replaced", is_same_file=self._kubelet.identity.shares_inode(found))
        if found is None:
            return
        if self._kubelet is not None and self._kubelet.identity == found and was_present:
            return
        if self._kubelet is None or self._kubelet.identity != found:
            is_newborn = was_present is False
            self._kubelet = Kubelet(found, time.monotonic(), is_newborn)
            self.kubelets_seen += 1
        for candidacy in self._candidacies.values():
            candidacy.meet(self._kubelet, Reason.KUBELET_REPLACED if was_present else Reason.KUBELET_APPEARED)

    def _follow_streams(self) -> None:
        """Draw the conclusions from streams that opened, ended, or did not come."""
        now = time.monotonic()
        for candidacy in self._candidacies.values():
            if self._is_attempted(candidacy):
                continue
            if candidacy.endpoint is not None and candidacy.endpoint.dialect not in self._allowed:
                candidacy.end(Reason.SETTINGS_CHANGED)
            candidacy.follow(now, is_kubelet_present=bool(self._is_present))

    def _heed_rivals(self) -> None:
        """Look at other gateways where some came, or are known to be there."""
        came, self._newcomers = self._newcomers, False
        now = time.monotonic()
        for candidacy in self._candidacies.values():
            if not (came or candidacy.rivalry.is_known):
                continue
            candidacy.endpoints.show_held()  # somebody may have changed a socket's mode, and now it counts
            if candidacy.endpoint is None:
                candidacy.rivalry.look(now)
            elif candidacy.is_expected and candidacy.rivalry.has_lost_one(now):
                candidacy.end(Reason.OTHER_GATEWAY_LEFT)
            elif candidacy.endpoint.stream.is_open and (reason := candidacy.rivalry.reason_to_end(now)):
                candidacy.end(reason)

    async def _keep_in_place(self) -> float:
        """Have every resource a socket in its place; tell when to try again where one cannot be made."""
        again = math.inf
        for candidacy in list(self._candidacies.values()):
            try:
                await candidacy.endpoints.keep_in_place(self._next_dialect(), in_use=candidacy.endpoint)
            except BindError as error:
                candidacy.tell(Refusal(Failure.CANNOT_SERVE, str(error)))
                again = time.monotonic() + BIND_RETRY
        return again

    def _next_dialect(self) -> Dialect:
        """The dialect that the next registration tries first."""
        return ladder(self._allowed, self._last)[0]

    async def _register_next(self) -> float:
        """Begin the registration that is due first, where none is in progress; else tell when one is due."""
        kubelet, now = self._kubelet, time.monotonic()
        waiting = self._waiting()
        if kubelet is None or not self._is_present or not waiting or self._is_kubelet_busy():
            return math.inf
        first = min(waiting, key=lambda each: each.due(kubelet))
        if first.due(kubelet) > now:
            return first.due(kubelet)
        first.schedule.not_before = now + first.rivalry.look(now)
        if first.schedule.not_before > now:
            return min(each.due(kubelet) for each in waiting)
        if first.rivalry.takes_over():
            first.schedule.reason = Reason.OTHER_GATEWAY_LEFT
        first.begin()
        client, self._client = self._client or RegistrationClient(self._directory.kubelet_socket), None
        self._attempt = _Attempt(first, kubelet, client)
        await self._try_next_dialect(self._attempt)
        return math.inf

    def _waiting(self) -> list[Candidacy]:
        """List those that are to be registered."""
        return [each for each in self._candidacies.values() if each.endpoint is None]

    def _is_kubelet_busy(self) -> bool:
        """Whether no other resource may be registered now."""
        return self._attempt is not None or any(each.keeps_kubelet_busy for each in self._candidacies.values())

    def _is_attempted(self, candidacy: Candidacy) -> bool:
        return self._attempt is not None and self._attempt.candidacy is candidacy

    async def _follow_attempt(self, found: FileIdentity | None) -> None:
        """Take the kubelet's answer, or give the attempt up with its kubelet."""
        attempt = self._attempt
        if attempt is None or attempt.endpoint is None or attempt.answer is None:
            return
        if attempt.kubelet.identity != found:
            await self._end_attempt(attempt)
            attempt.candidacy.drop()
        elif attempt.answer.done():
            await self._take_answer(attempt, attempt.endpoint, attempt.answer.result())
        elif time.monotonic() >= attempt.candidacy.answer_deadline:
            await self._end_attempt(attempt)
            attempt.candidacy.give_up()

    async def _take_answer(self, attempt: _Attempt, endpoint: Endpoint, refusal: Refusal | None) -> None:
        if refusal is None or endpoint.stream.opened is not None:
            self._last = endpoint.dialect
            attempt.candidacy.accepted()
            await self._end_attempt(attempt)
            if attempt.candidacy.is_withdrawn and not endpoint.stream.is_open:
                attempt.candidacy.drop()
        elif refusal.asks_for_another_dialect and not attempt.candidacy.is_withdrawn:
            attempt.refused.append((endpoint.dialect, refusal))
            await self._try_next_dialect(attempt)
        elif attempt.candidacy.is_withdrawn:
            await self._end_attempt(attempt)
            attempt.candidacy.drop()
        else:
            await self._end_attempt(attempt)
            attempt.candidacy.fail(refusal)

    async def _try_next_dialect(self, attempt: _Attempt) -> None:
        tried = [dialect for dialect, _ in attempt.refused]
        left = [dialect for dialect in ladder(self._allowed, self._last) if dialect not in tried]
        candidacy = attempt.candidacy
        if not left:
            await self._end_attempt(attempt)
            candidacy.fail(_most_telling([refusal for _, refusal in attempt.refused]), self._hint())
            return
        try:
            endpoint = await candidacy.endpoints.fresh(left[0])
        except BindError as error:
            await self._end_attempt(attempt)
            candidacy.fail(Refusal(Failure.CANNOT_SERVE, str(error)))
            return
        candidacy.name(endpoint, attempt.kubelet)
        attempt.endpoint, attempt.answer = endpoint, self._spawn(self._register(attempt.client, endpoint, candidacy))
        attempt.answer.add_done_callback(lambda _: self.wake())

    async def _register(self, client: RegistrationClient, endpoint: Endpoint, candidacy: Candidacy) -> Refusal | None:
        """Tell the kubelet; everything that follows from its answer is for the comparison to decide."""
        resource = candidacy.offer.resource
        if endpoint.dialect.one_resource_at_a_time:
            await self._turns.take(resource)
        return await client.register(endpoint.dialect, endpoint.dialect.registration(endpoint.path.name, resource))

    async def _end_attempt(self, attempt: _Attempt) -> None:
        """Give the connection up, and the question with it if it is still open."""
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

    def _tell_absence(self) -> None:
        """Log what all resources wait for, once; not at every restart of a kubelet, which takes a moment only."""
        absent = self._directory.explain_absence() if self._is_present is False else None
        if absent is not None and absent != self._told_absent:
            log.warning(absent, path=str(self._directory.path))
        self._told_absent = absent


async def _close(candidacies: Sequence[Candidacy]) -> None:
    async with asyncio.TaskGroup() as closing:
        for candidacy in candidacies:
            closing.create_task(candidacy.endpoints.close(CLOSING_GRACE))


def _most_telling(refusals: Sequence[Refusal]) -> Refusal:
    """Of several refused dialects, the version that was refused tells more than the packages that are unknown."""
    refused = [refusal for refusal in refusals if refusal.failure is Failure.VERSION_REFUSED]
    return (refused or list(refusals))[-1]
