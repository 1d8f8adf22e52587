"""What gives a device back: a quiet time, a reset, a reboot, or an operator's word."""

import pytest

from core.health.story import ASKING, GPU, LOST, OTHER, POLICY, SEEN, Story, at
from harness.devices import device, inventory
from plugin_gateway.core.health.changes import HealthChange
from plugin_gateway.core.health.faults import Checkup, Stage
from plugin_gateway.core.health.memory import recall, remember
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverSeen,
    EventsAwaited,
    EvidenceReported,
    InventorySeen,
    Observation,
)
from plugin_gateway.core.health.policy import NOT_ANSWERING, RECOVERY_ACTION, Action, Decision
from plugin_gateway.core.health.state import State
from plugin_gateway.core.health.state_function import advance, wait
from plugin_gateway.nvidia.evidence import xid_kind


def test_an_xid_that_only_counts_is_over_after_a_check_and_a_quiet_time() -> None:
    story = Story().see(EvidenceReported(xid_kind(1000), GPU)).sleep(600)
    assert story.stage is Stage.UNHEALTHY, "time alone is no proof"
    assert story.check().stage is Stage.PROBATION
    assert story.changes.health[0].lacks == "a quiet time"
    assert story.sleep(59.9).stage is Stage.PROBATION
    assert story.sleep(0.1).stage is Stage.HEALTHY
    assert story.changes.health == (
        HealthChange(GPU, Stage.PROBATION, Stage.HEALTHY, "XID 1000", None, xid_kind(1000)),
    )


def test_a_check_from_before_the_evidence_proves_nothing() -> None:
    story = Story().check().see(EvidenceReported(xid_kind(1000), GPU)).sleep(600)
    assert story.stage is Stage.UNHEALTHY


def test_new_evidence_ends_the_probation_and_its_time_begins_anew() -> None:
    story = (
        Story().see(EvidenceReported(xid_kind(1000), GPU)).check().sleep(59).see(EvidenceReported(xid_kind(1001), GPU))
    )
    assert story.stage is Stage.UNHEALTHY
    assert [evidence.what for evidence in story.fault.evidence] == ["XID 1000", "XID 1001"]
    assert story.check().sleep(59.9).stage is Stage.PROBATION
    assert story.sleep(0.1).stage is Stage.HEALTHY


def test_what_needs_a_reset_does_not_come_back_by_quiet_alone() -> None:
    story = Story().see(EvidenceReported(xid_kind(48), GPU)).check().sleep(7200).check()
    assert story.stage is Stage.UNHEALTHY
    assert story.fault.lacks == "a reset that the driver reports, a reboot, or an operator's word"


def test_a_recovery_action_that_is_back_to_none_is_a_reset() -> None:
    story = Story().see(EvidenceReported(xid_kind(48), GPU)).check(ASKING)
    assert [evidence.what for evidence in story.fault.evidence] == [
        "XID 48",
        "GPU reset",
    ]
    assert story.check().stage is Stage.PROBATION
    assert story.sleep(60).stage is Stage.HEALTHY


def test_a_reset_is_seen_although_the_device_did_not_answer_in_between() -> None:
    story = Story().see(EvidenceReported(xid_kind(62), GPU)).check(ASKING).check(LOST).check()
    assert story.stage is Stage.PROBATION


def test_a_reset_is_seen_although_the_recovery_action_itself_is_only_reported() -> None:
    policy = POLICY.with_decisions({RECOVERY_ACTION: Decision(Action.REPORT, "file:3")})
    story = Story(policy).see(EvidenceReported(xid_kind(62), GPU)).check(ASKING)
    assert story.fault.lacks.startswith("a reset")
    assert story.check().stage is Stage.PROBATION


def test_what_another_boot_left_is_forgotten_of_a_device_that_stayed_away_for_a_whole_one() -> None:
    story = Story().see(EvidenceReported(xid_kind(79), GPU), EvidenceReported(xid_kind(79), OTHER))
    second = recall(remember(story.state, "first"), "second")
    second, _ = advance(second, InventorySeen(inventory(device(1))), at(20), POLICY)
    assert set(second.faults) == {GPU, OTHER}, "it may come late"
    assert set(recall(remember(second, "second"), "second").faults) == {GPU, OTHER}
    third = recall(remember(second, "second"), "third")
    assert set(third.faults) == {OTHER}


def test_a_device_that_comes_late_after_a_reboot_has_to_be_checked_and_quiet_as_every_other() -> None:
    story = Story(state=recall(remember(Story().see(EvidenceReported(xid_kind(79), GPU)).state, "boot"), "another"))
    story.see(InventorySeen(inventory(device(1)))).sleep(600).see(SEEN)
    assert story.stage is Stage.UNHEALTHY
    assert story.check().sleep(60).stage is Stage.HEALTHY


def test_a_recovery_action_that_was_there_for_a_moment_costs_a_probation() -> None:
    story = Story().see(EvidenceReported(RECOVERY_ACTION, GPU))
    assert story.stage is Stage.UNHEALTHY
    assert story.check().stage is Stage.PROBATION
    assert story.sleep(60).stage is Stage.HEALTHY


