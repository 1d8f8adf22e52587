"""What follows from an event in a state. `machine.TRANSITIONS` says where each function applies."""

from plugin_gateway.core.registration import pauses
from plugin_gateway.core.registration.endings import (
    Outcome,
    close_answered,
    close_dialed,
    close_unanswered,
    fail,
    forget,
    leave,
    renew,
    see_others,
)
from plugin_gateway.core.registration.failures import Failure, Reason, Refusal
from plugin_gateway.core.registration.retry import Retry, at_once
from plugin_gateway.core.registration.states import (
    Accepted,
    Dial,
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
    Abandon,
    Added,
    Agreed,
    Answered,
    Close,
    Kubelet,
    KubeletGone,
    KubeletSeen,
    ListAgain,
    LookForOthers,
    Manners,
    MayShare,
    OtherLeft,
    OthersSeen,
    Register,
    Renewed,
    Replaced,
    ReportRegistered,
    ReportStreamEnded,
    SocketDeleted,
    StreamEnded,
    StreamOpened,
    Surroundings,
    Tick,
    TurnGiven,
    Withdrawn,
)

# From waiting to a Register.


def wait(registration: Registration, _state: State, _event: Added, _around: Surroundings) -> Outcome:
    """Register when the pauses are over."""
    return registration._replace(state=Waiting(), retry=Retry()), ()


def start_over(registration: Registration, _state: State, event: KubeletSeen, _around: Surroundings) -> Outcome:
    """Register at once, because the kubelet is new."""
    return registration._replace(state=Waiting(), retry=at_once(event.reason, event.kubelet.since)), ()


def look(registration: Registration, _state: Waiting | StandingBy, _event: Tick, around: Surroundings) -> Outcome:
    """Look for other gateways when a Register is due."""
    return registration, (LookForOthers(),) if around.now >= registration.deadline else ()


def begin(registration: Registration, _state: State, event: OthersSeen, around: Surroundings) -> Outcome:
    """Register, unless another gateway has precedence or a pause is not over."""
    precedence, wait = registration.precedence.before_register(event.others, around.now)
    seen, reports = see_others(registration, event, precedence)
    if wait:
        return seen._replace(state=StandingBy(around.now + wait)), reports
    if around.now < seen.due:
        return seen._replace(state=Waiting()), reports
    if precedence.takes_over:
        is_beside = not precedence.agreed(around.now).isdisjoint(precedence.known)
        reason = Reason.OTHER_GATEWAY_AGREED if is_beside else Reason.OTHER_GATEWAY_LEFT
        retry = seen.retry._replace(reason=reason)
        seen = seen._replace(precedence=precedence._replace(takes_over=False), retry=retry)
    after, actions = _send(seen, around.ladder[0], around.now, (), around.now)
    return after, (*reports, *actions)


def hear(registration: Registration, state: Waiting | StandingBy, event: OtherLeft, around: Surroundings) -> Outcome:
    """Look again when the kubelet has had time to notice the end of the streams of a gateway that left.

    `CLOSED_STREAM` would be too long here: no pod could be admitted for a second at each update of a node. It is for a
    kubelet that is stopped for a moment. Such a kubelet may lose this registration, and is then registered with again.
    """
    precedence = registration.precedence.hear_left(event.instance, around.now)
    if precedence is registration.precedence:
        return registration, ()
    not_before = max(registration.retry.not_before, around.now + pauses.SAME_KUBELET.seconds)
    after = registration._replace(precedence=precedence, retry=registration.retry._replace(not_before=not_before))
    return after._replace(state=StandingBy(around.now) if isinstance(state, StandingBy) else state), ()


def share(registration: Registration, state: StandingBy, event: MayShare, around: Surroundings) -> Outcome:
    """Register beside a gateway that agrees to be replaced."""
    precedence = registration.precedence.share(event.instance, around.now)
    after = registration._replace(precedence=precedence)
    return after._replace(state=state if precedence is registration.precedence else StandingBy(around.now)), ()


