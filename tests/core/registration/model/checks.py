"""What must be true of the machine at every step, whatever happens."""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from core.registration.model.endpoints import Endpoints
from core.registration.model.files import Socket
from core.registration.model.kubelets import Call
from core.registration.model.virtual_time import Time
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
from plugin_gateway.core.registration.values import Answered, Event, StreamEnded

Reached = tuple[str, str, str]
"""A state, an event, and the state that followed."""
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

    def __init__(self, name: str, registration: Registration) -> None:
        self.name = name
        self.registration = registration
        self.endpoints: Endpoints | None = None
        self.withdrawn: list[Endpoints] = []
        self.named: dict[int, tuple[Socket, Endpoints]] = {}
        """The sockets whose names a kubelet has, by attempt."""
        self.calls: dict[int, Call] = {}
        """The Register calls that are not answered, by attempt."""

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
