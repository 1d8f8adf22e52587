"""Reports changes of device health to the API server, as Events of the node and as a node condition.

The two outputs have a task each: if the API server refuses or delays one of them, the other one goes on. Neither makes
more calls than an API server should get from one node. `events` has the limits for Events. The condition is sent at
most once in 5 s when it changes, and again every five minutes, because a Node that is created anew has no condition.

What the API server will never accept, such as a call without permission, is not sent again until something changes.
All other errors are retried, with what is true then.
"""

import asyncio
import math
import os
import random
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from plugin_gateway.adapters.cluster.events import Cause, EventLedger, Sending
from plugin_gateway.adapters.cluster.kubernetes_api import ApiError, KubernetesApi
from plugin_gateway.adapters.cluster.target import Target
from plugin_gateway.adapters.cluster.told_states import Told, ToldStates
from plugin_gateway.adapters.support.problem import Problem
from plugin_gateway.adapters.support.strict_json import plain
from plugin_gateway.core.devices import FaultId
from plugin_gateway.core.health.changes import Note, Significance
from plugin_gateway.core.health.faults import Fault, Stage
from plugin_gateway.core.health.remedies import Remedies, summarize
from plugin_gateway.core.health.state import State

MIN_RETRY, MAX_RETRY = 1.0, 60.0
"""Seconds between two attempts; the pause doubles after each error."""
CONDITION_PAUSE = 5.0
"""Seconds at least between two reports of the condition."""
HEARTBEAT = 300.0
"""Seconds after which the condition is sent again, 20 % more or less, so that nodes do not send it together."""
MAX_MESSAGE_LENGTH = 1024
"""Characters; the API server refuses an Event with a longer message."""
CONFIGURATION = "configuration"
"""The subject of an Event about the configuration. No device has this id."""
_REASONS = {Stage.HEALTHY: "Healthy", Stage.UNHEALTHY: "Unhealthy", Stage.PROBATION: "OnProbation"}
"""The end of an Event's reason, after the word for a device."""
_COUNTED = frozenset({Significance.REPORTED, Significance.FURTHER, Significance.REPEATED})
"""What an Event is made of, or counted in. What is ignored makes none."""


