"""What takes a device out, and what is said of it."""

import pytest

from core.health.story import ASKING, EPOCH, GPU, LOST, OTHER, PENDING, POLICY, SEEN, Story, at
from core.strategies import IDS
from harness.devices import inventory
from plugin_gateway.core.health.changes import Changes, HealthChange, Note, Significance
from plugin_gateway.core.health.faults import Checkup, Evidence, Source, Stage, source_of
from plugin_gateway.core.health.observations import (
    DriverSilence,
    EvidenceReported,
    InventorySeen,
    Observation,
    merged,
)
from plugin_gateway.core.health.policy import DRIVER_GONE, RECOVERY_ACTION, Action, Decision
from plugin_gateway.core.health.state import State
from plugin_gateway.core.health.state_function import advance
from plugin_gateway.nvidia.evidence import DOUBLE_BIT_ECC, PENDING_RETIREMENT, ROW_REMAP_FAILURE, xid_kind


def test_an_xid_takes_its_device_out_and_says_what_it_needs() -> None:
    story = Story().see(EvidenceReported(xid_kind(79), GPU))
    assert story.changes.health == (
        HealthChange(
            GPU,
            Stage.HEALTHY,
            Stage.UNHEALTHY,
            "XID 79",
            "a reboot of the node, a reset if the driver tells of it, or an operator's word",
            xid_kind(79),
        ),
    )
    assert set(story.state.faults) == {GPU}
    assert (story.fault.since, story.fault.reason) == (EPOCH, "XID 79")


@pytest.mark.parametrize(
    ("observation", "note"),
    [
        (EvidenceReported(xid_kind(63), GPU), Note(GPU, xid_kind(63), "XID 63", Significance.IGNORED)),
        (EvidenceReported(xid_kind(31), GPU), Note(GPU, xid_kind(31), "XID 31", Significance.REPORTED)),
        (EvidenceReported(xid_kind(31), None), Note(None, xid_kind(31), "XID 31", Significance.UNKNOWN_DEVICE)),
        (EvidenceReported(xid_kind(79), None), Note(None, xid_kind(79), "XID 79", Significance.UNKNOWN_DEVICE)),
        (EvidenceReported(xid_kind(79), IDS[5]), Note(IDS[5], xid_kind(79), "XID 79", Significance.UNKNOWN_DEVICE)),
        (
            EvidenceReported(DOUBLE_BIT_ECC, None),
            Note(None, DOUBLE_BIT_ECC, "double-bit-ecc", Significance.UNKNOWN_DEVICE),
        ),
        (EvidenceReported(xid_kind(79), OTHER), Note(OTHER, xid_kind(79), "XID 79", Significance.FURTHER)),
    ],
)
def test_an_event_that_changes_no_stage_says_why(observation: Observation, note: Note) -> None:
    story = Story().see(EvidenceReported(xid_kind(48), OTHER), observation)
    assert story.changes == Changes(notes=(note,))


@pytest.mark.parametrize("times", [1, 5])
def test_the_same_evidence_again_changes_nothing_and_is_counted(times: int) -> None:
    story = Story().see(EvidenceReported(xid_kind(79), GPU))
    before = story.state.faults
    story.see(EvidenceReported(xid_kind(79), GPU, times=times))
    assert story.changes == Changes(notes=(Note(GPU, xid_kind(79), "XID 79", Significance.REPEATED, times),))
    assert story.fault.lacks == before[GPU].lacks


def test_evidence_has_its_kind_its_source_and_its_first_time() -> None:
    story = Story().see(EvidenceReported(xid_kind(79), GPU))
    for seconds, xid, source in ((1.0, 48, Source.EVENT), (2.0, 79, Source.EVENT), (5.0, 48, Source.KERNEL_LOG)):
        story.now = seconds
        story.see(EvidenceReported(xid_kind(xid), GPU, source=source))
    assert story.fault.evidence == (
        Evidence("XID 79", EPOCH, xid_kind(79), Source.EVENT),
        Evidence("XID 79", EPOCH + 2, xid_kind(79), Source.EVENT, since=EPOCH),
        Evidence("XID 48", EPOCH + 5, xid_kind(48), Source.KERNEL_LOG, since=EPOCH + 1),
    )
    assert [evidence.first - EPOCH for evidence in story.fault.evidence] == [0, 0, 1]


def test_what_a_check_and_the_gateway_find_has_their_source() -> None:
    story = Story().check(PENDING)
    assert story.fault.evidence == (Evidence("memory waits", EPOCH, PENDING_RETIREMENT, Source.CHECK),)
    story.see(DriverSilence(POLICY.driver_timeout))
    gone = story.fault.evidence[-1]
    assert (gone.what, gone.kind, gone.source) == ("the driver does not answer", DRIVER_GONE, Source.GATEWAY)


def test_what_is_told_many_times_at_once_is_one_change_and_the_rest_is_counted() -> None:
    story = Story().see(EvidenceReported(xid_kind(79), GPU, times=5))
    assert [change.reason for change in story.changes.health] == ["XID 79"]
    assert story.changes.notes == (Note(GPU, xid_kind(79), "XID 79", Significance.REPEATED, 4),)


