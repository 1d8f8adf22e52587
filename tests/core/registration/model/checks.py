"""What must be true of the machine at every step, whatever happens."""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from core.registration.model.endpoints import Endpoints
from core.registration.model.files import Socket
from core.registration.model.kubelets import Call, Connection
from core.registration.model.lists import Lists
from core.registration.model.virtual_time import Process, Time
from plugin_gateway.core.registration.machine import TRANSITIONS
from plugin_gateway.core.registration.states import (
    Accepted,
    Leaving,
    Queued,
    Registering,
    Registration,
    Streaming,
    Waiting,
)
from plugin_gateway.core.registration.values import Answered, Event, Replaced, StreamEnded

Reached = tuple[str, str, str]
"""A state, an event, and the state that followed."""
JUST = 0.05
"""Seconds within which other gateways cannot know that a stream has ended."""
Noted = Sequence[tuple["Resource", Event, float]]
"""What has happened and was not taken yet."""


class Counts(NamedTuple):
    """What all runs together have done."""

    reached: "Counter[Reached]"

    @property
    def steps(self) -> int:
        return sum(self.reached.values())


def declared() -> set[Reached]:
    """Return what the table of transitions names."""
    return {
        (before.__name__, event.__name__, after.__name__)
        for (before, event), transition in TRANSITIONS.items()
        for after in transition.to
    }


class Resource:
    """One resource of a gateway. It is kept when it is withdrawn."""

    def __init__(self, name: str, registration: Registration, owner: Process, devices: int) -> None:
        """``devices`` is the state of the devices that the owner knows."""
        self.name = name
        self.owner = owner
        self.lists = Lists(owner, self.streams, devices)
        self.registration = registration
        self.endpoints: Endpoints | None = None
        self.withdrawn: list[Endpoints] = []
        self.named: dict[int, tuple[Socket, Endpoints]] = {}
        """The sockets whose names a kubelet has, by attempt."""
        self.calls: dict[int, Call] = {}
        """The Register calls that are not answered, by attempt."""

    def streams(self) -> list[Connection]:
        """Return the connections to which lists are sent."""
        sockets = self.endpoints.all() if self.endpoints is not None else []
        return [each.connection for each in sockets if each.connection is not None]

    @property
    def socket(self) -> Socket | None:
        named = self.named.get(self.registration.attempt or 0)
        return named[0] if named is not None else None


def check_step(time: Time, counts: Counts, before: Registration, event: Event, after: Registration) -> None:
    """The table of transitions names every state that is reached."""
    came_from, event_type, state = type(before.state), type(event), type(after.state)
    transition = TRANSITIONS.get((came_from, event_type))
    allowed = transition.to if transition is not None else (came_from,)
    if state not in allowed:
        time.must(holds=False, text=f"{before.state} and {event} lead to {after.state}")
    counts.reached[came_from.__name__, event_type.__name__, state.__name__] += 1


def check_handover(time: Time, resource: Resource, before: Registration, event: Event, after: Registration) -> None:
    """A gateway gives way only to another one whose stream is open, or was a moment ago."""
    if not (isinstance(event, Replaced) and isinstance(before.state, Streaming) and after.state != before.state):
        return
    owner: object = resource.owner
    kubelet = resource.named[before.state.attempt][0].made[0].kubelet
    others = [each for each in kubelet.streams(resource.name) if each.call.plugin is not owner]
    ended = kubelet.last_end.get(resource.name)
    just_ended = ended is not None and ended.plugin is not owner and time.now - ended.at < JUST
    time.must(
        others or just_ended or not kubelet.is_alive, f"{resource.owner.name} gives way to nobody with {resource.name}"
    )


def check_ways_out(time: Time, who: str, resources: Collection[Resource], noted: Noted) -> None:
    """No state is without a way out: it has a deadline, or something else will certainly happen."""
    for resource in resources:
        if not has_way_out(resource, resources, noted):
            time.must(holds=False, text=f"{who} has no way out of {resource.registration}")


def has_way_out(resource: Resource, resources: Collection[Resource], noted: Noted) -> bool:
    registration = resource.registration
    match registration.state:
        case Waiting() if registration.deadline == math.inf and registration.is_kubelet_present:
            return any(dial.opened is not None for dial in registration.dials.values())
        case Queued():
            return any(isinstance(each.registration.state, Registering | Accepted | Leaving) for each in resources)
        case Registering(attempt):
            return attempt in resource.calls or _is_noted(resource, Answered, noted)
        case Streaming(attempt):
            return resource.named[attempt][0].connection is not None or _is_noted(resource, StreamEnded, noted)
        case _:
            return True


def _is_noted(resource: Resource, kind: type[Event], noted: Noted) -> bool:
    return any(each is resource and isinstance(event, kind) for each, event, _ in noted)
