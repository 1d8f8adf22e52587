"""Carries out what the state machine decides about one resource: binds, registers, closes, logs and counts."""

import asyncio
import time
from collections.abc import Callable, Container, Coroutine, Mapping
from typing import Any, NamedTuple

from plugin_gateway.adapters.kubelet.plugin_sockets import SocketName, is_of_other_resource
from plugin_gateway.adapters.registration.client import CURES, RegistrationClient
from plugin_gateway.adapters.registration.endpoints import ResourceEndpoints
from plugin_gateway.adapters.registration.history import RegistrationRecords, ResourceStatus
from plugin_gateway.adapters.registration.link import KubeletLink
from plugin_gateway.adapters.serving.endpoint import BindError, Endpoint
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.core.registration import pauses
from plugin_gateway.core.registration.failures import Failure, Reason, Refusal
from plugin_gateway.core.registration.machine import step
from plugin_gateway.core.registration.states import (
    Leaving,
    Queued,
    Registering,
    Registration,
    StandingBy,
    Waiting,
)
from plugin_gateway.core.registration.values import (
    Abandon,
    Action,
    Answered,
    Close,
    CloseAll,
    Event,
    KubeletSeen,
    ListAgain,
    LookForOthers,
    Register,
    ReportFailed,
    ReportOther,
    ReportRegistered,
    ReportStreamEnded,
    Reuse,
    Surroundings,
)
from plugin_gateway.core.resources.names import ResourceName

CLOSING_GRACE = 1.0
"""Seconds for a running call to finish when its endpoint is closed."""

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]
"""Starts a coroutine as a task of a task group."""


class OfferedDevices(NamedTuple):
    """The devices of a resource, as far as two gateways have to know of each other."""

    ids: frozenset[str]
    divided: frozenset[str] = frozenset()
    """The physical devices of those that are parts."""

    def has_any_of(self, other: "OfferedDevices") -> bool:
        """Whether both have a device, or one has it as a whole and the other one a part of it."""
        return not self.ids.isdisjoint(other.ids | other.divided) or not self.divided.isdisjoint(other.ids)


