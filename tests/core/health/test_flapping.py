"""A device that comes and goes stays out, unless it is not its own fault."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.health.story import GPU, LOST, OTHER, POLICY, WELL, Story
from core.strategies import HISTORIES
from harness.devices import device, inventory
from plugin_gateway.core.devices import FaultId
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.faults import Checkup, Stage
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverSeen,
    DriverSilence,
    EvidenceReported,
    InventorySeen,
    Observation,
)
from plugin_gateway.core.health.policy import NOT_ANSWERING, HealthPolicy
from plugin_gateway.core.health.state_function import due
from plugin_gateway.nvidia.evidence import xid_kind


def test_what_strikes_every_device_at_once_is_no_flapping_of_any() -> None:
    story = Story()
    for _ in range(POLICY.flap_count + 1):
        story.see(DevicesChecked({GPU: LOST, OTHER: LOST})).check().sleep(60)
        assert story.stage is Stage.HEALTHY


def test_a_driver_that_comes_and_goes_is_no_flapping_of_its_devices() -> None:
    story = Story()
    for _ in range(6):
        story.see(DriverSilence(31.0), DriverSilence(0.0)).check().sleep(60)
        assert story.state.faults == {}


def test_a_device_that_comes_and_goes_stays_out_the_third_time() -> None:
    story = Story()
    for _ in range(2):
        story.see(EvidenceReported(xid_kind(1000), GPU)).check().sleep(60)
        assert story.stage is Stage.HEALTHY
    story.see(EvidenceReported(xid_kind(1000), GPU)).check().sleep(600)
    assert story.stage is Stage.UNHEALTHY
    assert "taken out too often" in story.fault.lacks
    assert story.restart().check().sleep(600).stage is Stage.UNHEALTHY
    story.see(DriverSeen("575", "1"), DriverSeen("575", "2"))
    assert story.check().sleep(60).stage is Stage.HEALTHY


def test_faults_that_are_further_apart_than_the_window_are_no_flapping() -> None:
    story = Story()
    for _ in range(10):
        story.see(EvidenceReported(xid_kind(1000), GPU)).check().sleep(1801)
        assert story.stage is Stage.HEALTHY


LINKS = HealthPolicy(quiet_time=10.0, longest_quiet_time=300.0)
"""A policy for what comes and goes without harm, such as a cable."""


def unplug(story: Story) -> float:
    """Have a problem that ends at once, and return the seconds from then on in which the device is not given out."""
    story.check(LOST).check(WELL)
    assert GPU in story.state.faults
    began = story.now
    while (until := due(story.state, story.policy)) is not None:
        story.sleep(until - story.now)
    assert GPU not in story.state.faults
    return story.now - began


def test_the_quiet_time_doubles_with_each_fault_up_to_the_longest_and_no_reset_is_needed() -> None:
    story = Story(LINKS)
    assert [unplug(story) for _ in range(8)] == [10, 20, 40, 80, 160, 300, 300, 300]


def test_the_quiet_time_is_the_usual_one_again_when_no_fault_was_within_the_window() -> None:
    story = Story(LINKS)
    assert [unplug(story) for _ in range(3)] == [10, 20, 40]
    story.sleep(LINKS.flap_window)
    assert unplug(story) == 10


def test_people_and_programs_are_told_the_longer_quiet_time() -> None:
    story = Story(LINKS)
    unplug(story)
    story.check(LOST).check(WELL)
    assert story.fault.lacks == "a quiet time of 20 s (it comes and goes)"
    assert story.changes.health[0].lacks == story.fault.lacks
    story.sleep(5)
    assert story.fault.quiet_left(LINKS, story.now) == 15
    assert due(story.state, LINKS) == story.now + 15
    assert story.check(LOST).fault.lacks == "a check that no longer finds 'does not answer'"
    usual = Story(LINKS)
    assert usual.check(LOST).check(WELL).fault.lacks == "a quiet time"


def test_a_fault_during_the_quiet_time_begins_it_again_and_counts_once() -> None:
    story = Story(LINKS)
    unplug(story)
    for _ in range(5):
        story.check(LOST).check(WELL).sleep(19)
        assert story.stage is Stage.PROBATION
    assert story.sleep(1).stage is Stage.HEALTHY
    assert unplug(story) == 40


def test_the_longer_quiet_time_is_kept_over_a_restart_and_forgiven_by_a_reboot_and_by_an_operator() -> None:
    story = Story(LINKS)
    for _ in range(2):
        unplug(story)
    story.check(LOST).check(WELL).restart().check(WELL)
    assert story.fault.quiet_left(LINKS, story.now) == 40
    assert story.sleep(40).stage is Stage.HEALTHY
    assert unplug(story) == 80
    story.check(LOST).check(WELL).clear()
    assert story.stage is Stage.HEALTHY
    assert unplug(story) == 10
    story.check(LOST).restart(boot="another").check(WELL)
    assert story.fault.quiet_left(LINKS, story.now) == 10


def test_what_strikes_every_device_at_once_makes_no_quiet_time_longer() -> None:
    story = Story(LINKS)
    for _ in range(4):
        story.see(DevicesChecked({GPU: LOST, OTHER: LOST})).check().sleep(10)
        assert story.stage is Stage.HEALTHY
    assert unplug(story) == 10


def test_a_quiet_time_is_never_shorter_than_usual() -> None:
    story = Story(HealthPolicy(quiet_time=60.0, longest_quiet_time=20.0))
    assert [unplug(story) for _ in range(3)] == [60, 60, 60]


def test_where_no_quiet_time_is_asked_for_there_is_none_after_many_faults_either() -> None:
    story = Story(HealthPolicy(quiet_time=0.0, longest_quiet_time=300.0))
    for _ in range(4):
        assert not story.check(LOST).check(WELL).state.faults


@pytest.mark.parametrize("longest", [0.0, -1.0, float("inf"), float("nan")])
def test_the_longest_quiet_time_is_a_positive_number(longest: float) -> None:
    with pytest.raises(InvalidValueError, match=f"longest quiet time {longest}; all must be positive"):
        HealthPolicy(longest_quiet_time=longest)


def test_thousands_of_faults_are_counted_in_little_memory() -> None:
    story = Story(replace(LINKS, quiet_time=0.001, longest_quiet_time=0.002))
    for _ in range(1000):
        story.check(LOST).check(WELL).sleep(0.01)
    assert len(story.state.taken_out[GPU]) < 50


@given(HISTORIES)
def test_no_device_flaps_under_such_a_policy_and_each_quiet_time_is_between_the_two(
    history: Sequence[Observation],
) -> None:
    story = Story(LINKS)
    for observation in history:
        story.see(observation).sleep(10)
        for fault in story.state.faults.values():
            assert not fault.is_flapping
            assert fault.quiet_time is None or LINKS.quiet_time < fault.quiet_time <= 300.0


@given(st.lists(st.tuples(st.sampled_from((GPU, OTHER)), st.integers(0, 400)), max_size=25))
def test_the_quiet_time_follows_from_the_faults_of_this_device_in_the_window(plugs: list[tuple[FaultId, int]]) -> None:
    story = Story(replace(LINKS, flap_window=1000.0), None)
    story.see(InventorySeen(inventory(device(0), device(1), device(2))))
    taken_out: dict[FaultId, list[float]] = {GPU: [], OTHER: []}
    for name, pause in plugs:
        if name not in story.state.faults:
            recent = [time for time in taken_out[name] if story.now - time < 1000.0]
            taken_out[name] = [*recent, story.now]
        story.see(DevicesChecked({name: Checkup({NOT_ANSWERING: "down"})}), DevicesChecked({name: WELL}))
        expected = min(10.0 * 2 ** (len(taken_out[name]) - 1), 300.0)
        assert story.state.faults[name].quiet_left(story.policy, story.now) == expected
        story.sleep(pause)
