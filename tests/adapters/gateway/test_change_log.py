"""The lines about changes: one for what devices have in common, with tokens for programs and words for people."""

from typing import Any

from harness.devices import device, inventory
from plugin_gateway.adapters.gateway.change_log import log_changes, log_recalled
from plugin_gateway.adapters.gateway.required_nodes import NOT_LOOKED_FOR
from plugin_gateway.core.devices import MAX_NAMES
from plugin_gateway.core.health.faults import Checkup, Moment
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverSilence,
    DriverUnavailable,
    EvidenceReported,
    InventorySeen,
    Observation,
    RequirementSeen,
)
from plugin_gateway.core.health.policy import NOT_ANSWERING
from plugin_gateway.core.health.state import State
from plugin_gateway.core.health.state_function import advance
from plugin_gateway.nvidia.evidence import HEALTH_POLICY, xid_kind

Lines = list[dict[str, Any]]
PROBLEM = "/run/driver/usr/lib64/libnvidia-ml.so.1: cannot open shared object file: No such file or directory. " * 4


def seen(devices: int) -> InventorySeen:
    return InventorySeen(inventory(*(device(number) for number in range(devices))))


def after(*observations: Observation) -> State:
    """Log what the observations change, each 40 s after the one before."""
    state = State()
    for number, observation in enumerate(observations):
        state, changes = advance(state, observation, Moment(40.0 * number, 40.0 * number), HEALTH_POLICY)
        log_changes(changes)
    return state


def test_devices_that_are_added_together_are_one_line(told: Lines) -> None:
    after(seen(8))
    (line,) = told
    assert (line["event"], line["count"], len(line["devices"])) == ("device added", 8, 8)
    assert len(line["pci_addresses"]) == 8


def test_before_the_first_look_nobody_says_that_the_node_lacks_something(told: Lines) -> None:
    after(seen(1), NOT_LOOKED_FOR, RequirementSeen("a channel is not there"))
    assert [line["problem"] for line in told if "problem" in line] == ["a channel is not there"]


def test_a_driver_that_is_gone_is_one_line_for_eight_devices_with_its_words_once(told: Lines) -> None:
    gone = DriverUnavailable(PROBLEM)
    after(seen(8), gone, gone)
    (line,) = [line for line in told if line["event"] == "device changed its health"]
    assert (line["reason"], line["what"]) == ("driver_gone", f"the driver is gone: {PROBLEM}")
    assert (len(line["devices"]), line["health"], line["needs"]) == (8, "unhealthy", "a driver that answers")
    assert str(line).count(PROBLEM) == 1


def test_a_problem_that_a_check_found_is_said_once(told: Lines) -> None:
    after(seen(2), DevicesChecked({device(0).id: Checkup({NOT_ANSWERING: "does not answer: GPU is lost"})}))
    (line,) = [line for line in told if line["event"] == "device changed its health"]
    assert (line["reason"], line["needs"]) == ("not_answering", "a check that no longer finds this")


def test_every_device_is_named_and_no_line_names_more_than_a_limit(told: Lines) -> None:
    many = 2 * MAX_NAMES + 1
    state = after(seen(many), DriverSilence(99.0))
    log_recalled(state.faults)
    (added,) = [line for line in told if line["event"] == "device added"]
    assert (added["count"], len(added["devices"])) == (many, MAX_NAMES)
    for event in ("device changed its health", "device was unhealthy before"):
        lines = [line for line in told if line["event"] == event]
        assert [len(line["devices"]) for line in lines] == [MAX_NAMES, MAX_NAMES, 1]
        assert {name for line in lines for name in line["devices"]} == {device(number).id for number in range(many)}
        assert {line["reason"] for line in lines} == {"driver_gone"}


def test_devices_with_different_reasons_have_a_line_each(told: Lines) -> None:
    sick = (EvidenceReported(xid_kind(79), device(0).id), EvidenceReported(xid_kind(48), device(1).id))
    after(seen(2), *sick)
    lines = [(line["reason"], line["what"]) for line in told if line["event"] == "device changed its health"]
    assert lines == [("xid_79", "XID 79"), ("xid_48", "XID 48")]


def test_evidence_that_names_no_device_is_a_line_too(told: Lines) -> None:
    after(seen(2), EvidenceReported(xid_kind(31), None, "0000:c3:00.0"))
    (line,) = [line for line in told if line["event"] == "evidence"]
    assert (line["evidence"], line["what"]) == ("xid_31", "XID 31 at 0000:c3:00.0")
    assert line["meaning"] == "unknown_device"
    assert "devices" not in line
