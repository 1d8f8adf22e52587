"""One backend while it is watched: what it reported, what follows with time, and how long its driver is silent."""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from plugin_gateway.adapters.gateway.change_log import log_changes
from plugin_gateway.adapters.gateway.health_counters import HealthCounters
from plugin_gateway.adapters.gateway.observation_queue import ObservationQueue
from plugin_gateway.adapters.support.tap import tap
from plugin_gateway.core.devices import FaultId, seen_by
from plugin_gateway.core.errors import GatewayError
from plugin_gateway.core.health.changes import Changes
from plugin_gateway.core.health.faults import Fault, Moment
from plugin_gateway.core.health.observations import DriverSilence, EventsAwaited, InventorySeen, Observation, PortsSeen
from plugin_gateway.core.health.policy import HealthPolicy
from plugin_gateway.core.health.repetition import Progress, progress
from plugin_gateway.core.health.state import State
from plugin_gateway.core.health.state_function import adopt, advance, clear, due, wait

OVERDUE_PAUSE = 0.5
"""Seconds before the next look at a change that is due but cannot happen yet.

A quiet time that is over needs one more sign of the driver, which comes every 5 s.
"""
LISTEN_INTERVAL = 5.0
"""Seconds between two looks at how long the driver has been silent, at most."""

FROZEN = 5.0
"""Seconds. If the process runs again so much later than it wanted to, it was stopped, or the machine was suspended."""
RESUME_TIME = 10.0
"""Seconds after that in which nothing is due, until the backend has asked the driver again."""
FIRST_LOOK_TIMEOUT = 120.0
"""Seconds without a sign of the driver after which ``fails_without_devices`` ends the gateway.

A driver can need seconds to open each device. A gateway that ended earlier would start again and again, and never offer
one.
"""


def _now() -> Moment:
    return Moment(uptime=time.clock_gettime(time.CLOCK_BOOTTIME), epoch=time.time())


class DriverUnavailableError(GatewayError):
    """There is no driver or no device, and the gateway was told to fail in this case."""


