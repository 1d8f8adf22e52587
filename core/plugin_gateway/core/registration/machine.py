"""The state machine of the registration of one resource with the kubelet of the node.

`TRANSITIONS` is the whole machine: for each state and event the function that follows, and the states to which it can
lead. `step` looks up the function and calls it. The drawing in the documentation is made from the same table.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from plugin_gateway.core.registration import transitions
from plugin_gateway.core.registration.endings import Outcome, without
from plugin_gateway.core.registration.states import (
    Absent,
    Accepted,
    Dial,
    Ended,
    Leaving,
    Queued,
    Registering,
    Registration,
    StandingBy,
    State,
    Streaming,
    Waiting,
)
from plugin_gateway.core.registration.values import (
    Added,
    Agreed,
    Answered,
    AskedForOptions,
    Event,
    KubeletGone,
    KubeletSeen,
    MayShare,
    OtherLeft,
    OthersSeen,
    Renewed,
    Replaced,
    SocketDeleted,
    StreamEnded,
    StreamOpened,
    Surroundings,
    Tick,
    TurnGiven,
    Withdrawn,
)

_S = TypeVar("_S")
_E = TypeVar("_E")

_Key = tuple[type, type]


class Transition(NamedTuple):
    """What follows from an event in a state."""

    follow: Callable[[Registration, Any, Any, Surroundings], Outcome]
    to: tuple[type[State], ...]
    """The states to which it can lead."""


def step(registration: Registration, event: Event, around: Surroundings) -> Outcome:
    """Return the registration after an event, and what is to be done, in this order."""
    noted = _note(registration, event, around.now)
    transition = TRANSITIONS.get((type(noted.state), type(event)))
    return transition.follow(noted, noted.state, event, around) if transition is not None else (noted, ())


def _note(registration: Registration, event: Event, now: float) -> Registration:
    """Return the registration with what an event tells in each state: about the kubelet and its streams."""
    dials = registration.dials
    match event:
        case KubeletSeen(kubelet, _, touched):
            same = _keep_life(registration, touched, kubelet.life) if touched is not None else registration
            precedence = registration.precedence.start_over()
            return same._replace(kubelet=kubelet, is_kubelet_present=True, precedence=precedence)
        case KubeletGone():
            return registration._replace(is_kubelet_present=False)
        case AskedForOptions(attempt) if attempt in dials:
            return registration._replace(dials={**dials, attempt: dials[attempt]._replace(asked_for_options=True)})
        case StreamOpened(attempt):
            # An attempt that is not known was given up already. The kubelet that opens its stream is not known either.
            life = registration.kubelet.life if registration.kubelet is not None else 0
            dial = dials.get(attempt, Dial(life))
            return registration._replace(dials={**dials, attempt: dial._replace(opened=now)})
        case StreamEnded(attempt) if (was := dials.get(attempt)) is not None and was.opened is not None:
            needs_time = was.asked_for_options and not registration.precedence.holds_several
            ended = Ended(was.life, was.opened, now, was.is_closed_by_us and needs_time)
            return registration._replace(dials=without(dials, attempt), ended=_last_end(registration, ended))
        case _:
            return registration


def _last_end(registration: Registration, ended: Ended) -> Ended:
    """Return the end that the pause follows. The stream of an earlier kubelet can end late, and needs no pause."""
    before, kubelet = registration.ended, registration.kubelet
    if before is not None and kubelet is not None and ended.life != kubelet.life == before.life:
        return before
    return ended


def _keep_life(registration: Registration, before: int, life: int) -> Registration:
    """Return the registration for a kubelet that can be the same as before, because only its file was touched.

    If it is another one after all, calls and streams break, and the pauses last longer than necessary. A pause after a
    stream that the kubelet ended is short, and most kubelets end their streams when they restart, so it is not kept.
    """
    dials, ended, pending = registration.dials, registration.ended, registration.pending
    kept = {attempt: dial._replace(life=life) if dial.life == before else dial for attempt, dial in dials.items()}
    if ended is not None and ended.life == before and ended.was_closed_after_dial:
        ended = ended._replace(life=life)
    if pending is not None and pending.life == before:
        pending = pending._replace(life=life)
    return registration._replace(dials=kept, ended=ended, pending=pending)


def _on(
    state: type[_S], event: type[_E], follow: Callable[[Registration, _S, _E, Surroundings], Outcome], *to: type[State]
) -> tuple[_Key, Transition]:
    """Return an entry of the table. The types of the function fit the state and the event."""
    return (state, event), Transition(follow, to)


TRANSITIONS: Mapping[_Key, Transition] = dict(
    (
        _on(Absent, Added, transitions.wait, Waiting),
        _on(Absent, StreamOpened, transitions.close_useless, Absent),
        _on(Waiting, KubeletSeen, transitions.start_over, Waiting),
        _on(Waiting, Tick, transitions.look, Waiting),
        _on(Waiting, OthersSeen, transitions.begin, Waiting, StandingBy, Queued, Registering),
        _on(Waiting, OtherLeft, transitions.hear, Waiting),
        _on(Waiting, StreamOpened, transitions.close_useless, Waiting),
        _on(Waiting, Withdrawn, transitions.withdraw, Absent),
        _on(StandingBy, KubeletSeen, transitions.start_over, Waiting),
        _on(StandingBy, Tick, transitions.look, StandingBy),
        _on(StandingBy, OthersSeen, transitions.begin, Waiting, StandingBy, Queued, Registering),
        _on(StandingBy, OtherLeft, transitions.hear, StandingBy),
        _on(StandingBy, MayShare, transitions.share, StandingBy),
        _on(StandingBy, StreamOpened, transitions.close_useless, StandingBy),
        _on(StandingBy, Withdrawn, transitions.withdraw, Absent),
        _on(Queued, TurnGiven, transitions.take_turn, Registering),
        _on(Queued, KubeletSeen, transitions.start_over, Waiting),
        _on(Queued, KubeletGone, transitions.lose_kubelet, Waiting),
        _on(Queued, OthersSeen, transitions.stand_by_in_queue, Queued, StandingBy),
        _on(Queued, Tick, transitions.requeue, Queued, Waiting),
        _on(Queued, StreamOpened, transitions.close_useless, Queued),
        _on(Queued, Withdrawn, transitions.withdraw, Absent),
        _on(Registering, Answered, transitions.take_answer, Queued, Registering, Accepted, Waiting),
        _on(Registering, StreamOpened, transitions.take_stream, Registering, Streaming),
        _on(Registering, OthersSeen, transitions.note_others, Registering),
        _on(Registering, KubeletSeen, transitions.abandon, Registering, Waiting),
        _on(Registering, Withdrawn, transitions.withdraw_later, Leaving),
        _on(Accepted, StreamOpened, transitions.take_stream, Accepted, Streaming),
        _on(Accepted, Tick, transitions.miss_stream, Accepted, Waiting),
        _on(Accepted, SocketDeleted, transitions.miss_socket, Accepted, Waiting),
        _on(Accepted, KubeletSeen, transitions.follow_kubelet, Accepted, Waiting),
        _on(Accepted, OthersSeen, transitions.heed_others, Accepted, Waiting),
        _on(Accepted, Replaced, transitions.give_way, Accepted, StandingBy),
        _on(Accepted, Renewed, transitions.follow_word, Waiting),
        _on(Accepted, Withdrawn, transitions.withdraw, Absent),
        _on(Streaming, StreamEnded, transitions.end, Streaming, Waiting),
        _on(Streaming, StreamOpened, transitions.close_useless, Streaming),
        _on(Streaming, Tick, transitions.follow_settings, Streaming, Waiting),
        _on(Streaming, KubeletSeen, transitions.follow_kubelet, Streaming, Waiting),
        _on(Streaming, OthersSeen, transitions.heed_others, Streaming, Waiting),
        _on(Streaming, Agreed, transitions.agree, Streaming),
        _on(Streaming, Replaced, transitions.give_way, Streaming, StandingBy),
        _on(Streaming, Renewed, transitions.follow_word, Waiting),
        _on(Streaming, Withdrawn, transitions.withdraw, Absent),
        _on(Leaving, Answered, transitions.leave_answered, Leaving, Absent, Waiting),
        _on(Leaving, Tick, transitions.leave_unanswered, Leaving, Absent, Waiting),
        _on(Leaving, KubeletSeen, transitions.leave_kubelet, Leaving, Absent, Waiting),
        _on(Leaving, Added, transitions.add_again, Leaving),
        _on(Leaving, Withdrawn, transitions.withdraw_again, Leaving),
    )
)
"""For each state and event, what follows. An event that is not in it changes nothing but what is known."""
