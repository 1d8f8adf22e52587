"""The registration of one resource: its endpoint, its deadlines and its pauses."""

import asyncio
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from plugin_gateway.adapters.dialects.dialect import Dialect
from plugin_gateway.adapters.registration.client import CURES, Failure, Refusal, RegistrationClient
from plugin_gateway.adapters.registration.endpoints import ResourceEndpoints
from plugin_gateway.adapters.registration.history import RegistrationRecords, ResourceStatus
from plugin_gateway.adapters.registration.other_gateways import OtherGateways
from plugin_gateway.adapters.registration.retry import SAME_KUBELET_PAUSE, Reason, Schedule
from plugin_gateway.adapters.serving.endpoint import Endpoint
from plugin_gateway.adapters.serving.resource import ServedResource
from plugin_gateway.adapters.serving.stream import PendingDial, StreamHistory
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.unix_files import FileIdentity

CLOSED_STREAM_PAUSE = 1.0
"""Seconds from the end of a stream that the gateway ended to the next Register (1.25 and later).

It applies if the kubelet dials back during Register and still runs. The kubelet needs time to notice the end of the old
stream. If it finds the end and the new connection at the same time, it takes the new stream for the old one.
"""
REMOVED_ANSWER_TIMEOUT = 1.0
"""Seconds to wait for the kubelet's answer to a Register after its resource was removed."""
MAX_DIAL_TIME = 10.5
"""Seconds for which a kubelet of 1.25 to 1.34 may dial back after the gateway gave up a Register.

These releases dial for up to 10 s, independently of the Register call. When the late connection ends, they close the
newest connection of the resource. From 1.35 on, dialing ends together with the Register call.
"""
DIALED_STREAM_TIMEOUT = 3.0
"""Seconds from an accepted Register to the stream, if the kubelet has already dialed back.

Kubelets of 1.25 and later do so before they answer. They open the stream at once after that.
"""
JUST_STARTED = 0.2
"""Seconds after its start in which a kubelet cannot have learned of a resource from another gateway."""
OLD_STREAM_GRACE = 1.0
"""Seconds for the stream of an ended kubelet to end before the gateway registers with the new one."""


class Kubelet(NamedTuple):
    """One run of a kubelet process. It is recognised by its socket: a new socket means a new kubelet."""

    identity: FileIdentity
    since: float
    """When it was first seen, on the monotonic clock."""
    just_started: bool
    """Whether its start was seen. Otherwise it may know the resources from an earlier gateway."""


