"""Makes health.md from the code: ``make generate``. Each cell of the state table is what the state function did."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from plugin_gateway.core.devices import Device, DeviceId, Inventory
from plugin_gateway.core.health.faults import Checkup, Moment, Stage
from plugin_gateway.core.health.memory import recall, remember
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverSeen,
    DriverSilence,
    DriverUnavailable,
    EventsAwaited,
    EvidenceReported,
    InventorySeen,
    Observation,
)
from plugin_gateway.core.health.policy import DRIVER_GONE, NOT_ANSWERING, Action, Decision, Needs, number_of
from plugin_gateway.core.health.state import State, advance, clear, due, wait
from plugin_gateway.nvidia.evidence import HEALTH_POLICY, XID, xid_kind

PAGE = Path(__file__).with_name("health.md")
GPU = DeviceId("GPU-1")
HERE = InventorySeen(
    Inventory(
        devices=(
            Device(
                id=GPU,
                index=0,
                minor=0,
                pci_address="0000:01:00.0",
                product="GPU",
                memory_bytes=0,
                numa_node=0,
                nodes=(),
            ),
        ),
        visibility_variable="X",
    )
)
ACTIONS = {901: Action.UNHEALTHY, 902: Action.UNTIL_RESET, 903: Action.UNTIL_REBOOT}
POLICY = HEALTH_POLICY.with_decisions({xid_kind(xid): Decision(action, "") for xid, action in ACTIONS.items()})
SIMPLE, RESET, REBOOT = (EvidenceReported(xid_kind(xid), GPU) for xid in ACTIONS)
WELL, LOST = (
    DevicesChecked({GPU: Checkup({}, asks_for_recovery=False)}),
    DevicesChecked({GPU: Checkup({NOT_ANSWERING: "GPU is lost"})}),
)
NEW_DRIVER = DriverSeen("2", "2")
NOW, LATER = Moment(10_000.0, 0.0), Moment(20_000.0, 0.0)
Step = Callable[[State], State]


def see(*observations: Observation) -> Step:
    """What the driver tells."""

    def step(state: State) -> State:
        for observation in observations:
            state, _ = advance(state, observation, NOW, POLICY)
        return state

    return step


def rest(state: State) -> State:
    """Let the quiet time pass, where one goes on."""
    return wait(state, LATER, POLICY)[0] if due(state, POLICY) is not None else state


PROBLEMS = {NOT_ANSWERING: "does not answer", DRIVER_GONE: "the driver is gone"}
STARTS: Mapping[str, Sequence[Observation]] = {
    "Healthy": (),
    "Unhealthy, needs a check": (SIMPLE,),
    "Unhealthy, needs a reset": (RESET,),
    "Unhealthy, needs a reboot": (REBOOT,),
    "Unhealthy, does not answer": (LOST,),
    "Unhealthy, the driver is gone": (DriverSilence(99.0),),
    "Probation": (SIMPLE, WELL),
}
STEPS: Mapping[str, Step] = {
    "evidence: `unhealthy`": see(SIMPLE),
    "evidence: `unhealthy-until-reset`": see(RESET),
    "evidence: `unhealthy-until-reboot`": see(REBOOT),
    "a check finds nothing": see(WELL),
    "a check gets no answer": see(LOST),
    "the driver was reset, a check finds nothing": see(NEW_DRIVER, WELL),
    "the driver is gone": see(DriverSilence(99.0)),
    "the driver is away for a moment": see(DriverUnavailable("gone"), HERE),
    "its events cannot be waited for": see(EventsAwaited("unknown error")),
    "the device is away for a moment": see(InventorySeen(replace(HERE.inventory, devices=())), HERE),
    "the quiet time is over": rest,
    "`health clear`": lambda state: clear(state, GPU, NOW, POLICY)[0],
    "the gateway restarts": lambda state: recall(remember(state, "boot"), "boot"),
    "the node reboots": lambda state: recall(remember(state, "boot"), "another"),
}


def described(state: State) -> str:
    """Name the state as the rows do, as far as they know it."""
    fault = state.faults.get(GPU)
    if fault is None:
        return "Healthy"
    if fault.stage is Stage.PROBATION:
        return "Probation"
    if fault.needs is Needs.REBOOT:
        return "Unhealthy, needs a reboot"
    if fault.needs is Needs.RESET and not fault.was_reset:
        return "Unhealthy, needs a reset"
    if fault.problems:
        return f"Unhealthy, {' and '.join(PROBLEMS[source] for source in fault.problems)}"
    return "Unhealthy, needs a check"


def state_table() -> list[str]:
    """Draw what each step leads to from each start."""
    lines = [row(("", *STARTS)), row(["---"] * (len(STARTS) + 1))]
    starts = [see(HERE, DriverSeen("1", "1"), *observations)(State()) for observations in STARTS.values()]
    for name, step in STEPS.items():
        cells = []
        for start in starts:
            after = step(start)
            cells.append("—" if described(after) == described(start) else described(after))
        lines.append(row((name, *cells)))
    return lines


def evidence_table() -> list[str]:
    """List what follows from which evidence by default."""
    numbers = {kind: number_of(kind, XID) for kind in HEALTH_POLICY.kinds}
    by_decision: dict[Decision, list[int]] = {}
    for xid, kind in sorted((xid, kind) for kind, xid in numbers.items() if xid is not None):
        by_decision.setdefault(HEALTH_POLICY.about(kind), []).append(xid)
    rows = [(f"XID {ranges(xids)}", decision) for decision, xids in by_decision.items()]
    rows.sort(key=lambda each: list(Action).index(each[1].action))
    rows.append(("any other XID", HEALTH_POLICY.families[XID]))
    rows += [(f"`{kind}`", HEALTH_POLICY.about(kind)) for kind, xid in numbers.items() if xid is None]
    lines = [row(("evidence", "action", "decided by")), row(["---"] * 3)]
    return lines + [row((what, f"`{decision.action.value}`", decision.origin)) for what, decision in rows]


def ranges(xids: Sequence[int]) -> str:
    """Write neighbours as a range."""
    groups = [[xid for _, xid in group] for _, group in groupby(enumerate(xids), lambda each: each[1] - each[0])]
    return ", ".join(str(group[0]) if len(group) == 1 else f"{group[0]}-{group[-1]}" for group in groups)


def row(cells: Sequence[str]) -> str:
    """Write a row of a table."""
    return f"| {' | '.join(cells)} |"


TEXT = """# Health

