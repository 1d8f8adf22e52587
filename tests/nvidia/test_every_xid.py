"""Every row of NVIDIA's catalog, on four generations and with four drivers: what follows, and what brings a GPU back.

What is expected comes from the catalog's own columns. What is found comes from the state function.
"""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.health.story import WELL, Story
from harness.devices import device, inventory
from health_xids import (
    ANSWER,
    DRIVERS,
    HAS_RECOVERY_ACTION,
    MODULE,
    REBOOT,
    RESET,
    SILENCE,
    Course,
    Outcome,
    outcome,
    rows,
)
from plugin_gateway.core.health.faults import Checkup, Stage
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverSeen,
    EventsAwaited,
    EvidenceReported,
    InventorySeen,
    Observation,
)
from plugin_gateway.nvidia.evidence import HEALTH_POLICY, xid_kind
from plugin_gateway.nvidia.generation import GENERATIONS

from .test_evidence import CASES, CATALOG, actions_of_cases

GPU = device(0).id
OPERATOR_OR_RESET = "a reset that the driver reports, a reboot, or an operator's word"
IGNORED, REPORTED = Outcome("ignored", "", ()), Outcome("reported", "", ())
QUESTION = Outcome(
    "unhealthy", "the driver's answer that it asks for no recovery", (ANSWER, SILENCE, RESET, MODULE, REBOOT)
)
FATAL = Outcome("unhealthy", OPERATOR_OR_RESET, (RESET, MODULE, REBOOT))
MACHINE = Outcome("unhealthy", "a reboot of the node, or an operator's word", (REBOOT,))
OFF_THE_BUS = Outcome(
    "unhealthy",
    "a reboot of the node, a reset if the driver tells of it, or an operator's word",
    (RESET, MODULE, REBOOT),
)
"""The catalog links the XID to the driver's recovery action. Only drivers that have it are believed about a reset."""
BY_ACTION = {
    "IGNORE": IGNORED,
    "RESTART_APP": REPORTED,
    "WORKFLOW_XID_45": REPORTED,
    "XID_154": REPORTED,
    "CHECK_UVM": REPORTED,
    "WORKFLOW_NVLINK_ERR": QUESTION,
    "WORKFLOW_NVLINK5_ERR": QUESTION,
    "RESTART_BM": OFF_THE_BUS,
    "RESTART_VM": MACHINE,
    "CHECK_MECHANICALS": MACHINE,
    "RESET_GPU": FATAL,
    "WORKFLOW_XID_48": FATAL,
    "UPDATE_SWFW": FATAL,
    "CONTACT_SUPPORT": FATAL,
}
BY_MNEMONIC = {
    "PSHC_REENGAGED": IGNORED,
    "PSHC_DISENGAGED": IGNORED,
    "PSHC_LOW_LIFETIME": IGNORED,
    "PSHC_ZERO_LIFETIME": IGNORED,
    "NVLINK_SECURE_CRYPTO_ERR": QUESTION,
    "NVLINK_SECURE_OTHER": QUESTION,
    "PCIE_FATAL_TIMEOUT": FATAL,
    "SEC2_HALT_ERROR": FATAL,
    "REDUCED_GPU_MEMORY_CAPACITY": REPORTED,
    "UNCORRECTABLE_DRAM_ERROR": FATAL,
    "UNCORRECTABLE_SRAM_ERROR": FATAL,
}
"""For the rows without an immediate action."""
NEVER_BY_SILENCE = (48, 171, 172)
RESET_ROWS = [int(row["xid"]) for row in CATALOG if row["immediate_action"] in {"RESET_GPU", "WORKFLOW_XID_48"}]


def expected(row: dict[str, str], generation: str, driver: int) -> Outcome:
    """Return what the catalog says, and for what it leaves open the severest case."""
    found = BY_ACTION[row["immediate_action"]] if row["immediate_action"] else BY_MNEMONIC[row["mnemonic"]]
    cases = actions_of_cases(int(row["xid"]))
    if len(cases) == 1:
        found = {"IGNORE": REPORTED, "RESET_GPU": FATAL}[cases.pop()]
    if found is IGNORED and row[generation.lower()] != "YES":
        found = REPORTED
    if driver < HAS_RECOVERY_ACTION:
        without_reset = {REBOOT} if found is OFF_THE_BUS else {MODULE, REBOOT}
        found = found._replace(ways=tuple(way for way in found.ways if way in without_reset))
    return found


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("generation", GENERATIONS)
def test_every_row_has_the_verdict_the_way_back_and_the_words_of_the_catalog(generation: str, driver: int) -> None:
    found = {row["xid"]: outcome(int(row["xid"]), generation, driver) for row in CATALOG}
    assert found == {row["xid"]: expected(row, generation, driver) for row in CATALOG}
    assert len(found) == 172


