"""The state function: what an observation may change, over any history."""

from collections.abc import Iterator, Sequence
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.strategies import HISTORIES, IDS, INVENTORIES, OBSERVATIONS, device, inventory
from plugin_gateway.core.devices import DeviceId, Inventory, RejectedDevice
from plugin_gateway.core.health.changes import Changes, DriverChange, HealthChange, Note, Significance, SilenceChange
from plugin_gateway.core.health.faults import Checkup, Fault, Moment, Stage
from plugin_gateway.core.health.memory import recall, remember
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverSeen,
    DriverSilence,
    DriverUnavailable,
    EventsAwaited,
    EvidenceReported,
    InventorySeen,
    Observation,
)
from plugin_gateway.core.health.policy import (
    DRIVER_GONE,
    NOT_ANSWERING,
    RECOVERY_ACTION,
    Action,
    Decision,
    HealthPolicy,
)
from plugin_gateway.core.health.state import State, advance, clear, due, wait
from plugin_gateway.nvidia.evidence import (
    DOUBLE_BIT_ECC,
    HEALTH_POLICY,
    PENDING_RETIREMENT,
    ROW_REMAP_FAILURE,
    xid_kind,
)

POLICY = HEALTH_POLICY
WELL = Checkup({}, asks_for_recovery=False)
ASKING = Checkup({RECOVERY_ACTION: "GPU reset"}, asks_for_recovery=True)
LOST = Checkup({NOT_ANSWERING: "does not answer"})
PENDING = Checkup({PENDING_RETIREMENT: "memory waits"}, asks_for_recovery=False)
EPOCH = 1_000_000.0
GPU, OTHER = IDS[0], IDS[1]
SEEN = InventorySeen(inventory(device(0), device(1)))
Step = tuple[State, Observation, State, Changes]


def at(seconds: float) -> Moment:
    return Moment(uptime=seconds, epoch=EPOCH + seconds)


def steps(history: Sequence[Observation], policy: HealthPolicy = POLICY) -> Iterator[Step]:
    """Ten seconds pass from one observation to the next."""
    state = State()
    for number, observation in enumerate(history):
        before = state
        state, changes = advance(before, observation, at(10.0 * number), policy)
        yield before, observation, state, changes


def after(*history: Observation, policy: HealthPolicy = POLICY) -> State:
    state = State()
    for _, _, state, _ in steps(history, policy):  # noqa: B007 - the last one is wanted
        pass
    return state


class Story:
    """A state on its way through virtual time."""

    def __init__(self, policy: HealthPolicy = POLICY, state: State | None = None) -> None:
        self.now = 0.0
        self.policy = policy
        self.state = state or State()
        self.changes = Changes()
        if state is None:
            self.see(SEEN)

    def see(self, *observations: Observation) -> "Story":
        for observation in observations:
            self.state, self.changes = advance(self.state, observation, at(self.now), self.policy)
        return self

    def check(self, checkup: Checkup = WELL) -> "Story":
        return self.see(DevicesChecked({GPU: checkup, OTHER: WELL}))

    def sleep(self, seconds: float) -> "Story":
        """Let time pass; whatever falls due meanwhile is done then."""
        end = self.now + seconds
        while (next_due := due(self.state, self.policy)) is not None and next_due <= end:
            self.now = max(next_due, self.now)
            before = self.state
            self.state, self.changes = wait(self.state, at(self.now), self.policy)
            assert self.state != before, "what is due changes something"
        self.now = end
        return self

    def clear(self) -> "Story":
        self.state, self.changes = clear(self.state, GPU, at(self.now), self.policy)
        return self

    def restart(self, *, boot: str = "boot") -> "Story":
        """Another gateway reads what this one left; 5 s later it looks at the devices."""
        self.state = recall(remember(self.state, "boot"), boot)
        self.now = self.now + 5 if boot == "boot" else 20.0
        return self.see(SEEN)

    @property
    def stage(self) -> Stage:
        return self.state.stage_of(GPU)

    @property
    def fault(self) -> Fault:
        return self.state.faults[GPU]


