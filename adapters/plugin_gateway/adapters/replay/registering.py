"""The registrations of a replay: the state machine of each resource, stepped with what was recorded.

A recording has the effects of decisions. So for each recorded Register, the machine is asked whether one is due at that
time. What was random is taken at its earliest.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from plugin_gateway.adapters.dialects import dialect_of
from plugin_gateway.adapters.dialects.dialect import Dialect, RegisterRequest
from plugin_gateway.adapters.dialects.refusals import read_refusal
from plugin_gateway.adapters.replay.comparing import LeftOutError, MissedError
from plugin_gateway.adapters.replay.offering import EARLY, Offer
from plugin_gateway.core.registration.failures import Reason
from plugin_gateway.core.registration.machine import step
from plugin_gateway.core.registration.order import ladder, next_turn
from plugin_gateway.core.registration.precedence import OtherGateway, Precedence
from plugin_gateway.core.registration.states import (
    Accepted,
    Leaving,
    Queued,
    Registration,
    StandingBy,
    Streaming,
    Waiting,
)
from plugin_gateway.core.registration.values import (
    Added,
    Answered,
    Close,
    CloseAll,
    Event,
    Kubelet,
    KubeletGone,
    KubeletSeen,
    ListAgain,
    LookForOthers,
    OnNode,
    OthersSeen,
    Register,
    SocketDeleted,
    Surroundings,
    Tick,
    TurnGiven,
    Withdrawn,
)
from plugin_gateway.core.resources.names import ResourceName

REGISTERING = 0.25
"""Seconds in which a Register that is due may not have been sent yet."""

LATE = 5.0
"""Seconds after which a Register is late. Some of the time before it can be random, and sockets can need time."""


@dataclass(slots=True)
class Endpoint:
    """An endpoint whose name was sent to the kubelet."""

    attempt: int
    resource: ResourceName
    dialect: Dialect
    offer: Offer
    may_be_known: bool
    """Whether this kubelet may already know the resource."""
    is_claimed: bool = False
    """Whether the kubelet has opened its stream."""
    closed_at: float = math.inf
    """When the gateway closed it."""
    is_withdrawn: bool = False
    """Whether the gateway closed it because the resource was withdrawn. Then its streams end after the last list."""

    def close(self, at: float) -> None:
        """Note that the gateway closes it."""
        self.closed_at = min(self.closed_at, at)


@dataclass(slots=True)
class _Resource:
    registration: Registration
    name: ResourceName
    at: float = 0.0
    """When something happened last."""
    others: Sequence[OtherGateway] = ()
    """The other gateways that run at the moment."""
    decided: tuple[Register, float] | None = None
    """The Register that the machine sends now, and since when."""
    endpoints: dict[int, Endpoint] = field(default_factory=dict)
    """By attempt. The last one is the one that the kubelet calls."""
    requests: dict[RegisterRequest, int] = field(default_factory=dict)
    """The attempt of each recorded Register."""

    def close_all(self, at: float) -> None:
        """Note that the gateway closes every endpoint."""
        for endpoint in self.endpoints.values():
            endpoint.close(at)


class Registrations:
    """What the gateway registers now, and what became of it."""

    def __init__(self, allowed: Sequence[Dialect]) -> None:
        self._allowed = allowed
        self._last: str | None = None
        """The version of the dialect that a kubelet accepted last."""
        self._kubelet: Kubelet | None = None
        self.is_present: bool | None = None
        """Whether a kubelet is there. None before the first look."""
        self._resources: dict[ResourceName, _Resource] = {}

    def add(self, name: ResourceName, at: float) -> None:
        """Register a resource from now on."""
        if name not in self._resources:
            known = Registration(Precedence(""), kubelet=self._kubelet, is_kubelet_present=bool(self.is_present))
            self._resources[name] = _Resource(known, name)
        self._take(self._resources[name], Added(), at)

    def remove(self, name: ResourceName, at: float) -> None:
        """End the registration of a resource. All its streams end."""
        self._take(self._resources[name], Withdrawn(), at)

    def allow(self, dialects: Sequence[Dialect], at: float) -> None:
        """Use only these dialects from now on."""
        self._allowed = dialects
        for each in self._resources.values():
            self._take(each, Tick(), at)

    def see_kubelet(self, *, is_there: bool, at: float) -> None:
        """A kubelet appears or ends. One that appears at the first look may know the resources."""
        before, self.is_present = self.is_present, is_there
        if is_there and not before:
            self._appear(at, Reason.KUBELET_APPEARED, just_started=before is False)
        elif before and not is_there:
            for each in self._resources.values():
                self._take(each, KubeletGone(), at)

    def replace_kubelet(self, *, is_same_file: bool, at: float) -> None:
        """Another kubelet takes the place of the one before. If the file is the same, it can be that one."""
        self.is_present = True
        touched = self._kubelet.life if is_same_file and self._kubelet is not None else None
        self._appear(at, Reason.KUBELET_REPLACED, touched)

    def _appear(self, at: float, reason: Reason, touched: int | None = None, *, just_started: bool = False) -> None:
        self._kubelet = Kubelet(self._kubelet.life + 1 if self._kubelet is not None else 1, at, just_started)
        for each in self._resources.values():
            self._take(each, KubeletSeen(self._kubelet, reason, touched), at)

    def register(self, api_version: str, then: RegisterRequest, offer: Offer | None, at: float) -> RegisterRequest:
        """Take a recorded Register, and return the request that is sent now, for the same endpoint.

        Raises:
            MissedError: none is sent now, or only later, or it is of another version.
        """
        name = ResourceName(then.resource_name)
        resource = self._resources.get(name)
        decided = None
        if resource is not None:
            self._pass_deadlines(resource, at + EARLY)
            decided = self._decide(resource, math.inf)
        is_early = resource is not None and isinstance(resource.registration.state, Queued)
        if resource is not None and is_early:
            self._take(resource, TurnGiven(), at)
            decided = resource.decided
        if resource is None or offer is None or decided is None:
            raise MissedError(f"{name} was registered as {api_version} then, and is not now")
        (action, since), resource.decided = decided, None
        dialect = dialect_of(action.dialect.version)
        resource.endpoints[action.attempt] = Endpoint(action.attempt, name, dialect, offer, action.may_be_known)
        resource.requests[then] = action.attempt
        if dialect.version != api_version:
            raise MissedError(f"{name} was registered as {api_version} then, {name} as {dialect.version} now")
        if is_early:
            raise MissedError(f"{name} is registered after another resource now")
        if not since - EARLY <= at <= since + LATE:
            when = "later" if at < since else "earlier"
            raise MissedError(f"{name} is registered {abs(since - at):.2f} s {when} now")
        return dialect.read_registration(dialect.registration(then.endpoint, name))

    def answer(self, then: RegisterRequest, code: str, words: str, at: float) -> None:
        """Take the kubelet's answer to a recorded Register."""
        resource = self._resources.get(ResourceName(then.resource_name))
        if resource is not None and then in resource.requests:
            self._take(resource, Answered(resource.requests[then], read_refusal(code, words)), at)

    def endpoint(self, name: str) -> Endpoint:
        """Return the endpoint of a resource that the kubelet received last.

        Raises:
            MissedError: the resource is not registered.
        """
        resource = self._resources.get(ResourceName(name))
        if resource is None or not resource.endpoints:
            raise MissedError(f"the kubelet called {name} then, which is not registered now")
        return next(reversed(resource.endpoints.values()))

    def tell(self, endpoint: Endpoint, event: Event, at: float) -> None:
        """Tell the machine what the kubelet did with an endpoint."""
        self._take(self._resources[endpoint.resource], event, at)

    def take_event(self, name: str, instance: str, event: OnNode, at: float) -> None:
        """Take what somebody else did on the node. ``instance`` is the name of the recorded gateway.

        Raises:
            LeftOutError: the resource is not offered now.
        """
        resource = self._resources.get(ResourceName(name))
        if resource is None:
            raise LeftOutError("of a resource that is not offered now")
        self._decide(resource, at - REGISTERING)
        registration = resource.registration
        precedence = registration.precedence._replace(instance=instance)
        resource.registration = registration._replace(precedence=precedence)
        if isinstance(event, OthersSeen):
            resource.others = event.others
        if isinstance(event, SocketDeleted):
            event = SocketDeleted(registration.attempt or 0)
        self._take(resource, event, at)

    def pass_time(self, at: float) -> None:
        """Take the deadlines that have certainly passed, and look for other gateways as long as some are known."""
        for each in self._resources.values():
            self._pass_deadlines(each, at - EARLY)
            if each.others and not isinstance(each.registration.state, Waiting | StandingBy):
                self._take(each, OthersSeen(each.others), at)

    def further(self, at: float) -> Iterator[str]:
        """Yield a description of each Register that is sent now and was not recorded until this time."""
        for each in self._resources.values():
            # What was random can have taken this much longer.
            retry, added = each.registration.retry, 0.0
            if retry.failures:
                added = max(retry.not_before - each.at, 0.0) / 2
            decided = self._decide(each, at - REGISTERING - added)
            if decided is not None and decided[1] <= at - REGISTERING - added:
                each.decided = None
                yield f"{each.name} is registered as {decided[0].dialect.version} once more than then"

    def stop(self, at: float) -> None:
        """End everything, as the gateway does when it stops."""
        self.is_present = None
        for each in self._resources.values():
            each.close_all(at)
            each.registration, each.decided = Registration(Precedence("")), None

    def _pass_deadlines(self, resource: _Resource, until: float) -> None:
        """Take the deadlines until this time, except that of a Register. One can stand by for ever."""
        states = Accepted | Leaving if until == math.inf else Accepted | Leaving | StandingBy
        while isinstance(resource.registration.state, states) and resource.registration.deadline <= until:
            self._take(resource, Tick(), resource.registration.deadline)

    def _decide(self, resource: _Resource, until: float) -> tuple[Register, float] | None:
        """Return the Register that the machine sends until this time, and when. None if it sends none."""
        self._pass_deadlines(resource, until)
        registration = resource.registration
        if isinstance(registration.state, Waiting):
            due = max(registration.due, resource.at)
            if due < math.inf and due <= until:
                self._take(resource, Tick(), due)
        others = [each.registration for each in self._resources.values() if each is not resource]
        busy = [each for each in others if not isinstance(each.state, Queued)]
        if isinstance(resource.registration.state, Queued) and next_turn([resource.registration, *busy]) is not None:
            self._take(resource, TurnGiven(), resource.at)
        return resource.decided

    def _take(self, resource: _Resource, event: Event, at: float) -> None:
        """Step the machine of a resource."""
        resource.at = max(resource.at, at)
        manners = ladder([dialect.manners for dialect in self._allowed], self._last)
        resource.registration, actions = step(resource.registration, event, Surroundings(resource.at, manners, 0.0))
        for action in actions:
            match action:
                case Register():
                    resource.decided = action, resource.at
                case ListAgain() if resource.registration.attempt in resource.endpoints:
                    resource.endpoints[resource.registration.attempt].offer.repeats += 1
                case LookForOthers():
                    self._take(resource, OthersSeen(resource.others), resource.at)
                case Close(attempt) if attempt in resource.endpoints:
                    resource.endpoints[attempt].close(resource.at)
                case CloseAll():
                    resource.close_all(resource.at)
                    for endpoint in resource.endpoints.values():
                        endpoint.is_withdrawn = True
        if resource.decided is not None and resource.decided[0].attempt != resource.registration.attempt:
            resource.decided = None
        if isinstance(resource.registration.state, Accepted | Streaming):
            self._last = resource.registration.state.dialect.version
