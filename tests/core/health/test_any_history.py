"""The state function: what an observation may change, over any history."""

from collections.abc import Iterator, Sequence
from copy import deepcopy

from hypothesis import given
from hypothesis import strategies as st

from core.health.story import POLICY, at, ids_of
from core.strategies import HISTORIES, IDS, INVENTORIES, OBSERVATIONS
from plugin_gateway.core.devices import DeviceId, FaultId, Inventory, RejectedDevice
from plugin_gateway.core.health.changes import Changes, DriverChange
from plugin_gateway.core.health.faults import Stage
from plugin_gateway.core.health.memory import recall, remember
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverSilence,
    DriverUnavailable,
    EvidenceReported,
    InventorySeen,
    Observation,
)
from plugin_gateway.core.health.policy import HealthPolicy
from plugin_gateway.core.health.state import State
from plugin_gateway.core.health.state_function import advance, clear, due, wait

Step = tuple[State, Observation, State, Changes]


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


def accused(observation: Observation, state: State) -> set[FaultId]:
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
    aside: tuple[RejectedDevice, ...] = ()
    for _, observation, _, changes in steps(history):
        if isinstance(observation, InventorySeen):
            assert set(changes.rejected) == set(observation.inventory.rejected) - set(known)
            assert set(changes.set_aside) == set(observation.inventory.set_aside) - set(aside)
            known, aside = observation.inventory.rejected, observation.inventory.set_aside


@given(HISTORIES)
def test_the_driver_is_reported_only_where_it_changed(history: Sequence[Observation]) -> None:
    for before, observation, now, changes in steps(history):
        if isinstance(observation, InventorySeen):
            assert now.driver_problem is None
        if isinstance(observation, DriverUnavailable):
            assert now.driver_problem == observation.problem
        changed = now.driver_problem != before.driver_problem
        todo = observation.todo if isinstance(observation, DriverUnavailable) else ""
        assert changes.driver == (DriverChange(now.driver_problem, todo) if changed else None)


@given(HISTORIES)
def test_silence_and_deafness_are_told_once_when_they_begin_and_once_when_they_end(
    history: Sequence[Observation],
) -> None:
    for before, _, now, changes in steps(history):
        assert (changes.silence is not None) == (before.driver_is_silent != now.driver_is_silent)
        assert (changes.events is not None) == (before.events_problem != now.events_problem)


@given(HISTORIES)
def test_what_is_due_is_done_once(history: Sequence[Observation]) -> None:
    state, _ = wait(after(*history), at(100_000), POLICY)
    assert due(state, POLICY) is None