Made from the code by `make generate`; each cell of the first table is what the state function did.

The kubelet is told `Healthy` of a device in the stage Healthy and `Unhealthy` of every other. A device that is taken
out is given back when nothing speaks against it any more: it has what its evidence asks for (a reset is a new instance
of the kernel module, or the driver's recovery action back to none), it answers, the driver asks for no recovery, and it
was quiet for {quiet:g} s (`--quiet-time`). One that is taken out {count} times within {window:g} s stays out until it
is reset, the node reboots, or an operator says `plugin-gateway health clear`; what strikes all devices at once does not
count there. Containers that hold a device keep it.

A quiet time counts only while somebody would see a fault: the driver answers, its events can be waited for, and the
device is there; it ends with the first sign of the driver after it (one comes every 5 s). What a check cannot find out,
because the driver answers one of its questions with an error, is taken to be as it was. Before the first check nothing
is offered.

A reset is seen in two ways: the kernel module is loaded again (another inode of /sys/module/nvidia), or the driver
asked for recovery and does so no more (565 and later). A single GPU that is reset under an older driver is seen by
neither: say `plugin-gateway health clear` then.

What is held against a device is kept in `health.json` below `--state-dir` with the kernel's boot id; in a container
that has to be a folder of the host, or a restart of the pod forgets it. A file that somebody deletes is written again
within 30 s. After a reboot every device has to be checked and quiet, also one that appears late; one that stays away
for a whole boot is forgotten.

## From one stage to the next

Rows are what happens, columns the stage before; — means that the device stays as it is.

{states}

## What follows from which evidence

`plugin-gateway health-policy` shows what the flags, the environment and the file that it is given decide, and where.
`ignore` is logged, `report` is logged as a warning and told to the cluster where that is asked for; neither changes the
health. A decision counts from the next evidence on: what took a device out before is not weighed again.

{evidence}

```yaml
version: v1
health:
  quietTime: 60
  driverTimeout: 30         # seconds without the driver after which every device is Unhealthy
  flapCount: 3
  flapWindow: 3600
  unknownXid: unhealthy     # ignore, report, unhealthy, unhealthy-until-reset, unhealthy-until-reboot
  xids:
    79: unhealthy-until-reset
    126-135: report
  evidence:
    pending-retirement: report
```

`DP_DISABLE_HEALTHCHECKS` and `DP_ENABLE_HEALTHCHECKS` mean what they mean to NVIDIA's device plugin, and come after the
file: XIDs to ignore, or `all`; XIDs that count in spite of that.
"""


def page() -> str:
    """Write the page."""
    return TEXT.format(
        quiet=HEALTH_POLICY.quiet_time,
        count=HEALTH_POLICY.flap_count,
        window=HEALTH_POLICY.flap_window,
        states="\n".join(state_table()),
        evidence="\n".join(evidence_table()),
    )


if __name__ == "__main__":
    PAGE.write_text(page())
