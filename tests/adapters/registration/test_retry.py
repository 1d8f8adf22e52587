"""When a resource is registered next."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_gateway.adapters.registration.client import Failure
from plugin_gateway.adapters.registration.retry import (
    BIND_RETRY,
    JITTER,
    MAX_RETRY,
    MAX_STREAM_RETRY,
    MIN_RETRY,
    Reason,
    Schedule,
)

TIMES = st.floats(0, 1e6)
CHANCES = st.floats(0, 1)
FAILURES = st.sampled_from(sorted(set(Failure) - {Failure.NOBODY_LISTENS, Failure.CANNOT_SERVE}, key=str))


@given(TIMES)
def test_a_new_kubelet_is_registered_with_at_once(now: float) -> None:
    schedule = Schedule(failures=7, not_before=now + 100)
    schedule.start_over(Reason.KUBELET_REPLACED, now)
    assert (schedule.not_before, schedule.failures) == (now, 0)


@given(TIMES, st.lists(st.tuples(FAILURES, CHANCES), min_size=1, max_size=50))
def test_waits_double_up_to_a_limit_and_leave_some_of_it_to_chance(
    now: float, failed: list[tuple[Failure, float]]
) -> None:
    schedule = Schedule()
    schedule.start_over(Reason.KUBELET_APPEARED, now)
    for number, (failure, chance) in enumerate(failed):
        schedule.failed(failure, now, chance)
        expected = min(MIN_RETRY * 2**number, MAX_RETRY)
        wait = schedule.not_before - now
        assert expected * (1 - JITTER) - 1e-6 <= wait <= expected * (1 + JITTER) + 1e-6


@given(TIMES, st.integers(1, 20))
def test_a_socket_that_cannot_be_made_is_tried_again_every_second(now: float, times: int) -> None:
    schedule = Schedule()
    for _ in range(times):
        schedule.failed(Failure.CANNOT_SERVE, now, 0.5)
        assert schedule.not_before == now + BIND_RETRY


@given(TIMES, st.floats(1.1, 1e5))
def test_after_a_stream_that_lasted_the_same_kubelet_gets_its_pause(opened: float, lasted: float) -> None:
    schedule = Schedule(failures=9, _streams_ended=9)
    schedule.stream_ended(opened=opened, ended=opened + lasted)
    assert 0.06 <= schedule.not_before - (opened + lasted) <= 0.12
    assert schedule.reason is Reason.STREAM_ENDED


def test_streams_that_never_last_are_registered_again_ever_more_slowly() -> None:
    schedule, now, waits = Schedule(), 0.0, list[float]()
    schedule.start_over(Reason.KUBELET_APPEARED, now)
    for _ in range(12):
        schedule.succeeded()
        schedule.stream_ended(opened=now, ended=now + 0.1)
        waits.append(schedule.not_before - now - 0.1)
        now = schedule.not_before
    assert [round(wait, 3) for wait in waits] == sorted(round(wait, 3) for wait in waits)
    assert waits[0] < 0.12
    assert waits[-1] == pytest.approx(MAX_STREAM_RETRY)


def test_a_socket_that_is_just_being_made_is_tried_again_within_milliseconds() -> None:
    schedule = Schedule()
    schedule.start_over(Reason.KUBELET_APPEARED, 10.0)
    schedule.failed(Failure.NOBODY_LISTENS, 10.001, 0.5)
    assert schedule.not_before - 10.001 < 0.01
    for _ in range(20):
        schedule.failed(Failure.NOBODY_LISTENS, 10.5, 0.5)
    assert schedule.not_before - 10.5 == pytest.approx(MIN_RETRY)
    schedule.failed(Failure.NOBODY_LISTENS, 12.0, 0.5)
    assert schedule.not_before - 12.0 >= MIN_RETRY * (1 - JITTER)


@given(TIMES, CHANCES)
def test_a_socket_that_lost_its_kubelet_is_tried_seldom(now: float, chance: float) -> None:
    """The next kubelet makes another socket, and that is seen."""
    schedule = Schedule()
    schedule.start_over(Reason.KUBELET_APPEARED, now)
    schedule.succeeded()
    schedule.failed(Failure.NOBODY_LISTENS, now + 0.1, chance)
    assert schedule.not_before - now > 1
