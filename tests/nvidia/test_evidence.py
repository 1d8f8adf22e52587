"""What follows from NVIDIA's evidence by default."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugin_gateway.core.health.policy import Action, Decision, EvidenceKind, family_of, number_of
from plugin_gateway.nvidia.evidence import HEALTH_POLICY, XID, xid_kind
from plugin_gateway.nvidia.generation import GENERATIONS
from plugin_gateway.nvidia.xid_catalog import JUDGED_FROM

BY_DEFAULT = HEALTH_POLICY
NVLINK5 = "WORKFLOW_NVLINK5_ERR"
EXPECTED = {
    "IGNORE": Action.IGNORE,
    "RESTART_APP": Action.REPORT,
    "WORKFLOW_XID_45": Action.REPORT,
    "XID_154": Action.REPORT,
    "CHECK_UVM": Action.REPORT,
    "RESTART_BM": Action.UNTIL_REBOOT_OR_RECOVERY,
    "RESTART_VM": Action.UNTIL_REBOOT,
    "CHECK_MECHANICALS": Action.UNTIL_REBOOT,
    "WORKFLOW_NVLINK_ERR": Action.UNTIL_DRIVER_DECIDES,
    NVLINK5: Action.UNTIL_DRIVER_DECIDES,
}
"""The action for an immediate action; a reset for all others."""
WITHOUT_ADVICE = {
    "PSHC_REENGAGED": Action.IGNORE,
    "PSHC_DISENGAGED": Action.IGNORE,
    "PSHC_LOW_LIFETIME": Action.IGNORE,
    "PSHC_ZERO_LIFETIME": Action.IGNORE,
    "NVLINK_SECURE_CRYPTO_ERR": Action.UNTIL_DRIVER_DECIDES,
    "NVLINK_SECURE_OTHER": Action.UNTIL_DRIVER_DECIDES,
    "PCIE_FATAL_TIMEOUT": Action.UNTIL_RESET,
    "SEC2_HALT_ERROR": Action.UNTIL_RESET,
    "REDUCED_GPU_MEMORY_CAPACITY": Action.REPORT,
    "UNCORRECTABLE_DRAM_ERROR": Action.UNTIL_RESET,
    "UNCORRECTABLE_SRAM_ERROR": Action.UNTIL_RESET,
}
"""The action for each row without an immediate action, by its mnemonic."""


def table(name: str) -> list[dict[str, str]]:
    with (Path(__file__).parent / name).open() as file:
        return list(csv.DictReader(file))


CATALOG = table("xid-catalog.csv")
"""NVIDIA's catalog, row by row."""
CASES = table("xid-144-150.csv")
"""NVIDIA's table of the sub-codes of NVLink 5 errors, row by row."""


def actions_of_cases(xid: int) -> set[str]:
    return {case["recovery_action"] for case in CASES if case["xid"] == str(xid)}


def with_advice() -> Iterator[tuple[int, str]]:
    for row in CATALOG:
        if row["immediate_action"]:
            yield int(row["xid"]), row["immediate_action"]


def applies_to(xid: int) -> list[str]:
    row = next(row for row in CATALOG if row["xid"] == str(xid))
    return [generation for generation in GENERATIONS if row[generation.lower()] == "YES"]


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize(("xid", "advice"), [each for each in with_advice() if len(actions_of_cases(each[0])) != 1])
def test_every_row_with_an_immediate_action(xid: int, advice: str, generation: str) -> None:
    action = EXPECTED.get(advice, Action.UNTIL_RESET)
    expected = Decision(action, f"NVIDIA's catalog: {advice}", is_refinable=advice == NVLINK5)
    only_for = applies_to(xid)
    if expected.action is Action.IGNORE and generation not in only_for:
        names = f"only for {', '.join(only_for)}" if only_for else "for no generation"
        expected = Decision(Action.REPORT, f"{expected.origin}, but {names}")
    assert BY_DEFAULT.about(xid_kind(xid), generation) == expected


