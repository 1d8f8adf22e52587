"""A probation that only somebody's word ends: an operator's, or that of a test."""

from dataclasses import replace

import pytest

from core.health.story import ASKING, GPU, LOST, POLICY, SEEN, Story
from plugin_gateway.core.health.faults import Stage
from plugin_gateway.core.health.observations import DriverSilence, EventsAwaited, EvidenceReported
from plugin_gateway.core.health.policy import Probation
from plugin_gateway.core.health.state_function import due
from plugin_gateway.nvidia.evidence import xid_kind

EXTERNAL = replace(POLICY, probation=Probation.EXTERNAL)
WORD = "an operator's word, or that of a test"
XID = EvidenceReported(xid_kind(10_000), GPU)
OPEN = EvidenceReported(xid_kind(145), GPU)


def on_probation() -> Story:
    return Story(EXTERNAL).see(XID).check()


def test_it_lasts_until_somebody_says_that_the_device_is_well() -> None:
    story = on_probation()
    assert (story.stage, story.fault.lacks) == (Stage.PROBATION, WORD)
    assert [change.lacks for change in story.changes.health] == [WORD]
    assert due(story.state, EXTERNAL) is None
    for _ in range(10):
        assert story.sleep(3600).check().stage is Stage.PROBATION
    assert story.clear().stage is Stage.HEALTHY


@pytest.mark.parametrize("new", [XID, EventsAwaited("gone")])
def test_a_new_fault_ends_it_as_always(new: EvidenceReported | EventsAwaited) -> None:
    story = on_probation().see(new)
    assert story.stage is Stage.UNHEALTHY
    assert story.fault.lacks == "a check that finds nothing"


def test_a_device_that_needs_a_reset_needs_the_word_after_it() -> None:
    story = Story(EXTERNAL).see(EvidenceReported(xid_kind(48), GPU))
    assert story.fault.lacks.startswith("a reset")
    assert story.check(ASKING).check().sleep(3600).stage is Stage.PROBATION
    assert story.fault.lacks == WORD


def test_a_question_that_the_driver_decides_needs_nobodys_word() -> None:
    story = Story(EXTERNAL).see(OPEN).sleep(EXTERNAL.decision_time).check()
    assert story.stage is Stage.HEALTHY


def test_nor_does_one_that_was_open_when_the_gateway_was_started_again() -> None:
    story = Story(EXTERNAL).see(OPEN).restart().check().sleep(EXTERNAL.decision_time).check()
    assert story.stage is Stage.HEALTHY


def test_a_question_that_the_driver_answers_with_a_reset_needs_the_word() -> None:
    story = Story(EXTERNAL).see(OPEN).sleep(EXTERNAL.decision_time).check(ASKING).check().sleep(3600)
    assert (story.stage, story.fault.lacks) == (Stage.PROBATION, WORD)


def test_a_restart_and_a_reboot_forget_no_probation() -> None:
    for boot in ("boot", "another"):
        story = on_probation().restart(boot=boot).check().sleep(3600)
        assert (story.stage, story.fault.lacks) == (Stage.PROBATION, WORD)


def test_a_device_that_does_not_answer_or_whose_driver_was_gone_needs_the_word_too() -> None:
    assert Story(EXTERNAL).check(LOST).check().sleep(3600).stage is Stage.PROBATION
    assert (
        Story(EXTERNAL).see(DriverSilence(99.0), DriverSilence(0.0), SEEN).check().sleep(3600).stage is Stage.PROBATION
    )


def test_the_policy_can_change_meanwhile() -> None:
    story = on_probation()
    story.policy = POLICY
    assert story.sleep(POLICY.quiet_time).see(DriverSilence(0.0)).stage is Stage.HEALTHY
    story = Story(POLICY).see(XID).check()
    assert story.fault.lacks == "a quiet time"
    story.policy = EXTERNAL
    assert story.see(DriverSilence(0.0)).sleep(3600).stage is Stage.PROBATION
    assert story.fault.lacks == WORD
