"""What NVIDIA says to do about each kind of evidence, beside its catalog."""

import csv
from collections.abc import Mapping
from pathlib import Path

import pytest

from health_tables import cure_table
from plugin_gateway.core.health.faults import Evidence
from plugin_gateway.core.health.policy import RECOVERY_ACTION, EvidenceKind, family_of
from plugin_gateway.core.health.remedies import Remedy
from plugin_gateway.nvidia.checkup import RECOVERY_ACTIONS, report
from plugin_gateway.nvidia.evidence import (
    FABRIC,
    FABRIC_DEGRADED,
    HARDWARE_SLOWDOWN,
    HEALTH_POLICY,
    NVLINK_DOWN,
    ROW_REMAP_FAILURE,
    xid_kind,
)
from plugin_gateway.nvidia.remedies import investigation_of, remedy_for

with (Path(__file__).parent / "xid-catalog.csv").open() as file:
    CATALOG = list(csv.DictReader(file))


def about(kind: EvidenceKind, what: str = "words") -> Remedy:
    return remedy_for(Evidence(what, 0.0, kind))


@pytest.mark.parametrize("row", CATALOG, ids=lambda row: str(row["xid"]))
def test_every_row_of_the_catalog_has_both_actions_in_its_words_and_in_ours(row: Mapping[str, str]) -> None:
    remedy = about(xid_kind(int(row["xid"])))
    assert (remedy.action, remedy.investigation) == (row["immediate_action"], row["investigatory_action"])
    assert remedy.todo
    assert bool(remedy.to_investigate) is bool(remedy.investigation)
    assert not {remedy.todo, remedy.to_investigate} & {remedy.action, remedy.investigation} - {""}


def test_the_same_word_has_the_same_sentence_and_no_row_is_left_over() -> None:
    assert len(CATALOG) == 172
    remedies = [about(xid_kind(int(row["xid"]))) for row in CATALOG]
    assert len({(each.action, each.todo) for each in remedies if each.action}) == 14
    assert len({(each.investigation, each.to_investigate) for each in remedies if each.investigation}) == 16
    in_catalog = {int(row["xid"]) for row in CATALOG if row["investigatory_action"]}
    assert {xid for xid in range(-10, 1000) if investigation_of(xid) is not None} == in_catalog


def test_a_word_of_the_catalog_is_explained() -> None:
    assert about(xid_kind(79)) == Remedy(
        action="RESTART_BM",
        todo="reboot the node",
        investigation="CONTACT_SUPPORT",
        to_investigate="collect nvidia-bug-report.sh and contact NVIDIA or the vendor of the machine",
    )


@pytest.mark.parametrize(("xid", "words"), [(0, "does not have it"), (999, "does not have it"), (171, "memory")])
def test_an_xid_without_an_action_says_so(xid: int, words: str) -> None:
    remedy = about(xid_kind(xid))
    assert (remedy.action, remedy.investigation) == ("", "")
    assert words in remedy.todo


@pytest.mark.parametrize("number", RECOVERY_ACTIONS)
def test_each_recovery_action_of_the_driver_is_its_own_word(number: int) -> None:
    remedy = about(RECOVERY_ACTION, report(recovery_action=number).problems[RECOVERY_ACTION])
    assert remedy.action == RECOVERY_ACTIONS[number]
    assert remedy.todo


@pytest.mark.parametrize("what", [RECOVERY_ACTION, report(recovery_action=99).problems[RECOVERY_ACTION]])
def test_a_recovery_action_that_is_not_known_says_where_to_look(what: str) -> None:
    assert about(RECOVERY_ACTION, what) == Remedy(todo="see the recovery action in nvidia-smi -q")


def test_all_other_evidence_has_a_sentence() -> None:
    others = [kind for kind in HEALTH_POLICY.kinds if family_of(kind) is None]
    assert ROW_REMAP_FAILURE in others
    assert [kind for kind in others if not about(kind).todo] == []


@pytest.mark.parametrize("kind", ["", "of-tomorrow", "code-79"])
def test_nothing_is_said_about_evidence_of_an_unknown_kind(kind: str) -> None:
    assert about(EvidenceKind(kind)) == Remedy()


@pytest.mark.parametrize("kind", [FABRIC, FABRIC_DEGRADED, NVLINK_DOWN, HARDWARE_SLOWDOWN])
def test_the_page_and_the_doctor_have_the_same_cure(kind: EvidenceKind) -> None:
    (line,) = (line for line in cure_table() if line.startswith(f"| `{kind}` |"))
    assert f" | {about(kind).todo} | " in line
