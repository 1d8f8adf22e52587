"""The effect of each observation on the state."""

import math
from dataclasses import replace

from plugin_gateway.core.devices import FaultId, Inventory, PortOfDevice
from plugin_gateway.core.health import faults
from plugin_gateway.core.health.changes import (
    Changes,
    DaemonChange,
    DriverChange,
    EventsChange,
    KernelLogChange,
    Note,
    Significance,
    SilenceChange,
)
from plugin_gateway.core.health.difference import diff
from plugin_gateway.core.health.faults import Evidence, Fault, Moment, Source, Stage
from plugin_gateway.core.health.observations import (
    DaemonsSeen,
    DevicesChecked,
    DriverSeen,
    DriverSilence,
    DriverUnavailable,
    EventsAwaited,
    EvidenceRefined,
    EvidenceReported,
    FactsSeen,
    InventorySeen,
    KernelLogRead,
    LinksSeen,
    Observation,
    PortsSeen,
    RequirementSeen,
)
from plugin_gateway.core.health.policy import (
    DRIVER_GONE,
    RECOVERY_ACTION,
    Action,
    Decision,
    HealthPolicy,
    Needs,
    words_of,
)
from plugin_gateway.core.health.repetition import Progress, count
from plugin_gateway.core.health.state import MAX_SILENCE, DaemonState, RequirementState, State


def apply(  # noqa: C901, PLR0911, PLR0912 - one for each kind
    state: State, observation: Observation, now: Moment, policy: HealthPolicy
) -> tuple[State, Changes]:
    """Return the state with the observation applied, and what changed. The rules for all observations come later."""
    match observation:
        case InventorySeen(inventory):
            return _see(state, inventory)
        case LinksSeen(links):
            return replace(state, links=links), Changes()
        case PortsSeen(ports):
            return _with_ports(state, ports), Changes()
        case FactsSeen():
            return replace(state, facts=observation), Changes()
        case EvidenceReported():
            return _report(state, observation, now, policy)
        case EvidenceRefined():
            return _refine(state, observation, now, policy)
        case KernelLogRead(problem):
            return replace(state, kernel_log=observation), Changes(kernel_log=KernelLogChange(problem))
        case DevicesChecked():
            return _check(state, observation, now, policy)
        case DriverSeen():
            return _meet(state, observation)
        case DriverUnavailable():
            return _miss(state, observation, now, policy)
        case DriverSilence(seconds):
            return _listen(state, seconds, now, policy)
        case EventsAwaited(problem):
            return _await(state, problem, now)
        case DaemonsSeen():
            return _see_daemons(state, observation, now)
        case RequirementSeen():
            return _see_requirement(state, observation, now)


def _see_daemons(state: State, seen: DaemonsSeen, now: Moment) -> tuple[State, Changes]:
    """Apply which daemons are there. The time of a daemon is that since when it is there, or is not."""
    known = state.daemons
    after: dict[str, DaemonState] = {}
    changes = []
    for resource, problem in seen.problems.items():
        before, todo = known.get(resource), seen.todo if problem else ""
        was_the_same = before is not None and bool(before.problem) == bool(problem)
        after[resource] = DaemonState(problem, todo, before.since if before is not None and was_the_same else now.epoch)
        if before is None or before.problem != problem:
            changes.append(DaemonChange(resource, problem or None, todo))
    return replace(state, daemons=after), Changes(daemons=tuple(changes))


def _see_requirement(state: State, seen: RequirementSeen, now: Moment) -> tuple[State, Changes]:
    """Apply whether the node has what no container may be without. What holds before the first inventory is no news."""
    before = state.requirement
    was_the_same = before is not None and bool(before.problem) == bool(seen.problem)
    since = before.since if before is not None and was_the_same else now.epoch
    is_news = seen.problem != (before.problem if before is not None else "") and state.inventory is not None
    after = replace(state, requirement=RequirementState(seen.problem, seen.todo, since))
    return after, Changes(requirement=seen if is_news else None)


