"""How long labels and taints outlast what they were made of: a driver that is gone, and a fault that comes and goes."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.health.story import LOST, POLICY, at
from harness.devices import device, inventory
from plugin_gateway.core.health.faults import Evidence, Fault
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverSilence,
    DriverUnavailable,
    FactsSeen,
    InventorySeen,
    Observation,
)
from plugin_gateway.core.health.policy import Needs
from plugin_gateway.core.health.state import State
from plugin_gateway.core.health.state_function import advance, wait
from plugin_gateway.core.labels.lasting import TAINT_TIME, HeldTaint, Lasting, hold_taints, lasting_labels
from plugin_gateway.core.labels.making import Label, Labelled, NodeLabels
from plugin_gateway.core.labels.names import LabelName
from plugin_gateway.core.labels.policy import FAULT_TAINT, CauseRule, Effect, LabelPolicy, ProductRule, Taint
from plugin_gateway.core.resources.rules import ResourceRule

GPU = device(0, product="NVIDIA H100")
KNOWN = (InventorySeen(inventory(GPU)), FactsSeen({}, {GPU.physical.id: {}}))
NO_DRIVER = DriverUnavailable("no driver", unserved=1)
NO_GPU = DriverUnavailable("the machine has no GPU")
NO, PREFER = Effect.NO_SCHEDULE, Effect.PREFER_NO_SCHEDULE
PRODUCT = ProductRule("*", LabelName("example.com/fast"), "yes", NO)
GONE = CauseRule("driver-gone", NO)
LOST_ONE = State(faults={GPU.physical.id: Fault(since=1.0, evidence=(Evidence("x", 1.0),), needs=Needs.CHECK)})
NOTHING = Lasting(NodeLabels({}))


def counted(state: State, _: Sequence[ResourceRule], __: LabelPolicy) -> Iterator[Label]:
    if state.physical:
        yield Label("a/gpus", str(len(state.physical)), "a test")


def ports(state: State, _: Sequence[ResourceRule], __: LabelPolicy) -> Iterator[Label]:
    if state.inventory is not None:
        yield Label("a/cards", str(len(state.physical)), "a test")


def seen(*observations: Observation, until: float = 0.0) -> State:
    """The state after these, one in a second from 0 on, and after a wait."""
    state = State()
    for number, observation in enumerate(observations):
        state, _ = advance(state, observation, at(number), POLICY)
    return wait(state, at(until), POLICY)[0] if until else state


def of_node(uptime: float, *states: State, grace: float = math.inf, policy: LabelPolicy | None = None) -> Lasting:
    makers = (counted, ports)
    backends = [Labelled(state, maker, maker is counted) for state, maker in zip(states, makers, strict=False)]
    return lasting_labels(backends, (), policy or LabelPolicy(), uptime, grace)


def test_the_labels_of_devices_stay_as_long_as_their_driver_answers() -> None:
    found = of_node(1e6, seen(*KNOWN), grace=0.0)
    assert (found.labels.labels, found.labels.is_complete, found.until) == ({"a/gpus": "1"}, True, None)


def test_labels_outlive_their_driver_for_the_time_of_grace() -> None:
    state = seen(*KNOWN, NO_DRIVER)  # at 2 s
    for uptime in (2.0, 61.9):
        found = of_node(uptime, state, grace=60.0)
        assert (found.labels.labels, found.labels.is_complete, found.until) == ({"a/gpus": "1"}, True, 62.0)
    found = of_node(62.0, state, grace=60.0)
    assert (found.labels.labels, found.labels.is_complete, found.until) == ({}, True, None)
    assert of_node(1e9, state).labels.labels == {"a/gpus": "1"}
    assert of_node(1e9, state).until is None
    assert of_node(1e9, seen(*KNOWN, NO_DRIVER, *KNOWN), grace=60.0).labels.labels == {"a/gpus": "1"}


def test_a_driver_that_hangs_is_gone_since_its_last_sign() -> None:
    state = seen(*KNOWN, DriverSilence(12.0), DriverSilence(13.0))  # 12 s of silence at 2 s
    assert of_node(49.9, state, grace=60.0).labels.labels == {"a/gpus": "1"}
    assert of_node(49.9, state, grace=60.0).until == 50.0
    assert of_node(50.0, state, grace=60.0).labels.labels == {}
    assert of_node(1e9, seen(*KNOWN, DriverSilence(12.0), DriverSilence(0.0)), grace=60.0).until is None


def test_what_an_earlier_gateway_wrote_stays_until_the_driver_has_answered_or_the_grace_is_over() -> None:
    for never in (seen(), seen(NO_DRIVER), seen(DriverSilence(12.0))):
        assert not of_node(1.0, never, grace=60.0).labels.is_complete
    assert of_node(60.0, seen(NO_DRIVER), grace=60.0).labels == NodeLabels({})
    assert not of_node(1e9, seen(NO_DRIVER)).labels.is_complete
    assert of_node(1.0, seen(InventorySeen(inventory()), FactsSeen({}, {}))).labels.is_complete


def test_a_backend_that_has_not_answered_leaves_the_labels_of_others_as_they_are() -> None:
    cards = seen(InventorySeen(inventory(device(3), device(4))))
    found = of_node(1.0, seen(NO_GPU), cards)
    assert (found.labels.labels, found.labels.is_complete) == ({"a/cards": "2"}, False)
    found = of_node(60.0, seen(NO_GPU), cards, grace=60.0)
    assert (found.labels.labels, found.labels.is_complete) == ({"a/cards": "2"}, True)


def test_the_earliest_end_of_several_drivers_counts() -> None:
    first, second = seen(*KNOWN, NO_DRIVER), seen(InventorySeen(inventory(device(3))), NO_DRIVER)
    assert of_node(10.0, first, second, grace=60.0).until == 61.0
    assert of_node(61.5, first, second, grace=60.0).until == 62.0
    assert of_node(61.5, first, second, grace=60.0).labels.labels == {"a/gpus": "1"}


def test_the_taint_of_a_product_goes_with_its_labels() -> None:
    policy = LabelPolicy(by_product=(PRODUCT,))
    state = seen(*KNOWN, NO_DRIVER)
    assert of_node(10.0, state, grace=60.0, policy=policy).labels.taints
    assert not of_node(90.0, state, grace=60.0, policy=policy).labels.taints


def test_a_driver_that_is_gone_taints_the_node_as_long_as_it_is_gone() -> None:
    policy = LabelPolicy(by_cause=(GONE,))
    taint = Taint(LabelName(FAULT_TAINT), "driver-gone", NO)
    before, after = seen(*KNOWN, NO_DRIVER, until=10.0), seen(*KNOWN, NO_DRIVER, until=40.0)
    assert not of_node(10.0, before, grace=60.0, policy=policy).labels.taints
    for uptime, state in itertools.product((40.0, 1e9), (after, seen(*KNOWN, DriverSilence(31.0)))):
        assert of_node(uptime, state, grace=60.0, policy=policy).labels.taints == (taint,)


@pytest.mark.parametrize("grace", [60.0, math.inf])
def test_a_driver_that_was_gone_at_the_start_taints_the_node_only_if_that_has_devices_for_it(grace: float) -> None:
    policy = LabelPolicy(by_cause=(GONE,))
    for uptime in (40.0, 1e9):
        found = of_node(uptime, seen(NO_DRIVER, until=40.0), grace=grace, policy=policy).labels
        assert [each.value for each in found.taints] == ["driver-gone"]
        assert found.why == {FAULT_TAINT: "no device is known of those that the node has: no driver"}
        assert not of_node(uptime, seen(NO_GPU, until=40.0), grace=grace, policy=policy).labels.taints
        assert not of_node(uptime, seen(NO_DRIVER, until=10.0), grace=grace, policy=policy).labels.taints


def test_all_faults_are_known_where_a_backend_has_no_device_or_has_told_of_each() -> None:
    cards = seen(InventorySeen(inventory(device(3))))
    for unknown in (seen(), seen(NO_DRIVER), seen(DriverSilence(12.0)), replace(seen(NO_GPU), faults=LOST_ONE.faults)):
        assert not of_node(1.0, unknown, cards).labels.knows_faults
    assert of_node(1.0, seen(NO_GPU), cards).labels.knows_faults
    assert of_node(1.0, seen(*KNOWN[:1]), cards).labels.knows_faults


def test_the_time_of_the_start_and_the_time_of_a_look_change_nothing() -> None:
    policy = LabelPolicy(by_product=(PRODUCT,), by_cause=(CauseRule("*", PREFER),), started_at=17)
    state = seen(*KNOWN, DevicesChecked({GPU.physical.id: LOST}))
    assert len({repr(of_node(uptime, state, policy=policy)) for uptime in (0.0, 1.0, 1e6)}) == 1


def tainted(*taints: tuple[str, Effect]) -> NodeLabels:
    made = tuple(Taint(LabelName(FAULT_TAINT), value, effect) for value, effect in taints)
    return NodeLabels({}, made, {FAULT_TAINT: f"because of {taints[0][0]}"} if taints else {})


def held(*looks: tuple[float, NodeLabels]) -> list[Lasting]:
    """What the node should have at each of these looks."""
    found, known = list[Lasting](), dict[tuple[LabelName, Effect], HeldTaint]()
    for now, labels in looks:
        lasting, after = hold_taints(labels, known, now)
        known = dict(after)
        found.append(lasting)
    return found


def values(lasting: Lasting) -> set[tuple[str, Effect]]:
    return {(each.value, each.effect) for each in lasting.labels.taints}


def test_a_taint_stays_for_its_time_when_nothing_asks_for_it_any_more() -> None:
    first, second, third, last = held(
        (0.0, tainted(("x", NO))),
        (100.0, tainted()),
        (100.0 + TAINT_TIME - 0.1, tainted()),
        (100 + TAINT_TIME, tainted()),
    )
    assert (values(first), first.until) == ({("x", NO)}, None)
    for each in (second, third):
        assert (values(each), each.until) == ({("x", NO)}, 100.0 + TAINT_TIME)
        assert each.labels.why == {FAULT_TAINT: "because of x"}
    assert last == NOTHING


def test_a_taint_that_is_asked_for_again_stays_anew() -> None:
    looks = [
        (0.0, tainted(("x", NO))),
        (15.0, tainted()),
        (30.0, tainted(("x", NO))),
        (45.0, tainted()),
        (60.0, tainted()),
    ]
    assert [values(each) for each in held(*looks)] == [{("x", NO)}] * 5


def test_a_taint_with_another_value_waits_and_one_with_another_effect_does_not() -> None:
    found = held((0.0, tainted(("x", PREFER))), (1.0, tainted(("y", PREFER))), (2.0, tainted(("y", NO))))
    assert [values(each) for each in found] == [{("x", PREFER)}, {("x", PREFER)}, {("y", NO), ("x", PREFER)}]
    first, second = held((0.0, tainted(("x", NO))), (1.0, tainted(("y", NO))))
    third = held((0.0, tainted(("x", NO))), (1.0, tainted(("y", NO))), (1 + TAINT_TIME, tainted(("y", NO))))[-1]
    assert (values(first), values(second), values(third)) == ({("x", NO)}, {("x", NO)}, {("y", NO)})
    assert (third.until, third.labels.why) == (None, {FAULT_TAINT: "because of y"})


ASKED = st.lists(st.tuples(st.sampled_from("xy"), st.sampled_from(Effect)), max_size=2, unique_by=lambda each: each[1])


@given(looks=st.lists(st.tuples(st.floats(0.1, 30.0), ASKED), max_size=30))
def test_whatever_comes_and_goes_a_taint_that_is_there_stays_for_its_time(
    looks: list[tuple[float, list[tuple[str, Effect]]]],
) -> None:
    times = list(itertools.accumulate(pause for pause, _ in looks))
    found = held(*((now, tainted(*asked)) for now, (_, asked) in zip(times, looks, strict=True)))
    last_asked: dict[tuple[str, Effect], float] = {}
    for before, after, now, (_, asked) in zip([NOTHING, *found], found, times, looks, strict=False):
        effects = [each.effect for each in after.labels.taints]
        assert len(effects) == len(set(effects))
        assert set(effects) >= {effect for _, effect in asked}
        for gone in values(before) - values(after):
            assert now - last_asked[gone] >= TAINT_TIME
        last_asked |= dict.fromkeys(asked, now)