def test_no_probation_ends_while_the_device_is_away() -> None:
    story = (
        Story().see(EvidenceReported(xid_kind(1000), GPU)).check().see(InventorySeen(inventory(device(1)))).sleep(600)
    )
    assert story.see(SEEN).stage is Stage.UNHEALTHY
    assert story.check().sleep(60).stage is Stage.HEALTHY


def test_no_probation_goes_on_while_the_events_of_the_driver_go_unseen() -> None:
    story = (
        Story()
        .see(EvidenceReported(xid_kind(1000), GPU))
        .check()
        .see(EventsAwaited("unknown error"))
        .check()
        .sleep(600)
    )
    assert story.stage is Stage.UNHEALTHY
    assert story.see(EventsAwaited(None)).check().sleep(60).stage is Stage.HEALTHY


def test_a_probation_ends_only_when_the_driver_gave_a_sign_since_it_was_over() -> None:
    story = Story().see(EvidenceReported(xid_kind(1000), GPU)).check()
    held, _ = wait(story.state, at(65), POLICY, silence=5.5)
    assert held.stage_of(GPU) is Stage.PROBATION, "the driver may have hung since the 59.5th second"
    released, _ = wait(held, at(65), POLICY, silence=5.0)
    assert released.stage_of(GPU) is Stage.HEALTHY


def test_an_operator_can_talk_away_a_device_that_is_not_there() -> None:
    story = Story().check(LOST).see(InventorySeen(inventory(device(1)))).clear()
    assert story.state.faults == {}


def test_a_probation_that_ends_says_what_ended_it() -> None:
    story = Story().see(EvidenceReported(xid_kind(1000), GPU)).check().see(EvidenceReported(xid_kind(79), GPU))
    assert story.changes.health[0].reason == "XID 79"
    assert story.fault.reason == "XID 1000"


def test_a_recovery_action_that_is_not_told_any_more_is_no_reset() -> None:
    story = Story().see(EvidenceReported(xid_kind(48), GPU)).check(ASKING).check(Checkup({}))
    assert story.stage is Stage.UNHEALTHY


def test_a_new_driver_instance_is_a_reset_and_another_version_alone_is_none() -> None:
    story = Story().see(DriverSeen("570", "1"), EvidenceReported(xid_kind(48), GPU), DriverSeen("575", "1")).check()
    assert story.stage is Stage.UNHEALTHY
    assert story.see(DriverSeen("575", "2")).stage is Stage.UNHEALTHY
    assert story.check().stage is Stage.PROBATION


@pytest.mark.parametrize("instances", [(None, "1"), ("1", None), (None, None)])
def test_an_instance_that_cannot_be_told_is_no_new_one(instances: tuple[str | None, str | None]) -> None:
    before, now = instances
    story = Story().see(DriverSeen("575", before), EvidenceReported(xid_kind(48), GPU), DriverSeen("575", now)).check()
    assert story.stage is Stage.UNHEALTHY


def test_a_reset_does_not_count_for_evidence_that_comes_later() -> None:
    story = Story().see(
        DriverSeen("575", "1"),
        EvidenceReported(xid_kind(48), GPU),
        DriverSeen("575", "2"),
        EvidenceReported(xid_kind(95), GPU),
    )
    assert story.check().stage is Stage.UNHEALTHY


def test_what_needs_a_reboot_waits_for_another_boot() -> None:
    story = (
        Story()
        .see(DriverSeen("575", "1"), EvidenceReported(xid_kind(54), GPU), DriverSeen("575", "2"))
        .check()
        .sleep(7200)
    )
    assert story.stage is Stage.UNHEALTHY
    assert story.restart().check().sleep(7200).stage is Stage.UNHEALTHY
    assert story.restart(boot="another").stage is Stage.UNHEALTHY
    assert story.check().stage is Stage.PROBATION
    assert story.sleep(60).stage is Stage.HEALTHY


def test_a_driver_that_asks_for_recovery_and_stops_ends_a_need_of_a_reboot_that_it_judges() -> None:
    """The driver's word alone that it asks for nothing is not enough."""
    story = Story().see(EvidenceReported(xid_kind(79), GPU)).check().sleep(7200).check()
    assert story.stage is Stage.UNHEALTHY
    assert story.check(ASKING).check().stage is Stage.PROBATION
    assert story.sleep(60).stage is Stage.HEALTHY


def test_an_older_driver_does_not_judge_so_a_reboot_is_needed() -> None:
    story = Story().see(DriverSeen("535", "1"), EvidenceReported(xid_kind(79), GPU), DriverSeen("535", "2"))
    assert story.check(Checkup({})).sleep(7200).stage is Stage.UNHEALTHY


def test_a_restart_in_probation_begins_the_quiet_time_anew() -> None:
    story = Story().see(EvidenceReported(xid_kind(1000), GPU)).check().sleep(59).restart()
    assert story.stage is Stage.UNHEALTHY
    assert story.check().sleep(59).stage is Stage.PROBATION
    assert story.sleep(1).stage is Stage.HEALTHY