def _await(state: State, problem: str | None, now: Moment) -> tuple[State, Changes]:
    """Apply whether events can be received. If the driver is missing, the time without it starts again.

    It could have come back unseen, because a process that did not run reports that it could receive none.
    """
    is_missing = state.driver_missing_since is not None
    since = now.uptime if problem is not None and is_missing else state.driver_missing_since
    events = None if problem == state.events_problem else EventsChange(problem=problem)
    return replace(state, events_problem=problem, driver_missing_since=since), Changes(events=events)


def _see(state: State, inventory: Inventory) -> tuple[State, Changes]:
    before = state.inventory
    difference = diff(before.devices if before else (), inventory.devices)
    known_rejections = before.rejected if before else ()
    known_aside = before.set_aside if before else ()
    changes = Changes(
        added=difference.added,
        removed=difference.removed,
        altered=difference.altered,
        rejected=tuple(item for item in inventory.rejected if item not in known_rejections),
        set_aside=tuple(item for item in inventory.set_aside if item not in known_aside),
        driver=DriverChange(problem=None) if state.driver_problem is not None else None,
    )
    after = replace(
        state,
        unseen=state.unseen - inventory.ids,
        inventory=inventory,
        ports=_present(state.ports, inventory),
        driver_problem=None,
        driver_todo="",
        restart_may_help=False,
        unserved=0,
        driver_missing_since=None,
        driver_is_gone=False,
    )
    return after, changes


def _with_ports(state: State, ports: tuple[PortOfDevice, ...]) -> State:
    """Return the state with these ports, as far as their devices are in the inventory. The same if nothing changes."""
    present = _present(ports, state.inventory) if state.inventory is not None else ports
    return replace(state, ports=present) if present != state.ports else state


def _present(ports: tuple[PortOfDevice, ...], inventory: Inventory) -> tuple[PortOfDevice, ...]:
    return tuple(port for port in ports if port.device in inventory.physical_by_id) if ports else ports


def _report(state: State, evidence: EvidenceReported, now: Moment, policy: HealthPolicy) -> tuple[State, Changes]:
    """Apply evidence that does not last by itself.

    If the driver asked for recovery, the next check finds out whether it still does.
    """
    device, times, generation = evidence.scope, evidence.times, state.generation_of(evidence.scope)
    decision = policy.about(evidence.kind, generation)
    needs = decision.action.needs
    what = words_of(evidence.kind) + (f" at {evidence.place}" if evidence.place else "")
    if evidence.of_node and device is None:
        return state, Changes(notes=(Note(device, evidence.kind, what, _significance(decision), times),))
    if device is None or not state.has(device):
        return state, Changes(notes=(Note(device, evidence.kind, what, Significance.UNKNOWN_DEVICE, times),))
    if needs is None:
        notes = (Note(device, evidence.kind, what, _significance(decision), times),)
        return _postpone(state, device, now), Changes(notes=notes)
    if decision.times > 1:
        known = state.repeated.get(device, {})
        counted, is_enough = count(known, evidence.kind, times, now.uptime, lambda kind: policy.about(kind, generation))
        state = replace(state, repeated={**state.repeated, device: counted})
        if not is_enough:
            so_far = Progress(evidence.kind, len(counted[evidence.kind]), decision.times, decision.window)
            note = Note(device, evidence.kind, what, Significance.REPORTED, times, str(so_far))
            return state, Changes(notes=(note,))
        what += f", {decision.times} times within {decision.window:g} s"
    before = state.faults.get(device)
    found = Evidence(what, now.epoch, evidence.kind, evidence.source)
    updated = faults.add_evidence(before, found, needs, now.uptime, is_explainable=decision.is_refinable)
    held = state.with_faults({device: faults.ask(updated) if evidence.kind == RECOVERY_ACTION else updated})
    further = _further(before, device, found)
    is_first = before is None or before.stage is Stage.PROBATION or bool(further)
    again = times - 1 if is_first else times
    repeated = [Note(device, evidence.kind, what, Significance.REPEATED, again)] if again else []
    return held, Changes(notes=(*further, *repeated))