def ids_of(state: State) -> set[DeviceId]:
    return {known.id for known in state.inventory.devices} if state.inventory else set()


def accused(observation: Observation, state: State) -> set[DeviceId]:
    """The devices that this observation says something against."""
    match observation:
        case EvidenceReported(kind, str(name)) if name in ids_of(state) and POLICY.about(kind).action.needs is not None:
            return {name}
        case DevicesChecked(checkups):
            return {name for name, checkup in checkups.items() if checkup.problems}
        case DriverSilence(seconds) if seconds >= POLICY.driver_timeout and not state.driver_is_gone:
            return ids_of(state)
        case DriverUnavailable():
            return ids_of(state)
    return set()


@given(HISTORIES, OBSERVATIONS)
def test_the_same_state_and_observation_give_the_same_and_change_no_argument(
    history: Sequence[Observation], observation: Observation
) -> None:
    state = after(*history)
    before = deepcopy((state, observation))
    first = advance(state, observation, at(200), POLICY)
    assert first == advance(state, observation, at(200), POLICY)
    assert (state, observation) == before


@given(HISTORIES)
def test_a_device_is_taken_out_only_by_what_was_said_against_it(history: Sequence[Observation]) -> None:
    for before, observation, now, _ in steps(history):
        assert set(now.faults) - set(before.faults) <= accused(observation, before)


@given(HISTORIES)
def test_what_an_event_says_against_a_device_takes_it_out(history: Sequence[Observation]) -> None:
    for before, observation, now, _ in steps(history):
        if not isinstance(observation, DriverUnavailable):
            assert accused(observation, before) <= set(now.faults)


@given(HISTORIES)
def test_a_device_is_given_back_only_after_a_quiet_probation(history: Sequence[Observation]) -> None:
    for number, (before, observation, now, _) in enumerate(steps(history)):
        for name in set(before.faults) - set(now.faults):
            fault = before.faults[name]
            assert fault.stage is Stage.PROBATION
            assert fault.quiet_from is not None
            assert 10.0 * number - fault.quiet_from >= POLICY.quiet_time
            assert name not in accused(observation, before)


@given(HISTORIES)
def test_every_change_of_stage_is_told_once_and_nothing_else(history: Sequence[Observation]) -> None:
    for before, _, now, changes in steps(history):
        expected = {name for name in IDS if before.stage_of(name) is not now.stage_of(name)}
        assert {change.device for change in changes.health} == expected
        assert len(changes.health) == len(expected)
        for change in changes.health:
            assert (change.before, change.after) == (before.stage_of(change.device), now.stage_of(change.device))
            assert (change.lacks is None) is (change.after is Stage.HEALTHY)


@given(HISTORIES, st.sampled_from(IDS))
def test_an_operators_word_leaves_what_lasts_and_nothing_else(history: Sequence[Observation], name: DeviceId) -> None:
    state = after(*history)
    cleared, _ = clear(state, name, at(0), POLICY)
    lasting = state.faults[name].problems if name in state.faults and name in ids_of(state) else {}
    assert (name in cleared.faults) is bool(lasting)
    assert {other: fault for other, fault in cleared.faults.items() if other != name} == {
        other: fault for other, fault in state.faults.items() if other != name
    }


@given(HISTORIES)
def test_another_gateway_whitewashes_nobody(history: Sequence[Observation]) -> None:
    state = after(*history)
    for boot in ("boot", "another"):
        recalled = recall(remember(state, "boot"), boot)
        assert set(recalled.faults) == set(state.faults)
        assert all(fault.stage is Stage.UNHEALTHY for fault in recalled.faults.values())
        assert all(recalled.faults[name].evidence == fault.evidence for name, fault in state.faults.items())


@given(HISTORIES, INVENTORIES)
def test_an_inventory_seen_twice_changes_nothing_the_second_time(
    history: Sequence[Observation], seen: Inventory
) -> None:
    state = after(*history, InventorySeen(seen))
    state, _ = wait(state, at(120), POLICY)
    assert advance(state, InventorySeen(seen), at(120), POLICY) == (state, Changes())


