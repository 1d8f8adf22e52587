"""The state function: what an observation may change, over any history."""

from collections.abc import Iterator, Sequence
from copy import deepcopy

import pytest
from hypothesis import given

from plugin_gateway.core.devices import DeviceId, Inventory, RejectedDevice
from plugin_gateway.core.health import Condition, Health, is_application_error
from plugin_gateway.core.observations import (
    DeviceLost,
    DriverSilence,
    DriverUnavailable,
    InventorySeen,
    Observation,
    XidReported,
)
from plugin_gateway.core.state import (
    Changes,
    Dismissal,
    DismissedEvent,
    DriverChange,
    HealthChange,
    SilenceChange,
    State,
    advance,
)

from .strategies import HISTORIES, IDS, INVENTORIES, OBSERVATIONS, device, inventory

Step = tuple[State, Observation, State, Changes]


def steps(history: Sequence[Observation]) -> Iterator[Step]:
    state = State()
    for now, observation in enumerate(history):
        before = state
        state, changes = advance(before, observation, float(now))
        yield before, observation, state, changes


def after(*history: Observation) -> State:
    state = State()
    for _, _, state, _ in steps(history):  # noqa: B007 - the last one is wanted
        pass
    return state


def ids_of(state: State) -> set[DeviceId]:
    return {known.id for known in state.inventory.devices} if state.inventory else set()


def condemns(observation: Observation, state: State) -> DeviceId | None:
    """The device that this observation says something against."""
    match observation:
        case XidReported(xid, name) if name in ids_of(state) and not is_application_error(xid):
            return name
        case DeviceLost(name, _) if name in ids_of(state):
            return name
    return None


@given(HISTORIES, OBSERVATIONS)
def test_the_same_state_and_observation_give_the_same_and_change_no_argument(
    history: Sequence[Observation], observation: Observation
) -> None:
    state = after(*history)
    before = deepcopy((state, observation))
    first = advance(state, observation, 1.5)
    assert first == advance(state, observation, 1.5)
    assert (state, observation) == before


@given(HISTORIES)
def test_unhealthy_grows_only_by_a_known_device_that_was_lost_or_had_an_xid_of_its_own(
    history: Sequence[Observation],
) -> None:
    for before, observation, now, _ in steps(history):
        grown = set(now.unhealthy) - set(before.unhealthy)
        assert grown <= {condemns(observation, before)}
        assert condemns(observation, before) in {None, *now.unhealthy}


@given(HISTORIES)
def test_a_device_is_healthy_if_and_only_if_nothing_was_said_against_it(history: Sequence[Observation]) -> None:
    condemned = {condemns(observation, before) for before, observation, _, _ in steps(history)}
    state = after(*history)
    for name in IDS:
        assert (name in state.unhealthy) is (name in condemned)


@given(HISTORIES)
def test_a_device_keeps_the_first_reason_and_its_time(history: Sequence[Observation]) -> None:
    first: dict[DeviceId, float] = {}
    for now, (before, observation, _, _) in enumerate(steps(history)):
        name = condemns(observation, before)
        if name is not None:
            first.setdefault(name, float(now))
    assert {name: condition.since for name, condition in after(*history).unhealthy.items()} == first


@given(HISTORIES, INVENTORIES)
def test_an_inventory_seen_twice_changes_nothing_the_second_time(
    history: Sequence[Observation], seen: Inventory
) -> None:
    state = after(*history, InventorySeen(seen))
    assert advance(state, InventorySeen(seen), 99.0) == (state, Changes())


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
def test_an_event_changes_one_health_or_is_dismissed(history: Sequence[Observation]) -> None:
    for before, observation, now, changes in steps(history):
        if isinstance(observation, XidReported | DeviceLost):
            assert (changes.health is None) != (changes.dismissed is None)
            assert (changes.health is None) == (now == before)
        else:
            assert (changes.health, changes.dismissed) == (None, None)


@given(HISTORIES)
def test_the_driver_is_reported_only_where_it_changed(history: Sequence[Observation]) -> None:
    for before, observation, now, changes in steps(history):
        if isinstance(observation, InventorySeen):
            assert now.driver_problem is None
        if isinstance(observation, DriverUnavailable):
            assert now.driver_problem == observation.problem
        changed = now.driver_problem != before.driver_problem
        assert changes.driver == (DriverChange(problem=now.driver_problem) if changed else None)