def _postpone(state: State, device: FaultId, now: Moment) -> State:
    """Ask the driver later if it has to decide about a device: what it reports now can be about the same error."""
    fault = state.faults.get(device)
    if fault is None or fault.needs is not Needs.DRIVER:
        return state
    return state.with_faults({device: replace(fault, told_at=now.uptime)})


def _significance(decision: Decision) -> Significance:
    return Significance.IGNORED if decision.action is Action.IGNORE else Significance.REPORTED


def _refine(state: State, refined: EvidenceRefined, now: Moment, policy: HealthPolicy) -> tuple[State, Changes]:
    """Apply a more precise report. An administrator's decision stays, and so does every other reason of a fault."""
    device, what, needs = refined.scope, refined.what, refined.action.needs
    decision = policy.about(refined.kind, state.generation_of(device))
    fault = state.faults.get(device)
    if not state.has(device) or not decision.is_refinable:
        known = Significance.EXPLAINED if state.has(device) else Significance.UNKNOWN_DEVICE
        return state, Changes(notes=(Note(device, refined.kind, what, known),) if what else ())
    if needs is not None and needs > Needs.DRIVER:
        found = Evidence(what, now.epoch, refined.kind, Source.KERNEL_LOG)
        updated = faults.add_evidence(fault, found, needs, now.uptime)
        return state.with_faults({device: updated}), Changes(notes=tuple(_further(fault, device, found)))
    means = Significance.REPORTED if needs is None else Significance.EXPLAINED
    notes = (Note(device, refined.kind, what, means),) if what else ()
    if fault is None:
        return state, Changes(notes=notes)
    explained = faults.explain(fault, refined.kind) if needs is None and state.is_watched else faults.doubt(fault)
    if explained is not None:
        return state.with_faults({device: explained}), Changes(notes=notes)
    return state.without_faults({device}), Changes(notes=notes)


def _check(state: State, check: DevicesChecked, now: Moment, policy: HealthPolicy) -> tuple[State, Changes]:
    """Apply the results of a check. They stay valid until the next check."""
    notes: list[Note] = []
    held: dict[FaultId, Fault] = {}
    reported = dict(state.reported)
    here = state.ids if state.is_watched else ()
    for device, checkup in check.checkups.items():
        generation = state.generation_of(device)
        decided = {kind: (what, policy.about(kind, generation)) for kind, what in checkup.problems.items()}
        known = reported.pop(device, {})
        only = {kind: what for kind, (what, decision) in decided.items() if decision.is_reported}
        # A question without an answer ends neither what was reported nor a problem.
        still = {kind: what for kind, what in known.items() if kind in checkup.unanswered}
        if still or only:
            reported[device] = {**still, **only}
            notes += [
                Note(device, kind, what, Significance.REPORTED) for kind, what in only.items() if kind not in known
            ]
        fault = state.faults.get(device)
        lasting = {kind: what for kind, (what, decision) in decided.items() if decision.action.needs is not None}
        for kind, what in lasting.items():
            needs = decided[kind][1].action.needs
            assert needs is not None
            found = Evidence(what, now.epoch, kind, Source.CHECK)
            notes += _further(fault, device, found)
            fault = faults.add_lasting_evidence(fault, found, needs, now.uptime)
        if fault is not None:
            asked_at = now.uptime - check.age if device in here else -math.inf
            unsaid = {
                kind: what
                for kind, what in fault.problems.items()
                if kind in checkup.unanswered and policy.about(kind, generation).action.needs is not None
            }
            held[device] = faults.examine(fault, checkup, {**unsaid, **lasting}, now, asked_at, policy)
    after = replace(state.with_faults(held), reported=reported, driver_missing_since=None, driver_is_gone=False)
    return after, Changes(notes=tuple(notes))


