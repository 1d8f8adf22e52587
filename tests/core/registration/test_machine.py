"""What the state machine of a registration does, one fact after the other."""

from collections.abc import Callable

import pytest

from core.registration.story import DIALECTS, ELDER, MIDDLE, NEWEST, OLDEST, UNKNOWN, YOUNGER, Story
from plugin_gateway.core.registration import pauses
from plugin_gateway.core.registration.failures import Failure, Reason, Refusal
from plugin_gateway.core.registration.states import (
    Absent,
    Accepted,
    Leaving,
    Queued,
    Registering,
    StandingBy,
    State,
    Streaming,
    Waiting,
)
from plugin_gateway.core.registration.values import (
    Abandon,
    Added,
    Answered,
    Close,
    CloseAll,
    KubeletGone,
    OthersSeen,
    Register,
    Renewed,
    ReportFailed,
    ReportRegistered,
    ReportStreamEnded,
    Reuse,
    SocketDeleted,
    Tick,
    TurnGiven,
    Withdrawn,
)

SAME, CLOSED, LATE = pauses.SAME_KUBELET.seconds, pauses.CLOSED_STREAM.seconds, pauses.LATE_DIAL.seconds
NO_ANSWER = Refusal(Failure.NO_ANSWER)
MIN = pauses.MIN_RETRY.seconds
LEFT = 0.25
"""Seconds within which a first retry comes."""


# The way to the stream.


def test_a_resource_without_a_kubelet_waits_for_one() -> None:
    story = Story().take(Added(), Tick())
    assert story.state == Waiting()
    assert story.registration.deadline == float("inf")
    assert story.kubelet().did(Register) == [Register(1, NEWEST, may_be_known=True, is_first=True)]


def test_a_kubelet_is_registered_with_and_opens_the_stream() -> None:
    story = Story().register()
    story.now += 0.02
    assert isinstance(story.accept().state, Accepted)
    assert story.open().state == Streaming(1, NEWEST)
    (report,) = story.did(ReportRegistered)
    assert (report.attempt, report.dialect) == (1, "v1beta1")
    assert report.took == pytest.approx(0.02)


def test_each_dialect_is_tried_until_one_is_accepted() -> None:
    story = Story().register()
    assert story.refuse(UNKNOWN).did(Register) == [Register(2, MIDDLE, may_be_known=True, is_first=False)]
    assert isinstance(story.refuse(Refusal(Failure.VERSION_REFUSED)).state, Queued)
    assert story.take(TurnGiven()).did(Register) == [Register(3, OLDEST, may_be_known=True, is_first=False)]
    assert story.accept().open().state == Streaming(3, OLDEST)


def test_the_failure_that_says_most_is_reported_when_no_dialect_is_left() -> None:
    refused = Refusal(Failure.VERSION_REFUSED)
    story = Story((NEWEST, MIDDLE)).register().refuse(refused).refuse(UNKNOWN)
    assert story.did(ReportFailed) == [ReportFailed(2, refused)]
    assert 0 < story.until_register() < LEFT


def test_a_stream_before_the_answer_counts_and_the_answer_is_not_needed() -> None:
    story = Story().register().ask().open()
    assert story.state == Streaming(1, NEWEST)
    assert story.refuse(NO_ANSWER).state == Streaming(1, NEWEST)
    assert story.actions == []


def test_an_answer_to_an_earlier_attempt_means_nothing() -> None:
    story = Story().stream().end()
    story.until_register()
    assert story.take(Answered(1, None)).state == Registering(2, story.now, NEWEST, ())
    assert isinstance(story.take(Withdrawn(), Answered(1, None)).state, Leaving)


def test_a_name_that_reached_nobody_is_used_again_and_any_other_is_not() -> None:
    assert Story().register().refuse(Refusal(Failure.NOBODY_LISTENS)).did(Reuse) == [Reuse(1)]
    assert Story().register().refuse().did(Close) == [Close(1)]