def test_the_end_of_a_probation_is_told_as_a_change_and_not_counted_again() -> None:
    story = Story().see(EvidenceReported(xid_kind(10_000), GPU)).check()
    assert story.stage is Stage.PROBATION
    story.see(EvidenceReported(xid_kind(10_000), GPU))
    assert [change.after for change in story.changes.health] == [Stage.UNHEALTHY]
    assert not story.changes.notes


def test_of_two_observations_on_one_topic_evidence_is_counted_and_of_others_the_later_stays() -> None:
    evidence = EvidenceReported(xid_kind(79), GPU, times=2)
    assert merged(evidence, evidence) == EvidenceReported(xid_kind(79), GPU, times=4)
    assert merged(DriverSilence(1.0), DriverSilence(2.0)) == DriverSilence(2.0)


def test_before_the_first_inventory_no_device_is_known() -> None:
    state, changes = advance(State(), EvidenceReported(xid_kind(79), GPU), at(1), POLICY)
    assert state == State()
    assert changes.notes == (Note(GPU, xid_kind(79), "XID 79", Significance.UNKNOWN_DEVICE),)


def test_a_device_that_vanished_and_came_back_is_still_unhealthy() -> None:
    story = Story().see(EvidenceReported(xid_kind(79), GPU), InventorySeen(inventory()), SEEN)
    assert story.stage is Stage.UNHEALTHY


def test_what_a_check_could_not_find_out_is_as_it_was() -> None:
    story = Story().check(ASKING)
    silent = Checkup({}, unanswered=frozenset({RECOVERY_ACTION}))
    assert story.check(silent).sleep(600).stage is Stage.UNHEALTHY
    assert story.fault.problems == ASKING.problems
    assert story.check().sleep(60).stage is Stage.HEALTHY
    assert story.check(silent).stage is Stage.HEALTHY, "it never said that it asks for recovery"


def test_what_a_check_could_not_find_out_is_over_if_the_admin_says_that_it_does_not_count() -> None:
    story = Story().check(PENDING)
    story.policy = POLICY.with_decisions({PENDING_RETIREMENT: Decision(Action.REPORT, "file:2")})
    assert story.check(Checkup({}, unanswered=frozenset({PENDING_RETIREMENT}))).sleep(60).stage is Stage.HEALTHY


@pytest.mark.parametrize(
    "checkup",
    [
        LOST,
        ASKING,
        PENDING,
        Checkup({ROW_REMAP_FAILURE: "a row"}, asks_for_recovery=False),
        Checkup({ROW_REMAP_FAILURE: "a row", PENDING_RETIREMENT: "memory"}),
    ],
)
def test_what_a_check_finds_lasts_until_another_does_not_find_it(checkup: Checkup) -> None:
    story = Story().check(checkup)
    assert story.stage is Stage.UNHEALTHY
    for _ in range(200):
        assert story.sleep(5).check(checkup).stage is Stage.UNHEALTHY
        assert story.changes == Changes()
    problems = ", ".join(f"'{what}'" for what in checkup.problems.values())
    asks = RECOVERY_ACTION in checkup.problems
    assert story.fault.lacks == (
        "what the driver asks for: GPU reset" if asks else f"a check that no longer finds {problems}"
    )
    assert story.check().stage is Stage.PROBATION
    assert story.sleep(60).stage is Stage.HEALTHY


def test_what_is_only_reported_is_reported_once_for_as_long_as_it_lasts() -> None:
    policy = POLICY.with_decisions({PENDING_RETIREMENT: Decision(Action.REPORT, "file:3")})
    story = Story(policy).check(PENDING)
    assert story.stage is Stage.HEALTHY
    told = (Note(GPU, PENDING_RETIREMENT, "memory waits", Significance.REPORTED),)
    assert story.changes == Changes(notes=told)
    assert story.check(PENDING).changes == Changes()
    assert story.check().check(PENDING).changes == Changes(notes=told)


def test_what_is_only_reported_is_not_reported_again_after_a_check_that_did_not_ask() -> None:
    policy = POLICY.with_decisions({PENDING_RETIREMENT: Decision(Action.REPORT, "file:3")})
    silent = Checkup({}, unanswered=frozenset({PENDING_RETIREMENT}))
    story = Story(policy).check(PENDING).check(silent)
    assert story.check(PENDING).changes == Changes()
    assert not story.check().state.reported


def test_a_decision_of_the_admin_counts_from_the_next_evidence_on() -> None:
    story = Story()
    story.policy = POLICY.with_decisions({xid_kind(79): Decision(Action.REPORT, "file:2")})
    assert story.see(EvidenceReported(xid_kind(79), GPU)).stage is Stage.HEALTHY


def test_of_much_evidence_the_first_and_the_latest_are_kept() -> None:
    story = Story().see(*(EvidenceReported(xid_kind(1000 + number), GPU) for number in range(30)))
    kept = [evidence.what for evidence in story.fault.evidence]
    assert kept == ["XID 1000", *(f"XID {number}" for number in range(1023, 1030))]


def test_a_source_that_only_another_version_knows_is_unknown() -> None:
    assert [source_of(source.value) for source in Source] == list(Source)
    assert source_of("of tomorrow") is source_of("") is Source.UNKNOWN
