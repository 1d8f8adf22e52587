"""What a registration that stands by does when the other gateway leaves."""

import pytest

from core.registration.story import NEWEST
from plugin_gateway.core.registration import pauses
from plugin_gateway.core.registration.endings import Outcome
from plugin_gateway.core.registration.failures import Reason
from plugin_gateway.core.registration.machine import step
from plugin_gateway.core.registration.precedence import OtherGateway, Precedence
from plugin_gateway.core.registration.states import Registration, StandingBy, Streaming, Waiting
from plugin_gateway.core.registration.values import (
    Added,
    Agreed,
    Answered,
    AskedForOptions,
    Close,
    Event,
    Kubelet,
    KubeletSeen,
    ListAgain,
    LookForOthers,
    MayShare,
    OtherLeft,
    OthersSeen,
    Register,
    Replaced,
    StreamEnded,
    StreamOpened,
    Surroundings,
    Tick,
)

ELDER = OtherGateway("a", "a.sock", 1, has_stream=True)
SAME_KUBELET, TAKE_OVER = pauses.SAME_KUBELET.seconds, pauses.TAKE_OVER.seconds


def after(registration: Registration, *events: tuple[float, Event]) -> Outcome:
    """Return the registration after these events, and the actions of the last one."""
    actions: Outcome = (registration, ())
    for now, event in events:
        actions = step(actions[0], event, Surroundings(now, (NEWEST,)))
    return actions


@pytest.fixture
def standing_by() -> Registration:
    seen = KubeletSeen(Kubelet(1, 0.0, just_started=False), Reason.KUBELET_APPEARED)
    registration, _ = after(
        Registration(Precedence("b")), (0.0, seen), (1.0, Added()), (1.0, Tick()), (1.0, OthersSeen([ELDER]))
    )
    assert registration.state == StandingBy(1.0 + TAKE_OVER)
    return registration


def test_it_registers_when_the_kubelet_had_time_to_notice_the_end_of_the_others_stream(
    standing_by: Registration,
) -> None:
    left, actions = after(standing_by, (10.0, OthersSeen([ELDER])), (10.5, OtherLeft("a")))
    assert not actions
    assert left.deadline == 10.5 + SAME_KUBELET
    looked, actions = after(left, (left.deadline, Tick()))
    assert actions == (LookForOthers(),)
    registered, actions = after(looked, (left.deadline, OthersSeen([])))
    (register,) = actions
    assert isinstance(register, Register)
    assert register.may_be_known
    assert registered.retry.reason is Reason.OTHER_GATEWAY_LEFT


def test_it_looks_at_once_again_but_registers_no_earlier(standing_by: Registration) -> None:
    early, actions = after(standing_by, (10.0, OtherLeft("a")), (10.01, OthersSeen([])))
    assert (early.state, actions) == (Waiting(), ())
    assert early.deadline == 10.0 + SAME_KUBELET


def test_without_a_word_it_waits_as_long_as_a_kubelet_needs_to_start(standing_by: Registration) -> None:
    gone, _ = after(standing_by, (10.0, OthersSeen([])))
    assert gone.deadline == 10.0 + TAKE_OVER


def test_a_word_about_somebody_else_changes_nothing(standing_by: Registration) -> None:
    assert after(standing_by, (10.0, OtherLeft("c"))) == (standing_by, ())


def test_the_word_counts_too_if_the_kubelet_restarted_meanwhile(standing_by: Registration) -> None:
    seen = KubeletSeen(Kubelet(2, 10.0, just_started=True), Reason.KUBELET_REPLACED)
    left, _ = after(standing_by, (10.0, seen), (10.01, OtherLeft("a")))
    registered, actions = after(left, (10.09, Tick()), (10.09, OthersSeen([])))
    assert isinstance(actions[0], Register)
    assert registered.attempts == 1


def test_it_registers_beside_a_gateway_that_agrees_and_lets_it_end_without_another_register(
    standing_by: Registration,
) -> None:
    agreed, _ = after(standing_by, (10.0, MayShare("a")))
    assert agreed.deadline == 10.0
    registering, actions = after(agreed, (10.0, Tick()), (10.01, OthersSeen([ELDER])))
    assert isinstance(actions[-1], Register)
    assert actions[-1].may_be_known
    assert registering.retry.reason is Reason.OTHER_GATEWAY_AGREED
    streaming, _ = after(registering, (10.02, AskedForOptions(1)), (10.03, Answered(1, None)), (10.04, StreamOpened(1)))
    both, actions = after(streaming, (20.0, OthersSeen([ELDER])))
    assert not actions
    alone, actions = after(both, (20.1, OthersSeen([])))
    assert actions == (ListAgain(),)
    assert not after(alone, (20.2, OthersSeen([])))[1]
    assert isinstance(alone.state, Streaming)