def test_a_stream_that_does_not_come_is_not_waited_for_longer_than_this_kubelet_needs() -> None:
    asked, not_asked = Story().register().ask().accept(), Story().register().accept()
    for story, seconds in ((asked, pauses.STREAM_AFTER_DIAL.seconds), (not_asked, NEWEST.stream_timeout)):
        assert isinstance(story.sleep(seconds - 0.01).state, Accepted)
        (report,) = story.sleep(0.02).did(ReportFailed)
        assert report.refusal.failure is Failure.NO_STREAM
        assert Close(1) in story.actions


# Pauses.


def test_a_stream_that_the_kubelet_ended_is_registered_again_after_the_short_pause() -> None:
    story = Story().stream().sleep(60).end()
    assert story.did(ReportStreamEnded)
    assert story.until_register() == pytest.approx(SAME)


def test_a_stream_that_the_gateway_ended_is_registered_again_after_the_long_pause() -> None:
    story = Story().stream().take(Renewed(Reason.DEVICES_LOST))
    assert story.did(Close) == [Close(1)]
    assert story.sleep(5).did(Register) == [], "the kubelet still holds it"
    assert story.end().until_register() == pytest.approx(CLOSED)


def test_an_answer_that_never_came_leaves_time_for_a_late_dial() -> None:
    """Kubelets of 1.25 to 1.34 go on to dial. When such a dial fails, they forget the newest connection."""
    assert Story().register().refuse(NO_ANSWER).until_register() == pytest.approx(LATE)
    assert Story((MIDDLE,)).register().refuse(NO_ANSWER).until_register() < LEFT


def test_an_answer_that_never_came_after_the_dial_leaves_time_to_notice_the_end() -> None:
    assert Story().register().ask().refuse(NO_ANSWER).until_register() == pytest.approx(CLOSED)


def test_a_refusal_after_the_dial_leaves_time_to_notice_the_end() -> None:
    refusal = Refusal(Failure.DIAL_BACK_FAILED)
    assert Story().register().ask().refuse(refusal).until_register() == pytest.approx(CLOSED)
    assert Story().register().refuse(refusal).until_register() < LEFT


def test_another_kubelet_needs_no_pause() -> None:
    assert Story().stream().end().sleep(0.01).kubelet().did(Register)
    assert Story().register().refuse(NO_ANSWER).sleep(0.01).kubelet().did(Register)


# The kubelet is replaced, or its socket is touched.


def at_registering() -> Story:
    return Story().register()


def at_accepted() -> Story:
    return Story().register().accept()


def at_streaming() -> Story:
    return Story().stream()


def at_standing_by() -> Story:
    story = Story()
    story.others = (ELDER,)
    return story.take(Added()).kubelet()


def at_queue() -> Story:
    story = Story((OLDEST,))
    return story.take(Added()).kubelet()


def at_leaving() -> Story:
    return Story().register().take(Withdrawn())


PLACES = {
    Registering: at_registering,
    Accepted: at_accepted,
    Streaming: at_streaming,
    StandingBy: at_standing_by,
    Queued: at_queue,
    Leaving: at_leaving,
}


@pytest.mark.parametrize(("state", "place"), PLACES.items(), ids=lambda each: each.__name__)
def test_each_place_is_the_one_that_its_name_says(state: type[State], place: Callable[[], Story]) -> None:
    assert isinstance(place().state, state)


@pytest.mark.parametrize("place", [at_registering, at_accepted])
def test_a_kubelet_that_is_replaced_before_the_stream_is_registered_with_at_once(place: Callable[[], Story]) -> None:
    assert place().kubelet().did(Register) == [Register(2, NEWEST, may_be_known=True, is_first=True)]


def test_a_stream_of_a_replaced_kubelet_is_waited_for_a_moment() -> None:
    story = at_streaming().kubelet()
    assert story.state == Waiting()
    assert story.until_register() == pytest.approx(pauses.OLD_STREAM.seconds)
    assert at_streaming().kubelet().end().until_register() == pytest.approx(SAME)