@given(HISTORIES)
def test_devices_come_and_go_with_inventories_alone(history: Sequence[Observation]) -> None:
    for before, observation, now, changes in steps(history):
        if isinstance(observation, InventorySeen):
            assert now.inventory == observation.inventory
            assert {item.id for item in changes.added} == ids_of(now) - ids_of(before)
            assert {item.id for item in changes.removed} == ids_of(before) - ids_of(now)
        else:
            assert now.inventory == before.inventory
            assert (changes.added, changes.removed, changes.altered, changes.rejected) == ((), (), (), ())


@given(HISTORIES)
def test_a_rejection_is_reported_when_it_is_new_and_not_again(history: Sequence[Observation]) -> None:
    known: tuple[RejectedDevice, ...] = ()
    for _, observation, _, changes in steps(history):
        if isinstance(observation, InventorySeen):
            assert set(changes.rejected) == set(observation.inventory.rejected) - set(known)
            known = observation.inventory.rejected


@given(HISTORIES)
def test_the_driver_is_reported_only_where_it_changed(history: Sequence[Observation]) -> None:
    for before, observation, now, changes in steps(history):
        if isinstance(observation, InventorySeen):
            assert now.driver_problem is None
        if isinstance(observation, DriverUnavailable):
            assert now.driver_problem == observation.problem
        changed = now.driver_problem != before.driver_problem
        assert changes.driver == (DriverChange(problem=now.driver_problem) if changed else None)


@given(HISTORIES)
def test_silence_and_deafness_are_told_once_when_they_begin_and_once_when_they_end(
    history: Sequence[Observation],
) -> None:
    for before, _, now, changes in steps(history):
        assert (changes.silence is not None) == (before.driver_is_silent != now.driver_is_silent)
        assert (changes.events is not None) == (before.events_problem != now.events_problem)


def test_a_driver_is_silent_from_ten_seconds_on() -> None:
    state, changes = advance(State(), DriverSilence(9.9), at(0), POLICY)
    assert (state.driver_is_silent, changes) == (False, Changes())
    state, changes = advance(state, DriverSilence(12.0), at(0), POLICY)
    assert changes == Changes(silence=SilenceChange(silent=True, seconds=12.0))
    state, changes = advance(state, DriverSilence(0.0), at(0), POLICY)
    assert changes == Changes(silence=SilenceChange(silent=False, seconds=0.0))


def test_an_xid_takes_its_device_out_and_says_what_it_needs() -> None:
    story = Story().see(EvidenceReported(xid_kind(79), GPU))
    assert story.changes.health == (
        HealthChange(GPU, Stage.HEALTHY, Stage.UNHEALTHY, "XID 79", "a reboot of the node, or an operator's word"),
    )
    assert set(story.state.faults) == {GPU}
    assert (story.fault.since, story.fault.reason) == (EPOCH, "XID 79")


@pytest.mark.parametrize(
    ("observation", "note"),
    [
        (EvidenceReported(xid_kind(63), GPU), Note(GPU, "XID 63", Significance.IGNORED)),
        (EvidenceReported(xid_kind(31), GPU), Note(GPU, "XID 31", Significance.REPORTED)),
        (EvidenceReported(xid_kind(31), None), Note(None, "XID 31", Significance.UNKNOWN_DEVICE)),
        (EvidenceReported(xid_kind(79), None), Note(None, "XID 79", Significance.UNKNOWN_DEVICE)),
        (EvidenceReported(xid_kind(79), IDS[5]), Note(IDS[5], "XID 79", Significance.UNKNOWN_DEVICE)),
        (EvidenceReported(DOUBLE_BIT_ECC, None), Note(None, "double-bit-ecc", Significance.UNKNOWN_DEVICE)),
        (EvidenceReported(xid_kind(79), OTHER), Note(OTHER, "XID 79", Significance.FURTHER)),
    ],
)
def test_an_event_that_changes_no_stage_says_why(observation: Observation, note: Note) -> None:
    story = Story().see(EvidenceReported(xid_kind(48), OTHER), observation)
    assert story.changes == Changes(notes=(note,))