def stand_by_in_queue(registration: Registration, state: Queued, event: OthersSeen, around: Surroundings) -> Outcome:
    """Stand by if another gateway has precedence now."""
    precedence, wait = registration.precedence.before_register(event.others, around.now)
    seen, reports = see_others(registration, event, precedence)
    return seen._replace(state=StandingBy(around.now + wait) if wait else state), reports


def _send(
    registration: Registration, dialect: Manners, began: float, refused: tuple[tuple[str, Refusal], ...], now: float
) -> Outcome:
    """Send a Register, or wait for a turn if the dialect needs it."""
    if dialect.one_resource_at_a_time:
        return registration._replace(state=Queued(began, dialect, refused)), ()
    return _send_now(registration, Queued(began, dialect, refused), now)


def _send_now(registration: Registration, queued: Queued, now: float) -> Outcome:
    kubelet = registration.kubelet
    assert kubelet is not None
    attempt = registration.attempts + 1
    just_started = kubelet.just_started and now - kubelet.since < pauses.JUST_STARTED.seconds
    knows_us = registration.ended is not None and registration.ended.life == kubelet.life
    # The resource may also be known from another gateway, or from one that ran before this one.
    after_another = registration.retry.reason in {Reason.OTHER_GATEWAY_LEFT, Reason.OTHER_GATEWAY_AGREED}
    may_be_known = knows_us or after_another or not just_started
    after = registration._replace(
        state=Registering(attempt, *queued),
        attempts=attempt,
        dials={**registration.dials, attempt: Dial(kubelet.life)},
    )
    return after, (Register(attempt, queued.dialect, may_be_known, is_first=not queued.refused),)


def take_turn(registration: Registration, state: Queued, _event: TurnGiven, around: Surroundings) -> Outcome:
    """Send the Register that waited for its turn."""
    return _send_now(registration, state, around.now)


def requeue(registration: Registration, state: Queued, _event: Tick, around: Surroundings) -> Outcome:
    """Begin again if the dialect is not allowed any more."""
    if state.dialect in around.ladder:
        return registration, ()
    return registration._replace(state=Waiting()), ()


def lose_kubelet(registration: Registration, _state: Queued, _event: KubeletGone, _around: Surroundings) -> Outcome:
    """Wait for another kubelet."""
    return registration._replace(state=Waiting()), ()


# While a Register is not answered.


def take_answer(registration: Registration, state: Registering, event: Answered, around: Surroundings) -> Outcome:
    """Expect the stream, try the next dialect, or try again later."""
    if event.attempt != state.attempt:
        return registration, ()
    if event.refusal is None:
        has_dialed = registration.dials[state.attempt].asked_for_options
        timeout = pauses.STREAM_AFTER_DIAL.seconds if has_dialed else state.dialect.stream_timeout
        deadline = around.now + timeout
        return registration._replace(state=Accepted(*state[:3], deadline, timeout)), ()
    if event.refusal.asks_for_another_dialect:
        return _try_next(registration, state, event.refusal, around)
    return fail(registration, state, event.refusal, around)


def _try_next(registration: Registration, state: Registering, refusal: Refusal, around: Surroundings) -> Outcome:
    """Register in the next dialect. The registration fails if none is left."""
    refused = (*state.refused, (state.dialect.version, refusal))
    tried = {version for version, _ in refused}
    left = [each for each in around.ladder if each.version not in tried]
    if not left:
        return fail(registration, state, _most_specific([each for _, each in refused]), around)
    return _send(forget(registration, state.attempt), left[0], state.began, refused, around.now)


def _most_specific(refusals: list[Refusal]) -> Refusal:
    """Return the refusal to report. A refused version says more than an unknown service."""
    return next((each for each in reversed(refusals) if each.failure is Failure.VERSION_REFUSED), refusals[-1])


def note_others(registration: Registration, _state: Registering, event: OthersSeen, around: Surroundings) -> Outcome:
    """Note which other gateways there are. They matter once the stream is open."""
    return see_others(registration, event, registration.precedence.see(event.others, around.now, is_holding=True))


