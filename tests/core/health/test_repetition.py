"""Evidence on which the policy acts only when it is repeated: reported until then, and kept over a restart."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.health.story import ASKING, GPU, OTHER, POLICY, SEEN, WELL, Story, at
from plugin_gateway.core.health.changes import Changes, Note, Significance
from plugin_gateway.core.health.faults import Stage
from plugin_gateway.core.health.memory import recall, remember
from plugin_gateway.core.health.observations import DevicesChecked, DriverSeen, EvidenceReported
from plugin_gateway.core.health.policy import Action, Decision
from plugin_gateway.core.health.repetition import MAX_COUNT, Progress, progress
from plugin_gateway.core.health.state import State
from plugin_gateway.core.health.state_function import advance
from plugin_gateway.nvidia.evidence import XID, xid_kind

TIMES, WINDOW = 3, 600.0
REPEATED = Decision(Action.UNTIL_RESET, "file:1", TIMES, WINDOW)
POLICY_94 = POLICY.with_decisions({xid_kind(94): REPEATED})
TOLD = EvidenceReported(xid_kind(94), GPU)


def test_it_is_reported_until_it_was_repeated_often_enough() -> None:
    story = Story(POLICY_94)
    for number in range(1, TIMES):
        noted = Note(GPU, xid_kind(94), "XID 94", Significance.REPORTED, progress=f"{number} of 3 within 600 s")
        assert story.see(TOLD).changes == Changes(notes=(noted,))
        story.sleep(WINDOW / TIMES)
    assert story.see(TOLD).stage is Stage.UNHEALTHY
    assert story.fault.reason == "XID 94, 3 times within 600 s"
    assert story.fault.lacks.startswith("a reset")


def test_what_was_reported_before_the_window_does_not_count() -> None:
    story = Story(POLICY_94).see(TOLD, TOLD).sleep(WINDOW)
    assert story.see(TOLD, TOLD).stage is Stage.HEALTHY
    assert story.see(TOLD).stage is Stage.UNHEALTHY


@pytest.mark.parametrize(
    ("times", "stage"), [(TIMES - 1, Stage.HEALTHY), (TIMES, Stage.UNHEALTHY), (10**9, Stage.UNHEALTHY)]
)
def test_a_storm_that_arrives_as_one_report_counts_as_many(times: int, stage: Stage) -> None:
    story = Story(POLICY_94).see(TOLD._replace(times=times))
    assert story.stage is stage
    assert sum(len(each) for each in story.state.repeated[GPU].values()) <= TIMES


def test_how_far_it_is_is_known_and_ends_with_the_window() -> None:
    story = Story(POLICY_94).see(TOLD).sleep(WINDOW - 1).see(TOLD)
    known = story.state.repeated[GPU]
    assert progress(known, story.now, POLICY_94.about) == (Progress(xid_kind(94), 2, TIMES, WINDOW),)
    assert progress(known, story.now + 1, POLICY_94.about) == (Progress(xid_kind(94), 1, TIMES, WINDOW),)
    assert progress(known, story.now + WINDOW, POLICY_94.about) == ()
    assert progress(known, story.now, POLICY.about) == (), "the policy needs no repetition any more"


def test_each_device_and_each_kind_counts_for_itself() -> None:
    policy = replace(POLICY_94, families={XID: REPEATED})
    story = Story(policy).see(TOLD, TOLD, TOLD._replace(scope=OTHER), EvidenceReported(xid_kind(4000), GPU))
    assert not story.state.faults
    assert story.see(TOLD._replace(scope=OTHER, times=2)).state.faults.keys() == {OTHER}


def test_once_it_has_been_repeated_each_further_report_counts() -> None:
    story = Story(POLICY_94).see(TOLD, TOLD, TOLD)
    assert story.see(TOLD).changes.notes == (
        Note(GPU, xid_kind(94), "XID 94, 3 times within 600 s", Significance.REPEATED),
    )


@pytest.mark.parametrize("how", ["new driver", "asked and no longer", "clear"])
def test_after_its_cure_it_counts_anew(how: str) -> None:
    story = Story(POLICY_94).see(DriverSeen("1", "1"), TOLD, TOLD, TOLD)
    if how == "new driver":
        story.see(DriverSeen("1", "2")).check()
    elif how == "asked and no longer":
        story.check(ASKING).check()
    else:
        story.clear()
    assert story.sleep(POLICY.quiet_time).stage is Stage.HEALTHY
    assert story.see(TOLD, TOLD).stage is Stage.HEALTHY
    assert story.see(TOLD).stage is Stage.UNHEALTHY


def test_a_restart_keeps_the_count_and_a_reboot_does_not() -> None:
    state = Story(POLICY_94).see(TOLD, TOLD).state
    same, other = (recall(remember(state, "boot"), boot, uptime=5.0) for boot in ("boot", "another"))
    for recalled, stage in ((same, Stage.UNHEALTHY), (other, Stage.HEALTHY)):
        after, _ = advance(recalled, SEEN, at(5), POLICY_94)
        assert advance(after, TOLD, at(5), POLICY_94)[0].stage_of(GPU) is stage


def test_a_time_in_the_future_is_not_kept() -> None:
    memory = remember(State(), "boot")._replace(repeated={GPU: {xid_kind(94): (5.0, 900.0, 1e9)}})
    assert recall(memory, "boot", uptime=900.0).repeated == {GPU: {xid_kind(94): (5.0, 900.0)}}


def test_what_is_no_longer_in_its_window_is_forgotten_with_the_next_report() -> None:
    policy = replace(POLICY_94, families={XID: REPEATED})
    story = Story(policy).see(*(EvidenceReported(xid_kind(number), GPU) for number in range(1000, 1100)))
    assert len(story.state.repeated[GPU]) == 100
    assert story.sleep(WINDOW).see(TOLD).state.repeated == {GPU: {xid_kind(94): (story.now,)}}


@given(
    st.lists(st.tuples(st.sampled_from((0.0, 1.0, 30.0, 400.0)), st.integers(1, 5)), min_size=1, max_size=12),
    st.integers(2, MAX_COUNT),
    st.sampled_from((1.0, 60.0, 900.0)),
)
def test_it_acts_as_soon_as_the_window_has_enough_and_never_before(
    reports: list[tuple[float, int]], times: int, window: float
) -> None:
    """The model counts all reports of the past."""
    policy = POLICY.with_decisions({xid_kind(94): Decision(Action.UNTIL_RESET, "file:1", times, window)})
    story, told = Story(policy), list[float]()
    for pause, number in reports:
        story.sleep(pause).see(TOLD._replace(times=number)).see(DevicesChecked({GPU: WELL, OTHER: WELL}))
        told += [story.now] * number
        expected = sum(story.now - each < window for each in told) >= times
        assert (story.stage is Stage.UNHEALTHY) is expected
        assert len(story.state.repeated[GPU][xid_kind(94)]) <= times
        if expected:
            return