def test_an_xid_makes_its_device_unhealthy() -> None:
    seen = after(InventorySeen(inventory(device(0), device(1))))
    state, changes = advance(seen, XidReported(79, IDS[1]), 12.0)
    assert changes == Changes(health=HealthChange(device=IDS[1], health=Health.UNHEALTHY, reason="XID 79"))
    assert state.unhealthy == {IDS[1]: Condition(reason="XID 79", since=12.0)}
    assert set(state.unhealthy) == {IDS[1]}


def test_a_lost_device_is_unhealthy_with_the_words_of_its_driver() -> None:
    state = after(InventorySeen(inventory(device(0))), DeviceLost(IDS[0], "GPU is lost"))
    assert state.unhealthy == {IDS[0]: Condition(reason="lost: GPU is lost", since=1.0)}


@pytest.mark.parametrize(
    ("observation", "event", "dismissal"),
    [
        (XidReported(31, IDS[0]), "XID 31", Dismissal.APPLICATION_ERROR),
        (XidReported(31, None), "XID 31", Dismissal.APPLICATION_ERROR),
        (XidReported(79, None), "XID 79", Dismissal.UNKNOWN_DEVICE),
        (XidReported(79, IDS[5]), "XID 79", Dismissal.UNKNOWN_DEVICE),
        (DeviceLost(IDS[5], "gone"), "lost: gone", Dismissal.UNKNOWN_DEVICE),
        (DeviceLost(IDS[1], "gone"), "lost: gone", Dismissal.ALREADY_UNHEALTHY),
        (XidReported(48, IDS[1]), "XID 48", Dismissal.ALREADY_UNHEALTHY),
    ],
)
def test_an_event_that_changes_nothing_says_why(
    observation: XidReported | DeviceLost, event: str, dismissal: Dismissal
) -> None:
    state = after(InventorySeen(inventory(device(0), device(1))), XidReported(79, IDS[1]))
    assert advance(state, observation, 5.0) == (
        state,
        Changes(dismissed=DismissedEvent(device=observation.device, event=event, dismissal=dismissal)),
    )


def test_before_the_first_inventory_no_device_is_known() -> None:
    state, changes = advance(State(), XidReported(79, IDS[0]), 1.0)
    assert state == State()
    assert changes.dismissed == DismissedEvent(device=IDS[0], event="XID 79", dismissal=Dismissal.UNKNOWN_DEVICE)


def test_a_device_that_vanished_and_came_back_is_still_unhealthy() -> None:
    seen = InventorySeen(inventory(device(0)))
    state = after(seen, XidReported(79, IDS[0]), InventorySeen(inventory()), seen)
    assert IDS[0] in state.unhealthy


def test_a_driver_that_is_gone_takes_no_device_along() -> None:
    """Containers go on running; what the kubelet is told changes with the next inventory."""
    state = after(InventorySeen(inventory(device(0))), DriverUnavailable("no library"))
    assert ids_of(state) == {IDS[0]}
    back, changes = advance(state, InventorySeen(inventory(device(0))), 3.0)
    assert (back.driver_problem, changes) == (None, Changes(driver=DriverChange(problem=None)))


@given(HISTORIES)
def test_silence_and_deafness_are_told_once_when_they_begin_and_once_when_they_end(
    history: Sequence[Observation],
) -> None:
    for before, _, now, changes in steps(history):
        assert (changes.silence is not None) == (before.driver_is_silent != now.driver_is_silent)
        assert (changes.events is not None) == (before.events_problem != now.events_problem)


def test_a_driver_is_silent_from_ten_seconds_on() -> None:
    state, changes = advance(State(), DriverSilence(9.9), 0.0)
    assert (state.driver_is_silent, changes) == (False, Changes())
    state, changes = advance(state, DriverSilence(12.0), 0.0)
    assert changes == Changes(silence=SilenceChange(silent=True, seconds=12.0))
    state, changes = advance(state, DriverSilence(0.0), 0.0)
    assert changes == Changes(silence=SilenceChange(silent=False, seconds=0.0))