class ResourceRegistration:
    """One resource. It is kept when the resource is withdrawn, because the kubelet does not forget at once either."""

    def __init__(
        self,
        resource: ResourceName,
        registration: Registration,
        *,
        link: KubeletLink,
        spawn: Spawn,
        note: Callable[["ResourceRegistration", Event], None],
        look_for_others: Callable[["ResourceRegistration"], None],
        before_register: Callable[[Reason], None],
        running: Callable[[], frozenset[SocketName]],
    ) -> None:
        """``note`` is called with what happens, ``look_for_others`` when the other gateways have to be noted.

        ``running`` returns the other gateways of this moment.
        """
        self.resource = resource
        self.registration = registration
        self.endpoints: ResourceEndpoints | None = None
        """None while the resource is not offered."""
        self._link = link
        self._spawn = spawn
        self._note = note
        self._look_for_others = look_for_others
        self._before_register = before_register
        self._running = running
        self.seen_running: frozenset[SocketName] = frozenset()
        """The other gateways that ran when they were looked for last."""
        self._records = RegistrationRecords()
        self._withdrawn: list[ResourceEndpoints] = []
        """Endpoints from before the resource was withdrawn."""
        self._named: dict[int, tuple[Endpoint, ResourceEndpoints]] = {}
        """The endpoints whose names a kubelet has, by attempt."""
        self._client: RegistrationClient | None = None
        self._answers: dict[int, asyncio.Task[None]] = {}
        self._keeping_back: asyncio.Task[None] | None = None
        """Lets the streams send no list, if another gateway is about to replace this one."""
        self._goes_on = asyncio.Event()
        """Ends that time early."""
        self._logged: tuple[Failure, str] | None = None
        """The failure that was logged last. An equal one is not logged again."""

    @property
    def endpoint(self) -> Endpoint | None:
        """The endpoint of the present attempt or stream. None if there is none."""
        named = self._named.get(self.registration.attempt or 0)
        return named[0] if named is not None else None

    @property
    def agent(self) -> str | None:
        """User agent of the kubelet whose stream is open. None if there is none."""
        return self.endpoint.stream.agent if self.endpoint is not None else None

    def status(self, answering: Container[str]) -> ResourceStatus:
        """Return the state for people and metrics. ``answering`` are the other gateways that can be asked."""
        registration, endpoint, opened = self.registration, self.endpoint, self._opened
        return ResourceStatus(
            resource=self.resource,
            api_version=endpoint.dialect.version if endpoint is not None and opened is not None else None,
            endpoint=endpoint.path.name if endpoint is not None else None,
            stream_opened=time.time() - (time.monotonic() - opened) if opened is not None else None,
            stands_by=isinstance(registration.state, StandingBy),
            others_answer=all(instance in answering for instance in registration.precedence.awaited),
            records=self._records,
        )

    @property
    def _opened(self) -> float | None:
        """When the stream that is open was opened, on the monotonic clock. None if none is open."""
        dial = self.registration.dials.get(self.registration.attempt or 0)
        return dial.opened if dial is not None else None

    @property
    def digest(self) -> str:
        """A digest of the ids that are offered. Empty if the resource is not offered."""
        from hashlib import sha256  # noqa: PLC0415 - only with two gateways

        if self.endpoints is None:
            return ""
        ids = sorted(self.endpoints.served.advertisement.value.by_id)
        return sha256("\n".join(ids).encode()).hexdigest()

    @property
    def devices(self) -> OfferedDevices:
        """The devices that are offered."""
        devices = self.endpoints.served.advertisement.value.devices if self.endpoints is not None else ()
        return OfferedDevices(
            frozenset(each.id for each in devices),
            frozenset(each.physical.id for each in devices if not each.is_whole),
        )

    @property
    def keeps_back(self) -> bool:
        """Whether no list is sent, because another gateway is about to replace this one."""
        return self._keeping_back is not None and not self._keeping_back.done()

    def keep_back(self) -> None:
        """Send no list for a while, so that another gateway can replace this one."""
        assert self.endpoints is not None
        if not self.keeps_back:
            self._goes_on, served = asyncio.Event(), self.endpoints.served
            self._keeping_back = self._spawn(served.keep_back(pauses.KEPT_BACK.seconds, self._goes_on))

    def go_on(self) -> None:
        """Send lists again, because the other gateway has ended."""
        self._goes_on.set()

    def withdraw(self) -> None:
        """Stop offering the resource. Its streams end after the last list."""
        assert self.endpoints is not None
        self.endpoints.end_lists()
        self._withdrawn.append(self.endpoints)
        self.endpoints = None

    async def take(self, event: Event, around: Surroundings) -> None:
        """Let the state machine decide about an event, and do what it says."""
        opened = self._opened
        self.registration, actions = step(self.registration, event, around)
        if opened is not None and self._opened != opened:
            self._records.note_ended()
        if isinstance(event, KubeletSeen) and self.registration.attempt is None:
            self._logged = None
        for action in actions:
            await self._perform(action)
        if self.keeps_back and isinstance(self.registration.state, Waiting):
            self.go_on()  # what is to be replaced has ended, and the next stream needs a list at once
        is_used = self._answers or isinstance(self.registration.state, Queued | Registering | Leaving)
        if self._client is not None and not is_used:
            client, self._client = self._client, None
            await self._link.release(client)
        self._forget_closed()

    async def _perform(self, action: Action) -> None:
        match action:
            case Register():
                await self._register(action)
            case Abandon(attempt):
                await self._abandon(attempt)
            case Close(attempt):
                self._close(attempt)
            case Reuse(attempt):
                self._reuse(attempt)
            case CloseAll():
                self._close_withdrawn()
            case ListAgain():
                self._list_again()
            case LookForOthers():
                self._look_for_others(self)
            case _:
                self._report(action)

    def _report(self, action: ReportRegistered | ReportStreamEnded | ReportFailed | ReportOther) -> None:
        match action:
            case ReportRegistered():
                self._report_registered(action)
            case ReportStreamEnded():
                self._report_stream_ended(action)
            case ReportFailed():
                self._report_failed(action)
            case ReportOther():
                self._report_other(action)

    async def _register(self, action: Register) -> None:
        """Bind an endpoint and send its name. A task of its own waits for the answer."""
        if action.is_first:
            self._before_register(self.registration.retry.reason)
        endpoints = self.endpoints
        if endpoints is None:  # withdrawn a moment ago, which the state machine has not been told yet
            self._note(self, Answered(action.attempt, Refusal(Failure.CANNOT_SERVE)))
            return
        try:
            endpoint = await endpoints.fresh(self._link.dialect(action.dialect.version))
        except BindError as error:
            self._note(self, Answered(action.attempt, Refusal(Failure.CANNOT_SERVE, str(error))))
            return
        if self._running() - self.seen_running:  # it may not have seen the socket that was just made
            self._note(self, Answered(action.attempt, Refusal(Failure.OTHER_CAME)))
            return
        endpoint.stream.attempt, endpoint.stream.may_be_known = action.attempt, action.may_be_known
        self._named[action.attempt] = (endpoint, endpoints)
        self._client = self._client or self._link.take_client()
        self._answers[action.attempt] = self._spawn(self._await_answer(self._client, endpoint, action.attempt))

    async def _await_answer(self, client: RegistrationClient, endpoint: Endpoint, attempt: int) -> None:
        refusal = await self._link.register(client, endpoint, self.resource)
        self._answers.pop(attempt, None)
        self._note(self, Answered(attempt, refusal))

    async def _abandon(self, attempt: int) -> None:
        """Cancel the Register call if it is still open."""
        answer = self._answers.pop(attempt, None)
        if answer is not None:
            answer.cancel()
            await asyncio.wait({answer})

    def _close(self, attempt: int) -> None:
        if (named := self._named.get(attempt)) is not None:
            endpoint, endpoints = named
            endpoints.close_endpoint(endpoint)

    def _reuse(self, attempt: int) -> None:
        if (named := self._named.pop(attempt, None)) is not None:
            named[0].stream.attempt = None

    def _list_again(self) -> None:
        if self.endpoints is not None:
            self.endpoints.served.advertisement.repeat()

    def _forget_closed(self) -> None:
        known = self.registration.dials
        self._named = {
            attempt: named for attempt, named in self._named.items() if attempt in known or not named[0].is_closing
        }

    def _close_withdrawn(self) -> None:
        """Close the endpoints from before the withdrawal in tasks of their own, because calls may still run."""
        for endpoints in self._withdrawn:
            self._named = {attempt: named for attempt, named in self._named.items() if named[1] is not endpoints}
            self._spawn(endpoints.close(CLOSING_GRACE))
        self._withdrawn = []

    async def keep_in_place(self) -> bool:
        """Bind a missing socket again. Return whether it has one now."""
        if self.endpoints is None:
            return True
        try:
            await self.endpoints.keep_in_place(self._link.next_dialect(), in_use=self.endpoint)
        except BindError as error:
            self._log_failure(Refusal(Failure.CANNOT_SERVE, str(error)))
            return False
        return True

    async def close(self) -> None:
        """Close everything at the end of the process."""
        if self._client is not None:
            await self._client.close()
        for endpoints in (*self._withdrawn, *([self.endpoints] if self.endpoints is not None else [])):
            await endpoints.close(CLOSING_GRACE)

    def _report_registered(self, report: ReportRegistered) -> None:
        endpoint, endpoints = self._named[report.attempt]
        endpoints.show_stream()
        self._logged = None
        took_ms = round(report.took * 1000, 1)
        self._records.note_registered(
            api_version=report.dialect, reason=report.reason, endpoint=endpoint.path.name, took_ms=took_ms
        )
        log.info(
            "registered",
            resource=self.resource,
            kubernetes=endpoint.dialect.kubernetes,
            took_ms=took_ms,
            api_version=report.dialect,
            reason=report.reason.token,
            what=report.reason.value,
            endpoint=endpoint.path.name,
        )

    def _report_stream_ended(self, report: ReportStreamEnded) -> None:
        endpoint, endpoints = self._named[report.attempt]
        endpoints.show_stream()
        log.warning(
            "the kubelet ended the stream",
            resource=self.resource,
            endpoint=endpoint.path.name,
            lasted_s=round(report.lasted, 3),
        )

    def _report_failed(self, report: ReportFailed) -> None:
        refusal, named = report.refusal, self._named.get(report.attempt)
        self._records.note_failed(refusal.failure, refusal.words)
        hint = self._link.hint() if refusal.asks_for_another_dialect else None
        self._log_failure(refusal, named[0].path.name if named is not None else "", hint)

    def _log_failure(self, refusal: Refusal, endpoint: str = "", hint: str | None = None) -> None:
        """Log why the resource is not registered. A failure that repeats is logged once."""
        # Each attempt has another endpoint name, which may be part of the text.
        same = refusal.words.replace(endpoint, "") if endpoint else refusal.words
        if self._logged == (refusal.failure, same):
            return
        self._logged = (refusal.failure, same)
        log.warning(
            "registration failed",
            resource=self.resource,
            cause=refusal.failure.token,
            what=refusal.failure.value,
            words=refusal.words or None,
            hint=hint or CURES.get(refusal.failure),
        )

    def _report_other(self, report: ReportOther) -> None:
        other = {"resource": self.resource, "socket": report.other.socket, "pid": report.other.pid or None}
        if is_of_other_resource(report.other.socket, self.resource):
            if report.goes_first:  # otherwise the other one says it
                log.warning("another gateway offers devices of this resource under another name, standing by", **other)
        elif report.goes_first:
            log.warning("another gateway offers this resource, standing by", **other)
        elif self.keeps_back:
            log.info("another gateway is about to replace this one", **other)
        else:
            log.warning("another gateway offers this resource and has to stand by", **other)


def offered(resources: Mapping[ResourceName, ResourceRegistration]) -> list[ResourceRegistration]:
    """Return those of the resources that are offered now."""
    return [each for each in resources.values() if each.endpoints is not None]
