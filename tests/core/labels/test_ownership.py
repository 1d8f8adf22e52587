"""On a node the gateway changes what is its own alone, and leaves to others what they change back."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_gateway.core.labels.making import NodeLabels
from plugin_gateway.core.labels.names import LabelName
from plugin_gateway.core.labels.ownership import (
    MAX_LENGTH,
    Memory,
    after_clearing,
    keys_of,
    nobody,
    owned_keys,
    owned_text,
    plan,
)
from plugin_gateway.core.labels.policy import FAULT_TAINT, Effect, Taint

COUNT, PRODUCT = "nvidia.com/gpu.count", "nvidia.com/gpu.product"
FAULT = f"{FAULT_TAINT}:NoSchedule"
WANTED = NodeLabels({COUNT: "8", PRODUCT: "H100"})
NOTHING: frozenset[str] = frozenset()


def vendors(key: str) -> bool:
    return key.startswith("nvidia.com/gpu.")


def test_what_the_node_does_not_have_is_written_and_is_the_gateways_from_then_on() -> None:
    made = plan({"a": "b"}, NOTHING, WANTED, Memory(), nobody)
    assert made.changes == WANTED.labels
    assert made.owned == {COUNT, PRODUCT}
    assert not made.left_alone


def test_after_a_restart_the_list_says_what_can_be_changed_and_removed() -> None:
    made = plan({COUNT: "4", PRODUCT: "H100", "old": "1"}, frozenset({COUNT, PRODUCT, "old"}), WANTED, Memory(), nobody)
    assert made.changes == {COUNT: "8", "old": None}
    assert made.owned == {COUNT, PRODUCT}


def test_what_somebody_else_wrote_is_left_alone_unless_it_is_to_be_taken_over() -> None:
    has = {COUNT: "4", "nvidia.com/gpu.old": "1", "else": "1"}
    made = plan(has, NOTHING, WANTED, Memory(), nobody)
    assert made.changes == {PRODUCT: "H100"}
    assert made.owned == {PRODUCT}
    assert made.left_alone == {COUNT: "'4' where '8' belongs, and somebody else writes it"}
    made = plan(has, NOTHING, WANTED, Memory(), vendors)
    assert made.changes == {COUNT: "8", PRODUCT: "H100", "nvidia.com/gpu.old": None}
    assert not made.left_alone


def test_what_is_right_already_is_nobodys_matter() -> None:
    made = plan(WANTED.labels, NOTHING, WANTED, Memory(), nobody)
    assert (made.changes, made.owned, made.left_alone) == ({}, NOTHING, {})


def test_a_name_of_the_gateways_own_needs_no_list_to_be_written_nor_the_taint_of_a_fault_to_be_removed() -> None:
    wanted = NodeLabels({"plugin-gateway/gpu.healthy": "7"})
    has = {"plugin-gateway/gpu.healthy": "8", FAULT: "xid-79"}
    made = plan(has, NOTHING, wanted, Memory(), nobody)
    assert made.changes == {"plugin-gateway/gpu.healthy": "7", FAULT: None}


def test_what_an_administrator_named_like_the_gateway_stays() -> None:
    has = {"plugin-gateway/config": "big", "plugin-gateway/maintenance:NoSchedule": "", "plugin-gateway/old": "1"}
    made = plan(has, frozenset({"plugin-gateway/old"}), WANTED, Memory(), nobody)
    assert made.changes == {**WANTED.labels, "plugin-gateway/old": None}


def test_nothing_is_removed_unless_all_is_known() -> None:
    wanted = WANTED._replace(is_complete=False)
    made = plan({"old": "1", FAULT: "xid-79"}, frozenset({"old"}), wanted, Memory(), nobody)
    assert made.changes == WANTED.labels
    assert made.owned == {COUNT, PRODUCT, "old"}


def test_the_taint_of_a_fault_is_removed_when_all_faults_are_known_though_not_all_else_is() -> None:
    wanted = WANTED._replace(is_complete=False, knows_faults=True)
    has = {"old": "1", FAULT: "link-down", "example.com/x:NoSchedule": "1"}
    made = plan(has, frozenset(has), wanted, Memory(), nobody)
    assert made.changes == {**WANTED.labels, FAULT: None}
    assert made.owned == {COUNT, PRODUCT, "old", "example.com/x:NoSchedule"}


def test_a_value_that_is_changed_back_twice_is_left_alone_until_another_one_is_wanted() -> None:
    has = {PRODUCT: "H100", COUNT: "of somebody else"}
    made = plan({}, NOTHING, WANTED, Memory(), vendors)
    written = [made.changes.get(COUNT)]
    for _ in range(4):
        made = plan(has, made.owned, WANTED, made.memory, vendors)
        written.append(made.changes.get(COUNT))
    assert written == ["8", "8", None, None, None]
    assert made.left_alone.keys() == {COUNT}
    assert COUNT not in made.owned, "nor is it removed later"
    other = NodeLabels({COUNT: "7", PRODUCT: "H100"})
    assert plan(has, made.owned, other, made.memory, vendors).changes == {COUNT: "7"}


def test_a_taint_that_an_administrator_removes_twice_stays_away() -> None:
    wanted = NodeLabels({}, (Taint(FAULT_TAINT, "xid-79", Effect.NO_SCHEDULE),))
    made = plan({}, NOTHING, wanted, Memory(), nobody)
    written = [FAULT in made.changes]
    for _ in range(3):
        made = plan({}, made.owned, wanted, made.memory, nobody)
        written.append(FAULT in made.changes)
    assert written == [True, True, False, False]
    assert made.left_alone == {FAULT: "nothing where 'xid-79' belongs, and somebody else writes it"}


def test_two_taints_of_one_name_differ_by_their_effect() -> None:
    name = LabelName("example.com/gpu")
    wanted = NodeLabels({}, (Taint(name, "a", Effect.NO_SCHEDULE), Taint(name, "b", Effect.PREFER_NO_SCHEDULE)))
    assert keys_of(wanted) == {"example.com/gpu:NoSchedule": "a", "example.com/gpu:PreferNoSchedule": "b"}


def test_at_the_end_taints_go_and_labels_stay_unless_they_are_to_go() -> None:
    has, owned = {COUNT: "8", "else": "1", FAULT: "xid-79"}, frozenset({COUNT, FAULT})
    for labels, left in ((False, {COUNT: "8", "else": "1"}), (True, {"else": "1"})):
        wanted = after_clearing(has, owned, labels=labels)
        assert applied(has, plan(has, owned, wanted, Memory(), nobody).changes) == left


@pytest.mark.parametrize("text", ["", ",", "x" * (MAX_LENGTH + 1)])
def test_an_annotation_that_lists_nothing_lists_nothing(text: str) -> None:
    assert owned_keys(text) == NOTHING


def test_what_is_of_kubernetes_is_not_the_gateways_whatever_the_annotation_lists() -> None:
    kubernetes = ("kubernetes.io/hostname", "node.kubernetes.io/unschedulable:NoSchedule", "x.k8s.io/y")
    assert owned_keys(owned_text({*kubernetes, COUNT})) == {COUNT}


def applied(has: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    after = {**has, **changes}
    return {key: value for key, value in after.items() if value is not None}


KEYS = st.sampled_from([COUNT, PRODUCT, "a", "b", "plugin-gateway/x", FAULT])
VALUES = st.dictionaries(KEYS, st.sampled_from(["1", "2"]))


@given(VALUES, st.frozensets(KEYS), VALUES, st.booleans(), st.booleans())
def test_whatever_the_node_has_only_own_keys_change_and_a_second_look_finds_nothing_to_do(
    has: dict[str, str], owned: frozenset[str], want: dict[str, str], is_complete: bool, adopts: bool
) -> None:
    taken = vendors if adopts else nobody
    labels = {key: value for key, value in want.items() if ":" not in key}
    taints = (Taint(FAULT_TAINT, want[FAULT], Effect.NO_SCHEDULE),) if FAULT in want else ()
    wanted = NodeLabels(labels, taints, is_complete=is_complete)
    made = plan(has, owned, wanted, Memory(), taken)
    after = applied(has, made.changes)
    for key in has.keys() - owned:
        if not (key.startswith("plugin-gateway/") and key in want) and key != FAULT and not taken(key):
            assert after[key] == has[key], "it is somebody else's"
    assert all(after.get(key) == value or key in made.left_alone for key, value in want.items())
    assert is_complete or has.keys() <= after.keys()
    if is_complete:
        assert {key for key in owned if key in after} <= want.keys()
    again = plan(after, made.owned, wanted, made.memory, taken)
    assert (again.changes, again.owned, again.left_alone) == ({}, made.owned, made.left_alone)
    assert owned_keys(owned_text(made.owned)) == made.owned