class ClusterReports:
    """Sends what changes to the API server, which can be slow or away. The gateway never waits for it."""

    def __init__(self, target: Target, api: KubernetesApi, told: ToldStates, remedies: Remedies) -> None:
        """``told`` is what an earlier instance reported, already read. ``remedies`` are for the condition."""
        self._events = NodeEvents(target, api, told) if target.events else None
        self._condition = NodeCondition(target, api, remedies) if target.condition else None

    def keep(self, state: State, notes: Sequence[Note] = (), backend: str = "") -> None:
        """Take a state of a backend, and what happened without a change of health. Does not wait."""
        if self._events is not None:
            self._events.keep(state, notes, backend)
        if self._condition is not None:
            self._condition.keep(state, backend)

    def forget(self, backend: str) -> None:
        """Take that there is no such backend any more. Its devices are no problem of the node then. Does not wait."""
        if self._condition is not None:
            self._condition.forget(backend)

    def tell_missing(self, problem: str | None, *, is_news: bool) -> None:
        """Take which devices are missing, None for none. What an earlier instance said is no news. Does not wait."""
        if self._events is not None:
            self._events.tell_missing(problem, is_news=is_news)
        if self._condition is not None:
            self._condition.tell_missing(problem)

    def tell_configuration(self, problem: str | None) -> None:
        """Take why the configuration was refused that was read last, None if it was not. Does not wait."""
        if self._events is not None:
            self._events.tell_configuration(problem)

    async def run(self) -> None:
        """Report until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            if self._events is not None:
                tasks.create_task(self._events.run(), name="Events")
            if self._condition is not None:
                tasks.create_task(self._condition.run(), name="node condition")


class NodeEvents:
    """The Events of the node."""

    def __init__(self, target: Target, api: KubernetesApi, told: ToldStates) -> None:
        self._target = target
        self._api = api
        self._told = told
        self._faults: dict[str, Mapping[FaultId, Fault]] = {}
        """Those of each backend that were told or are in the ledger. Nothing before its first inventory."""
        self._ledger = EventLedger()
        self._changed = asyncio.Event()
        self._problems = {False: _problem("Events"), True: _problem("changes of Events")}
        """For new Events, and for changes of those that exist. An account can lack the right for one of them."""
        known = told.about(CONFIGURATION)
        self._refused = known.detail if known is not None else ""
        """Why the configuration was refused that was noted last. Empty if it was not."""

    def keep(self, state: State, notes: Sequence[Note], backend: str = "") -> None:
        """Note what changed since the last state of a backend."""
        if state.inventory is None:
            return
        before, self._faults[backend] = self._faults.get(backend), state.faults
        subject = self._target.subject_of(backend)
        if before is None:
            self._note_untold(state, subject)
        elif before is not state.faults:
            for device in dict.fromkeys((*before, *state.faults)):
                self._note_stage(device, before.get(device), state.faults.get(device), subject)
        for note in notes:
            if note.significance in _COUNTED:
                fault = state.faults.get(note.device) if note.device is not None else None
                self._note_evidence(note, fault, subject)
        self._changed.set()

    def _note_untold(self, state: State, subject: str) -> None:
        """Note the states that an earlier instance could not tell of any more."""
        for device in dict.fromkeys((*state.faults, *state.ids)):
            fault, told = state.faults.get(device), self._told.about(device)
            if fault is None and told is not None:
                self._note_state(device, None, told.detail, subject)
            elif fault is not None and told != Told(_reason(subject, fault), fault.reason):
                self._note_state(device, fault, fault.reason, subject)

    def tell_missing(self, problem: str | None, *, is_news: bool) -> None:
        """Note which devices are missing. It is a state of the node, so only the last one waits."""
        if not is_news and (problem is None or self._told.about("") is not None):
            return
        reason = f"{self._target.subject}s{'Missing' if problem else 'Complete'}"
        message = problem or f"no {self._target.device_word} is missing any more"
        kind = "Warning" if problem else "Normal"
        self._ledger.note(Cause("", reason, "", is_state=True), message, kind=kind, epoch=time.time())
        self._changed.set()

    def tell_configuration(self, problem: str | None) -> None:
        """Note that the configuration was refused, or is in force again. An earlier instance may have told it."""
        refused, self._refused = self._refused, plain(problem or "", MAX_MESSAGE_LENGTH)
        if self._refused != refused:
            reason, kind = ("ConfigurationRefused", "Warning") if problem else ("ConfigurationAccepted", "Normal")
            message = self._refused or f"the configuration is in order again after {refused}"
            self._ledger.note(
                Cause(CONFIGURATION, reason, self._refused, is_state=True), message, kind=kind, epoch=time.time()
            )
            self._changed.set()

    def _note_stage(self, device: FaultId, before: Fault | None, after: Fault | None, subject: str) -> None:
        if _stage(before) is _stage(after):
            return
        reason = after.reason if after is not None else before.reason if before else ""
        self._note_state(device, after, reason, subject)

    def _note_state(self, device: FaultId, after: Fault | None, reason: str, subject: str) -> None:
        message = f"{device} is healthy again after {reason}" if after is None else _message(device, after)
        self._ledger.note(
            _cause(device, after, reason, subject),
            message,
            kind="Normal" if after is None else "Warning",
            epoch=time.time(),
        )

    def _note_evidence(self, note: Note, fault: Fault | None, subject: str) -> None:
        """Count evidence where it was reported first: as the reason of an unhealthy device, or by itself."""
        if note.device is not None and fault is not None and fault.reason == note.event:
            cause, message = _cause(note.device, fault, fault.reason, subject), _message(note.device, fault)
        else:
            cause = Cause(note.device or "", f"{subject}Evidence", note.event)
            what = f"{note.event}, {note.progress}" if note.progress else note.event
            message = f"{note.device}: {what}; {note.significance.value}"
        self._ledger.note(cause, message, kind="Warning", epoch=time.time(), times=note.times)

    async def run(self) -> None:
        """Send what is due until cancelled, and keep what was told."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._told.run(), name="told states")
            tasks.create_task(self._send_all(), name="sending of Events")

    async def _send_all(self) -> None:
        retry = MIN_RETRY
        while True:
            sending = self._ledger.next(time.monotonic())
            if sending is None:
                self._changed.clear()
                await _wait_for(self._changed, self._ledger.due(time.monotonic()))
                continue
            problem = self._problems[sending.name is not None]
            try:
                name = await self._send(sending)
            except ApiError as error:
                if sending.name is not None and error.is_gone:
                    self._ledger.gone(sending)
                    continue
                problem.log(str(error).replace(sending.name or "", "NAME") if sending.name else str(error))
                if error.is_final and sending.name is not None and sending.cause.is_state:
                    self._ledger.gone(sending)  # the last state has to be told, if need be by a new Event
                elif error.is_final:
                    self._ledger.refused(sending, time.monotonic())
                else:
                    self._ledger.failed(sending)
                    await asyncio.sleep(retry)
                    retry = min(2 * retry, MAX_RETRY)
            else:
                self._ledger.sent(sending, name, time.monotonic())
                self._told.note(sending)
                problem.log(None)
                retry = MIN_RETRY

    async def _send(self, sending: Sending) -> str:
        """Create or change an Event, and return its name."""
        path = "/api/v1/namespaces/default/events"
        told = {
            "message": sending.message[:MAX_MESSAGE_LENGTH],
            "count": sending.times,
            "lastTimestamp": _timestamp(sending.last),
        }
        if sending.name is not None:
            await self._api.patch(f"{path}/{sending.name}", told)
            return sending.name
        node, name = self._target.node, f"{self._target.node}.{os.urandom(8).hex()}"
        await self._api.post(
            path,
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": name, "namespace": "default"},
                "involvedObject": {"kind": "Node", "name": node, "uid": node},
                "reason": sending.cause.reason,
                "type": sending.kind,
                "source": {"component": "plugin-gateway", "host": node},
                "firstTimestamp": _timestamp(sending.first),
                **told,
            },
        )
        return name


