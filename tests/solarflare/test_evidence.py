"""What follows from evidence against Solarflare's cards by default, and what to do about it."""

import pytest

from plugin_gateway.core.health.faults import Evidence
from plugin_gateway.core.health.policy import Action, EvidenceKind
from plugin_gateway.core.health.remedies import Remedy
from plugin_gateway.solarflare.evidence import HEALTH_POLICY
from plugin_gateway.solarflare.remedies import remedy_for

EXPECTED = {
    "link-down": Action.UNHEALTHY,
    "switched-off": Action.UNHEALTHY,
    "no-driver": Action.UNHEALTHY,
    "onload-missing": Action.UNHEALTHY,
    "onload-mismatch": Action.REPORT,
    "acceleration-off": Action.UNHEALTHY,
    "pcie-degraded": Action.REPORT,
    "not-answering": Action.UNHEALTHY,
    "driver-gone": Action.UNHEALTHY,
}


def test_the_actions_are_those_of_the_contract() -> None:
    assert {kind: decision.action for kind, decision in HEALTH_POLICY.kinds.items()} == EXPECTED
    assert {decision.origin for decision in HEALTH_POLICY.kinds.values()} == {"default"}


def test_a_cable_needs_a_short_quiet_time_that_grows_and_no_reset() -> None:
    assert (HEALTH_POLICY.quiet_time, HEALTH_POLICY.longest_quiet_time) == (10.0, 300.0)
    assert all(action.needs is None or action is Action.UNHEALTHY for action in EXPECTED.values())


@pytest.mark.parametrize("kind", EXPECTED)
def test_each_kind_has_one_plain_sentence_about_what_to_do(kind: str) -> None:
    remedy = remedy_for(Evidence("words", 0.0, EvidenceKind(kind)))
    assert remedy.todo
    assert remedy == Remedy(todo=remedy.todo)
    assert not remedy.todo.endswith(".")


def test_nothing_is_said_of_what_is_not_known() -> None:
    assert remedy_for(Evidence("words", 0.0, EvidenceKind("port-down"))) == Remedy()