def test_an_old_stream_that_lives_on_ends_no_pause() -> None:
    story = at_streaming().kubelet()
    story.until_register()
    story.ask().accept().open().take(Renewed(Reason.DEVICES_LOST)).end()
    assert story.until_register() == pytest.approx(CLOSED)


def test_an_old_stream_that_ends_late_shortens_no_pause() -> None:
    story = at_streaming().kubelet()
    story.until_register()
    story.ask().accept().open().take(Renewed(Reason.DEVICES_LOST)).end().end(attempt=1)
    assert story.until_register() == pytest.approx(CLOSED)


def test_the_end_of_an_old_stream_does_not_disturb_the_new_one() -> None:
    story = at_streaming().kubelet()
    story.until_register()
    assert story.ask().accept().open().end(attempt=1).state == Streaming(2, NEWEST)


@pytest.mark.parametrize("place", [at_registering, at_accepted, at_streaming])
def test_a_socket_that_was_touched_changes_nothing(place: Callable[[], Story]) -> None:
    story = place()
    before = story.state
    assert story.kubelet(touched=True).state == before
    assert not story.actions


def test_a_kubelet_that_was_replaced_and_not_only_touched_is_registered_with_at_once() -> None:
    lost = Refusal(Failure.CONNECTION_LOST)
    story = Story().register().kubelet(touched=True).refuse(lost)
    assert story.until_register() == 0
    assert story.refuse(lost).until_register() == pytest.approx(MIN)
    deleted = Story().register().accept().kubelet(touched=True)
    assert deleted.take(SocketDeleted(deleted.attempt)).until_register() == 0
    assert Story().register().kubelet(touched=True).refuse().until_register() == pytest.approx(MIN)


def test_a_socket_that_was_touched_ends_no_long_pause() -> None:
    assert Story().register().refuse(NO_ANSWER).kubelet(touched=True).until_register() == pytest.approx(LATE)
    story = Story().stream().take(Renewed(Reason.DEVICES_LOST)).end().kubelet(touched=True)
    assert story.until_register() == pytest.approx(CLOSED)


@pytest.mark.parametrize("place", [at_registering, at_accepted, at_streaming, at_leaving])
def test_a_kubelet_sock_that_is_gone_ends_nothing_that_was_begun(place: Callable[[], Story]) -> None:
    """The file may come back. What an ended kubelet was asked, and its streams, break by themselves."""
    story = place()
    before = story.state
    assert (story.take(KubeletGone()).state, story.actions) == (before, [])
    assert at_queue().take(KubeletGone()).state == Waiting(), "nothing was sent"


def test_a_kubelet_sock_that_is_moved_away_and_back_lets_a_register_go_on() -> None:
    """The kubelet may still dial the endpoint, so a second Register would be lost with it."""
    story = at_registering().take(KubeletGone()).kubelet(touched=True)
    assert (story.state, story.actions) == (at_registering().state, [])
    assert isinstance(story.accept().open().state, Streaming)
    again = at_leaving().take(KubeletGone(), Added()).kubelet(touched=True).sleep(pauses.REMOVED_ANSWER.seconds)
    assert again.until_register() == pytest.approx(LATE)


def test_a_kubelet_that_ends_during_register_is_followed_by_the_next_one_at_once() -> None:
    lost = Refusal(Failure.CONNECTION_LOST)
    assert at_registering().take(KubeletGone()).refuse(lost).kubelet().did(Register)
    assert at_registering().take(KubeletGone()).kubelet().did(Register)
    same_inode = at_registering().take(KubeletGone()).kubelet(touched=True)
    assert same_inode.refuse(lost).until_register() == 0


def test_an_own_socket_that_is_deleted_cannot_be_dialed() -> None:
    story = at_accepted().take(SocketDeleted(1))
    assert [each.refusal.failure for each in story.did(ReportFailed)] == [Failure.SOCKET_DELETED]
    gone = at_accepted().take(KubeletGone(), SocketDeleted(1))
    assert isinstance(gone.state, Accepted), "a kubelet that starts deletes all sockets"