def abandon(registration: Registration, state: Registering, event: KubeletSeen, around: Surroundings) -> Outcome:
    """Give up an attempt with a kubelet that is not there any more.

    That kubelet.sock is gone does not show it: the file can be moved away and back. The call of a kubelet that has
    ended breaks by itself.
    """
    if _has_attempt(registration, state.attempt, event.kubelet):
        return _doubt(registration), ()
    closed = close_dialed(registration, state.attempt, around.now)
    retry = at_once(event.reason, event.kubelet.since)
    return closed._replace(state=Waiting(), retry=retry), (Abandon(state.attempt), Close(state.attempt))


def _has_attempt(registration: Registration, attempt: int, kubelet: Kubelet) -> bool:
    """Whether it is this kubelet that received the name of the endpoint of an attempt."""
    dial = registration.dials.get(attempt)
    return dial is not None and dial.life == kubelet.life


def _doubt(registration: Registration) -> Registration:
    """Return the registration for a kubelet whose file was touched. If it is another one, the attempt fails soon."""
    return registration._replace(retry=registration.retry._replace(may_be_replaced=True))


# While the stream is expected or open.


def take_stream(
    registration: Registration, state: Registering | Accepted, event: StreamOpened, around: Surroundings
) -> Outcome:
    """Report the registration, because the kubelet opened the stream. This counts even if its answer was lost."""
    if event.attempt != state.attempt:
        return close_useless(registration, state, event, around)
    took = around.now - state.began
    report = ReportRegistered(state.attempt, state.dialect.version, registration.retry.reason, took)
    after = registration._replace(state=Streaming(state.attempt, state.dialect), retry=registration.retry.succeeded())
    return after, (report,)


def end(registration: Registration, state: Streaming, event: StreamEnded, _around: Surroundings) -> Outcome:
    """Register again, because the kubelet ended the stream."""
    ended = registration.ended
    if event.attempt != state.attempt or ended is None:
        return registration, ()
    retry = registration.retry.stream_ended(opened=ended.opened, ended=ended.at)
    return registration._replace(state=Waiting(), retry=retry), (
        ReportStreamEnded(state.attempt, ended.at - ended.opened),
    )


def close_useless(registration: Registration, _state: State, event: StreamOpened, around: Surroundings) -> Outcome:
    """End a stream on an endpoint that was given up. Otherwise nothing could be registered with this kubelet."""
    return close_dialed(registration, event.attempt, around.now), (Close(event.attempt),)


def miss_stream(registration: Registration, state: Accepted, _event: Tick, around: Surroundings) -> Outcome:
    """Try again if the kubelet has not opened the stream in time, or the settings have changed."""
    if state.dialect not in around.ladder:
        return renew(registration, state.attempt, Reason.SETTINGS_CHANGED, around.now)
    if around.now < state.deadline:
        return registration, ()
    return fail(registration, state, Refusal(Failure.NO_STREAM, f"none within {state.timeout:.0f} s"), around)


def miss_socket(registration: Registration, state: Accepted, event: SocketDeleted, around: Surroundings) -> Outcome:
    """Try again, because the kubelet cannot dial any more."""
    if event.attempt != state.attempt or not registration.is_kubelet_present:
        return registration, ()
    return fail(registration, state, Refusal(Failure.SOCKET_DELETED), around)


def follow_settings(registration: Registration, state: Streaming, _event: Tick, around: Surroundings) -> Outcome:
    """Register again if the dialect is not allowed any more."""
    if state.dialect in around.ladder:
        return registration, ()
    return renew(registration, state.attempt, Reason.SETTINGS_CHANGED, around.now)


def follow_word(
    registration: Registration, state: Accepted | Streaming, event: Renewed, around: Surroundings
) -> Outcome:
    """Register again, because somebody asked for it."""
    return renew(registration, state.attempt, event.reason, around.now)


def follow_kubelet(
    registration: Registration, state: Accepted | Streaming, event: KubeletSeen, around: Surroundings
) -> Outcome:
    """Register with a kubelet that has just appeared, unless it is the one that has the registration."""
    if _has_attempt(registration, state.attempt, event.kubelet):
        return (_doubt(registration) if isinstance(state, Accepted) else registration), ()
    return start_over(forget(registration, state.attempt), state, event, around)