def _further(fault: Fault | None, device: FaultId, found: Evidence) -> list[Note]:
    is_new = fault is not None and all(evidence.what != found.what for evidence in fault.evidence)
    return [Note(device, found.kind, found.what, Significance.FURTHER)] if is_new else []


def _meet(state: State, driver: DriverSeen) -> tuple[State, Changes]:
    """Apply which driver answers. A new instance of the driver has reset every device."""
    is_new = driver.is_another_instance_than(state.driver)
    held = {device: faults.reset(fault) for device, fault in state.faults.items()} if is_new else {}
    seen = driver if driver != state.driver else None
    repeated = {} if is_new else state.repeated
    return replace(state.with_faults(held), driver=driver, repeated=repeated), Changes(seen=seen)


def _miss(state: State, driver: DriverUnavailable, now: Moment, policy: HealthPolicy) -> tuple[State, Changes]:
    change = None if driver.problem == state.driver_problem else DriverChange(driver.problem, driver.todo)
    since = now.uptime if state.driver_missing_since is None else state.driver_missing_since
    missing = replace(
        state,
        driver_problem=driver.problem,
        driver_todo=driver.todo,
        driver_missing_since=since,
        restart_may_help=driver.restart_may_help,
        unserved=driver.unserved,
    )
    if driver.is_released:
        released = replace(missing, kernel_log=None)  # nobody reads it any more
        return _take_out_all(released, driver.problem, Needs.CHECK, now), Changes(driver=change)
    after, notes = miss_driver(missing, now, policy)
    return after, Changes(driver=change, notes=notes)


def miss_driver(state: State, now: Moment, policy: HealthPolicy) -> tuple[State, tuple[Note, ...]]:
    """Return the state after more time without a driver. At the driver timeout, the driver counts as gone."""
    since = state.driver_missing_since
    if since is None or now.uptime - since < policy.driver_timeout:
        return state, ()
    return _lose_driver(state, f"the driver is gone: {state.driver_problem}", now, policy)


def _listen(state: State, seconds: float, now: Moment, policy: HealthPolicy) -> tuple[State, Changes]:
    silent = seconds >= MAX_SILENCE
    change = None if silent == state.driver_is_silent else SilenceChange(silent=silent, seconds=seconds)
    since = state.driver_silent_since if state.driver_silent_since is not None else now.uptime - seconds
    heard = replace(state, driver_is_silent=silent, driver_silent_since=since if silent else None)
    notes: tuple[Note, ...] = ()
    if seconds >= policy.driver_timeout:
        heard, notes = _lose_driver(heard, "the driver does not answer", now, policy)
    return heard, Changes(silence=change, notes=notes)


def _lose_driver(state: State, what: str, now: Moment, policy: HealthPolicy) -> tuple[State, tuple[Note, ...]]:
    """Make every device unhealthy because the driver is gone.

    Without the driver, no fault of a device would be noticed.
    """
    if state.inventory is None:
        return replace(state, driver_is_gone=True), ()
    decision = policy.about(DRIVER_GONE)
    is_told = not state.driver_is_gone and decision.is_reported
    notes = (Note(None, DRIVER_GONE, what, Significance.REPORTED),) if is_told else ()
    if (needs := decision.action.needs) is None:
        return replace(state, driver_is_gone=True), notes
    return _take_out_all(state, what, needs, now), notes


def _take_out_all(state: State, what: str, needs: Needs, now: Moment) -> State:
    known = {each.id: state.faults.get(each.id) for each in state.physical}
    noticed = Evidence(what, now.epoch, DRIVER_GONE, Source.GATEWAY)
    held: dict[FaultId, Fault] = {
        device: faults.add_lasting_evidence(fault, noticed, needs, now.uptime)
        for device, fault in known.items()
        if fault is None or DRIVER_GONE not in fault.problems
    }
    return replace(state.with_faults(held), driver_is_gone=True)
