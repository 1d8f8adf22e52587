"""The whole: what the backend sees goes through the state function, and every resource is offered to the kubelet."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from plugin_gateway.adapters.gateway.change_log import log_changes
from plugin_gateway.adapters.gateway.observation_queue import ObservationQueue
from plugin_gateway.adapters.registration.registrar import Registrar
from plugin_gateway.adapters.serving.resource import ServedResource, Timings
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.tap import tap
from plugin_gateway.core.devices import Device, DeviceId
from plugin_gateway.core.errors import GatewayError
from plugin_gateway.core.health.faults import Moment, Stage
from plugin_gateway.core.health.observations import DriverSilence, Observation
from plugin_gateway.core.health.policy import HealthPolicy
from plugin_gateway.core.health.state import Changes, Significance, State, advance, clear, due, wait
from plugin_gateway.core.ports import HostNodes
from plugin_gateway.core.resources.assignment import Advertisement, ResourceRule, advertise, unmatched
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.policy import AllocationPolicy, UnhealthyFirst

OVERDUE_PAUSE = 0.5
"""Seconds until another look at what is due and cannot be done yet: a probation that is over waits for the next sign of
the driver, which comes every 5 s."""
LISTEN_INTERVAL = 5.0
"""Seconds between two looks at how long the driver has been silent, at most."""


def _now() -> Moment:
    return Moment(uptime=time.clock_gettime(time.CLOCK_BOOTTIME), epoch=time.time())


class DriverUnavailableError(GatewayError):
    """The driver or its devices are not there, and the admin asked to fail then."""


class ServingPolicy(NamedTuple):
    """What the admin decided about resources and containers; can be changed while the gateway runs."""

    rules: tuple[ResourceRule, ...]
    policy: AllocationPolicy
    nodes: HostNodes
    health: HealthPolicy
    fail_on_init_error: bool = False
    unhealthy_first: UnhealthyFirst = UnhealthyFirst.AUTO

    def serve(self, resource: ResourceName, advertisement: Advertisement) -> ServedResource:
        """Serve one more resource."""
        return ServedResource(resource, advertisement, self.policy, self.nodes, self.unhealthy_first)


class Gateway:
    """One node's devices, offered to its kubelet until cancelled."""

    def __init__(
        self,
        *,
        observations: ObservationQueue,
        registrar: Registrar,
        serving_policy: ServingPolicy,
        silent_for: Callable[[], float],
        now: Callable[[], Moment] = _now,
        state: State | None = None,
        keep: Callable[[State, Changes], None] = lambda _state, _changes: None,
    ) -> None:
        """``state`` is what an earlier instance left; ``keep`` is told every state, and what changed with it."""
        self._observations = observations
        self._registrar = registrar
        self._serving_policy = serving_policy
        self._silent_for = silent_for
        self._state = state if state is not None else State()
        self._keep = keep
        self._now = now
        self._served: dict[ResourceName, ServedResource] = {}
        self._unmatched: tuple[Device, ...] = ()
        self.transitions: Counter[tuple[Stage, str]] = Counter()
        """Changes of health, by the stage they led to and by what took the device out."""

        self.evidence: Counter[tuple[str, Significance]] = Counter()
        """Evidence that changed the health of no device, and what it meant."""

    async def run(self) -> None:
        """Serve the devices until cancelled.

        Raises:
            DriverUnavailableError: ``fail_on_init_error`` is set and the first look found no driver or no device.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._registrar.run(), name="registrar")
            tasks.create_task(self._observe(), name="inventory")
            tasks.create_task(self._listen(), name="silence of the driver")

    def apply(self, serving_policy: ServingPolicy) -> None:
        """Change what is offered and how; what stays the same is not touched."""
        self._serving_policy = serving_policy
        for served in self._served.values():
            served.policy, served.nodes = serving_policy.policy, serving_policy.nodes
            served.unhealthy_first = serving_policy.unhealthy_first
        self._publish()
        self._observations.wake()  # something may be due at another time than before

    async def _observe(self) -> None:
        loop, filled = asyncio.get_running_loop(), asyncio.Event()
        self._observations.attach(lambda: loop.call_soon_threadsafe(filled.set))
        try:
            while True:
                await self._wait_for(filled)
                filled.clear()
                self._take()
                self._publish()
        finally:
            self._observations.detach()

    async def _wait_for(self, filled: asyncio.Event) -> None:
        """Wait until something was observed, or falls due without."""
        next_due, now = due(self._state, self._serving_policy.health), time.monotonic()
        waits = [
            served.publish_again_at - now for served in self._served.values() if served.publish_again_at is not None
        ]
        if next_due is not None:
            left = next_due - self._now().uptime
            waits.append(left if left > 0 else OVERDUE_PAUSE)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(min(waits), 0) if waits else None):
                await filled.wait()

    async def _listen(self) -> None:
        """Notice when the driver does not answer: its own thread cannot tell."""
        while True:
            interval, began = min(LISTEN_INTERVAL, self._serving_policy.health.driver_timeout / 4), time.monotonic()
            await asyncio.sleep(interval)
            if time.monotonic() - began > 2 * interval:
                continue  # it is us who stood still, and the driver's thread with us
            if self._advance(DriverSilence(self._silent_for())):
                self._publish()
                self._observations.wake()

    def clear(self, device: DeviceId) -> None:
        """Take an operator's word that a device is well; what lasts is held against it all the same."""
        if tap.note is not None:
            tap.note("cleared", device=device)
        self._conclude(*clear(self._state, device, self._now(), self._serving_policy.health))
        self._publish()
        self._observations.wake()

    @property
    def state(self) -> State:
        """What is known of the devices now."""
        return self._state

    @property
    def registrar(self) -> Registrar:
        """Who keeps the resources registered."""
        return self._registrar

    @property
    def driver_silence(self) -> float:
        """For how many seconds the driver gave no sign."""
        return self._silent_for()

    @property
    def timings(self) -> Mapping[tuple[ResourceName, str], Timings]:
        """How long the answers to the kubelet took, by resource and method."""
        return {
            (name, method): timings
            for name, served in self._served.items()
            for method, timings in served.timings.items()
        }

    @property
    def rules(self) -> Sequence[ResourceRule]:
        """What decides which device is offered under which name."""
        return self._serving_policy.rules

    def _take(self) -> None:
        for observation in self._observations.take():
            self._advance(observation)
        silence = self._silent_for()
        changes = self._conclude(*wait(self._state, self._now(), self._serving_policy.health, silence))
        if tap.note is not None and changes.health:
            tap.note("waited", silence=silence)

    def _advance(self, observation: Observation) -> bool:
        """Apply an observation; tells whether it changed the health of a device."""
        if tap.note is not None:
            tap.note("seen", observation=observation)
        changes = self._conclude(*advance(self._state, observation, self._now(), self._serving_policy.health))
        if self._serving_policy.fail_on_init_error and self._state.inventory is None:
            if self._state.driver_problem:
                raise DriverUnavailableError(self._state.driver_problem)
            if self._state.driver_is_silent:
                raise DriverUnavailableError("the driver does not answer")
        return bool(changes.health)

    def _conclude(self, state: State, changes: Changes) -> Changes:
        self._state = state
        self._keep(state, changes)
        for change in changes.health:
            self.transitions[change.after, change.reason] += 1
        for note in changes.notes:
            self.evidence[note.event, note.significance] += 1
        log_changes(changes)
        return changes

    def _publish(self) -> None:
        self._log_unmatched()
        wanted = advertise(self._state, self._serving_policy.rules)
        names = {rule.name for rule in self._serving_policy.rules}
        for name, served in list(self._served.items()):
            served.publish(wanted.get(name) or _without_devices(served.advertisement.value))
            if name not in names and served.publish_again_at is None:
                self._remove(name)
        for name, advertisement in wanted.items():
            if name not in self._served:
                self._served[name] = self._serving_policy.serve(name, advertisement)
                log.info("resource added", resource=name, devices=len(advertisement.devices))
                self._registrar.add(self._served[name])

    def _log_unmatched(self) -> None:
        """Log the devices that no rule matches, whenever they are others than before."""
        before, self._unmatched = self._unmatched, unmatched(self._state, self._serving_policy.rules)
        if self._unmatched and self._unmatched != before:
            log.warning(
                "devices match no pattern under resources, they are not offered",
                devices=[device.id for device in self._unmatched],
                products=sorted({device.product for device in self._unmatched}),
            )

    def _remove(self, name: ResourceName) -> None:
        """Leave, now that the kubelet is told that the resource has no devices any more."""
        self._served.pop(name)
        log.info("resource removed", resource=name)
        self._registrar.remove(name)


def _without_devices(advertisement: Advertisement) -> Advertisement:
    return Advertisement(devices=(), unhealthy=frozenset(), visibility_variable=advertisement.visibility_variable)
