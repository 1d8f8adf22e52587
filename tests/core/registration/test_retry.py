"""When a resource is registered next."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_gateway.core.registration import pauses
from plugin_gateway.core.registration.failures import Failure, Reason
from plugin_gateway.core.registration.retry import JITTER, Retry, at_once

MIN, MAX = pauses.MIN_RETRY.seconds, pauses.MAX_RETRY.seconds
TIMES = st.floats(0, 1e6)
CHANCES = st.floats(0, 1)
FAILURES = st.sampled_from(sorted(set(Failure) - {Failure.NOBODY_LISTENS, Failure.CANNOT_SERVE}, key=str))


@given(TIMES)
def test_a_new_kubelet_is_registered_with_at_once(now: float) -> None:
    retry = at_once(Reason.KUBELET_REPLACED, now)
    assert (retry.reason, retry.not_before, retry.failures) == (Reason.KUBELET_REPLACED, now, 0)


@given(TIMES, st.lists(st.tuples(FAILURES, CHANCES), min_size=1, max_size=50))
def test_waits_double_up_to_a_limit_and_leave_some_of_it_to_chance(
    now: float, failed: list[tuple[Failure, float]]
) -> None:
    retry = at_once(Reason.KUBELET_APPEARED, now)
    for number, (failure, chance) in enumerate(failed):
        retry = retry.failed(failure, now, chance)
        expected = min(MIN * 2**number, MAX)
        wait = retry.not_before - now
        assert expected * (1 - JITTER) - 1e-6 <= wait <= expected * (1 + JITTER) + 1e-6


@given(TIMES, st.integers(1, 20))
def test_a_socket_that_cannot_be_made_is_tried_again_every_second(now: float, times: int) -> None:
    retry = Retry()
    for _ in range(times):
        retry = retry.failed(Failure.CANNOT_SERVE, now, 0.5)
        assert retry.not_before == now + pauses.BIND_RETRY.seconds


@given(TIMES, st.floats(1.1, 1e5))
def test_after_a_stream_that_lasted_the_same_kubelet_gets_its_pause(opened: float, lasted: float) -> None:
    retry = Retry(failures=9, streams_ended=9).stream_ended(opened=opened, ended=opened + lasted)
    assert 0.06 <= retry.not_before - (opened + lasted) <= 0.12
    assert retry.reason is Reason.STREAM_ENDED


def test_streams_that_never_last_are_registered_again_ever_more_slowly() -> None:
    now, waits = 0.0, list[float]()
    retry = at_once(Reason.KUBELET_APPEARED, now)
    for _ in range(12):
        retry = retry.succeeded().stream_ended(opened=now, ended=now + 0.1)
        waits.append(retry.not_before - now - 0.1)
        now = retry.not_before
    assert [round(wait, 3) for wait in waits] == sorted(round(wait, 3) for wait in waits)
    assert waits[0] < 0.12
    assert waits[-1] == pytest.approx(pauses.MAX_STREAM_RETRY.seconds)


def test_a_socket_that_is_just_being_made_is_tried_again_within_milliseconds() -> None:
    retry = at_once(Reason.KUBELET_APPEARED, 10.0).failed(Failure.NOBODY_LISTENS, 10.001, 0.5)
    assert retry.not_before - 10.001 < 0.01
    for _ in range(20):
        retry = retry.failed(Failure.NOBODY_LISTENS, 10.5, 0.5)
    assert retry.not_before - 10.5 == pytest.approx(MIN)
    retry = retry.failed(Failure.NOBODY_LISTENS, 12.0, 0.5)
    assert retry.not_before - 12.0 >= MIN * (1 - JITTER)


@given(TIMES, CHANCES)
def test_a_socket_that_lost_its_kubelet_is_tried_seldom(now: float, chance: float) -> None:
    """The next kubelet makes another socket, and that is seen."""
    retry = at_once(Reason.KUBELET_APPEARED, now).succeeded().failed(Failure.NOBODY_LISTENS, now + 0.1, chance)
    assert retry.not_before - now > 1
