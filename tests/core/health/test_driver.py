"""What a driver that is silent, gone or new means for the devices."""

import pytest

from core.health.story import GPU, OTHER, POLICY, SEEN, Story, at, ids_of
from plugin_gateway.core.health.changes import Changes, DriverChange, Note, Significance, SilenceChange
from plugin_gateway.core.health.faults import Stage
from plugin_gateway.core.health.observations import (
    DriverSeen,
    DriverSilence,
    DriverUnavailable,
    EventsAwaited,
    EvidenceReported,
    Observation,
)
from plugin_gateway.core.health.policy import DRIVER_GONE, Action, Decision
from plugin_gateway.core.health.state import State
from plugin_gateway.core.health.state_function import advance, due, wait
from plugin_gateway.nvidia.evidence import xid_kind


def test_a_driver_is_silent_from_ten_seconds_on() -> None:
    state, changes = advance(State(), DriverSilence(9.9), at(0), POLICY)
    assert (state.driver_is_silent, changes) == (False, Changes())
    state, changes = advance(state, DriverSilence(12.0), at(0), POLICY)
    assert changes == Changes(silence=SilenceChange(silent=True, seconds=12.0))
    state, changes = advance(state, DriverSilence(0.0), at(0), POLICY)
    assert changes == Changes(silence=SilenceChange(silent=False, seconds=0.0))


def test_a_driver_is_away_since_its_last_sign_or_since_it_cannot_be_asked() -> None:
    story = Story()
    story.now = 100.0
    assert story.see(DriverSilence(12.0)).state.driver_away_since == 88.0
    story.now = 105.0
    assert story.see(DriverSilence(17.5)).state.driver_away_since == 88.0
    assert story.see(DriverUnavailable("no driver")).state.driver_away_since == 88.0
    assert story.see(DriverSilence(0.0)).state.driver_away_since == 105.0
    assert story.see(SEEN).state.driver_away_since is None


def test_a_driver_that_is_gone_can_be_no_more_than_reported() -> None:
    policy = POLICY.with_decisions({DRIVER_GONE: Decision(Action.REPORT, "file:3")})
    story = Story(policy).see(DriverSilence(31.0))
    assert story.changes.notes == (Note(None, DRIVER_GONE, "the driver does not answer", Significance.REPORTED),)
    assert story.see(DriverSilence(36.0)).changes == Changes()
    assert story.stage is Stage.HEALTHY
    story.policy = POLICY
    assert story.see(DriverSilence(41.0)).stage is Stage.UNHEALTHY, "the admin thinks otherwise now"


def test_a_driver_that_is_gone_for_a_moment_takes_no_device_along() -> None:
    story = Story().see(DriverUnavailable("no library")).sleep(29.9)
    assert ids_of(story.state) == {GPU, OTHER}
    assert story.state.faults == {}
    story.see(SEEN)
    assert story.changes.driver == DriverChange(problem=None)
    assert story.sleep(600).state.faults == {}


def test_a_time_in_which_the_process_did_not_run_is_no_time_without_a_driver() -> None:
    """What the backend reported just before is read after it."""
    story = Story().see(DriverUnavailable("no library"))
    story.now += 3600
    story.see(EventsAwaited("this process did not run for 3600 s"), EventsAwaited(None), DriverUnavailable("no GPU"))
    assert story.state.faults == {}
    assert story.sleep(29.9).state.faults == {}
    assert story.sleep(0.1).stage is Stage.UNHEALTHY


@pytest.mark.parametrize("action", [Action.UNHEALTHY, Action.IGNORE, Action.UNTIL_REBOOT])
def test_a_driver_that_is_released_takes_every_device_along_at_once_until_a_check(action: Action) -> None:
    """Whatever the policy says about a driver that is gone: without it no device works. It is no reason for a reset."""
    released = DriverUnavailable("released for 120 s", is_released=True)
    story = Story(POLICY.with_decisions({DRIVER_GONE: Decision(action, "file:3")})).see(released)
    assert {fault.reason for fault in story.state.faults.values()} == {"released for 120 s"}
    assert story.changes.driver == DriverChange("released for 120 s")
    for _ in range(5):
        story.see(SEEN).check().sleep(60)
        assert story.state.faults == {}
        story.see(released).sleep(120)
        assert story.stage is Stage.UNHEALTHY
    assert not story.fault.is_flapping
    assert story.fault.lacks == "a driver that answers"


def test_a_driver_that_is_released_before_it_was_seen_is_missing_like_any_other() -> None:
    state, changes = advance(State(), DriverUnavailable("released", is_released=True), at(0), POLICY)
    assert (state.faults, changes.driver) == ({}, DriverChange("released"))


@pytest.mark.parametrize("away", [DriverUnavailable("no library"), DriverSilence(31.0)])
def test_a_driver_that_never_came_up_counts_as_gone_in_the_end(away: Observation) -> None:
    state, _ = advance(State(), away, at(0), POLICY)
    assert (due(state, POLICY), state.driver_is_gone) in {(30.0, False), (None, True)}
    state, _ = wait(state, at(30.0), POLICY)
    assert state.driver_is_gone
    assert (state.faults, due(state, POLICY)) == ({}, None)
    state, _ = advance(state, SEEN, at(40.0), POLICY)
    assert (state.driver_is_gone, state.faults) == (False, {})


@pytest.mark.parametrize("away", [DriverUnavailable("no library"), DriverSilence(11.0)])
def test_a_time_in_which_the_driver_says_nothing_is_no_quiet_time(away: Observation) -> None:
    story = Story().see(EvidenceReported(xid_kind(1000), GPU)).check().sleep(59).see(away)
    assert story.stage is Stage.UNHEALTHY
    assert story.see(SEEN, DriverSilence(0.0)).sleep(600).stage is Stage.UNHEALTHY
    assert story.check().sleep(59).stage is Stage.PROBATION
    assert story.sleep(1).stage is Stage.HEALTHY


def test_a_driver_that_stays_away_takes_every_device_along_until_it_is_back_and_quiet() -> None:
    story = Story().see(DriverUnavailable("no library")).sleep(20).see(DriverUnavailable("no GPU")).sleep(10)
    assert {fault.reason for fault in story.state.faults.values()} == {"the driver is gone: no GPU"}
    assert {change.device for change in story.changes.health} == {GPU, OTHER}
    assert story.sleep(600).stage is Stage.UNHEALTHY
    story.see(SEEN).sleep(600)
    assert story.stage is Stage.UNHEALTHY, "an inventory says nothing about health"
    assert story.check().stage is Stage.PROBATION
    assert story.sleep(60).state.faults == {}


def test_a_driver_that_hangs_takes_every_device_along_until_it_answers() -> None:
    story = Story().see(DriverSilence(29.0))
    assert story.state.faults == {}
    story.see(DriverSilence(31.0), DriverSilence(36.0))
    assert {fault.reason for fault in story.state.faults.values()} == {"the driver does not answer"}
    assert story.see(DriverSilence(0.0)).check().stage is Stage.PROBATION
    assert story.see(DriverSilence(31.0)).stage is Stage.UNHEALTHY


def test_a_new_driver_is_told_once() -> None:
    story = Story().see(DriverSeen("575", "1"))
    assert story.changes.seen == DriverSeen("575", "1")
    assert story.see(DriverSeen("575", "1")).changes == Changes()