# Streams that nobody needs.


@pytest.mark.parametrize("place", [at_registering, at_accepted, at_streaming, at_standing_by, at_queue])
def test_a_stream_on_an_endpoint_that_was_given_up_is_ended(place: Callable[[], Story]) -> None:
    story = place()
    before = story.state
    assert story.open(attempt=99).did(Close) == [Close(99)]
    assert story.state == before


def test_a_useless_stream_has_to_end_before_the_next_register() -> None:
    story = Story().register().refuse().open(attempt=1)
    assert story.did(Close) == [Close(1)]
    assert story.sleep(60).did(Register) == []
    assert story.end(attempt=1).until_register() <= CLOSED


# Withdrawal.


@pytest.mark.parametrize("place", [at_accepted, at_streaming, at_standing_by, at_queue])
def test_a_withdrawn_resource_is_closed_at_once(place: Callable[[], Story]) -> None:
    story = place().take(Withdrawn())
    assert (story.state, story.actions) == (Absent(), [CloseAll()])


def test_a_resource_that_is_withdrawn_before_the_answer_waits_for_it() -> None:
    assert at_leaving().accept().actions == [CloseAll()]
    story = at_leaving().sleep(pauses.REMOVED_ANSWER.seconds)
    assert (story.state, story.actions) == (Absent(), [Abandon(1), CloseAll()])


def test_a_resource_that_is_added_again_meanwhile_is_registered_after_the_pause() -> None:
    assert at_leaving().take(Added()).accept().until_register() < LEFT
    assert at_leaving().ask().take(Added()).accept().until_register() == pytest.approx(CLOSED)
    assert at_leaving().take(Added()).refuse(NO_ANSWER).until_register() == pytest.approx(LATE)
    story = at_leaving().take(Added()).sleep(pauses.REMOVED_ANSWER.seconds)
    assert story.until_register() == pytest.approx(LATE)
    assert at_leaving().take(Added(), Withdrawn()).accept().state == Absent()


def test_a_stream_that_is_opened_after_the_withdrawal_is_ended_by_the_gateway() -> None:
    story = at_leaving().ask().open().end().accept()
    assert story.take(Added()).until_register() == pytest.approx(CLOSED)


# Settings.


def test_a_dialect_that_is_not_allowed_any_more_is_left() -> None:
    story = at_streaming()
    story.ladder = (MIDDLE,)
    assert story.take(Tick()).did(Close) == [Close(1)]
    story.end().until_register()
    assert story.did(Register) == [Register(2, MIDDLE, may_be_known=True, is_first=True)]
    queued = at_queue()
    queued.ladder = DIALECTS[:1]
    assert queued.take(Tick()).state == Waiting()


# Other gateways.


def test_who_stands_by_takes_over_when_the_other_is_gone_for_a_while() -> None:
    story = at_standing_by()
    story.others = ()
    assert pauses.TAKE_OVER.seconds <= story.until_register() <= 2 * pauses.TAKE_OVER.seconds
    assert story.registration.retry.reason is Reason.OTHER_GATEWAY_LEFT


def test_another_gateway_that_is_seen_during_register_is_known_when_the_stream_is_open() -> None:
    story = at_registering().take(OthersSeen([YOUNGER])).ask().accept()
    assert story.take(OthersSeen([])).state == Waiting(), "its registration may have replaced this one"
    elder = ELDER._replace(has_stream=True)
    story = at_registering().take(OthersSeen([elder])).ask().open()
    assert story.take(OthersSeen([elder])).state == Streaming(1, NEWEST)
    story.now += pauses.YIELD.seconds
    assert story.take(OthersSeen([elder])).did(Close) == [Close(1)]


def test_who_waits_for_its_turn_stands_by_for_an_elder() -> None:
    assert isinstance(at_queue().take(OthersSeen([ELDER])).state, StandingBy)
    assert isinstance(at_queue().take(OthersSeen([YOUNGER])).state, Queued)