@pytest.mark.parametrize("generation", ["", "R100"])
@pytest.mark.parametrize("row", CATALOG, ids=lambda row: str(row["xid"]))
def test_a_generation_that_nobody_knows_gets_the_severest_decision(row: dict[str, str], generation: str) -> None:
    xid = xid_kind(int(row["xid"]))
    actions = [BY_DEFAULT.about(xid, each).action for each in GENERATIONS]
    assert BY_DEFAULT.about(xid, generation).action is max(actions, key=list(Action).index)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_what_an_administrator_decided_holds_for_every_generation(generation: str) -> None:
    decided = Decision(Action.UNTIL_RESET, "file 3")
    assert BY_DEFAULT.with_decisions({xid_kind(121): decided}).about(xid_kind(121), generation) == decided
    enabled = BY_DEFAULT.enabling([xid_kind(121)], "env", BY_DEFAULT)
    assert enabled.about(xid_kind(121), generation) == Decision(Action.UNHEALTHY, "env")
    assert BY_DEFAULT.without_checks("env").about(xid_kind(160), generation) == Decision(Action.IGNORE, "env")


@pytest.mark.parametrize(("xid", "advice"), [(147, "IGNORE"), (148, "IGNORE"), (150, "RESET_GPU")])
def test_an_nvlink_error_whose_cases_all_ask_for_the_same_is_decided_by_them(xid: int, advice: str) -> None:
    assert actions_of_cases(xid) == {advice}
    expected = {"IGNORE": Action.REPORT, "RESET_GPU": Action.UNTIL_RESET}[advice]
    decision = BY_DEFAULT.about(xid_kind(xid))
    assert decision == Decision(expected, f"NVIDIA's table of sub-codes: {advice} in each case")


@pytest.mark.parametrize(
    "row", [row for row in CATALOG if not row["immediate_action"]], ids=lambda row: str(row["xid"])
)
def test_every_row_without_an_immediate_action(row: dict[str, str]) -> None:
    xid = int(row["xid"])
    for generation in GENERATIONS:
        decision = BY_DEFAULT.about(xid_kind(xid), generation)
        expected = WITHOUT_ADVICE[row["mnemonic"]]
        is_other = expected is Action.IGNORE and generation not in applies_to(xid)
        assert decision.action is (Action.REPORT if is_other else expected)
        assert decision.origin.startswith("NVIDIA's catalog has no action: ")


@pytest.mark.parametrize("xid", [48, 171, 172])
def test_an_uncorrectable_error_of_memory_is_never_over_by_silence(xid: int) -> None:
    assert BY_DEFAULT.about(xid_kind(xid)).action is Action.UNTIL_RESET


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['xid']}-{case['subcode']}-{case['error_status']}")
def test_no_case_of_an_nvlink_error_is_taken_lightly_or_for_ever(case: dict[str, str]) -> None:
    """The event has no sub-code. So a case that asks for nothing waits for the driver, and one for a reset gets one."""
    action = BY_DEFAULT.about(xid_kind(int(case["xid"]))).action
    alone = {"IGNORE": Action.REPORT, "RESET_GPU": Action.UNTIL_RESET}.get(case["recovery_action"])
    assert action in {Action.UNTIL_DRIVER_DECIDES, alone}


def test_what_the_recovery_action_judges_is_as_the_catalog_says() -> None:
    linked = {int(row["xid"]): row["xid154_linkage"] for row in CATALOG if row["xid154_linkage"]}
    assert linked.keys() == JUDGED_FROM.keys()
    for xid, words in linked.items():
        assert words.endswith(JUDGED_FROM[xid].removeprefix("its i")), "such as GPU driver R565, or Xid introduction"


def test_no_other_xid_is_decided_singly() -> None:
    decided = {number for kind in BY_DEFAULT.kinds if (number := number_of(kind, XID)) is not None}
    assert decided == {int(row["xid"]) for row in CATALOG}
    assert len(CATALOG) == len(decided) == 172


@pytest.mark.parametrize("xid", [-1, 0, 173, 10_000])
def test_an_xid_that_nobody_knows_counts(xid: int) -> None:
    assert BY_DEFAULT.about(xid_kind(xid)).action is Action.UNHEALTHY


def test_all_other_evidence_takes_a_device_out_by_default_unless_jobs_go_on() -> None:
    others = {kind: BY_DEFAULT.about(kind).action for kind in BY_DEFAULT.kinds if family_of(kind) is None}
    reported = {"fabric-degraded", "hardware-slowdown"}
    assert list(others) == [
        "double-bit-ecc",
        "gpu-unavailable",
        "recovery-action",
        "not-answering",
        "row-remap-failure",
        "pending-retirement",
        "fabric",
        "fabric-degraded",
        "nvlink-down",
        "hardware-slowdown",
        "driver-gone",
    ]
    assert {kind for kind, action in others.items() if action is Action.REPORT} == reported
    assert all(action.needs is not None for kind, action in others.items() if kind not in reported)
    assert BY_DEFAULT.about(EvidenceKind("of-tomorrow")).action.needs is not None
