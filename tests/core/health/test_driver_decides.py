"""Evidence that can be harmless or fatal: the device is out while the driver has not decided, and no longer."""

from dataclasses import replace

import pytest

from core.health.story import ASKING, GPU, LOST, POLICY, SEEN, WELL, Story
from harness.devices import inventory
from plugin_gateway.core.health.faults import Checkup, Stage
from plugin_gateway.core.health.memory import remember
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverSeen,
    DriverUnavailable,
    EventsAwaited,
    EvidenceReported,
    InventorySeen,
    Observation,
)
from plugin_gateway.core.health.policy import RECOVERY_ACTION, Action, Decision
from plugin_gateway.nvidia.evidence import PENDING_RETIREMENT, xid_kind

OPEN = EvidenceReported(xid_kind(145), GPU)
DECISION_TIME = POLICY.decision_time
OLD_DRIVER = Checkup({})
"""A driver before 565 has no recovery action."""


def test_it_is_healthy_at_once_when_the_driver_asks_for_nothing_some_seconds_later() -> None:
    story = Story().see(OPEN)
    assert story.stage is Stage.UNHEALTHY
    assert story.check().stage is Stage.UNHEALTHY, "the driver may not have decided yet"
    assert story.fault.lacks == "the driver's answer that it asks for no recovery"
    assert story.sleep(DECISION_TIME - 0.1).check().stage is Stage.UNHEALTHY
    assert story.sleep(0.1).check().stage is Stage.HEALTHY


@pytest.mark.parametrize("seconds", [1.0, 60.0])
def test_the_policy_says_how_much_later(seconds: float) -> None:
    story = Story(replace(POLICY, decision_time=seconds)).see(OPEN)
    assert story.sleep(seconds - 0.1).check().stage is Stage.UNHEALTHY
    assert story.sleep(0.1).check().stage is Stage.HEALTHY


def test_without_a_check_it_stays_out() -> None:
    assert Story().see(OPEN).sleep(10_000).stage is Stage.UNHEALTHY


def test_the_same_again_starts_the_time_anew() -> None:
    story = Story().see(OPEN).sleep(DECISION_TIME - 1).see(OPEN)
    assert story.sleep(DECISION_TIME - 1).check().stage is Stage.UNHEALTHY
    assert story.sleep(1).check().stage is Stage.HEALTHY


@pytest.mark.parametrize("xid", [154, 45, 13])
def test_an_xid_that_is_only_reported_starts_the_time_anew(xid: int) -> None:
    story = Story().see(OPEN).sleep(DECISION_TIME - 0.1).see(EvidenceReported(xid_kind(xid), GPU))
    assert story.sleep(DECISION_TIME - 0.1).check().stage is Stage.UNHEALTHY
    assert story.sleep(0.1).check().stage is Stage.HEALTHY


def test_it_is_no_flapping() -> None:
    story = Story()
    for _ in range(20):
        assert story.see(OPEN).stage is Stage.UNHEALTHY
        assert story.sleep(DECISION_TIME).check().stage is Stage.HEALTHY


def test_a_driver_that_asks_for_a_reset_keeps_it_out_until_the_reset() -> None:
    story = Story().see(OPEN).sleep(DECISION_TIME).check(ASKING)
    for _ in range(10):
        assert story.sleep(600).check(ASKING).stage is Stage.UNHEALTHY
    assert story.fault.lacks == "what the driver asks for: GPU reset"
    assert story.check().stage is Stage.PROBATION, "after a real fault there is a quiet time"
    assert story.sleep(story.policy.quiet_time).stage is Stage.HEALTHY


@pytest.mark.parametrize("checkup", [Checkup({PENDING_RETIREMENT: "memory"}, asks_for_recovery=False), LOST])
def test_another_problem_keeps_it_out_though_the_driver_asks_for_nothing(checkup: Checkup) -> None:
    story = Story().see(OPEN).sleep(DECISION_TIME).check(checkup)
    assert story.sleep(600).check(checkup).stage is Stage.UNHEALTHY


def test_an_older_driver_cannot_be_asked_so_it_needs_a_reset() -> None:
    story = Story().see(OPEN).sleep(DECISION_TIME).check(OLD_DRIVER)
    assert story.sleep(10_000).check(OLD_DRIVER).stage is Stage.UNHEALTHY
    assert story.fault.lacks.startswith("a reset")


def test_a_question_without_an_answer_leaves_it_open() -> None:
    silent = Checkup({}, unanswered=frozenset({RECOVERY_ACTION}))
    story = Story().see(OPEN).sleep(DECISION_TIME).check(silent)
    assert story.stage is Stage.UNHEALTHY
    assert story.check(WELL).stage is Stage.HEALTHY


