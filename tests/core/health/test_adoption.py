"""What a gateway takes over from another one of the node: every fault, and the one that needs more."""

from collections.abc import Sequence

from hypothesis import given

from core.health.story import GPU, OTHER, POLICY, SEEN, Story, at
from core.strategies import HISTORIES
from plugin_gateway.core.health.changes import HealthChange
from plugin_gateway.core.health.faults import Stage
from plugin_gateway.core.health.memory import recall, remember
from plugin_gateway.core.health.observations import DriverSeen, EvidenceReported, Observation
from plugin_gateway.core.health.policy import Needs
from plugin_gateway.core.health.repetition import Repeated
from plugin_gateway.core.health.state import State
from plugin_gateway.core.health.state_function import adopt, advance
from plugin_gateway.nvidia.evidence import DOUBLE_BIT_ECC, xid_kind

FATAL, SMALL = EvidenceReported(xid_kind(79), GPU), EvidenceReported(xid_kind(1000), GPU)


def kept(story: Story) -> State:
    """What a gateway with this state leaves to others in the same boot."""
    return recall(remember(story.state, "boot"), "boot", story.now)


def lived(history: Sequence[Observation]) -> State:
    state = State()
    for number, observation in enumerate(history):
        state, _ = advance(state, observation, at(10.0 * number), POLICY)
    return state


def test_a_fault_that_only_the_other_one_knew_takes_its_device_out_and_is_told() -> None:
    after, changes = adopt(Story().state, kept(Story().see(FATAL)))
    assert (after.stage_of(GPU), after.faults[GPU].needs) == (Stage.UNHEALTHY, Story().see(FATAL).fault.needs)
    needs = after.faults[GPU].lacks
    assert changes.health == (HealthChange(GPU, Stage.HEALTHY, Stage.UNHEALTHY, "XID 79", needs, FATAL.kind),)


def test_of_two_faults_of_one_device_the_one_that_needs_more_counts() -> None:
    for mine, theirs in ((FATAL, SMALL), (SMALL, FATAL)):
        after, changes = adopt(Story().see(mine).state, kept(Story().see(theirs)))
        assert after.faults[GPU].needs is Story().see(FATAL).fault.needs > Needs.CHECK
        assert not changes.health


def test_a_probation_of_its_own_goes_on_where_the_other_one_knew_nothing_worse() -> None:
    story = Story().see(SMALL).sleep(10).check()
    assert story.stage is Stage.PROBATION
    after, _ = adopt(story.state, kept(Story().see(SMALL)))
    assert after.stage_of(GPU) is Stage.PROBATION


def test_a_reset_that_it_saw_after_the_other_one_had_ended_counts_for_what_that_one_left() -> None:
    theirs = Story().see(DriverSeen("575", "1"), EvidenceReported(DOUBLE_BIT_ECC, GPU))
    for instance, was_reset in (("1", False), ("2", True)):
        mine = Story().see(DriverSeen("575", instance))
        after, _ = adopt(mine.state, kept(theirs))
        assert after.faults[GPU].was_reset is was_reset


def test_times_that_both_counted_are_not_counted_twice() -> None:
    both = [Story().see(SMALL), Story().see(SMALL)]
    after, _ = adopt(both[0].state, kept(both[1]))
    assert len(after.taken_out[GPU]) == 1


def test_of_evidence_that_both_counted_the_longer_count_stays_unless_there_was_a_reset() -> None:
    mine: Repeated = {GPU: {FATAL.kind: (1.0,)}}
    theirs: Repeated = {GPU: {FATAL.kind: (1.0, 2.0)}, OTHER: {SMALL.kind: (3.0,)}}
    for instance, expected in (("1", theirs), ("2", mine)):
        left = State(driver=DriverSeen("575", "1"), repeated=theirs)
        after, _ = adopt(State(driver=DriverSeen("575", instance), repeated=mine), left)
        assert after.repeated == expected


def test_a_device_that_it_sees_is_none_that_did_not_appear_in_this_boot() -> None:
    theirs = State(faults=Story().see(FATAL).state.faults, unseen=frozenset({GPU, OTHER}))
    assert not adopt(Story().see(SEEN).state, theirs)[0].unseen


@given(HISTORIES, HISTORIES)
def test_no_fault_of_either_is_lost(mine: Sequence[Observation], theirs: Sequence[Observation]) -> None:
    before, left = lived(mine), recall(remember(lived(theirs), "boot"), "boot")
    after, changes = adopt(before, left)
    assert set(after.faults) == {*before.faults, *left.faults}
    for device, fault in after.faults.items():
        assert fault.needs == max(state.faults[device].needs for state in (before, left) if device in state.faults)
    assert {change.device for change in changes.health} == {
        device for device in after.faults if before.stage_of(device) is not after.stage_of(device)
    }
    assert adopt(after, left)[0] == after
