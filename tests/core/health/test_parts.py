"""A fault of a physical device takes out each of its parts, and that of a part takes out this part alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.health.story import ASKING, POLICY, WELL, Story, at
from harness.devices import device, inventory, part
from plugin_gateway.core.devices import DeviceId, FaultId
from plugin_gateway.core.health.changes import Significance
from plugin_gateway.core.health.faults import Checkup, Stage
from plugin_gateway.core.health.memory import recall, remember
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverUnavailable,
    EvidenceRefined,
    EvidenceReported,
    InventorySeen,
)
from plugin_gateway.core.health.policy import Action
from plugin_gateway.core.health.state_function import advance, clear
from plugin_gateway.core.resources.assignment import advertise
from plugin_gateway.core.resources.names import parse_resource_name
from plugin_gateway.core.resources.rules import ResourceRule
from plugin_gateway.core.resources.sharing import Sharing
from plugin_gateway.nvidia.evidence import xid_kind

CUT, WHOLE, EMPTY = device(0), device(1), device(2)
PARTS = tuple(part(CUT, number) for number in range(3))
FIRST = PARTS[0].id
SEEN = InventorySeen(inventory(*PARTS, WHOLE, physical=[EMPTY.physical]))
NAME = parse_resource_name("nvidia.com/gpu")
FATAL = xid_kind(79)
QUESTION = xid_kind(145)


def story() -> Story:
    return Story(state=Story().state).see(SEEN)


def out(told: Story, replicas: int = 1) -> set[str]:
    """The ids that the kubelet sees as unhealthy."""
    rule = ResourceRule(name=NAME, sharing=Sharing(replicas=replicas))
    return set(advertise(told.state, [rule])[NAME].unhealthy)


def test_a_fault_of_a_physical_device_takes_out_every_part_and_every_replica() -> None:
    told = story().see(EvidenceReported(FATAL, CUT.physical.id))
    assert out(told) == {each.id for each in PARTS}
    assert out(told, replicas=2) == {f"{each.id}::{replica}" for each in PARTS for replica in (0, 1)}
    assert set(told.state.faults) == {CUT.physical.id}
    (change,) = told.changes.health
    assert (change.device, change.after) == (CUT.physical.id, Stage.UNHEALTHY)


def test_a_fault_of_a_part_takes_out_this_part_alone() -> None:
    told = story().see(EvidenceReported(FATAL, FIRST))
    assert out(told) == {FIRST}
    assert out(told, replicas=2) == {f"{FIRST}::0", f"{FIRST}::1"}


def test_evidence_without_a_scope_takes_out_nothing() -> None:
    told = story().see(EvidenceReported(FATAL, None, "0000:09:00.0"), EvidenceReported(FATAL, DeviceId("MIG-9-9")))
    assert not out(told)
    assert told.changes.notes[0].significance is Significance.UNKNOWN_DEVICE


def test_a_physical_device_of_which_nothing_is_given_out_can_have_a_fault() -> None:
    told = story().see(EvidenceReported(FATAL, EMPTY.physical.id))
    assert (out(told), set(told.state.present_faults)) == (set(), {EMPTY.physical.id})


def test_a_part_is_out_until_neither_it_nor_its_physical_device_has_a_fault() -> None:
    told = story().see(EvidenceReported(FATAL, FIRST), EvidenceReported(FATAL, CUT.physical.id))
    assert told.state.fault_of(FIRST) == CUT.physical.id, "of two that need the same, the larger one"
    told.state, _ = clear(told.state, CUT.physical.id, at(told.now), POLICY)
    assert (out(told), told.state.fault_of(FIRST), told.state.fault_of(PARTS[1].id)) == ({FIRST}, FIRST, None)
    told.state, _ = clear(told.state, FIRST, at(told.now), POLICY)
    assert not out(told)


def test_of_two_faults_the_one_that_needs_more_is_the_reason() -> None:
    told = story().see(EvidenceReported(QUESTION, CUT.physical.id), EvidenceReported(FATAL, FIRST))
    assert [told.state.fault_of(each.id) for each in PARTS] == [FIRST, CUT.physical.id, CUT.physical.id]


def test_a_check_of_the_physical_device_is_none_of_its_parts() -> None:
    told = story().see(EvidenceReported(FATAL, FIRST), DevicesChecked({CUT.physical.id: WELL}))
    assert out(told) == {FIRST}
    assert not told.state.faults[FIRST].was_checked


def test_what_the_driver_says_about_parts_is_about_their_generation() -> None:
    assert story().state.generation_of(FIRST) == story().state.generation_of(CUT.physical.id) == "H100"
    assert story().state.generation_of(DeviceId("MIG-9-9")) == ""


def test_a_report_about_a_part_is_explained_for_this_part_alone() -> None:
    reports = [EvidenceReported(xid_kind(149), each) for each in (FIRST, CUT.physical.id)]
    told = story().see(*reports, EvidenceRefined(xid_kind(149), FIRST, Action.IGNORE))
    assert set(told.state.faults) == {CUT.physical.id}


def test_a_driver_that_is_gone_takes_out_everything_until_each_physical_device_is_checked() -> None:
    told = story().see(DriverUnavailable("gone"))
    told.sleep(POLICY.driver_timeout + 1)
    assert out(told) == {*(each.id for each in PARTS), WHOLE.id}
    assert set(told.state.faults) == {CUT.physical.id, WHOLE.id, EMPTY.physical.id}
    told.see(SEEN, DevicesChecked({each.physical.id: WELL for each in (CUT, WHOLE, EMPTY)}))
    told.sleep(POLICY.quiet_time + 1)
    told.see(DevicesChecked({}))
    assert not out(told)


def test_faults_of_every_part_for_one_reason_are_those_of_no_single_part() -> None:
    """They are counted as flapping only if some device stays healthy."""
    told = story()
    lost = Checkup({xid_kind(79): "lost"})
    told.see(DevicesChecked({CUT.physical.id: lost, WHOLE.id: lost}))
    assert not told.state.taken_out
    others = story().see(DevicesChecked({FIRST: lost, PARTS[1].id: lost}))
    assert set(others.state.taken_out) == {FIRST, PARTS[1].id}


def test_both_kinds_of_faults_outlive_a_restart() -> None:
    told = story().see(EvidenceReported(FATAL, FIRST), EvidenceReported(FATAL, WHOLE.physical.id))
    kept = recall(remember(told.state, "boot"), "boot")
    again, _ = advance(kept, SEEN, at(5), POLICY)
    assert set(again.faults) == {FIRST, WHOLE.id}
    rebooted, _ = advance(recall(remember(told.state, "boot"), "another"), SEEN, at(5), POLICY)
    assert not rebooted.unseen


def test_a_part_that_vanished_says_nothing_about_others() -> None:
    told = story().see(EvidenceReported(FATAL, FIRST), InventorySeen(inventory(*PARTS[1:], WHOLE)))
    assert (out(told), set(told.state.faults), told.state.present_faults) == (set(), {FIRST}, {})


IDS: tuple[FaultId, ...] = (*(each.id for each in PARTS), CUT.physical.id, WHOLE.physical.id, EMPTY.physical.id)


@given(st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from((FATAL, xid_kind(48)))), max_size=6))
def test_a_device_is_out_if_and_only_if_it_or_its_physical_device_has_a_fault(
    reports: list[tuple[FaultId, str]],
) -> None:
    told = story().see(*(EvidenceReported(xid_kind(int(kind.split("-")[1])), scope) for scope, kind in reports))
    scopes = {str(scope) for scope, _ in reports}
    assert out(told) == {each.id for each in (*PARTS, WHOLE) if {each.id, each.physical.id} & scopes}
    assert all(told.state.is_out(each) == (told.state.fault_of(each.id) is not None) for each in (*PARTS, WHOLE))


@pytest.mark.parametrize("scope", [FIRST, CUT.physical.id])
def test_what_asks_for_recovery_is_asked_of_the_same_scope(scope: FaultId) -> None:
    told = story().see(EvidenceReported(QUESTION, scope), DevicesChecked({scope: ASKING}))
    assert told.state.faults[scope].asked_for_recovery