def test_a_restart_does_not_forget_a_reset_that_was_asked_for() -> None:
    story = Story().see(EvidenceReported(xid_kind(48), GPU)).check(ASKING).restart().check()
    assert story.stage is Stage.PROBATION


@pytest.mark.parametrize("asking", [DevicesChecked({GPU: ASKING}), EvidenceReported(RECOVERY_ACTION, GPU)])
@pytest.mark.parametrize("xid", [48, 171, 172, 119, 79])
def test_what_the_driver_asked_for_before_the_evidence_is_no_reset_after_it(asking: Observation, xid: int) -> None:
    story = Story().see(asking, EvidenceReported(xid_kind(xid), GPU)).check()
    assert story.sleep(3600).check().stage is Stage.UNHEALTHY
    assert story.check(ASKING).check().stage is Stage.PROBATION


@pytest.mark.parametrize("xid", [48, 171, 172, 119, 79])
def test_a_recovery_action_that_no_check_has_found_is_no_reset(xid: int) -> None:
    story = Story().see(EvidenceReported(xid_kind(xid), GPU), EvidenceReported(RECOVERY_ACTION, GPU)).check()
    assert story.sleep(3600).check().stage is Stage.UNHEALTHY


def test_what_the_driver_asks_for_is_named_in_its_words() -> None:
    story = Story().see(EvidenceReported(RECOVERY_ACTION, GPU))
    assert story.fault.reason == "the driver's recovery action changed"
    assert story.fault.lacks == "the driver's answer that it asks for no recovery"
    asking = Checkup({RECOVERY_ACTION: "the driver asks for recovery: drain and reset"}, asks_for_recovery=True)
    assert story.check(asking).fault.lacks == "what the driver asks for: drain and reset"
    assert story.see(EvidenceReported(xid_kind(79), GPU)).fault.lacks == (
        "a reboot of the node, or a reset if the driver tells of it"
    ), "an operator's word does not help while the driver asks"
    assert not story.fault.is_clearable
    two = Checkup({**asking.problems, NOT_ANSWERING: "does not answer: GPU is lost"}, asks_for_recovery=True)
    assert Story().check(two).fault.lacks == (
        "what the driver asks for: drain and reset, and a check that no longer finds 'does not answer: GPU is lost'"
    )


def test_a_reset_that_the_driver_did_not_ask_for_can_go_unseen() -> None:
    story = Story().see(EvidenceReported(xid_kind(119), GPU))
    assert story.check(Checkup({}, asks_for_recovery=False)).fault.hides_reset
    assert Story().see(EvidenceReported(xid_kind(79), GPU)).check(Checkup({})).fault.hides_reset, "an older driver"
    assert not story.check(ASKING).fault.hides_reset
    assert not story.check().fault.hides_reset, "the reset was seen"
    assert not Story().see(EvidenceReported(xid_kind(1000), GPU)).fault.hides_reset


def test_how_much_of_the_quiet_time_is_left() -> None:
    story = Story().see(EvidenceReported(xid_kind(1000), GPU))
    assert story.fault.quiet_left(POLICY, story.now) is None
    story.check().sleep(20)
    assert story.fault.quiet_left(POLICY, story.now) == POLICY.quiet_time - 20
    assert story.fault.quiet_left(POLICY, story.now + 999) == 0


def test_an_operators_word_counts_at_once_and_ends_the_damping() -> None:
    story = Story()
    for _ in range(3):
        story.see(EvidenceReported(xid_kind(79), GPU)).clear()
        assert story.stage is Stage.HEALTHY
    assert story.changes.health[0].after is Stage.HEALTHY
    story.see(EvidenceReported(xid_kind(1000), GPU)).check().sleep(60)
    assert story.stage is Stage.HEALTHY


def test_an_operator_cannot_talk_away_what_lasts() -> None:
    story = Story().see(EvidenceReported(xid_kind(79), GPU)).check(LOST).clear()
    assert story.stage is Stage.UNHEALTHY
    assert story.fault.reason == "does not answer"
    assert story.check().sleep(60).stage is Stage.HEALTHY


def test_a_boot_that_is_not_known_forgives_nothing() -> None:
    state = Story().see(EvidenceReported(xid_kind(79), GPU)).state
    assert recall(remember(state, ""), "another").faults.keys() == {GPU}
    assert recall(remember(state, ""), "another").faults[GPU].needs is state.faults[GPU].needs
    assert recall(remember(state, "boot"), "").faults[GPU].needs is state.faults[GPU].needs
    assert recall(remember(state, "boot"), "another").faults[GPU].needs is not state.faults[GPU].needs


def test_times_in_the_future_do_not_count_as_recent() -> None:
    memory = remember(State(), "boot")._replace(taken_out={GPU: (5.0, 900.0, 1e9)})
    assert recall(memory, "boot", uptime=900.0).taken_out == {GPU: (5.0, 900.0)}