def heed_others(
    registration: Registration, state: Accepted | Streaming, event: OthersSeen, around: Surroundings
) -> Outcome:
    """End the registration if another gateway has precedence, or may have replaced it.

    A gateway that agreed to be replaced may have sent a list before it left, so the list of this one is sent again.
    """
    before = registration.precedence
    look = before.while_open if isinstance(state, Streaming) else before.while_expected
    precedence, reason = look(event.others, around.now)
    seen, reports = see_others(registration, event, precedence)
    if reason is None:
        was_shared = isinstance(state, Streaming) and before.sharing - precedence.sharing
        return seen, (*reports, ListAgain()) if was_shared else reports
    after, actions = renew(seen, state.attempt, reason, around.now)
    return after, (*reports, *actions)


def agree(registration: Registration, _state: Streaming, _event: Agreed, _around: Surroundings) -> Outcome:
    """Note that the kubelet does not lose the stream to another gateway, because it holds several."""
    return registration._replace(precedence=registration.precedence._replace(holds_several=True)), ()


def give_way(registration: Registration, state: Accepted | Streaming, event: Replaced, around: Surroundings) -> Outcome:
    """End the registration, because a gateway that shared it has a stream. Stand by for that gateway.

    A word that was meant for the registration with an earlier kubelet changes nothing, and neither does that of a
    gateway that has ended since.
    """
    before = registration.precedence
    if not before.holds_several or not before.sees_stream_of(event.instance):
        return registration, ()
    precedence, wait = before.stand_by(frozenset({event.instance}), around.now)
    closed = close_dialed(registration, state.attempt, around.now)
    return closed._replace(state=StandingBy(around.now + wait), precedence=precedence), (Close(state.attempt),)


# Withdrawal.


def withdraw(registration: Registration, state: State, _event: Withdrawn, around: Surroundings) -> Outcome:
    """Close everything."""
    closed = registration
    if isinstance(state, Accepted | Streaming):
        closed = close_dialed(registration, state.attempt, around.now)
    return leave(closed)


def withdraw_later(registration: Registration, state: Registering, _event: Withdrawn, around: Surroundings) -> Outcome:
    """Wait for the answer. Without it, it is not known whether the kubelet will dial."""
    deadline = around.now + pauses.REMOVED_ANSWER.seconds
    # The lists have ended, so that a stream that the kubelet opens from now on is ended by the gateway.
    closed = registration.dials[state.attempt]._replace(is_closed_by_us=True)
    dials = {**registration.dials, state.attempt: closed}
    return registration._replace(state=Leaving(state.attempt, state.dialect, deadline), dials=dials), ()


def add_again(registration: Registration, state: Leaving, _event: Added, _around: Surroundings) -> Outcome:
    """Note that the resource is to be registered again."""
    return registration._replace(state=state._replace(is_added_again=True)), ()


def withdraw_again(registration: Registration, state: Leaving, _event: Withdrawn, _around: Surroundings) -> Outcome:
    """Note that the resource is not to be registered again."""
    return registration._replace(state=state._replace(is_added_again=False)), ()


def leave_answered(registration: Registration, state: Leaving, event: Answered, around: Surroundings) -> Outcome:
    """Close everything after the answer."""
    if event.attempt != state.attempt:
        return registration, ()
    return _left(close_answered(registration, state, event.refusal, around.now), state)


def leave_unanswered(registration: Registration, state: Leaving, _event: Tick, around: Surroundings) -> Outcome:
    """Close everything if the answer takes too long. The kubelet may still dial."""
    if around.now < state.deadline:
        return registration, ()
    after, actions = _left(close_unanswered(registration, state, around.now), state)
    return after, (Abandon(state.attempt), *actions)


def leave_kubelet(registration: Registration, state: Leaving, event: KubeletSeen, around: Surroundings) -> Outcome:
    """Close everything, because the kubelet that was asked is not there any more."""
    if _has_attempt(registration, state.attempt, event.kubelet):
        return registration, ()
    after, actions = _left(close_dialed(registration, state.attempt, around.now), state)
    return after, (Abandon(state.attempt), *actions)


def _left(registration: Registration, state: Leaving) -> Outcome:
    after, actions = leave(registration)
    return (after._replace(state=Waiting(), retry=Retry()), actions) if state.is_added_again else (after, actions)
