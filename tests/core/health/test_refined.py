"""A more precise report about evidence that only the driver could decide about: harmless, or a reset is needed."""

import pytest

from core.health.story import ASKING, GPU, POLICY, WELL, Story
from core.strategies import IDS
from plugin_gateway.core.health.changes import Changes, KernelLogChange, Note, Significance
from plugin_gateway.core.health.faults import Stage
from plugin_gateway.core.health.observations import (
    DriverSeen,
    DriverUnavailable,
    EventsAwaited,
    EvidenceRefined,
    EvidenceReported,
    KernelLogRead,
    Observation,
    merged,
)
from plugin_gateway.core.health.policy import RECOVERY_ACTION, Action, Decision
from plugin_gateway.nvidia.evidence import xid_kind

KIND, OTHER_KIND = xid_kind(145), xid_kind(149)
OPEN, OTHER_OPEN = EvidenceReported(KIND, GPU), EvidenceReported(OTHER_KIND, GPU)
HARMLESS = EvidenceRefined(KIND, GPU, Action.IGNORE, "bit 1: harmless")
OTHER_HARMLESS = EvidenceRefined(OTHER_KIND, GPU, Action.IGNORE, "bit 2: harmless")
UNCLEAR = EvidenceRefined(KIND, GPU, Action.UNTIL_DRIVER_DECIDES)
FATAL = EvidenceRefined(KIND, GPU, Action.UNTIL_RESET, "bit 3: fatal")


def test_what_is_explained_as_harmless_is_over_at_once_and_is_reported() -> None:
    story = Story().see(OPEN)
    assert story.stage is Stage.UNHEALTHY
    assert story.see(HARMLESS).stage is Stage.HEALTHY
    assert story.changes.notes == (Note(GPU, KIND, "bit 1: harmless", Significance.REPORTED),)
    assert [change.after for change in story.changes.health] == [Stage.HEALTHY]


def test_each_kind_has_to_be_explained() -> None:
    assert Story().see(OPEN, OTHER_OPEN, HARMLESS).stage is Stage.UNHEALTHY
    assert Story().see(OPEN, OTHER_OPEN, HARMLESS, OTHER_HARMLESS).stage is Stage.HEALTHY
    assert Story().see(OPEN, OTHER_HARMLESS).stage is Stage.UNHEALTHY


@pytest.mark.parametrize("xid", [48, 171, 172, 119, 74, 10_000])
@pytest.mark.parametrize("is_first", [True, False])
def test_it_explains_no_other_evidence(xid: int, *, is_first: bool) -> None:
    other = EvidenceReported(xid_kind(xid), GPU)
    story = Story().see(*((other, OPEN) if is_first else (OPEN, other)), HARMLESS)
    assert story.stage is Stage.UNHEALTHY
    assert story.see(OPEN, HARMLESS).stage is Stage.UNHEALTHY


@pytest.mark.parametrize(
    "between",
    [UNCLEAR, EventsAwaited("lost"), EvidenceReported(RECOVERY_ACTION, GPU), DriverSeen("2", "2"), FATAL],
    ids=lambda each: type(each).__name__,
)
def test_it_explains_nothing_where_something_may_be_wrong(between: Observation) -> None:
    story = Story().see(DriverSeen("1", "1"), OPEN, between, EventsAwaited(None), OPEN, HARMLESS)
    assert story.stage is Stage.UNHEALTHY


def test_it_explains_nothing_while_events_are_lost() -> None:
    assert Story().see(EventsAwaited("lost"), OPEN, HARMLESS).stage is Stage.UNHEALTHY


def test_it_explains_nothing_that_the_driver_asks_a_recovery_for() -> None:
    assert Story().see(OPEN).check(ASKING).see(HARMLESS).stage is Stage.UNHEALTHY
    report = Decision(Action.REPORT, "file:1")
    assert Story(POLICY.with_decisions({RECOVERY_ACTION: report})).see(OPEN).check(ASKING).see(HARMLESS).stage is (
        Stage.UNHEALTHY
    )