def test_an_agreement_holds_for_a_limited_time_and_for_one_kubelet(standing_by: Registration) -> None:
    agreed, _ = after(standing_by, (10.0, MayShare("a")))
    late = 10.0 + pauses.SHARE.seconds
    assert after(agreed, (late, OthersSeen([ELDER])))[0].state == StandingBy(late + TAKE_OVER)
    seen = KubeletSeen(Kubelet(2, 10.1, just_started=True), Reason.KUBELET_REPLACED)
    assert after(agreed, (10.1, seen), (10.2, OthersSeen([ELDER])))[0].state == StandingBy(10.2 + TAKE_OVER)


def test_a_gateway_that_agrees_and_ends_at_once_has_left(standing_by: Registration) -> None:
    agreed, _ = after(standing_by, (10.0, MayShare("a")), (10.01, OtherLeft("a")))
    registering, actions = after(agreed, (10.1, OthersSeen([])))
    assert isinstance(actions[-1], Register)
    assert registering.retry.reason is Reason.OTHER_GATEWAY_LEFT


def test_a_gateway_that_was_not_awaited_cannot_agree(standing_by: Registration) -> None:
    assert after(standing_by, (10.0, MayShare("c"))) == (standing_by, ())


@pytest.fixture
def elder() -> Registration:
    """The elder, whose stream is open since 1.2."""
    seen = KubeletSeen(Kubelet(1, 0.0, just_started=False), Reason.KUBELET_APPEARED)
    registration, _ = after(
        Registration(Precedence("a")),
        (0.0, seen),
        (1.0, Added()),
        (1.0, Tick()),
        (1.0, OthersSeen([])),
        (1.05, AskedForOptions(1)),
        (1.1, Answered(1, None)),
        (1.2, StreamOpened(1)),
    )
    return registration


YOUNGER = OtherGateway("b", "b.sock", 2, has_stream=True)


def test_an_elder_that_agreed_goes_on_with_its_stream_when_the_younger_ends(elder: Registration) -> None:
    alone, actions = after(elder, (9.0, Agreed()), (9.5, OthersSeen([YOUNGER])), (10.0, OthersSeen([])))
    assert isinstance(alone.state, Streaming)
    assert not actions
    _, actions = after(elder, (9.5, OthersSeen([YOUNGER])), (10.0, OthersSeen([])))
    assert actions == (Close(1),)


def test_what_was_agreed_counts_for_one_kubelet(elder: Registration) -> None:
    seen = KubeletSeen(Kubelet(2, 9.1, just_started=True), Reason.KUBELET_REPLACED)
    assert not after(elder, (9.0, Agreed()), (9.1, seen))[0].precedence.holds_several


def test_a_late_word_that_the_elder_was_replaced_changes_nothing_for_another_kubelet(elder: Registration) -> None:
    seen = KubeletSeen(Kubelet(2, 9.1, just_started=True), Reason.KUBELET_REPLACED)
    again, _ = after(elder, (9.0, Agreed()), (9.05, StreamEnded(1)), (9.1, seen), (9.1, OthersSeen([])))
    streaming, _ = after(again, (9.2, Answered(2, None)), (9.3, StreamOpened(2)))
    assert isinstance(streaming.state, Streaming)
    both, _ = after(streaming, (9.4, OthersSeen([YOUNGER])))
    assert after(both, (9.4, Replaced("b"))) == (both, ())


@pytest.mark.parametrize("others", [[], [YOUNGER._replace(has_stream=False)]], ids=["it ended", "without stream"])
def test_a_late_word_of_a_younger_gateway_without_a_stream_changes_nothing(
    others: list[OtherGateway], elder: Registration
) -> None:
    agreed, _ = after(elder, (9.0, Agreed()), (9.5, OthersSeen([YOUNGER])), (10.0, OthersSeen(others)))
    assert after(agreed, (10.0, Replaced("b"))) == (agreed, ())


def test_a_gateway_that_was_replaced_needs_no_long_pause_when_the_younger_ends(elder: Registration) -> None:
    replaced, _ = after(elder, (9.0, Agreed()), (10.0, OthersSeen([YOUNGER])), (10.0, Replaced("b")))
    left, _ = after(replaced, (10.01, StreamEnded(1)), (10.1, OtherLeft("b")))
    assert left.deadline == 10.1 + SAME_KUBELET


def test_a_gateway_that_is_replaced_ends_its_stream_and_stands_by_for_the_other_one(elder: Registration) -> None:
    replaced, actions = after(elder, (9.0, Agreed()), (10.0, OthersSeen([YOUNGER])), (10.0, Replaced("b")))
    assert (replaced.state, actions) == (StandingBy(10.0 + TAKE_OVER), (Close(1),))
    assert replaced.precedence.awaited == {"b"}
    ended, _ = after(replaced, (10.01, StreamEnded(1)))
    assert after(ended, (12.0, OthersSeen([YOUNGER])))[0].state == StandingBy(12.0 + TAKE_OVER)
    left, _ = after(ended, (20.0, OtherLeft("b")))
    assert left.deadline == 20.0 + SAME_KUBELET