class WatchedBackend:
    """The state of the devices of one backend.

    It changes with what the backend reports and with time. Another backend whose driver hangs does not change it.
    """

    def __init__(
        self,
        *,
        name: str,
        observations: ObservationQueue,
        silent_for: Callable[[], float],
        health: HealthPolicy,
        fails_without_devices: bool = False,
        state: State | None = None,
        keep: Callable[[State, Changes], None] = lambda _state, _changes: None,
        now: Callable[[], Moment] = _now,
        is_alone: bool = True,
        device_word: str = "device",
    ) -> None:
        """Begin with what is known. `run` takes what is reported.

        ``name`` is that of the backend. Unless it ``is_alone``, its devices, the log and recordings say it.

        ``state`` is what an earlier instance left. ``keep`` is called with every new state and its changes.
        ``silent_for`` returns the seconds since the last sign of the driver. ``device_word`` is the common word for one
        of the devices, in the singular.
        """
        self.name = name
        """No other backend of this gateway has it."""
        self.device_word = device_word
        self._label = {} if is_alone else {"backend": name}
        """What a line of a log or recording says beside all else."""
        self.health = health
        """The decisions about health that are in force."""
        self.fails_without_devices = fails_without_devices
        """Whether to end the gateway if the first look finds no driver."""
        self.state = state if state is not None else State()
        self.counted = HealthCounters()
        self.silent_for = silent_for
        """Returns the seconds since the last sign of the driver."""
        self.alive_at = math.inf
        """When this process was last seen to run, on the uptime clock. Infinite before its first look at the clock."""
        self._observations = observations
        self._keep = keep
        self._now = now
        self._resumed_at = -math.inf
        self._on_change: Callable[[], None] = lambda: None

    async def run(self, on_change: Callable[[], None]) -> None:
        """Follow the backend until cancelled. ``on_change`` is called when the state can be another one.

        Raises:
            DriverUnavailableError: ``fails_without_devices`` is set, and the first look found no driver or no device.
        """
        self._on_change = on_change
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._observe(), name="inventory")
            tasks.create_task(self._listen(), name="silence of the driver")

    def stand_alone(self, *, is_alone: bool) -> None:
        """Be the only backend from now on, or one of several. What is known of the devices stays the same."""
        self._label = {} if is_alone else {"backend": self.name}
        self._conclude(self.state_if(is_alone=is_alone), Changes())

    def state_if(self, *, is_alone: bool) -> State:
        """Return the current state as it would be with no other backend, or with others."""
        if self.state.inventory is None:
            return self.state
        return replace(self.state, inventory=seen_by("" if is_alone else self.name, self.state.inventory))

    def follow(self, health: HealthPolicy, *, fails_without_devices: bool) -> None:
        """Follow other decisions. With them, changes may be due at another time."""
        self.health, self.fails_without_devices = health, fails_without_devices
        self._observations.wake()

    def clear(self, device: FaultId) -> None:
        """Apply an operator's `health clear`. Problems that last still count."""
        if tap.note is not None:
            tap.note("cleared", device=device, **self._label)
        self._conclude(*clear(self.state, device, self._now(), self.health))
        self._changed()

    def adopt(self, kept: State) -> None:
        """Take over the faults that another gateway kept."""
        self._conclude(*adopt(self.state, kept))
        self._changed()

    def progress_of(self, device: FaultId) -> Sequence[Progress]:
        """Return how often evidence was reported against a device that the policy acts on only when it is repeated."""
        generation, known = self.state.generation_of(device), self.state.repeated.get(device, {})
        return progress(known, self._now().uptime, lambda kind: self.health.about(kind, generation))

    def quiet_left(self, fault: Fault) -> float | None:
        """Return the seconds of a quiet time that are left. None if it is not on a probation that they end."""
        return fault.quiet_left(self.health, self._now().uptime)

    async def _observe(self) -> None:
        """Apply what is reported, and what is due."""
        loop, filled = asyncio.get_running_loop(), asyncio.Event()
        self._observations.attach(lambda: loop.call_soon_threadsafe(filled.set))
        try:
            while True:
                await self._wait_for(filled)
                filled.clear()
                self.take()
                self._on_change()
        finally:
            self._observations.detach()

    async def _wait_for(self, filled: asyncio.Event) -> None:
        """Wait until there is an observation, or until a change is due without one."""
        next_due, began = due(self.state, self.health), self._now().uptime
        left = next_due - began if next_due is not None else math.inf
        timeout = left if left > 0 else OVERDUE_PAUSE
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout if timeout < math.inf else None):
                await filled.wait()
        if self._now().uptime - began > timeout + FROZEN:
            self._resumed_at = self._now().uptime

    async def _listen(self) -> None:
        """Check how long the driver has been silent. The backend's thread cannot do so while it is blocked."""
        while True:
            interval, began = min(LISTEN_INTERVAL, self.health.driver_timeout / 4), time.monotonic()
            await asyncio.sleep(interval)
            self._heed_pause()
            if time.monotonic() - began > 2 * interval or self._has_just_resumed():
                continue  # the whole process was stopped, so the silence means nothing
            if self._advance(DriverSilence(self.silent_for())):
                self._changed()

    def _heed_pause(self) -> None:
        """Notice that the process did not run for a time. Nobody watched the devices in it, so it is no quiet time.

        It counts as a time without the driver's events: it ends every probation, and is logged and recorded.
        """
        now = self._now().uptime
        paused, self.alive_at = now - self.alive_at, now
        if paused <= LISTEN_INTERVAL + FROZEN or self.state.inventory is None:
            return
        self._resumed_at = now
        before = self.state.events_problem
        self._advance(EventsAwaited(f"this process did not run for {paused:.0f} s"))
        self._advance(EventsAwaited(before))
        self._on_change()

    def _has_just_resumed(self) -> bool:
        """Whether the process was stopped a moment ago. Nobody asked the driver meanwhile."""
        return self._now().uptime - self._resumed_at < RESUME_TIME

    def take(self) -> None:
        """Apply all waiting observations, then the changes that are due.

        What ends a silence says so first: a check of that moment would not count, and the next one comes much later.
        """
        if self.state.driver_is_silent:
            self._advance(DriverSilence(self.silent_for()))
        for observation in self._observations.take():
            self._heed_pause()  # the process can be stopped at any line
            self._advance(observation)
        self._heed_pause()
        if self._has_just_resumed():
            return
        silence = self.silent_for()
        changes = self._conclude(*wait(self.state, self._now(), self.health, silence))
        if tap.note is not None and changes.health:
            tap.note("waited", silence=silence, **self._label)

    def _advance(self, observation: Observation) -> bool:
        """Apply an observation. Returns whether the health of a device changed."""
        if self._label and isinstance(observation, InventorySeen):
            observation = InventorySeen(seen_by(self.name, observation.inventory))
        if tap.note is not None and not isinstance(observation, PortsSeen):  # nothing follows from them
            tap.note("seen", observation=observation, **self._label)
        changes = self._conclude(*advance(self.state, observation, self._now(), self.health))
        if self.fails_without_devices and self.state.inventory is None:
            if self.state.driver_problem:
                raise DriverUnavailableError(self._of_backend(self.state.driver_problem))
            if isinstance(observation, DriverSilence) and observation.seconds >= FIRST_LOOK_TIMEOUT:
                raise DriverUnavailableError(
                    self._of_backend(f"the driver has not answered for {observation.seconds:.0f} s")
                )
        return bool(changes.health)

    def _of_backend(self, problem: str) -> str:
        return f"backend {self.name}: {problem}" if self._label else problem

    def _conclude(self, state: State, changes: Changes) -> Changes:
        """Store the new state, and keep, count and log its changes."""
        self.state = state
        self._keep(state, changes)
        self.counted.count(changes, self.health)
        log_changes(changes, self._label.get("backend"))
        return changes

    def _changed(self) -> None:
        """Tell of a change. After it, the next one may be due at another time."""
        self._on_change()
        self._observations.wake()