def test_the_page_has_each_row_once_and_names_the_generations_that_differ() -> None:
    told = {xid: (newer, older) for xid, newer, older, _ in rows()}
    assert list(told) == [row["xid"] for row in CATALOG]
    assert told["48"] == ("unhealthy until a reset", "unhealthy until the kernel module is loaded again")
    assert told["145"] == ("unhealthy until the driver's answer, or a reset", told["48"][1])
    assert told["79"] == ("unhealthy until a reset", "unhealthy until a reboot")
    assert told["63"] == ("ignored",) * 2
    assert told["157"] == ("reported; ignored on H100, B100, GB200",) * 2
    assert told["152"] == ("reported",) * 2


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("generation", GENERATIONS)
def test_every_gpu_that_is_out_comes_back_without_an_operator(generation: str, driver: int) -> None:
    """A reset suffices, unless the catalog asks for a restart of the machine or of what holds the GPU."""
    for row in CATALOG:
        ways = outcome(int(row["xid"]), generation, driver).ways
        if ways:
            asks_for_machine = BY_ACTION.get(row["immediate_action"]) in {MACHINE, OFF_THE_BUS}
            assert (REBOOT if asks_for_machine else MODULE) in ways, row["xid"]


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("driver", [each for each in DRIVERS if each >= HAS_RECOVERY_ACTION])
def test_what_asks_for_nothing_keeps_no_gpu_out_for_longer_than_the_driver_needs(generation: str, driver: int) -> None:
    """An ignored row, and each case of an NVLink error that is one. The driver then asks for nothing."""
    ignored = {int(row["xid"]) for row in CATALOG if row["immediate_action"] == "IGNORE"}
    ignored |= {int(case["xid"]) for case in CASES if case["recovery_action"] == "IGNORE"}
    for xid in ignored:
        course = Course(xid_kind(xid), generation, driver).sleep(HEALTH_POLICY.decision_time).check()
        assert GPU not in course.state.faults, xid


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_case_that_asks_for_a_reset_keeps_the_gpu_out_until_the_reset(generation: str) -> None:
    for xid in {int(case["xid"]) for case in CASES if case["recovery_action"] == "RESET_GPU"}:
        course = Course(xid_kind(xid), generation, HAS_RECOVERY_ACTION)
        for _ in range(5):
            assert not course.sleep(HEALTH_POLICY.decision_time).check(asks=True).is_back, xid
        assert course.check().is_back, xid


NO_CURE: st.SearchStrategy[Observation] = st.one_of(
    st.builds(lambda asks: DevicesChecked({GPU: Checkup({}, asks)}), st.sampled_from((None, False))),
    st.builds(lambda xid: EvidenceReported(xid_kind(xid), GPU), st.integers(1, 180)),
    st.sampled_from((EventsAwaited("gone"), EventsAwaited(None), DriverSeen("580", "1"))),
)
"""What is no reset: checks without a problem, by drivers with and without the recovery action, and more XIDs."""


@given(
    st.sampled_from((*NEVER_BY_SILENCE, *RESET_ROWS)),
    st.sampled_from(("", *GENERATIONS)),
    st.lists(st.tuples(NO_CURE, st.sampled_from((0.0, 5.0, 100.0, 1e6))), max_size=12),
)
def test_no_silence_and_no_further_xid_brings_a_gpu_back_that_needs_a_reset(
    xid: int, generation: str, history: Sequence[tuple[Observation, float]]
) -> None:
    seen = InventorySeen(inventory(device(0, generation=generation), device(1)))
    story = Story().see(seen, DriverSeen("580", "1"), EvidenceReported(xid_kind(xid), GPU))
    for observation, pause in history:
        assert story.see(observation).sleep(pause).stage is Stage.UNHEALTHY
    story = story.restart().see(DevicesChecked({GPU: WELL})).sleep(1e6)
    assert story.stage is Stage.UNHEALTHY
