"""The labels and taints of a node: those of its backends, and those that follow from an administrator's rules."""

from collections.abc import Iterator, Sequence

import pytest

from core.health.story import POLICY, at
from harness.devices import device, inventory
from plugin_gateway.core.devices import Device, DeviceId
from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverUnavailable,
    EvidenceReported,
    FactsSeen,
    InventorySeen,
    Observation,
)
from plugin_gateway.core.health.policy import NOT_ANSWERING
from plugin_gateway.core.health.state import State
from plugin_gateway.core.health.state_function import advance
from plugin_gateway.core.labels.making import Label, Labelled, LabelMaker, NodeLabels, node_labels
from plugin_gateway.core.labels.names import LabelName
from plugin_gateway.core.labels.policy import FAULT_TAINT, CauseRule, Effect, LabelPolicy, ProductRule, Taint
from plugin_gateway.core.resources.rules import ResourceRule
from plugin_gateway.nvidia.evidence import xid_kind

NAME, OTHER = LabelName("example.com/fast"), LabelName("example.com/slow")
T4, H100 = device(0, product="Tesla T4"), device(1, product="NVIDIA H100")
LOST = Checkup({NOT_ANSWERING: "does not answer"})
PREFER, NO = Effect.PREFER_NO_SCHEDULE, Effect.NO_SCHEDULE


def seen(*observations: Observation) -> State:
    state = State()
    for number, observation in enumerate(observations):
        state, _ = advance(state, observation, at(number), POLICY)
    return state


def says(*labels: Label) -> LabelMaker:
    def make(_: State, __: Sequence[ResourceRule], ___: LabelPolicy) -> Iterator[Label]:
        yield from labels

    return make


def of_node(*observations: Observation, policy: LabelPolicy, tells_facts: bool = False) -> NodeLabels:
    return node_labels([Labelled(seen(*observations), says(), tells_facts)], (), policy)


def both(*more: Observation) -> tuple[Observation, ...]:
    return (InventorySeen(inventory(T4, H100)), *more)


def facts(*devices: Device) -> FactsSeen:
    return FactsSeen({}, {DeviceId(each.id): {} for each in devices})


def by_product(*rules: ProductRule) -> LabelPolicy:
    return LabelPolicy(by_product=rules)


def by_cause(*rules: CauseRule) -> LabelPolicy:
    return LabelPolicy(by_cause=rules)


def test_of_two_backends_with_a_label_of_one_name_the_first_decides() -> None:
    first, second = says(Label("a/x", "1", "one")), says(Label("a/x", "2", "two"), Label("a/b", "3", "three"))
    found = node_labels([Labelled(State(), first), Labelled(State(), second)], (), LabelPolicy())
    assert list(found.labels.items()) == [("a/b", "3"), ("a/x", "1")]
    assert found.why == {"a/b": "three", "a/x": "one"}
    assert found.left_out == {"a/x": "'1' goes before '2'"}


@pytest.mark.parametrize("label", [Label("a/x", "-1", ""), Label("a/x", "y" * 64, ""), Label(f"a/{'x' * 64}", "1", "")])
def test_a_label_that_the_api_server_refuses_is_left_out_and_said(label: Label) -> None:
    found = node_labels([Labelled(State(), says(label, Label("a/b", "", "")))], (), LabelPolicy())
    assert found.labels == {"a/b": ""}
    assert found.left_out.keys() == {label.name}


def test_a_rule_gives_a_node_with_a_product_a_label_and_a_taint() -> None:
    rules = (
        ProductRule("*H100*", NAME, "yes", NO),
        ProductRule("*A100*", OTHER, "x"),
        ProductRule("Tesla ?4", OTHER, "y"),
    )
    found = of_node(*both(), policy=by_product(*rules))
    assert found.labels == {NAME: "yes", OTHER: "y"}
    assert found.taints == (Taint(NAME, "yes", NO),)
    assert found.why[NAME] == "the node has NVIDIA H100, which *H100* matches"


def test_of_two_rules_with_one_name_the_first_decides_for_each_effect() -> None:
    rules = (ProductRule("*", NAME, "1", NO), ProductRule("*", NAME, "2", NO), ProductRule("*", NAME, "3", PREFER))
    found = of_node(*both(), policy=by_product(*rules))
    assert found.labels == {NAME: "1"}
    assert found.taints == (Taint(NAME, "1", NO), Taint(NAME, "3", PREFER))


def test_without_a_rule_no_fault_taints_the_node() -> None:
    assert not of_node(*both(EvidenceReported(xid_kind(79), H100.physical.id)), policy=LabelPolicy()).taints


def test_a_fault_taints_the_node_where_a_rule_has_its_cause() -> None:
    fault = EvidenceReported(xid_kind(79), H100.physical.id)
    found = of_node(*both(fault), policy=by_cause(CauseRule("xid-79", NO), CauseRule("*", PREFER)))
    assert found.taints == (Taint(FAULT_TAINT, "xid-79", NO),)
    assert found.why == {FAULT_TAINT: f"{H100.id} is unhealthy because of xid-79"}
    assert not of_node(*both(fault), policy=by_cause(CauseRule("xid-48", NO))).taints


def test_the_most_severe_of_several_faults_is_the_taint() -> None:
    events = (EvidenceReported(xid_kind(79), T4.physical.id), EvidenceReported(xid_kind(48), H100.physical.id))
    rules = (CauseRule("xid-48", NO), CauseRule("xid-*", PREFER))
    for order in (events, events[::-1]):
        assert of_node(*both(*order), policy=by_cause(*rules)).taints == (Taint(FAULT_TAINT, "xid-48", NO),)


def test_a_fault_that_is_over_or_of_a_device_that_is_gone_is_no_taint() -> None:
    policy = by_cause(CauseRule("*", NO))
    lost = DevicesChecked({H100.physical.id: LOST})
    assert of_node(*both(lost), policy=policy).taints == (Taint(FAULT_TAINT, "not-answering", NO),)
    assert not of_node(*both(lost, InventorySeen(inventory(T4))), policy=policy).taints


def test_a_fault_is_no_taint_yet_while_the_driver_decides_whether_it_is_one() -> None:
    policy, asked = by_cause(CauseRule("*", NO)), EvidenceReported(xid_kind(74), H100.physical.id)
    assert not of_node(*both(asked), policy=policy).taints
    both_kinds = both(asked, EvidenceReported(xid_kind(79), H100.physical.id))
    assert of_node(*both_kinds, policy=policy).taints == (Taint(FAULT_TAINT, "xid-74", NO),)


def test_labels_are_complete_when_all_is_known_that_they_are_made_of() -> None:
    def is_complete(*observations: Observation, tells_facts: bool = True) -> bool:
        return of_node(*observations, policy=LabelPolicy(), tells_facts=tells_facts).is_complete

    assert not is_complete()
    assert not is_complete(tells_facts=False)
    assert is_complete(*both(), tells_facts=False)
    assert not is_complete(*both())
    assert is_complete(*both(facts(T4, H100)))
    assert not is_complete(InventorySeen(inventory(T4)), facts(T4), InventorySeen(inventory(T4, H100)))
    assert is_complete(DriverUnavailable("no driver"))