def test_it_explains_nothing_from_before_a_restart_of_the_gateway() -> None:
    assert Story().see(OPEN).restart().see(HARMLESS).stage is Stage.UNHEALTHY


def test_after_the_drivers_answer_the_next_question_can_be_explained_again() -> None:
    story = Story().see(OPEN, UNCLEAR).sleep(POLICY.decision_time).check()
    assert story.stage is Stage.HEALTHY
    assert story.see(OPEN, HARMLESS).stage is Stage.HEALTHY


@pytest.mark.parametrize("before", [(OPEN,), (), (OPEN, HARMLESS)], ids=["after it", "alone", "after a harmless one"])
def test_a_fatal_one_needs_a_reset_whatever_the_driver_answers(before: tuple[Observation, ...]) -> None:
    story = Story().see(DriverSeen("1", "1"), *before, FATAL)
    assert story.sleep(POLICY.decision_time).check(WELL).sleep(10_000).check(WELL).stage is Stage.UNHEALTHY
    assert story.fault.lacks.startswith("a reset")
    assert story.see(OPEN, HARMLESS).stage is Stage.UNHEALTHY
    assert story.see(DriverSeen("1", "2")).check().stage is Stage.PROBATION


def test_a_fatal_one_is_told_once() -> None:
    story = Story().see(OPEN, FATAL)
    assert story.changes.notes == (Note(GPU, KIND, "bit 3: fatal", Significance.FURTHER),)
    assert [each.what for each in story.fault.evidence] == ["XID 145", "bit 3: fatal"]
    assert story.see(FATAL).changes.notes == ()


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("refined", [HARMLESS, FATAL, UNCLEAR])
def test_a_decision_of_the_administrator_is_never_overruled(action: Action, refined: EvidenceRefined) -> None:
    policy = POLICY.with_decisions({KIND: Decision(action, "file:1")})
    without, story = Story(policy).see(OPEN), Story(policy).see(OPEN, refined)
    assert story.state == without.state
    told = (Note(GPU, KIND, refined.what, Significance.EXPLAINED),) if refined.what else ()
    assert story.changes == Changes(notes=told)


def test_one_about_a_device_that_is_not_there_changes_nothing() -> None:
    story = Story().see(FATAL._replace(scope=IDS[5]))
    assert story.state.faults == {}
    assert story.changes.notes == (Note(IDS[5], KIND, "bit 3: fatal", Significance.UNKNOWN_DEVICE),)


def test_one_without_a_fault_is_only_told() -> None:
    story = Story().see(HARMLESS)
    assert story.stage is Stage.HEALTHY
    assert story.changes.notes == (Note(GPU, KIND, "bit 1: harmless", Significance.REPORTED),)


def test_of_several_that_nobody_read_yet_the_severest_is_kept() -> None:
    for harmless, severe in ((HARMLESS, UNCLEAR), (UNCLEAR, FATAL), (HARMLESS, FATAL)):
        assert merged(harmless, severe) == merged(severe, harmless) == severe
    assert HARMLESS.topic == FATAL.topic != OTHER_HARMLESS.topic


def test_evidence_about_a_part_of_the_node_is_reported_and_is_against_no_device() -> None:
    story = Story().see(EvidenceReported(xid_kind(31), None, "0000:c3:00.0 (fatal)", of_node=True))
    assert story.state.faults == {}
    assert story.changes.notes == (Note(None, xid_kind(31), "XID 31 at 0000:c3:00.0 (fatal)", Significance.REPORTED),)


def test_whether_the_kernels_log_can_be_read_is_a_change_of_its_own() -> None:
    story = Story().see(KernelLogRead("forbidden"))
    assert story.changes == Changes(kernel_log=KernelLogChange("forbidden"))
    assert story.state.kernel_log == KernelLogRead("forbidden")
    assert story.see(KernelLogRead(None)).state.kernel_log == KernelLogRead(None)


def test_nobody_reads_the_kernels_log_while_the_driver_is_released() -> None:
    story = Story().see(KernelLogRead(None), DriverUnavailable("released", is_released=True))
    assert story.state.kernel_log is None