class Registration:
    """The state of the registration of one resource. Only the registrar changes it."""

    def __init__(
        self,
        served: ServedResource,
        endpoints: ResourceEndpoints,
        other_gateways: OtherGateways,
        history: StreamHistory,
        records: RegistrationRecords,
    ) -> None:
        self.served = served
        self.endpoints = endpoints
        self.other_gateways = other_gateways
        self.schedule = Schedule()
        self.endpoint: Endpoint | None = None
        """The endpoint whose name the kubelet has. None if the registration failed or has ended."""
        self.is_removed = False
        self.deadline = math.inf
        """When the kubelet must have opened the stream. Infinite unless the stream is expected."""
        self.answer_deadline = math.inf
        """Until when an answer to Register is awaited. Infinite unless the resource was removed."""
        self._history = history
        self._records = records
        self._began = 0.0
        self._timeout = 0.0
        """Seconds that the kubelet has to open the stream."""
        self._logged: tuple[Failure, str] | None = None
        """The failure that was logged last. An equal one is not logged again."""

    @property
    def keeps_kubelet_busy(self) -> bool:
        """Whether the kubelet must open this stream before another resource is registered (1.8)."""
        return self.is_expected and self.endpoint is not None and self.endpoint.dialect.one_resource_at_a_time

    @property
    def is_expected(self) -> bool:
        """Whether the kubelet accepted the registration but has not opened the stream yet."""
        return self.deadline < math.inf

    def status(self) -> ResourceStatus:
        """Return the state for people and metrics."""
        stream = self.endpoint.stream if self.endpoint is not None else None
        is_open = stream is not None and stream.is_open
        opened = stream.opened if stream is not None and is_open else None
        return ResourceStatus(
            resource=self.served.resource,
            api_version=self.endpoint.dialect.version if self.endpoint is not None and is_open else None,
            endpoint=self.endpoint.path.name if self.endpoint is not None else None,
            stream_opened=time.time() - (time.monotonic() - opened) if opened is not None else None,
            stands_by=self.endpoint is None and self.other_gateways.is_known,
            records=self._records,
        )

    def due(self, kubelet: Kubelet) -> float:
        """Return the time from which the resource can be registered with this kubelet.

        The time is infinite while the kubelet may hold a stream of this resource. Kubelets of 1.25 to 1.36 lose track
        of a resource that is registered twice, or very soon after the end of its stream.
        """
        if any(stream.kubelet and stream.kubelet.shares_inode(kubelet.identity) for stream in self._history.open):
            return math.inf
        if self._history.open:
            return max(self.schedule.not_before, kubelet.since + OLD_STREAM_GRACE)
        return max(self.schedule.not_before, self._pause_ends(kubelet), self._pending_dial_ends(kubelet))

    def _pause_ends(self, kubelet: Kubelet) -> float:
        """Return the end of the pause after the last stream. 0 if that stream belonged to an earlier kubelet."""
        last = self._history.last
        if last is None or last.ended is None or (last.ended < kubelet.since and last.kubelet != kubelet.identity):
            return 0.0
        return last.ended + (
            CLOSED_STREAM_PAUSE if last.is_closed_by_us and last.asked_for_options else SAME_KUBELET_PAUSE
        )

    def _pending_dial_ends(self, kubelet: Kubelet) -> float:
        """Return until when this kubelet may still dial an endpoint that was given up."""
        pending_dial = self._history.pending_dial
        return pending_dial.until if pending_dial and pending_dial.kubelet == kubelet.identity else 0.0

    def follow_kubelet(self, kubelet: Kubelet, reason: Reason) -> None:
        """Register with a kubelet that has just appeared.

        Nothing is done if it is the same kubelet as before, whose socket file only got another name or time.
        """
        self.other_gateways.start_over()
        stream = self.endpoint.stream if self.endpoint else None
        if stream is not None and stream.kubelet is not None:
            # The same inode with another time: somebody touched the socket file of the same kubelet.
            if stream.is_open and stream.kubelet.shares_inode(kubelet.identity):
                stream.kubelet = kubelet.identity
            if stream.kubelet == kubelet.identity:
                return
        self._forget_endpoint()
        self._logged = None
        self.schedule.start_over(reason, kubelet.since)

    def begin(self) -> None:
        """Record the beginning of the registration, for the log."""
        self._began = time.monotonic()

    def note_endpoint(self, endpoint: Endpoint, kubelet: Kubelet) -> None:
        """Record that the name of this endpoint is about to be sent to this kubelet."""
        self.endpoint = endpoint
        endpoint.stream.kubelet = kubelet.identity
        just_started = kubelet.just_started and time.monotonic() - kubelet.since < JUST_STARTED
        knows_us = self._history.last is not None and self._history.last.kubelet == kubelet.identity
        # The resource may also be known from another gateway, or from one that ran before this one.
        after_another = self.schedule.reason is Reason.OTHER_GATEWAY_LEFT
        endpoint.stream.may_be_known = knows_us or after_another or not just_started

    def accepted(self) -> None:
        """Record that the kubelet accepted the registration. The stream is expected from now on."""
        assert self.endpoint is not None
        self._timeout = (
            DIALED_STREAM_TIMEOUT if self.endpoint.stream.asked_for_options else self.endpoint.dialect.stream_deadline
        )
        self.deadline = time.monotonic() + self._timeout

    def follow(self, now: float, *, is_kubelet_present: bool) -> None:
        """React to the state of the stream.

        The stream may have opened or ended, its socket may have been deleted, or it may not have opened in time.
        """
        endpoint = self.endpoint
        if endpoint is None:
            return
        if endpoint.stream.opened is not None:
            if self.is_expected:
                self._conclude(endpoint)
            if endpoint.stream.ended is not None:
                self._stream_ended(endpoint, endpoint.stream.opened, endpoint.stream.ended)
        elif is_kubelet_present and not endpoint.is_in_place():
            self.fail(Refusal(Failure.SOCKET_DELETED))
        elif now >= self.deadline:
            self.fail(Refusal(Failure.NO_STREAM, f"none within {self._timeout:.0f} s"))

    def fail(self, refusal: Refusal, hint: str | None = None) -> None:
        """Record a failed attempt and schedule the next one.

        The endpoint is closed if its name may have reached the kubelet. The next attempt then uses another name.
        """
        endpoint = self._forget_endpoint()
        if endpoint is not None and refusal.reached_nobody:
            endpoint.stream.kubelet = None
        elif endpoint is not None:
            self.endpoints.close_endpoint(endpoint)
        self.schedule.failed(refusal.failure, time.monotonic(), random.random())  # noqa: S311 - not a secret
        self._records.note_failed(refusal.failure, refusal.words)
        self.log_failure(refusal, endpoint, hint)

    def close(self) -> None:
        """Close the endpoint that the kubelet has. Does nothing if there is none."""
        endpoint = self._forget_endpoint()
        if endpoint is None:
            return
        stream = endpoint.stream
        stream.is_closed_by_us = True
        if stream.asked_for_options and stream.opened is None and stream.kubelet is not None:
            self._history.pending_dial = PendingDial(stream.kubelet, time.monotonic() + CLOSED_STREAM_PAUSE)
        self.endpoints.close_endpoint(endpoint)

    def close_unanswered(self) -> None:
        """Stop waiting for the answer to Register. The kubelet may still dial the endpoint."""
        endpoint = self.endpoint
        self.close()
        if endpoint is not None and endpoint.stream.kubelet is not None and endpoint.dialect.options_method is not None:
            self._history.pending_dial = PendingDial(endpoint.stream.kubelet, time.monotonic() + MAX_DIAL_TIME)

    def renew(self, reason: Reason) -> None:
        """End the registration. The next one is due as soon as the pauses allow it."""
        self.close()
        now = time.monotonic()
        self.schedule.start_over(reason, now)
        self.schedule.not_before = now + SAME_KUBELET_PAUSE

    def remove(self) -> None:
        """Stop serving the resource. Its streams end after the last list."""
        self.is_removed = True
        self.answer_deadline = time.monotonic() + REMOVED_ANSWER_TIMEOUT
        if self.endpoint is not None:
            self.endpoint.stream.is_closed_by_us = True
        self.served.advertisement.close()

    def log_failure(self, refusal: Refusal, endpoint: Endpoint | None = None, hint: str | None = None) -> None:
        """Log why the resource is not registered. A failure that repeats is logged once."""
        # Each attempt has another endpoint name, which may be part of the text.
        same = refusal.words.replace(endpoint.path.name, "") if endpoint is not None else refusal.words
        if self._logged == (refusal.failure, same):
            return
        self._logged = (refusal.failure, same)
        log.warning(
            "registration failed",
            resource=self.served.resource,
            cause=refusal.failure.token,
            what=refusal.failure.value,
            words=refusal.words or None,
            hint=hint or CURES.get(refusal.failure),
        )

    def _forget_endpoint(self) -> Endpoint | None:
        endpoint, self.endpoint, self.deadline = self.endpoint, None, math.inf
        return endpoint

    def _conclude(self, endpoint: Endpoint) -> None:
        """Record and log a successful registration."""
        self.deadline = math.inf
        self._logged = None
        self.schedule.succeeded()
        self.endpoints.show_stream()
        api_version, reason, name = endpoint.dialect.version, self.schedule.reason, endpoint.path.name
        took_ms = round((time.monotonic() - self._began) * 1000, 1)
        self._records.note_registered(api_version=api_version, reason=reason, endpoint=name, took_ms=took_ms)
        log.info(
            "registered",
            resource=self.served.resource,
            kubernetes=endpoint.dialect.kubernetes,
            took_ms=took_ms,
            api_version=api_version,
            reason=reason.token,
            what=reason.value,
            endpoint=name,
        )

    def _stream_ended(self, endpoint: Endpoint, opened: float, ended: float) -> None:
        self._forget_endpoint()
        self.endpoints.show_stream()
        self.schedule.stream_ended(opened=opened, ended=ended)
        log.warning(
            "the kubelet ended the stream",
            resource=self.served.resource,
            endpoint=endpoint.path.name,
            lasted_s=round(ended - opened, 3),
        )


@dataclass(slots=True)
class Attempt:
    """A registration in progress, with one kubelet. It tries one dialect after the other."""

    registration: Registration
    kubelet: Kubelet
    client: RegistrationClient
    endpoint: Endpoint | None = None
    """The endpoint of the Register call in progress."""
    answer: asyncio.Task[Refusal | None] | None = None
    refused: list[tuple[Dialect, Refusal]] = field(default_factory=list)


async def close_all(registrations: Sequence[Registration], grace: float) -> None:
    """Close the endpoints of registrations, all at once. Calls get ``grace`` seconds to finish."""
    async with asyncio.TaskGroup() as closing:
        for registration in registrations:
            closing.create_task(registration.endpoints.close(grace))