def test_the_same_evidence_again_is_not_told_again() -> None:
    assert Story().see(EvidenceReported(xid_kind(79), GPU), EvidenceReported(xid_kind(79), GPU)).changes == Changes()


def test_before_the_first_inventory_no_device_is_known() -> None:
    state, changes = advance(State(), EvidenceReported(xid_kind(79), GPU), at(1), POLICY)
    assert state == State()
    assert changes.notes == (Note(GPU, "XID 79", Significance.UNKNOWN_DEVICE),)


def test_a_device_that_vanished_and_came_back_is_still_unhealthy() -> None:
    story = Story().see(EvidenceReported(xid_kind(79), GPU), InventorySeen(inventory()), SEEN)
    assert story.stage is Stage.UNHEALTHY


def test_an_xid_that_only_counts_is_over_after_a_check_and_a_quiet_time() -> None:
    story = Story().see(EvidenceReported(xid_kind(1000), GPU)).sleep(600)
    assert story.stage is Stage.UNHEALTHY, "time alone is no proof"
    assert story.check().stage is Stage.PROBATION
    assert story.changes.health[0].lacks == "a quiet time"
    assert story.sleep(59.9).stage is Stage.PROBATION
    assert story.sleep(0.1).stage is Stage.HEALTHY
    assert story.changes.health == (HealthChange(GPU, Stage.PROBATION, Stage.HEALTHY, "XID 1000", None),)


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


def test_what_a_check_could_not_find_out_is_as_it_was() -> None:
    story = Story().check(ASKING)
    silent = Checkup({}, unanswered=frozenset({RECOVERY_ACTION}))
    assert story.check(silent).sleep(600).stage is Stage.UNHEALTHY
    assert story.fault.problems == ASKING.problems
    assert story.check().sleep(60).stage is Stage.HEALTHY
    assert story.check(silent).stage is Stage.HEALTHY, "it never said that it asks for recovery"


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


def test_what_strikes_every_device_at_once_is_no_flapping_of_any() -> None:
    story = Story()
    for _ in range(POLICY.flap_count + 1):
        story.see(DevicesChecked({GPU: LOST, OTHER: LOST})).check().sleep(60)
        assert story.stage is Stage.HEALTHY


def test_a_driver_that_is_gone_can_be_no_more_than_reported() -> None:
    policy = POLICY.with_decisions({DRIVER_GONE: Decision(Action.REPORT, "file:3")})
    story = Story(policy).see(DriverSilence(31.0))
    assert story.changes.notes == (Note(None, "the driver does not answer", Significance.REPORTED),)
    assert story.see(DriverSilence(36.0)).changes == Changes()
    assert story.stage is Stage.HEALTHY
    story.policy = POLICY
    assert story.see(DriverSilence(41.0)).stage is Stage.UNHEALTHY, "the admin thinks otherwise now"


def test_an_operator_can_talk_away_a_device_that_is_not_there() -> None:
    story = Story().check(LOST).see(InventorySeen(inventory(device(1)))).clear()
    assert story.state.faults == {}


def test_a_probation_that_ends_says_what_ended_it() -> None:
    story = Story().see(EvidenceReported(xid_kind(1000), GPU)).check().see(EvidenceReported(xid_kind(79), GPU))
    assert story.changes.health[0].reason == "XID 79"
    assert story.fault.reason == "XID 1000"


def test_a_driver_that_comes_and_goes_is_no_flapping_of_its_devices() -> None:
    story = Story()
    for _ in range(6):
        story.see(DriverSilence(31.0), DriverSilence(0.0)).check().sleep(60)
        assert story.state.faults == {}


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
    assert story.fault.lacks == f"an end of: {'; '.join(checkup.problems.values())}"
    assert story.check().stage is Stage.PROBATION
    assert story.sleep(60).stage is Stage.HEALTHY


