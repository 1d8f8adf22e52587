"""Writes health.md from the code: ``make generate``. Each cell of the state table is a result of the state function."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from generated import table
from health_sub_codes import sub_code_table
from health_tables import cure_table, evidence_table, xid_table
from health_xids import GPU, here
from plugin_gateway.core.health.faults import Checkup, Fault, Moment, Stage
from plugin_gateway.core.health.memory import recall, remember
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverSeen,
    DriverSilence,
    DriverUnavailable,
    EventsAwaited,
    EvidenceRefined,
    EvidenceReported,
    InventorySeen,
    Observation,
)
from plugin_gateway.core.health.policy import DRIVER_GONE, NOT_ANSWERING, Action, Decision, Needs
from plugin_gateway.core.health.repetition import MAX_COUNT
from plugin_gateway.core.health.state import State
from plugin_gateway.core.health.state_function import advance, clear, due, wait
from plugin_gateway.nvidia.evidence import HEALTH_POLICY, xid_kind
from plugin_gateway.nvidia.generation import UNKNOWN
from plugin_gateway.nvidia.history import SLOWDOWN_MEMORY
from plugin_gateway.nvidia.pace import USUAL_PACE
from plugin_gateway.nvidia.xid_catalog import CATALOG_DATE

PAGE = Path(__file__).with_name("health.md")
HERE = here(UNKNOWN)
"""The driver reports one GPU."""
ACTIONS = {
    901: Action.UNHEALTHY,
    902: Action.UNTIL_DRIVER_DECIDES,
    903: Action.UNTIL_RESET,
    904: Action.UNTIL_REBOOT_OR_RECOVERY,
    905: Action.UNTIL_REBOOT,
}
"""An XID for each action that makes a device unhealthy."""
POLICY = HEALTH_POLICY.with_decisions({xid_kind(xid): Decision(action, "") for xid, action in ACTIONS.items()})
SIMPLE, OPEN, RESET, JUDGED, REBOOT = (EvidenceReported(xid_kind(xid), GPU) for xid in ACTIONS)
WELL, OLD, LOST = (
    DevicesChecked({GPU: Checkup({}, asks_for_recovery=False)}),
    DevicesChecked({GPU: Checkup({})}),
    DevicesChecked({GPU: Checkup({NOT_ANSWERING: "GPU is lost"})}),
)
NEW_DRIVER = DriverSeen("2", "2")
NOW, SOON, LATER = Moment(10_000.0, 0.0), Moment(10_000.0 + HEALTH_POLICY.decision_time, 0.0), Moment(20_000.0, 0.0)
"""The time of all steps, a time at which the driver has decided, and a time after every quiet time."""
Step = Callable[[State], State]
"""Changes the state."""


def see(*observations: Observation, at: Moment = NOW) -> Step:
    """Return a step in which the driver reports these observations."""

    def step(state: State) -> State:
        for observation in observations:
            state, _ = advance(state, observation, at, POLICY)
        return state

    return step


def rest(state: State) -> State:
    """Let the quiet time pass if one is running."""
    return wait(state, LATER, POLICY)[0] if due(state, POLICY) is not None else state


PROBLEMS = {NOT_ANSWERING: "does not answer", DRIVER_GONE: "the driver is gone"}
STARTS: Mapping[str, Sequence[Observation]] = {
    "Healthy": (),
    "Unhealthy, needs a check": (SIMPLE,),
    "Unhealthy, the driver has to decide": (OPEN,),
    "Unhealthy, needs a reset": (RESET,),
    "Unhealthy, needs a reboot or the driver's word": (JUDGED,),
    "Unhealthy, needs a reboot": (REBOOT,),
    "Unhealthy, does not answer": (LOST,),
    "Unhealthy, the driver is gone": (DriverSilence(99.0),),
    "Probation": (SIMPLE, WELL),
}
"""The columns: stages, and the observations that lead to them."""
STEPS: Mapping[str, Step] = {
    "evidence: `unhealthy`": see(SIMPLE),
    "evidence: `unhealthy-until-driver-decides`": see(OPEN),
    "evidence: `unhealthy-until-reset`": see(RESET),
    "evidence: `unhealthy-until-reboot-or-recovery`": see(JUDGED),
    "evidence: `unhealthy-until-reboot`": see(REBOOT),
    "a check finds nothing": see(WELL),
    f"a check finds nothing, {HEALTH_POLICY.decision_time:g} s after the evidence": see(WELL, at=SOON),
    "the same, with a driver older than 565": see(OLD, at=SOON),
    "a check gets no answer": see(LOST),
    "the driver was reset, a check finds nothing": see(NEW_DRIVER, WELL),
    "the driver is gone": see(DriverSilence(99.0)),
    "the driver is away for a moment": see(DriverUnavailable("gone"), HERE),
    "its events cannot be waited for": see(EventsAwaited("unknown error")),
    "the device is away for a moment": see(InventorySeen(replace(HERE.inventory, physical=(), devices=())), HERE),
    "the quiet time is over": rest,
    "`health clear`": lambda state: clear(state, GPU, NOW, POLICY)[0],
    "the gateway restarts": lambda state: recall(remember(state, "boot"), "boot"),
    "the node reboots": lambda state: recall(remember(state, "boot"), "another"),
}
"""The rows."""


def described(state: State) -> str:
    """Return the stage of the GPU in the words of the columns."""
    fault = state.faults.get(GPU)
    if fault is None:
        return "Healthy"
    if fault.stage is Stage.PROBATION:
        return "Probation"
    return f"Unhealthy, {_need(fault)}"


def _need(fault: Fault) -> str:
    if fault.needs is Needs.REBOOT:
        return "needs a reboot"
    if fault.needs is Needs.REBOOT_OR_RECOVERY:
        return "needs a reboot or the driver's word"
    if fault.needs is Needs.RESET and not fault.was_reset:
        return "needs a reset"
    if fault.problems:
        return " and ".join(PROBLEMS[source] for source in fault.problems)
    if fault.needs is Needs.DRIVER and not fault.was_reset:
        return "the driver has to decide"
    return "needs a check"


def state_table() -> list[str]:
    """Return the table of what each step does in each stage."""
    rows = []
    starts = [see(HERE, DriverSeen("1", "1"), *observations)(State()) for observations in STARTS.values()]
    for name, step in STEPS.items():
        cells = []
        for start in starts:
            after = step(start)
            cells.append("—" if described(after) == described(start) else described(after))
        rows.append((name, *cells))
    return table(("", *STARTS), rows)


def refined(xid: int, action: Action) -> str:
    """Return what becomes of a GPU with an XID, then its line in the kernel's log."""
    reported, line = EvidenceReported(xid_kind(xid), GPU), EvidenceRefined(xid_kind(xid), GPU, action)
    return described(see(HERE, DriverSeen("1", "1"), reported, line)(State()))


