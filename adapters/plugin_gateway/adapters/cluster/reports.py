"""Reports changes of device health to the API server, as Events of the node and as a node condition."""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from plugin_gateway.adapters.cluster.kubernetes_api import ApiError, KubernetesApi
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.core.devices import Device, DeviceId
from plugin_gateway.core.health.changes import Note, Significance
from plugin_gateway.core.health.faults import Fault, Stage
from plugin_gateway.core.health.state import State

MIN_RETRY, MAX_RETRY = 1.0, 60.0
"""Seconds between two attempts; the pause doubles after each error."""
MAX_NOTES = 100
"""Pieces of reported evidence that wait for the API server. More than that are dropped."""
MAX_MESSAGE_LENGTH = 1024
"""Characters; the API server refuses an Event with a longer message."""
_REASONS = {Stage.HEALTHY: "Healthy", Stage.UNHEALTHY: "Unhealthy", Stage.PROBATION: "OnProbation"}
"""The end of an Event's reason, after the word for a device."""


class Target(NamedTuple):
    """What to report, and about which node."""

    node: str
    events: bool
    condition: str
    """The type of the condition; empty for none."""
    device_word: str
    """The word for a device of this node, in the singular."""


class ClusterReports:
    """Sends the latest state to the API server, which can be slow or away. The gateway never waits for it."""

    def __init__(self, target: Target, api: KubernetesApi, known: State) -> None:
        """``known`` is the state that an earlier instance has reported already."""
        self._target = target
        self._subject = target.device_word.capitalize()
        """The first word of an Event's reason. A reason has no blanks."""
        self._api = api
        self._reported: Mapping[DeviceId, Fault] = known.faults
        self._latest: State = known
        self._condition: str | None = None
        self._transition = 0.0
        self._notes: dict[Note, None] = {}
        """Reported evidence that has no Event yet, each kind once. It is a dict to keep the order."""
        self._changed = asyncio.Event()
        self._problem: str | None = None

    def keep(self, state: State, notes: Sequence[Note] = ()) -> None:
        """Keep a state, and evidence that has no effect but its Event, until they are reported. Does not wait."""
        for note in notes:
            if note.significance is Significance.REPORTED and len(self._notes) < MAX_NOTES:
                self._notes[note] = None
                self._changed.set()
        if state.inventory is not self._latest.inventory or state.faults is not self._latest.faults:
            self._changed.set()
        self._latest = state

    async def run(self) -> None:
        """Report until cancelled. After an error, try again after a pause."""
        retry = MIN_RETRY
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._report(self._latest)
            except ApiError as error:
                self._log_problem(str(error))
                await asyncio.sleep(retry)
                retry = min(2 * retry, MAX_RETRY)
                self._changed.set()
            else:
                self._log_problem(None)
                retry = MIN_RETRY

    async def _report(self, state: State) -> None:
        """Send all Events and the condition that the state needs.

        Raises:
            ApiError: a call failed. What was sent before it is not sent again.
        """
        if state.inventory is None:
            return
        for device in dict.fromkeys((*self._reported, *state.faults)):
            before, after = self._reported.get(device), state.faults.get(device)
            if _stage(before) is not _stage(after) and self._target.events:
                await self._send_event(device, before, after)
            self._note(device, after)
        for note in list(self._notes):
            if self._target.events:
                await self._make_event(
                    f"{self._subject}Evidence", f"{note.device}: {note.event}; {note.significance.value}", "Warning"
                )
            self._notes.pop(note)
        if self._target.condition:
            await self._send_condition({device.id: state.faults[device.id] for device in _unhealthy(state)})

    def _note(self, device: DeviceId, fault: Fault | None) -> None:
        """Note what was sent for one device, so that the next attempt continues after it."""
        others = {name: each for name, each in self._reported.items() if name != device}
        self._reported = others if fault is None else {**others, device: fault}

    async def _send_event(self, device: DeviceId, before: Fault | None, after: Fault | None) -> None:
        if after is not None:
            message = f"{device}: {after.reason}; it needs {after.lacks}"
        else:
            message = f"{device} is healthy again" + (f" after {before.reason}" if before is not None else "")
        await self._make_event(
            f"{self._subject}{_REASONS[_stage(after)]}", message, "Normal" if after is None else "Warning"
        )

    async def _make_event(self, reason: str, message: str, kind: str) -> None:
        now = _timestamp(time.time())
        await self._api.post(
            "/api/v1/namespaces/default/events",
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": f"{self._target.node}.{os.urandom(8).hex()}", "namespace": "default"},
                "involvedObject": {"kind": "Node", "name": self._target.node, "uid": self._target.node},
                "reason": reason,
                "message": message[:MAX_MESSAGE_LENGTH],
                "type": kind,
                "source": {"component": "plugin-gateway", "host": self._target.node},
                "firstTimestamp": now,
                "lastTimestamp": now,
                "count": 1,
            },
        )

    async def _send_condition(self, faults: Mapping[DeviceId, Fault]) -> None:
        status = "True" if faults else "False"
        now = time.time()
        transition = now if status != self._condition else self._transition
        await self._api.patch_status(
            f"/api/v1/nodes/{self._target.node}/status",
            {
                "status": {
                    "conditions": [
                        {
                            "type": self._target.condition,
                            "status": status,
                            "reason": f"{self._subject}Unhealthy" if faults else f"{self._subject}sHealthy",
                            "message": self._message(faults)[:MAX_MESSAGE_LENGTH],
                            "lastHeartbeatTime": _timestamp(now),
                            "lastTransitionTime": _timestamp(transition),
                        }
                    ]
                }
            },
        )
        self._condition, self._transition = status, transition

    def _message(self, faults: Mapping[DeviceId, Fault]) -> str:
        if not faults:
            return f"every {self._target.device_word} is healthy"
        return "; ".join(f"{device}: {fault.reason}" for device, fault in faults.items())

    def _log_problem(self, problem: str | None) -> None:
        """Log a problem once, and once that it is over."""
        if problem == self._problem:
            return
        self._problem = problem
        if problem is None:
            log.info("the cluster is told about unhealthy devices again")
        else:
            log.warning("the cluster cannot be told about unhealthy devices", problem=problem)


def _stage(fault: Fault | None) -> Stage:
    return Stage.HEALTHY if fault is None else fault.stage


def _unhealthy(state: State) -> Sequence[Device]:
    """Return the devices that are present and unhealthy. A device that was removed is no problem of the node."""
    return [device for device in state.devices if device.id in state.faults]


def _timestamp(epoch: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