def test_what_needs_a_reboot_waits_for_another_boot() -> None:
    story = (
        Story()
        .see(DriverSeen("575", "1"), EvidenceReported(xid_kind(79), GPU), DriverSeen("575", "2"))
        .check()
        .sleep(7200)
    )
    assert story.stage is Stage.UNHEALTHY
    assert story.restart().check().sleep(7200).stage is Stage.UNHEALTHY
    assert story.restart(boot="another").stage is Stage.UNHEALTHY
    assert story.check().stage is Stage.PROBATION
    assert story.sleep(60).stage is Stage.HEALTHY


def test_a_restart_in_probation_begins_the_quiet_time_anew() -> None:
    story = Story().see(EvidenceReported(xid_kind(1000), GPU)).check().sleep(59).restart()
    assert story.stage is Stage.UNHEALTHY
    assert story.check().sleep(59).stage is Stage.PROBATION
    assert story.sleep(1).stage is Stage.HEALTHY


def test_a_restart_does_not_forget_a_reset_that_was_asked_for() -> None:
    story = Story().check(ASKING).see(EvidenceReported(xid_kind(48), GPU)).restart().check()
    assert story.stage is Stage.PROBATION


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


def test_a_driver_that_is_gone_for_a_moment_takes_no_device_along() -> None:
    story = Story().see(DriverUnavailable("no library")).sleep(29.9)
    assert ids_of(story.state) == {GPU, OTHER}
    assert story.state.faults == {}
    story.see(SEEN)
    assert story.changes.driver == DriverChange(problem=None)
    assert story.sleep(600).state.faults == {}


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


def test_nothing_falls_due_where_there_never_was_a_driver() -> None:
    state, _ = advance(State(), DriverUnavailable("no library"), at(0), POLICY)
    assert due(state, POLICY) is None


@given(HISTORIES)
def test_what_is_due_is_done_once(history: Sequence[Observation]) -> None:
    state, _ = wait(after(*history), at(100_000), POLICY)
    assert due(state, POLICY) is None


def test_a_driver_that_hangs_takes_every_device_along_until_it_answers() -> None:
    story = Story().see(DriverSilence(29.0))
    assert story.state.faults == {}
    story.see(DriverSilence(31.0), DriverSilence(36.0))
    assert {fault.reason for fault in story.state.faults.values()} == {"the driver does not answer"}
    assert story.see(DriverSilence(0.0)).check().stage is Stage.PROBATION
    assert story.see(DriverSilence(31.0)).stage is Stage.UNHEALTHY


def test_what_is_only_reported_is_reported_once_for_as_long_as_it_lasts() -> None:
    policy = POLICY.with_decisions({PENDING_RETIREMENT: Decision(Action.REPORT, "file:3")})
    story = Story(policy).check(PENDING)
    assert story.stage is Stage.HEALTHY
    told = (Note(GPU, "memory waits", Significance.REPORTED),)
    assert story.changes == Changes(notes=told)
    assert story.check(PENDING).changes == Changes()
    assert story.check().check(PENDING).changes == Changes(notes=told)


def test_a_decision_of_the_admin_counts_from_the_next_evidence_on() -> None:
    story = Story()
    story.policy = POLICY.with_decisions({xid_kind(79): Decision(Action.REPORT, "file:2")})
    assert story.see(EvidenceReported(xid_kind(79), GPU)).stage is Stage.HEALTHY


def test_of_much_evidence_the_first_and_the_latest_are_kept() -> None:
    story = Story().see(*(EvidenceReported(xid_kind(1000 + number), GPU) for number in range(30)))
    kept = [evidence.what for evidence in story.fault.evidence]
    assert kept == ["XID 1000", *(f"XID {number}" for number in range(1023, 1030))]


def test_a_new_driver_is_told_once() -> None:
    story = Story().see(DriverSeen("575", "1"))
    assert story.changes.seen == DriverSeen("575", "1")
    assert story.see(DriverSeen("575", "1")).changes == Changes()
