"""What each piece of evidence means, by default and by an admin's decision."""

import csv
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.policy import Action, Decision, HealthPolicy, Needs, Source, XidRule
from plugin_gateway.nvidia.xid_catalog import XID_CATALOG

BY_DEFAULT = HealthPolicy()
with (Path(__file__).parent / "xid-actions.csv").open() as _table:
    CATALOG = [(int(row["xid"]), row["immediate_action"], row["severity"]) for row in csv.DictReader(_table)]
"""The catalog as NVSentinel publishes it, row by row."""
EXPECTED = {
    "IGNORE": Action.IGNORE,
    "REBOOT_NODE": Action.UNTIL_REBOOT,
    "RESTART_VM": Action.UNTIL_REBOOT,
    "CHECK_MECHANICALS": Action.UNTIL_REBOOT,
}


def rule(first: int, last: int, action: Action, origin: str = "file:1") -> XidRule:
    return XidRule(first, last, action, origin)


@pytest.mark.parametrize(("xid", "advice", "severity"), CATALOG)
def test_every_row_of_the_catalog(xid: int, advice: str, severity: str) -> None:
    decision = BY_DEFAULT.about_xid(xid)
    otherwise = Action.REPORT if severity == "nonfatal" else Action.UNTIL_RESET
    assert decision == Decision(EXPECTED.get(advice, otherwise), f"NVIDIA's catalog: {advice}")


def test_no_other_xid_is_in_the_catalog() -> None:
    assert sorted(XID_CATALOG) == sorted(xid for xid, _, _ in CATALOG)
    assert len(CATALOG) == 162


@pytest.mark.parametrize("xid", [-1, 0, 163, 10_000])
def test_an_xid_that_nobody_knows_counts(xid: int) -> None:
    assert BY_DEFAULT.about_xid(xid).action is Action.UNHEALTHY


def test_every_other_source_takes_a_device_out_by_default() -> None:
    assert set(BY_DEFAULT.sources) == set(Source)
    assert all(decision.action.needs is not None for decision in BY_DEFAULT.sources.values())


@pytest.mark.parametrize(
    ("action", "needs"),
    [
        (Action.IGNORE, None),
        (Action.REPORT, None),
        (Action.UNHEALTHY, Needs.CHECK),
        (Action.UNTIL_RESET, Needs.RESET),
        (Action.UNTIL_REBOOT, Needs.REBOOT),
    ],
)
def test_what_a_device_needs_afterwards(action: Action, needs: Needs | None) -> None:
    assert action.needs is needs


def test_a_rule_decides_about_both_its_ends_and_nothing_else() -> None:
    policy = BY_DEFAULT.with_rules([rule(126, 135, Action.UNHEALTHY)])
    assert {policy.about_xid(xid) for xid in range(126, 136)} == {Decision(Action.UNHEALTHY, "file:1")}
    assert (policy.about_xid(125), policy.about_xid(136)) == (BY_DEFAULT.about_xid(125), BY_DEFAULT.about_xid(136))


def test_two_rules_for_one_xid_are_refused() -> None:
    rules = [rule(10, 20, Action.IGNORE, "f:1:3"), rule(20, 30, Action.REPORT, "f:2:3")]
    with pytest.raises(InvalidValueError, match="XID 20 was decided about before, at f:1:3"):
        BY_DEFAULT.with_rules(rules)


@given(st.integers(0, 200))
def test_without_checks_nothing_counts_but_what_is_enabled(xid: int) -> None:
    policy = BY_DEFAULT.without_checks("env").enabling([79, 13], "env")
    assert (policy.about_xid(xid).action is Action.IGNORE) is (xid not in {13, 79})
    assert {decision.action for decision in policy.sources.values()} == {Action.IGNORE}
    assert policy.about_xid(79).action is Action.UNTIL_REBOOT
    assert policy.about_xid(13).action is Action.UNHEALTHY


@pytest.mark.parametrize(
    ("quiet_time", "driver_timeout", "flap_count", "flap_window"),
    [
        (-1.0, 30.0, 3, 60.0),
        (math.nan, 30.0, 3, 60.0),
        (0.0, math.inf, 3, 60.0),
        (0.0, 0.0, 3, 60.0),
        (0.0, 30.0, 0, 60.0),
        (0.0, 30.0, 3, 0.0),
    ],
)
def test_numbers_that_make_no_sense_are_refused(
    quiet_time: float, driver_timeout: float, flap_count: int, flap_window: float
) -> None:
    with pytest.raises(InvalidValueError, match="all must be positive"):
        HealthPolicy(
            quiet_time=quiet_time, driver_timeout=driver_timeout, flap_count=flap_count, flap_window=flap_window
        )


@pytest.mark.parametrize(("first", "last"), [(0, 5), (-1, 5), (9, 3), (1, 10_000)])
def test_what_is_no_range_is_refused(first: int, last: int) -> None:
    with pytest.raises(InvalidValueError, match="allowed are 1 to 9999"):
        rule(first, last, Action.IGNORE)


def test_a_policy_decides_about_every_source() -> None:
    with pytest.raises(InvalidValueError, match="decisions about double-bit-ecc alone"):
        HealthPolicy(sources={Source.DOUBLE_BIT_ECC: Decision(Action.IGNORE, "")})


def test_what_counts_already_is_enabled_as_it_is() -> None:
    policy = BY_DEFAULT.with_rules([rule(31, 31, Action.UNTIL_RESET)]).enabling([31, 79, 13], "env")
    assert policy.about_xid(31) == Decision(Action.UNTIL_RESET, "file:1")
    assert policy.about_xid(79) == BY_DEFAULT.about_xid(79)
    assert policy.about_xid(13) == Decision(Action.UNHEALTHY, "env")