TEXT = """# Health

`make generate` makes this page from the code. Each cell of the first table is what the state function did.

## When a GPU is unhealthy, and when it is healthy again

A device is in one of three stages: Healthy, Unhealthy or Probation. The kubelet sees `Healthy` in the first stage and
`Unhealthy` in the other two. Containers that hold a device keep it.

A device that became unhealthy is healthy again when all of this is true:

- It has what its evidence asks for. A reset is a new instance of the kernel module, or a change of the driver's
  recovery action back to none.
- It answers.
- The driver does not ask for recovery.
- It was quiet for {quiet:g} s (`--quiet-time`). This is not needed if the driver has decided that there is no fault.

A device that becomes unhealthy {count} times within {window:g} s (`--flap-count`, `--flap-window`) stays unhealthy. It
needs a reset, a reboot of the node, or `plugin-gateway health clear`. Three cases are not counted:

- The driver is gone.
- The driver decides whether there is a fault at all (`unhealthy-until-driver-decides`).
- Two or more devices become unhealthy at once, for the same reason, and no device stays healthy. On a node with one
  device, only the first two cases apply.

The quiet time counts only while a fault would be noticed. The driver has to answer, its events have to be readable, and
the device has to be there. A time of 10 s or more in which the gateway did not run, such as a suspend of the machine,
ends the probation: the device needs another check, and the quiet time starts again. The quiet time ends with the first
sign of the driver after it; there is one every 5 s.

If the driver answers a question with an error, the gateway assumes that nothing changed there. Before the first check
no device is offered.

With `--probation=external` the quiet time ends no probation. A device stays on probation until
`plugin-gateway health clear`, which an operator or a test calls. `plugin-gateway status` says what it waits for. A new
fault ends the probation as always. This holds for each fault, also for a driver that was gone, and after a restart of
the gateway or of the node. One case needs nobody: a question that the driver has decided
(`unhealthy-until-driver-decides`). A restart of the gateway leaves the question open, and does not change this.
[An example](../deploy/examples/probation-test/README.md) tests GPUs on probation.

## What counts as evidence

- XIDs. By default NVIDIA's catalog decides what follows from each.
- `double-bit-ecc`: an error in memory that ECC could not correct.
- `gpu-unavailable`: NVML reports that the GPU is unavailable.
- `recovery-action`: the driver asks for a recovery action (driver 565 and later).
- `not-answering`: the GPU does not answer, or is lost.
- `row-remap-failure`: a row of memory could not be remapped.
- `pending-retirement`: memory waits for a reset to be retired.
- `fabric`: the GPU cannot use the NVLink fabric of its machine.
- `fabric-degraded`: the GPU can use the fabric, but with less bandwidth.
- `nvlink-down`: an NVLink of the GPU was up and is down.
- `hardware-slowdown`: the hardware lowered the clocks of the GPU.
- SXids, errors of NVSwitches, with `--kernel-log`. They are reported.
- `driver-gone`: the driver was gone, or did not answer, for `--driver-timeout` seconds.

## Fabric, NVLinks and slowdowns

The gateway asks the driver about these with every check. The first check after a start does not, so that the kubelet
does not wait longer. The next check follows within {rescan:g} s. If the driver or the GPU does not support a question,
nothing is reported. For example, only GPUs of Hopper and later report the state of the fabric.

{cures}

- A GPU of an NVSwitch machine that has not joined the fabric starts no CUDA program, or cannot reach the other GPUs.
  Therefore `fabric` makes it unhealthy.
- A job that uses a link that is down fails, hangs or is slow. NVIDIA's DCGM also isolates a GPU with such a link, and
  NVIDIA's catalog asks for a reset after a fatal error of NVLink. Therefore `nvlink-down` makes a GPU unhealthy. If
  your jobs use one GPU each, or if you take GPUs out of the machine while it runs, `report` is enough.
- Jobs go on with less bandwidth and with lower clocks. Therefore the other two are only reported.

Links train for up to a minute after a boot or a reset, and the GPUs then join the fabric. This is no fault. A GPU that
was out before for this reason stays out during that time. The {training:g} s start again when the gateway starts, when
a new session of the driver begins, and when the GPU did not answer. The gateway looks at the links of a GPU at most
once in {links:g} s.

Which links were up is known only to the running process. If the gateway was started again while a GPU was out for
`nvlink-down`, the GPU stays out until none of its links is down, until a reboot, or until you decide for `report`. In
MIG mode the links do not count.

A slowdown that comes and goes is reported once, and again only after {slowdown:g} s without it. If you decide that it
makes a GPU unhealthy, the GPU stays out for as long.

## Faults of MIG devices

A fault of a GPU takes out all of its MIG devices. An event of NVML can also name a GPU instance, or a compute instance
in it. It takes out the MIG devices of that instance only. One that names an instance that the gateway does not know yet
is logged, and makes it look at the layout at once. Such a line in the kernel's log is not read: the event tells the
same.

A MIG device that needs a reset needs one of its GPU. One that is made again under another id is healthy unless its GPU
is not.

## The kernel's log

An NVML event of an NVLink 5 error (XIDs 144 to 150) does not tell its sub-code, and the sub-code decides how bad it is.
The driver writes it to the kernel's log. With `--kernel-log` the gateway reads `/dev/kmsg`:

- The event counts at once, as without the log. If there is a line about the same GPU and XID within a second, before
  or after the event, the two count once.
- If every event of a GPU has a line whose sub-code asks for nothing, and there is no other evidence, the GPU is healthy
  at once. In a storm it is healthy one second after the last event.
- If the sub-code asks for a reset, the GPU needs a reset. The driver's recovery action none is then not enough.
- If there is no line, or it was cut, or records of the log were lost, the driver decides, as without the log.
- If several bits of the status are set, the severest of them counts. If the sub-code is in no row of the table, the
  severest row of this XID counts.
- If you decided about the XID yourself, in the file or the environment, your decision stays. The line only adds words
  to the log.
- A line without an event counts as the XID itself.
- An error of an NVSwitch (SXid) is about no single GPU. It is reported, with the address of the switch.

Only records that the kernel itself wrote count, and only those after the first look at the GPUs. The registers have
another form in drivers below R575. The gateway tries the form of the driver's branch first, then the other one.

{sub_codes}

## How a reset is noticed

There are two ways:

- The kernel module is loaded again: `/sys/module/nvidia` has another inode.
- The driver asked for recovery, and no longer does (driver 565 and later).

A reset of a single GPU is visible in neither way with an older driver, and with a newer one that did not ask for
recovery before. Use `plugin-gateway health clear` then.

## What is kept

The gateway keeps what it knows about unhealthy devices in `health.json` in `--state-dir`, with the kernel's boot id. In
a container this has to be a folder of the host. Otherwise a restart of the pod loses it. If somebody deletes the file,
the gateway writes it again within 30 s. A new fault is written at once, further evidence of the same fault once a
second.

The gateway reads files that an older or a newer version wrote. If it cannot read one entry, it keeps that GPU
unhealthy and uses the other entries. Before the next write it copies such a file to `health.unread`, and the log names
the copy. There is at most one copy, the latest. It does not use times that are in the future. It keeps a kind of
evidence that it does not know as a word.

With [several backends](configure.md#several-backends), each further one has a file of its own, `health-NAME.json`.

After a reboot every device in the file has to be checked and quiet first, even if it appears late. The gateway forgets
a device that was absent for a whole boot.

## From one stage to the next

A row is what happens. A column is the stage before. — means that the stage does not change.

{states}

## What follows from which evidence

The actions `unhealthy`, `unhealthy-until-driver-decides`, `unhealthy-until-reset`, `unhealthy-until-reboot-or-recovery`
and `unhealthy-until-reboot` make a device unhealthy. They differ in what it needs to become healthy again: a check, the
driver's answer, a reset or a reboot. `unhealthy-until-reboot-or-recovery` is for XID 79: if the driver tells whether it
asks for recovery (565 and later), a reset that it reports is enough, otherwise a reboot is needed. The other two do not
change the health. `ignore` writes a line to the log. `report` writes a warning to the log, and an Event with
`--kubernetes-events`.

`unhealthy-until-driver-decides` is for XIDs that can be harmless or fatal, such as errors of NVLink. The event does not
tell which case it is. The device is unhealthy while the question is open. At least {decision:g} s (`--decision-time`)
after the last such XID the gateway reads the driver's recovery action (driver 565 and later). If the action is none,
the check finds nothing and there is no other evidence, the device is healthy at once, without a quiet time, and this
does not count as flapping. If the gateway was started again meanwhile, the quiet time is needed. If the driver asks for
a reset, the device is unhealthy until the reset. A driver older than 565 cannot be asked. Then the device needs a
reset.

The table was made from NVIDIA's catalog of {catalog}. `plugin-gateway health-policy` shows the decisions for its flags,
environment and file, and where each was made. A decision applies to the next evidence. It does not change what already
made a device unhealthy.

{evidence}

The next table has each XID of the catalog. The state function was driven through each row, for each generation of GPUs
and with drivers 535, 565, 575 and 580. *Until a reset* also ends when the kernel module is loaded again, and a reboot
of the node ends all of them. *Until the driver's answer* means that the driver has to say, {decision:g} s after the XID
or later, that it asks for no recovery.

The catalog says for each generation of GPUs whether a row applies to it: A100 (compute capability below 9.0), H100
(9.x), B100 and GB200 (10.x and 12.x; GB200 stands for GPUs whose name begins with GB, such as GB10). What a row ignores
is reported on a generation that it does not apply to, and on a GPU whose generation is not known. The other rows hold
for each generation. An administrator's decision holds for each generation too.

{xids}

```yaml
version: v1
health:
  quietTime: 60
  decisionTime: 5
  driverTimeout: 30         # seconds without the driver after which every device is Unhealthy
  flapCount: 3
  flapWindow: 3600
  unknownXid: unhealthy     # or another action of the table above
  xids:
    79: unhealthy-until-reset
    126-135: report
  evidence:
    pending-retirement: report
    nvlink-down: report     # jobs of this node use one GPU each
```

An XID can count only when it is repeated. Instead of an action it then has a mapping:

```yaml
version: v1
health:
  xids:
    94: {{action: unhealthy-until-reset, count: 5, window: 10m}}
```

XID 94 is reported four times. The action applies to the fifth one within 10 minutes, and to each later one while there
are five in the window. `count` is at most {repetitions}. The window is in seconds, or such as `90s`, `10m` or `2h`.
The log, `plugin-gateway status` and the Event say how often it was reported so far, such as `2 of 5 within 600 s`.
After a reset, a reboot or `health clear` the count starts again. A restart of the gateway keeps it. `unknownXid` can
have such a mapping too; each XID then counts for itself. Of the other evidence {events} can have one. What a check
finds lasts and is not counted.

`DP_DISABLE_HEALTHCHECKS` and `DP_ENABLE_HEALTHCHECKS` mean the same as for NVIDIA's device plugin. They are applied
after the file. The first lists XIDs to ignore, or says `all`. The second lists XIDs that count in spite of that.
"""


def page() -> str:
    """Return the page."""
    return TEXT.format(
        quiet=HEALTH_POLICY.quiet_time,
        count=HEALTH_POLICY.flap_count,
        window=HEALTH_POLICY.flap_window,
        decision=HEALTH_POLICY.decision_time,
        rescan=USUAL_PACE.rescan,
        training=USUAL_PACE.training,
        links=USUAL_PACE.links,
        slowdown=SLOWDOWN_MEMORY,
        cures="\n".join(cure_table()),
        catalog=CATALOG_DATE,
        repetitions=MAX_COUNT,
        events=" and ".join(f"`{kind}`" for kind in HEALTH_POLICY.events),
        states="\n".join(state_table()),
        evidence="\n".join(evidence_table()),
        xids="\n".join(xid_table()),
        sub_codes="\n".join(sub_code_table(refined)),
    )


if __name__ == "__main__":
    PAGE.write_text(page())
