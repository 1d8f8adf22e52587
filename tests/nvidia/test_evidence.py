"""What follows from NVIDIA's evidence by default."""

import csv
from pathlib import Path

import pytest

from plugin_gateway.core.health.policy import Action, Decision, EvidenceKind, family_of
from plugin_gateway.nvidia.evidence import HEALTH_POLICY, xid_kind
from plugin_gateway.nvidia.xid_catalog import XID_CATALOG

BY_DEFAULT = HEALTH_POLICY
with (Path(__file__).parent / "xid-actions.csv").open() as _table:
    CATALOG = [(int(row["xid"]), row["immediate_action"], row["severity"]) for row in csv.DictReader(_table)]
"""The catalog as NVSentinel publishes it, row by row."""
EXPECTED = {
    "IGNORE": Action.IGNORE,
    "REBOOT_NODE": Action.UNTIL_REBOOT,
    "RESTART_VM": Action.UNTIL_REBOOT,
    "CHECK_MECHANICALS": Action.UNTIL_REBOOT,
}


@pytest.mark.parametrize(("xid", "advice", "severity"), CATALOG)
def test_every_row_of_the_catalog(xid: int, advice: str, severity: str) -> None:
    decision = BY_DEFAULT.about(xid_kind(xid))
    otherwise = Action.REPORT if severity == "nonfatal" else Action.UNTIL_RESET
    assert decision == Decision(EXPECTED.get(advice, otherwise), f"NVIDIA's catalog: {advice}")


def test_no_other_xid_is_in_the_catalog() -> None:
    assert sorted(XID_CATALOG) == sorted(xid for xid, _, _ in CATALOG)
    assert len(CATALOG) == 162


@pytest.mark.parametrize("xid", [-1, 0, 163, 10_000])
def test_an_xid_that_nobody_knows_counts(xid: int) -> None:
    assert BY_DEFAULT.about(xid_kind(xid)).action is Action.UNHEALTHY


def test_all_other_evidence_takes_a_device_out_by_default() -> None:
    others = [kind for kind in BY_DEFAULT.kinds if family_of(kind) is None]
    assert others == [
        "double-bit-ecc",
        "gpu-unavailable",
        "recovery-action",
        "not-answering",
        "row-remap-failure",
        "pending-retirement",
        "driver-gone",
    ]
    assert all(BY_DEFAULT.about(kind).action.needs is not None for kind in (*others, EvidenceKind("of-tomorrow")))
