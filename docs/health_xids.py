"""What follows from each XID of the catalog, by generation and driver: the state function is driven through it."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from plugin_gateway.core.devices import Inventory, PhysicalDevice, PhysicalId
from plugin_gateway.core.health.changes import Significance
from plugin_gateway.core.health.faults import Checkup, Moment, Stage
from plugin_gateway.core.health.memory import recall, remember
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverSeen,
    EvidenceReported,
    InventorySeen,
    Observation,
)
from plugin_gateway.core.health.policy import RECOVERY_ACTION, EvidenceKind
from plugin_gateway.core.health.state import State
from plugin_gateway.core.health.state_function import advance, wait
from plugin_gateway.nvidia.evidence import HEALTH_POLICY, xid_kind
from plugin_gateway.nvidia.generation import GENERATIONS, UNKNOWN
from plugin_gateway.nvidia.xid_catalog import XID_CATALOG, XIDS_WITHOUT_ADVICE

GPU = PhysicalId("GPU-1")
HAS_RECOVERY_ACTION = 565
"""The first driver with the recovery action."""
DRIVERS = (535, HAS_RECOVERY_ACTION, 575, 580)
SECONDS = HEALTH_POLICY.decision_time
HOUR = 3600.0
XIDS = sorted((*XID_CATALOG, *XIDS_WITHOUT_ADVICE))
IGNORED, REPORTED, OUT = "ignored", "reported", "unhealthy"


class Outcome(NamedTuple):
    """What follows from one XID."""

    verdict: str
    needs: str
    """What `status` says that the GPU needs. Empty if it stays healthy."""
    ways: tuple[str, ...]
    """The `WAYS` after which the GPU is healthy or on probation."""


class Course:
    """One GPU on its way through virtual time, after an XID."""

    def __init__(self, kind: EvidenceKind, generation: str, driver: int) -> None:
        self._has_recovery_action = driver >= HAS_RECOVERY_ACTION
        self.now = 1000.0
        self.state = State()
        self.here = here(generation)
        self.see(self.here, DriverSeen(str(driver), "1"))
        self.check()
        self.state, self.changes = advance(self.state, EvidenceReported(kind, GPU), self._moment, HEALTH_POLICY)

    @property
    def _moment(self) -> Moment:
        return Moment(self.now, self.now)

    def see(self, *observations: Observation) -> "Course":
        """Let the driver report this."""
        for observation in observations:
            self.state, _ = advance(self.state, observation, self._moment, HEALTH_POLICY)
        return self

    def check(self, *, asks: bool = False) -> "Course":
        """Check the GPU: it has no problem, or the driver asks for a reset of it."""
        problems = {RECOVERY_ACTION: "GPU reset"} if asks else {}
        return self.see(DevicesChecked({GPU: Checkup(problems, asks if self._has_recovery_action else None)}))

    def sleep(self, seconds: float) -> "Course":
        """Let time pass."""
        self.now += seconds
        self.state, _ = wait(self.state, self._moment, HEALTH_POLICY)
        return self

    def reset(self) -> "Course":
        """Let the driver ask for a reset, and no longer ask for it. An older driver cannot."""
        return self.check(asks=True).check() if self._has_recovery_action else self

    def reboot(self) -> "Course":
        """Let the node boot again."""
        self.state = recall(remember(self.state, "boot"), "another")
        return self.see(self.here).check()

    @property
    def is_back(self) -> bool:
        """Whether nothing but a quiet time is missing."""
        return self.state.stage_of(GPU) is not Stage.UNHEALTHY


ANSWER, SILENCE, RESET, MODULE, REBOOT = (
    "the driver's answer",
    "clean checks alone",
    "a reset",
    "the kernel module is loaded again",
    "a reboot",
)
WAYS: Mapping[str, Callable[[Course], Course]] = {
    ANSWER: lambda course: course.sleep(SECONDS).check().sleep(0),
    SILENCE: lambda course: course.check().sleep(SECONDS).check().sleep(HOUR).check(),
    RESET: Course.reset,
    MODULE: lambda course: course.see(DriverSeen("another", "2")).check(),
    REBOOT: Course.reboot,
}
"""What can happen afterwards. For the driver's answer the GPU has to be healthy at once, without a quiet time."""


def here(generation: str) -> InventorySeen:
    """Return that the driver reports one GPU of this generation."""
    gpu = PhysicalDevice(
        id=GPU,
        index=0,
        minor=0,
        pci_address="0000:01:00.0",
        product="GPU",
        memory_bytes=0,
        numa_node=None,
        generation=generation,
    )
    return InventorySeen(Inventory(physical=(gpu,), devices=(), recipes={}))


def outcome(xid: int, generation: str, driver: int) -> Outcome:
    """Return what follows from an XID of a GPU of this generation, with a driver of this version."""

    def course() -> Course:
        return Course(xid_kind(xid), generation, driver)

    after = course()
    if GPU not in after.state.faults:
        (note,) = after.changes.notes
        return Outcome(IGNORED if note.significance is Significance.IGNORED else REPORTED, "", ())
    ways = [way for way, happen in WAYS.items() if happen(course()).is_back]
    if ANSWER in ways and GPU in WAYS[ANSWER](course()).state.faults:
        ways.remove(ANSWER)
    return Outcome(OUT, after.state.faults[GPU].lacks, tuple(ways))


_WORDS: Mapping[tuple[str, ...], str] = {
    (ANSWER, SILENCE, RESET, MODULE, REBOOT): "until the driver's answer, or a reset",
    (RESET, MODULE, REBOOT): "until a reset",
    (MODULE, REBOOT): "until the kernel module is loaded again",
    (REBOOT,): "until a reboot",
}


def words(xid: int, generation: str, driver: int) -> str:
    """Return what follows in words."""
    verdict, _, ways = outcome(xid, generation, driver)
    return verdict if verdict != OUT else f"{OUT} {_WORDS[ways]}"


def cell(xid: int, drivers: Sequence[int]) -> str:
    """Return what follows for all generations, with drivers that do not differ."""
    told = {words(xid, UNKNOWN, driver) for driver in drivers}
    differs: dict[str, list[str]] = {}
    for generation in GENERATIONS:
        own = {words(xid, generation, driver) for driver in drivers}
        assert len(own) == len(told) == 1, f"drivers differ about XID {xid}"
        if own != told:
            differs.setdefault(own.pop(), []).append(generation)
    return "; ".join((*told, *(f"{other} on {', '.join(names)}" for other, names in differs.items())))


def rows() -> list[tuple[str, str, str, str]]:
    """Return XID, what follows from it with the two groups of drivers, and who decided."""
    older = [driver for driver in DRIVERS if driver < HAS_RECOVERY_ACTION]
    newer = [driver for driver in DRIVERS if driver >= HAS_RECOVERY_ACTION]
    return [(str(xid), cell(xid, newer), cell(xid, older), HEALTH_POLICY.about(xid_kind(xid)).origin) for xid in XIDS]
