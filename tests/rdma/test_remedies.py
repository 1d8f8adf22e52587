"""What to do about each kind of evidence, and the default policy."""

import pytest

from plugin_gateway.core.health.faults import Evidence
from plugin_gateway.core.health.policy import NOT_ANSWERING, Action, EvidenceKind
from plugin_gateway.core.health.remedies import Remedy
from plugin_gateway.rdma.evidence import HEALTH_POLICY, LINK_ERRORS, PARENT_DOWN, PCIE_DEGRADED
from plugin_gateway.rdma.remedies import remedy_for

REPORTED = {PARENT_DOWN, LINK_ERRORS, PCIE_DEGRADED}


@pytest.mark.parametrize("kind", HEALTH_POLICY.kinds)
def test_each_kind_has_one_plain_sentence(kind: EvidenceKind) -> None:
    todo = remedy_for(Evidence("words", 0.0, kind)).todo
    assert todo
    assert todo[0].islower()
    assert not todo.endswith(".")


def test_nothing_is_said_about_a_kind_that_is_not_known() -> None:
    assert remedy_for(Evidence("words", 0.0, EvidenceKind("xid-79"))) == Remedy()


def test_what_others_can_live_with_is_only_reported_and_nothing_asks_for_a_reset() -> None:
    actions = {kind: decision.action for kind, decision in HEALTH_POLICY.kinds.items()}
    assert {kind for kind, action in actions.items() if action is Action.REPORT} == REPORTED
    assert set(actions.values()) == {Action.REPORT, Action.UNHEALTHY}
    assert NOT_ANSWERING in actions


def test_a_device_that_flaps_waits_longer_each_time_and_for_no_reset() -> None:
    assert (HEALTH_POLICY.quiet_time, HEALTH_POLICY.longest_quiet_time) == (10.0, 300.0)
