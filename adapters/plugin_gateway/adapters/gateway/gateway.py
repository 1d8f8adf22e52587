"""Connects the backend, the state function and the registrar, for one node."""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from plugin_gateway.adapters.gateway.change_log import log_changes, log_withheld
from plugin_gateway.adapters.gateway.health_counters import HealthCounters
from plugin_gateway.adapters.gateway.observation_queue import ObservationQueue
from plugin_gateway.adapters.gateway.rule_log import RuleLog
from plugin_gateway.adapters.registration.registrar import Registrar
from plugin_gateway.adapters.serving.resource import ServedResource, Timings
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.tap import tap
from plugin_gateway.core.devices import DeviceId, FaultId
from plugin_gateway.core.errors import GatewayError
from plugin_gateway.core.health.changes import Changes
from plugin_gateway.core.health.faults import Fault, Moment
from plugin_gateway.core.health.observations import DriverSilence, EventsAwaited, Observation
from plugin_gateway.core.health.policy import HealthPolicy
from plugin_gateway.core.health.repetition import Progress, progress
from plugin_gateway.core.health.state import State
from plugin_gateway.core.health.state_function import adopt, advance, clear, due, wait
from plugin_gateway.core.resources.assignment import Advertisement, advertise, kept_names
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.policy import USUAL_PREFERENCES, AllocationPolicy, Preferences, UnhealthyFirst
from plugin_gateway.core.resources.rules import ResourceRule

if TYPE_CHECKING:
    from plugin_gateway.adapters.gateway.conflict_watch import KnownConflict
    from plugin_gateway.adapters.gateway.forms import Forms
    from plugin_gateway.adapters.gateway.held_elsewhere import Withheld
    from plugin_gateway.adapters.kubelet.checkpoint import Holder
    from plugin_gateway.adapters.serving.resource import FollowedNodes
    from plugin_gateway.core.resources.conflicts import Held

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
"""Seconds without a sign of the driver after which ``fail_on_init_error`` ends the gateway.

A driver can need seconds to open each device. A gateway that ended earlier would start again and again, and never offer
one.
"""


def _now() -> Moment:
    return Moment(uptime=time.clock_gettime(time.CLOCK_BOOTTIME), epoch=time.time())


class DriverUnavailableError(GatewayError):
    """There is no driver or no device, and the gateway was told to fail in this case."""


class ServingPolicy(NamedTuple):
    """The administrator's decisions about resources and containers. They can change while the gateway runs."""

    rules: tuple[ResourceRule, ...]
    policy: AllocationPolicy
    nodes: "FollowedNodes"
    health: HealthPolicy
    fail_on_init_error: bool = False
    """Whether to end if the first look finds no driver."""
    unhealthy_first: UnhealthyFirst = UnhealthyFirst.AUTO
    numa_hints: bool = True
    preferences: Preferences = USUAL_PREFERENCES

    def serve(self, resource: ResourceName, advertisement: Advertisement) -> ServedResource:
        """Return a resource with this advertisement that follows the policy."""
        return ServedResource(resource, advertisement, self.policy, self.nodes, self.unhealthy_first, self.preferences)


