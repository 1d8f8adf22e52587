"""What several transitions do: they end an attempt, and say what follows."""

from collections.abc import Mapping

from plugin_gateway.core.registration import pauses
from plugin_gateway.core.registration.failures import Failure, Reason, Refusal
from plugin_gateway.core.registration.precedence import Precedence
from plugin_gateway.core.registration.retry import at_once
from plugin_gateway.core.registration.states import (
    Absent,
    Accepted,
    Dial,
    Leaving,
    PendingDial,
    Registering,
    Registration,
    Waiting,
)
from plugin_gateway.core.registration.values import (
    Action,
    Close,
    CloseAll,
    OthersSeen,
    ReportFailed,
    ReportOther,
    Reuse,
    Surroundings,
)

Outcome = tuple[Registration, tuple[Action, ...]]
"""The registration after an event, and what is to be done, in this order."""


def without(dials: Mapping[int, Dial], attempt: int) -> Mapping[int, Dial]:
    """Return the other attempts."""
    return {each: dial for each, dial in dials.items() if each != attempt}


def forget(registration: Registration, attempt: int) -> Registration:
    """Return the registration without an attempt, unless its stream is open."""
    dial = registration.dials.get(attempt)
    if dial is None or dial.opened is not None:
        return registration
    return registration._replace(dials=without(registration.dials, attempt))


def close(registration: Registration, attempt: int, now: float, pause: float) -> Registration:
    """Return the registration with the endpoint of an attempt closed by the gateway.

    ``pause`` is for how many seconds the kubelet may still dial it.
    """
    dial = registration.dials.get(attempt)
    if dial is None:
        return registration
    if dial.opened is not None:
        closed = dial._replace(is_closed_by_us=True)
        return registration._replace(dials={**registration.dials, attempt: closed})
    pending = PendingDial(dial.life, now + pause) if pause else registration.pending
    return registration._replace(dials=without(registration.dials, attempt), pending=pending)


def close_dialed(registration: Registration, attempt: int, now: float) -> Registration:
    """Close the endpoint of an attempt. A kubelet that has dialed back may be about to open the stream."""
    dial = registration.dials.get(attempt)
    has_dialed = dial is not None and dial.asked_for_options
    return close(registration, attempt, now, pauses.CLOSED_STREAM.seconds if has_dialed else 0.0)


def close_unanswered(registration: Registration, state: Registering | Accepted | Leaving, now: float) -> Registration:
    """Close the endpoint of an attempt whose answer is not awaited any more. The kubelet may dial it for a while."""
    dial = registration.dials.get(state.attempt)
    if not state.dialect.dials_before_answer or (dial is not None and dial.asked_for_options):
        return close_dialed(registration, state.attempt, now)
    return close(registration, state.attempt, now, pauses.LATE_DIAL.seconds)


def close_answered(
    registration: Registration, state: Registering | Accepted | Leaving, refusal: Refusal | None, now: float
) -> Registration:
    """Close the endpoint of an attempt that has ended with this refusal, or with none."""
    if refusal is not None and refusal.failure is Failure.NO_ANSWER:
        return close_unanswered(registration, state, now)
    return close_dialed(registration, state.attempt, now)


def renew(registration: Registration, attempt: int, reason: Reason, now: float) -> Outcome:
    """End the registration. The next one is due as soon as the pauses allow it."""
    retry = at_once(reason, now)._replace(not_before=now + pauses.SAME_KUBELET.seconds)
    closed = close_dialed(registration, attempt, now)
    return closed._replace(state=Waiting(), retry=retry), (Close(attempt),)


def fail(registration: Registration, state: Registering | Accepted, refusal: Refusal, around: Surroundings) -> Outcome:
    """Schedule the next attempt. It needs another endpoint if the name of this one may have reached the kubelet."""
    retry = registration.retry.failed(refusal.failure, around.now, around.chance)
    after = registration._replace(state=Waiting(), retry=retry)
    if refusal.reached_nobody:
        return forget(after, state.attempt), (ReportFailed(state.attempt, refusal), Reuse(state.attempt))
    closed = close_answered(after, state, refusal, around.now)
    return closed, (ReportFailed(state.attempt, refusal), Close(state.attempt))


def leave(registration: Registration) -> Outcome:
    """Close everything. The streams that are open end."""
    dials = {attempt: dial._replace(is_closed_by_us=True) for attempt, dial in registration.dials.items()}
    return registration._replace(state=Absent(), dials=dials), (CloseAll(),)


def see_others(
    registration: Registration, others: OthersSeen, precedence: Precedence
) -> tuple[Registration, tuple[ReportOther, ...]]:
    """Return the registration with what is known of other gateways, and a report about each that is news."""
    before, reports = dict(registration.precedence.known), []
    for other in others.others:
        goes_first = precedence.known[other.instance]
        if before.get(other.instance) is not goes_first:
            before[other.instance] = goes_first
            reports.append(ReportOther(other, goes_first))
    return registration._replace(precedence=precedence), tuple(reports)
