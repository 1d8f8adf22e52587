"""What each piece of evidence means, by default and by an admin's decision."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.policy import (
    DRIVER_GONE,
    Action,
    Decision,
    EvidenceKind,
    HealthPolicy,
    Needs,
    family_of,
    number_of,
    numbered,
    token_of,
    words_of,
)
from plugin_gateway.nvidia.evidence import HEALTH_POLICY, xid_kind

BY_DEFAULT = HEALTH_POLICY


@pytest.mark.parametrize(
    ("kind", "family", "words"),
    [
        ("xid-79", "xid", "XID 79"),
        ("link-down", None, "link-down"),
        ("recovery-action", None, "the driver's recovery action changed"),
        ("a-b-7", "a-b", "A-B 7"),
        ("-", None, "-"),
        ("x-٣", None, "x-٣"),
        ("x-07", None, "x-07"),
        ("x-" + "9" * 5000, None, "x-" + "9" * 5000),
    ],
)
def test_a_kind_with_a_number_belongs_to_a_family(kind: str, family: str | None, words: str) -> None:
    assert (family_of(EvidenceKind(kind)), words_of(EvidenceKind(kind))) == (family, words)


@given(st.text("ab-x", min_size=1), st.integers(0, 10**9))
def test_the_number_of_a_kind_is_the_one_it_was_made_with(family: str, number: int) -> None:
    kind = numbered(family, number)
    assert (number_of(kind, family), number_of(kind, f"{family}-"), family_of(kind)) == (number, None, family)


@pytest.mark.parametrize(
    ("action", "needs"),
    [
        (Action.IGNORE, None),
        (Action.REPORT, None),
        (Action.UNHEALTHY, Needs.CHECK),
        (Action.UNTIL_RESET, Needs.RESET),
        (Action.UNTIL_REBOOT_OR_RECOVERY, Needs.REBOOT_OR_RECOVERY),
        (Action.UNTIL_REBOOT, Needs.REBOOT),
    ],
)
def test_what_a_device_needs_afterwards(action: Action, needs: Needs | None) -> None:
    assert action.needs is needs


def test_a_decision_counts_for_its_kind_and_no_other() -> None:
    policy = BY_DEFAULT.with_decisions({xid_kind(126): Decision(Action.UNHEALTHY, "file:1")})
    assert policy.about(xid_kind(126)) == Decision(Action.UNHEALTHY, "file:1")
    assert policy.about(xid_kind(125)) == BY_DEFAULT.about(xid_kind(125))


@given(st.integers(0, 200))
def test_without_checks_nothing_counts_but_what_is_enabled(xid: int) -> None:
    policy = BY_DEFAULT.without_checks("env").enabling([xid_kind(79), xid_kind(13)], "env", BY_DEFAULT)
    assert (policy.about(xid_kind(xid)).action is Action.IGNORE) is (xid not in {13, 79})
    assert policy.about(EvidenceKind("of-tomorrow")).action is Action.IGNORE
    assert policy.about(xid_kind(79)).action is Action.UNTIL_REBOOT_OR_RECOVERY
    assert policy.about(xid_kind(13)).action is Action.UNHEALTHY


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


def test_what_counts_already_is_enabled_as_it_is() -> None:
    policy = BY_DEFAULT.with_decisions({xid_kind(31): Decision(Action.UNTIL_RESET, "file:1")}).enabling(
        [xid_kind(31), xid_kind(79), xid_kind(13)], "env", BY_DEFAULT
    )
    assert policy.about(xid_kind(31)) == Decision(Action.UNTIL_RESET, "file:1")
    assert policy.about(xid_kind(79)) == BY_DEFAULT.about(xid_kind(79))
    assert policy.about(xid_kind(13)) == Decision(Action.UNHEALTHY, "env")


def test_a_kind_has_a_token_for_programs() -> None:
    kinds = (xid_kind(79), DRIVER_GONE, EvidenceKind(""))
    assert [token_of(kind) for kind in kinds] == ["xid_79", "driver_gone", "unknown"]
    tokens = {token_of(kind) for kind in HEALTH_POLICY.kinds}
    assert len(tokens) == len(HEALTH_POLICY.kinds)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", token) for token in tokens)