class NodeCondition:
    """The condition of the node: True while a present device is not healthy, on request also while one is missing.

    It is also True if no driver came up on a node that has devices. A node that never had one gets no condition.
    """

    def __init__(self, target: Target, api: KubernetesApi, remedies: Remedies) -> None:
        self._target = target
        self._api = api
        self._remedies = remedies
        self._latest: dict[str, State] = {}
        """The state of each backend. What is missing are devices of the first one."""
        self._missing: str | None = None
        """Which devices are missing, whether that is told or not."""
        self._changed = asyncio.Event()
        self._status: str | None = None
        self._transition = 0.0
        self._said: _Verdict | None = None
        """What the API server has, or will never take."""
        self._problem = _problem("condition")

    def keep(self, state: State, backend: str = "") -> None:
        """Take the latest state of a backend; only a change of what is said about it is reported at once."""
        before, self._latest[backend] = self._latest.get(backend), state
        if before is None or before.inventory is not state.inventory or before.faults is not state.faults:
            self._changed.set()
        elif state.inventory is None and before is not state:
            self._changed.set()  # the driver can be gone, or for another reason

    def forget(self, backend: str) -> None:
        """Take that there is no such backend any more."""
        if self._latest.pop(backend, None) is not None:
            self._changed.set()

    def tell_missing(self, problem: str | None) -> None:
        """Take which devices are missing. It is told on request; without a driver it says that the node has devices."""
        if problem != self._missing:
            self._missing = problem
            self._changed.set()

    async def run(self) -> None:
        """Send the condition when it changes, and again now and then, until cancelled."""
        retry, again_at = MIN_RETRY, math.inf
        while True:
            await _wait_for(self._changed, again_at)
            self._changed.clear()
            verdict = self._judge_all()
            if verdict is None:
                continue
            if verdict == self._said and time.monotonic() < again_at:
                continue  # each check of an unhealthy device makes another state
            try:
                await self._send(verdict)
            except ApiError as error:
                self._said = verdict if error.is_final else None
                self._problem.log(str(error))
                await asyncio.sleep(CONDITION_PAUSE if error.is_final else retry)
                retry = min(2 * retry, MAX_RETRY)
                again_at = time.monotonic() + (HEARTBEAT if error.is_final else 0)
            else:
                self._said = verdict
                self._problem.log(None)
                retry = MIN_RETRY
                await asyncio.sleep(CONDITION_PAUSE)
                again_at = time.monotonic() + HEARTBEAT * random.uniform(0.8, 1.2)  # noqa: S311 - no secret

    async def _send(self, verdict: "_Verdict") -> None:
        status, now = verdict.status, time.time()
        transition = now if status != self._status else self._transition
        condition = {
            "type": self._target.condition,
            "status": status,
            "reason": verdict.reason,
            "message": verdict.message,
            "lastHeartbeatTime": _timestamp(now),
            "lastTransitionTime": _timestamp(transition),
        }
        await self._api.patch(f"/api/v1/nodes/{self._target.node}/status", {"status": {"conditions": [condition]}})
        self._status, self._transition = status, transition

    def _judge_all(self) -> "_Verdict | None":
        """Return what is true of the node: what is wrong with any backend. None as long as that is not known."""
        verdicts = [
            self._judge(each, None if number else self._missing, self._target.subject_of(backend))
            for number, (backend, each) in enumerate(self._latest.items())
        ]
        wrong = [each for each in verdicts if each is not None and each.status == "True"]
        if not wrong:
            return None if None in verdicts or not verdicts else verdicts[0]
        message = "; ".join(dict.fromkeys(each.message for each in wrong))
        return wrong[0]._replace(message=message[:MAX_MESSAGE_LENGTH])

    def _judge(self, state: State, known_missing: str | None, word: str) -> "_Verdict | None":
        """Return what is true of the devices of one backend. None as long as that is not known."""
        faults = state.present_faults
        missing = known_missing if self._target.missing_in_condition else None
        if state.inventory is None:
            if state.driver_is_gone and (known_missing or state.faults):
                problem = state.driver_problem or "the driver does not answer"
                return _Verdict("True", f"{word}DriverMissing", problem[:MAX_MESSAGE_LENGTH])
            return _Verdict("True", f"{word}sMissing", missing[:MAX_MESSAGE_LENGTH]) if missing else None
        if faults:
            also = f"{missing[: MAX_MESSAGE_LENGTH // 2]}; " if missing else ""
            causes = summarize(faults, self._remedies, MAX_MESSAGE_LENGTH - len(also))
            return _Verdict("True", f"{word}Unhealthy", also + causes)
        if missing:
            return _Verdict("True", f"{word}sMissing", missing[:MAX_MESSAGE_LENGTH])
        return _Verdict("False", f"{word}sHealthy", f"{self._target.all_words} is healthy")


class _Verdict(NamedTuple):
    """What the condition says."""

    status: str
    reason: str
    """One word, for programs."""
    message: str


def _problem(output: str) -> Problem:
    """Return the problem of one output, which has none yet."""
    return Problem(
        "the cluster cannot be told about unhealthy devices",
        "the cluster is told about unhealthy devices again",
        output=output,
    )


async def _wait_for(changed: asyncio.Event, until: float) -> None:
    """Wait for a change, or for a time on the monotonic clock."""
    timeout = None if until == math.inf else max(until - time.monotonic(), 0)
    try:
        async with asyncio.timeout(timeout):
            await changed.wait()
    except TimeoutError:
        return


def _stage(fault: Fault | None) -> Stage:
    return Stage.HEALTHY if fault is None else fault.stage


def _cause(device: FaultId, fault: Fault | None, reason: str, subject: str) -> Cause:
    return Cause(device, _reason(subject, fault), reason, is_state=True)


def _reason(subject: str, fault: Fault | None) -> str:
    return f"{subject}{_REASONS[_stage(fault)]}"


def _message(device: FaultId, fault: Fault) -> str:
    return f"{device}: {fault.reason}; it needs {fault.lacks}"


def _timestamp(epoch: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