class Gateway:
    """Offers the devices of one node to its kubelet."""

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
        """Create a gateway. It starts with `run`.

        ``state`` is what an earlier instance left. ``keep`` is called with every new state and its changes.
        ``silent_for`` returns the seconds since the last sign of the driver.
        """
        self._observations = observations
        self._registrar = registrar
        self._serving_policy = serving_policy
        self._silent_for = silent_for
        self._state = state if state is not None else State()
        self._published: State | None = None
        """The state that was published last."""
        self._keep = keep
        self._now = now
        self._resumed_at = -math.inf
        self.alive_at = math.inf
        """When this process was last seen to run, on the uptime clock. Infinite before its first look at the clock."""
        self._served: dict[ResourceName, ServedResource] = {}
        self._rule_log = RuleLog()
        self._held: Held = {}
        """Who holds which device, and in which form, as it was seen last."""
        self._forms: Forms | None = None
        """The forms in which devices were offered. None as long as neither inventory nor rules have changed."""
        self.forms_changed = asyncio.Event()
        """Set when devices have another form now, and nobody has looked who holds them in the one of before."""
        self._overruled: set[DeviceId] = set()
        """Devices that an operator gives out although they may be held."""
        self.withheld: Mapping[DeviceId, Withheld] = {}
        """Devices that are unhealthy because a pod holds them in another form, such as another resource."""
        self.conflicts: Sequence[KnownConflict] = ()
        """The conflicts with other device plugins, as `ConflictWatch` found them."""
        self.counted = HealthCounters()

    async def run(self) -> None:
        """Offer the devices until cancelled.

        Raises:
            DriverUnavailableError: ``fail_on_init_error`` is set, and the first look found no driver or no device.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._registrar.run(), name="registrar")
            tasks.create_task(self._observe(), name="inventory")
            tasks.create_task(self._listen(), name="silence of the driver")

    def apply(self, serving_policy: ServingPolicy, *, is_recut: bool = False) -> None:
        """Apply a new policy. Resources that stay the same are not registered again.

        ``is_recut`` says that the next inventory is of a new backend, which gives out other parts of devices.
        """
        if is_recut or serving_policy.rules != self._serving_policy.rules:
            from plugin_gateway.adapters.gateway.held_elsewhere import just_granted  # noqa: PLC0415 - not at the start

            self._known_forms().see(self._state, self.offered, is_outgoing=is_recut)
            self._overruled.clear()
            self._held = {**just_granted(self._served.values()), **self._held}
        self._serving_policy = serving_policy
        for served in self._served.values():
            served.policy, served.nodes = serving_policy.policy, serving_policy.nodes
            served.unhealthy_first, served.preferences = serving_policy.unhealthy_first, serving_policy.preferences
        self._publish()
        self._observations.wake()  # with the new policy, changes may be due at another time

    async def _observe(self) -> None:
        """Apply observations, and publish the resulting advertisements."""
        loop, filled = asyncio.get_running_loop(), asyncio.Event()
        self._observations.attach(lambda: loop.call_soon_threadsafe(filled.set))
        try:
            while True:
                await self._wait_for(filled)
                filled.clear()
                self._take()
                self._publish_changes()
        finally:
            self._observations.detach()

    async def _wait_for(self, filled: asyncio.Event) -> None:
        """Wait until there is an observation, or until a change is due without one."""
        next_due, now, began = due(self._state, self._serving_policy.health), time.monotonic(), self._now().uptime
        waits = [
            served.publish_again_at - now for served in self._served.values() if served.publish_again_at is not None
        ]
        if next_due is not None:
            left = next_due - began
            waits.append(left if left > 0 else OVERDUE_PAUSE)
        timeout = max(min(waits), 0) if waits else math.inf
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout if timeout < math.inf else None):
                await filled.wait()
        if self._now().uptime - began > timeout + FROZEN:
            self._resumed_at = self._now().uptime

    async def _listen(self) -> None:
        """Check how long the driver has been silent. The backend's thread cannot do so while it is blocked."""
        while True:
            interval, began = min(LISTEN_INTERVAL, self._serving_policy.health.driver_timeout / 4), time.monotonic()
            await asyncio.sleep(interval)
            self._heed_pause()
            if time.monotonic() - began > 2 * interval or self._has_just_resumed():
                continue  # the whole process was stopped, so the silence means nothing
            if self._advance(DriverSilence(self._silent_for())):
                self._publish()
                self._observations.wake()

    def _heed_pause(self) -> None:
        """Notice that the process did not run for a time. Nobody watched the devices in it, so it is no quiet time.

        It counts as a time without the driver's events: it ends every probation, and is logged and recorded.
        """
        now = self._now().uptime
        paused, self.alive_at = now - self.alive_at, now
        if paused <= LISTEN_INTERVAL + FROZEN or self._state.inventory is None:
            return
        self._resumed_at = now
        before = self._state.events_problem
        self._advance(EventsAwaited(f"this process did not run for {paused:.0f} s"))
        self._advance(EventsAwaited(before))
        self._publish()

    def _has_just_resumed(self) -> bool:
        """Whether the process was stopped a moment ago. Nobody asked the driver meanwhile."""
        return self._now().uptime - self._resumed_at < RESUME_TIME

    def clear(self, device: FaultId) -> None:
        """Apply an operator's `health clear`. Problems that last still count."""
        if tap.note is not None:
            tap.note("cleared", device=device)
        self._conclude(*clear(self._state, device, self._now(), self._serving_policy.health))
        self._publish()
        self._observations.wake()

    def progress_of(self, device: FaultId) -> Sequence[Progress]:
        """Return how often evidence was reported against a device that the policy acts on only when it is repeated."""
        health, generation = self._serving_policy.health, self._state.generation_of(device)
        known = self._state.repeated.get(device, {})
        return progress(known, self._now().uptime, lambda kind: health.about(kind, generation))

    def see_holders(self, holders: "Iterable[Holder]") -> None:
        """Withhold the devices that one of these containers holds in another form than they are offered in."""
        from plugin_gateway.adapters.gateway.held_elsewhere import held_devices  # noqa: PLC0415 - not at the start

        self._held = held_devices(holders)
        self._publish()

    def overrule(self, device: DeviceId) -> None:
        """Give out a device although a pod may hold it in another form. Until the next change of the rules."""
        self._overruled.add(device)
        self._publish()

    def adopt(self, kept: State) -> None:
        """Take over the faults that another gateway kept."""
        self._conclude(*adopt(self._state, kept))
        self._publish()
        self._observations.wake()

    def quiet_left(self, fault: Fault) -> float | None:
        """Return the seconds of a quiet time that are left. None if it is not on a probation that they end."""
        return fault.quiet_left(self._serving_policy.health, self._now().uptime)

    @property
    def state(self) -> State:
        """The current state of the devices."""
        return self._state

    @property
    def registrar(self) -> Registrar:
        """The registrar of the resources."""
        return self._registrar

    @property
    def driver_silence(self) -> float:
        """Seconds since the last sign of the driver."""
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
    def offered(self) -> Mapping[ResourceName, Advertisement]:
        """What each resource advertises now."""
        return {name: served.advertisement.value for name, served in self._served.items()}

    @property
    def health_policy(self) -> HealthPolicy:
        """The decisions about health that are in force."""
        return self._serving_policy.health

    @property
    def rules(self) -> Sequence[ResourceRule]:
        """The rules that decide under which name a device is offered."""
        return self._serving_policy.rules

    def _take(self) -> None:
        """Apply all waiting observations, then the changes that are due.

        What ends a silence says so first: a check of that moment would not count, and the next one comes much later.
        """
        if self._state.driver_is_silent:
            self._advance(DriverSilence(self._silent_for()))
        for observation in self._observations.take():
            self._heed_pause()  # the process can be stopped at any line
            self._advance(observation)
        self._heed_pause()
        if self._has_just_resumed():
            return
        silence = self._silent_for()
        changes = self._conclude(*wait(self._state, self._now(), self._serving_policy.health, silence))
        if tap.note is not None and changes.health:
            tap.note("waited", silence=silence)

    def _advance(self, observation: Observation) -> bool:
        """Apply an observation. Returns whether the health of a device changed."""
        if tap.note is not None:
            tap.note("seen", observation=observation)
        changes = self._conclude(*advance(self._state, observation, self._now(), self._serving_policy.health))
        if self._serving_policy.fail_on_init_error and self._state.inventory is None:
            if self._state.driver_problem:
                raise DriverUnavailableError(self._state.driver_problem)
            if isinstance(observation, DriverSilence) and observation.seconds >= FIRST_LOOK_TIMEOUT:
                raise DriverUnavailableError(f"the driver has not answered for {observation.seconds:.0f} s")
        return bool(changes.health)

    def _conclude(self, state: State, changes: Changes) -> Changes:
        """Store the new state, and keep, count and log its changes."""
        self._state = state
        self._keep(state, changes)
        self.counted.count(changes, self.health_policy)
        log_changes(changes)
        return changes

    def _publish_changes(self) -> None:
        """Publish if anything can have changed. Most of the evidence in a storm changes nothing."""
        is_leaving = any(served.publish_again_at is not None for served in self._served.values())
        if self._published is not self._state or is_leaving:
            self._publish()

    def _publish(self) -> None:
        """Publish the advertisement of each resource. Add and remove resources.

        A resource without devices stays registered with an empty list, unless no rule names it any more.
        """
        before, self._published = self._published, self._state
        self._rule_log.look(self._state, self.rules)
        wanted = advertise(self._state, self.rules, numa_hints=self._serving_policy.numa_hints)
        if before is not None and before.inventory not in (None, self._state.inventory):
            self._suspect_holders(before, wanted)
        wanted = self._withhold(wanted)
        kept = kept_names(self.rules) | wanted.keys()
        for name, served in list(self._served.items()):
            served.publish(wanted.get(name) or served.advertisement.value.without_devices())
            if name not in kept and served.publish_again_at is None:  # a recently allocated device stays listed
                self._remove(name)
        for name, advertisement in wanted.items():
            if name not in self._served:
                self._served[name] = self._serving_policy.serve(name, advertisement)
                log.info("resource added", resource=name, count=len(advertisement.offered))
                self._registrar.add(self._served[name])
        for served in self._served.values():
            served.links = self._state.links

    def _suspect_holders(self, before: State, wanted: Mapping[ResourceName, Advertisement]) -> None:
        """Take the devices for held whose form changes with the inventory. Nobody looked before, as for new rules."""
        forms = self._known_forms()
        forms.see(before, self.offered)
        if outdated := forms.outdated(wanted):
            self._held = {**outdated, **self._held}
            self.forms_changed.set()

    def _known_forms(self) -> "Forms":
        from plugin_gateway.adapters.gateway.forms import Forms  # noqa: PLC0415 - not at the start

        if self._forms is None:
            self._forms = Forms()
        return self._forms

    def _withhold(self, wanted: Mapping[ResourceName, Advertisement]) -> Mapping[ResourceName, Advertisement]:
        """Make the devices unhealthy that are held in another form. Log them if they are not the same as before."""
        is_outgoing = self._forms is not None and self._forms.outgoing is self._state.inventory
        if not self._held and not self.withheld and not is_outgoing:
            return wanted
        from plugin_gateway.adapters.gateway.held_elsewhere import withheld_now  # noqa: PLC0415 - not at the start

        before = self.withheld
        found = withheld_now(wanted, self._held, before, self._now().epoch, self._forms, is_outgoing=is_outgoing)
        self.withheld = {device: why for device, why in found.items() if device not in self._overruled}
        log_withheld(before, self.withheld)
        if tap.note is not None and self.withheld != before:
            tap.note("withheld", devices=list(self.withheld))
        return {name: each.withholding(self.withheld.keys()) for name, each in wanted.items()}

    def _remove(self, name: ResourceName) -> None:
        """Remove a resource. The kubelet has received its empty list before."""
        self._served.pop(name)
        log.info("resource removed", resource=name)
        self._registrar.remove(name)