@pytest.mark.parametrize("xid", [48, 171, 172, 119])
def test_the_driver_alone_ends_no_fault_that_needs_a_reset(xid: int) -> None:
    story = Story().see(EvidenceReported(xid_kind(xid), GPU), OPEN)
    assert story.sleep(DECISION_TIME).check().sleep(10_000).check().stage is Stage.UNHEALTHY


def test_evidence_of_another_kind_asks_for_its_quiet_time_too() -> None:
    story = Story().see(EvidenceReported(xid_kind(10_000), GPU), OPEN).sleep(DECISION_TIME).check()
    assert story.stage is Stage.PROBATION
    assert story.sleep(story.policy.quiet_time).stage is Stage.HEALTHY


def test_a_reset_will_do_too_and_is_followed_by_a_quiet_time() -> None:
    story = Story().see(DriverSeen("1", "1"), OPEN, DriverSeen("1", "2")).check()
    assert story.stage is Stage.PROBATION


def test_after_a_restart_of_the_gateway_the_driver_is_asked_again() -> None:
    story = Story().see(OPEN).sleep(100).restart()
    assert story.check().stage is Stage.UNHEALTHY, "evidence could be missed until this moment"
    assert story.sleep(DECISION_TIME - 0.1).check().stage is Stage.UNHEALTHY
    assert story.sleep(0.1).check().stage is Stage.HEALTHY


def test_a_restart_is_no_answer_and_a_reset_that_the_driver_asks_for_after_it_counts() -> None:
    story = Story().see(OPEN).sleep(100).restart().check(ASKING).sleep(DECISION_TIME).check(ASKING)
    assert story.stage is Stage.UNHEALTHY
    assert story.restart().check().stage is Stage.PROBATION, "after a real fault there is a quiet time"


def test_after_a_reboot_there_is_a_quiet_time() -> None:
    assert Story().see(OPEN).restart(boot="another").check().stage is Stage.PROBATION


def test_an_answer_that_is_older_than_the_decision_does_not_count() -> None:
    story = Story().see(OPEN).sleep(DECISION_TIME + 2)
    story.see(DevicesChecked({GPU: WELL}, age=3.0))
    assert story.stage is Stage.UNHEALTHY
    assert story.see(DevicesChecked({GPU: WELL}, age=1.0)).stage is Stage.HEALTHY


@pytest.mark.parametrize(
    ("gone", "back"),
    [
        (EventsAwaited("a new session"), EventsAwaited(None)),
        (DriverUnavailable("gone"), SEEN),
        (InventorySeen(inventory()), SEEN),
    ],
)
def test_time_in_which_evidence_could_be_missed_does_not_count(gone: Observation, back: Observation) -> None:
    story = Story().see(OPEN, gone).sleep(2 * DECISION_TIME).check()
    assert story.stage is Stage.UNHEALTHY
    assert story.see(gone, back).check().stage is Stage.UNHEALTHY
    assert story.sleep(DECISION_TIME).check().stage is Stage.HEALTHY


def test_after_a_reset_it_does_not_ask_for_another_reset() -> None:
    story = Story().see(EvidenceReported(xid_kind(48), GPU)).check(ASKING).check()
    assert story.stage is Stage.PROBATION
    assert story.see(OPEN).sleep(DECISION_TIME).check().stage is Stage.PROBATION
    assert story.sleep(story.policy.quiet_time).stage is Stage.HEALTHY


def test_a_device_that_flaps_is_counted_though_its_faults_begin_as_the_drivers_to_decide() -> None:
    story = Story()
    for _ in range(story.policy.flap_count):
        story.see(OPEN, EvidenceReported(xid_kind(10_000), GPU)).sleep(DECISION_TIME).check()
        story.sleep(story.policy.quiet_time)
    assert story.stage is Stage.UNHEALTHY
    assert "too often" in story.fault.lacks


def test_a_quiet_time_follows_a_reset_though_the_policy_only_reports_that_the_driver_asks_for_it() -> None:
    story = Story(POLICY.with_decisions({RECOVERY_ACTION: Decision(Action.REPORT, "file:1")}))
    assert story.see(OPEN).check(ASKING).sleep(DECISION_TIME).check().stage is Stage.PROBATION


def test_an_open_question_while_the_driver_is_away_is_kept_once() -> None:
    story = Story().see(OPEN, DriverUnavailable("gone"))
    kept = remember(story.state, "boot")
    later = story.sleep(1).see(DriverUnavailable("gone")).state
    assert later != story.sleep(1).see(DriverUnavailable("gone")).state
    assert remember(later, "boot") == kept
