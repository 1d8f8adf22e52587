"""The whole: what the backend sees goes through the state function, and every resource is offered to the kubelet."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from plugin_gateway.adapters.gateway.change_log import tell
from plugin_gateway.adapters.gateway.observation_queue import Mailbox
from plugin_gateway.adapters.registration.registrar import Registrar
from plugin_gateway.adapters.serving.resource import Offer, Timings
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.tap import conversation
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


class Offering(NamedTuple):
    """What the admin decided about resources and containers; can be changed while the gateway runs."""

    rules: tuple[ResourceRule, ...]
    policy: AllocationPolicy
    nodes: HostNodes
    health: HealthPolicy
    fail_on_init_error: bool = False
    unhealthy_first: UnhealthyFirst = UnhealthyFirst.AUTO

    def offer(self, resource: ResourceName, advertisement: Advertisement) -> Offer:
        """Offer one more resource."""
        return Offer(resource, advertisement, self.policy, self.nodes, self.unhealthy_first)


class Gateway:
    """One node's devices, offered to its kubelet until cancelled."""

    def __init__(
        self,
        *,
        mailbox: Mailbox,
        registrar: Registrar,
        offering: Offering,
        silent_for: Callable[[], float],
        now: Callable[[], Moment] = _now,
        state: State | None = None,
        keep: Callable[[State, Changes], None] = lambda _state, _changes: None,
    ) -> None:
        """``state`` is what an earlier instance left; ``keep`` is told every state, and what changed with it."""
        self._mailbox = mailbox
        self._registrar = registrar
        self._offering = offering
        self._silent_for = silent_for
        self._state = state if state is not None else State()
        self._keep = keep
        self._now = now
        self._offers: dict[ResourceName, Offer] = {}
        self._unmatched: tuple[Device, ...] = ()
        self.transitions: Counter[tuple[Stage, str]] = Counter()
        """Changes of health, by the stage they led to and by what took the device out."""

        self.evidence: Counter[tuple[str, Significance]] = Counter()
        """Evidence that changed the health of no device, and what it meant."""

    async def run(self) -> None:
        """Offer the devices until cancelled.

        Raises:
            DriverUnavailableError: ``fail_on_init_error`` is set and the first look found no driver or no device.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._registrar.run(), name="registrar")
            tasks.create_task(self._observe(), name="inventory")
            tasks.create_task(self._listen(), name="silence of the driver")

    def apply(self, offering: Offering) -> None:
        """Change what is offered and how; what stays the same is not touched."""
        self._offering = offering
        for offer in self._offers.values():
            offer.policy, offer.nodes = offering.policy, offering.nodes
            offer.unhealthy_first = offering.unhealthy_first
        self._publish()
        self._mailbox.ring()  # something may be due at another time than before

    async def _observe(self) -> None:
        loop, filled = asyncio.get_running_loop(), asyncio.Event()
        self._mailbox.attach(lambda: loop.call_soon_threadsafe(filled.set))
        try:
            while True:
                await self._wait_for(filled)
                filled.clear()
                self._take()
                self._publish()
        finally:
            self._mailbox.detach()

    async def _wait_for(self, filled: asyncio.Event) -> None:
        """Wait until something was observed, or falls due without."""
        next_due, now = due(self._state, self._offering.health), time.monotonic()
        waits = [offer.publish_again_at - now for offer in self._offers.values() if offer.publish_again_at is not None]
        if next_due is not None:
            left = next_due - self._now().uptime
            waits.append(left if left > 0 else OVERDUE_PAUSE)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(min(waits), 0) if waits else None):
                await filled.wait()

    async def _listen(self) -> None:
        """Notice when the driver does not answer: its own thread cannot tell."""
        while True:
            interval, began = min(LISTEN_INTERVAL, self._offering.health.driver_timeout / 4), time.monotonic()
            await asyncio.sleep(interval)
            if time.monotonic() - began > 2 * interval:
                continue  # it is us who stood still, and the driver's thread with us
            if self._advance(DriverSilence(self._silent_for())):
                self._publish()
                self._mailbox.ring()

    def clear(self, device: DeviceId) -> None:
        """Take an operator's word that a device is well; what lasts is held against it all the same."""
        if conversation.note is not None:
            conversation.note("cleared", device=device)
        self._conclude(*clear(self._state, device, self._now(), self._offering.health))
        self._publish()
        self._mailbox.ring()

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
            (name, method): timings for name, offer in self._offers.items() for method, timings in offer.timings.items()
        }

    @property
    def rules(self) -> Sequence[ResourceRule]:
        """What decides which device is offered under which name."""
        return self._offering.rules

    def _take(self) -> None:
        for observation in self._mailbox.take():
            self._advance(observation)
        silence = self._silent_for()
        changes = self._conclude(*wait(self._state, self._now(), self._offering.health, silence))
        if conversation.note is not None and changes.health:
            conversation.note("waited", silence=silence)

    def _advance(self, observation: Observation) -> bool:
        """Apply an observation; tells whether it changed the health of a device."""
        if conversation.note is not None:
            conversation.note("seen", observation=observation)
        changes = self._conclude(*advance(self._state, observation, self._now(), self._offering.health))
        if self._offering.fail_on_init_error and self._state.inventory is None:
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
        tell(changes)
        return changes

    def _publish(self) -> None:
        self._tell_unmatched()
        wanted = advertise(self._state, self._offering.rules)
        names = {rule.name for rule in self._offering.rules}
        for name, offer in list(self._offers.items()):
            offer.publish(wanted.get(name) or _without_devices(offer.advertisement.value))
            if name not in names and offer.publish_again_at is None:
                self._withdraw(name)
        for name, advertisement in wanted.items():
            if name not in self._offers:
                self._offers[name] = self._offering.offer(name, advertisement)
                log.info("resource added", resource=name, devices=len(advertisement.devices))
                self._registrar.add(self._offers[name])

    def _tell_unmatched(self) -> None:
        """Log the devices that no rule matches, whenever they are others than before."""
        before, self._unmatched = self._unmatched, unmatched(self._state, self._offering.rules)
        if self._unmatched and self._unmatched != before:
            log.warning(
                "devices match no pattern under resources, they are not offered",
                devices=[device.id for device in self._unmatched],
                products=sorted({device.product for device in self._unmatched}),
            )

    def _withdraw(self, name: ResourceName) -> None:
        """Leave, now that the kubelet is told that the resource has no devices any more."""
        self._offers.pop(name)
        log.info("resource removed", resource=name)
        self._registrar.remove(name)


def _without_devices(advertisement: Advertisement) -> Advertisement:
    return Advertisement(devices=(), unhealthy=frozenset(), visibility_variable=advertisement.visibility_variable)
