"""The whole: what the backend sees goes through the state function, and every resource is offered to the kubelet."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from plugin_gateway.adapters.logs import log
from plugin_gateway.adapters.mailbox import Mailbox
from plugin_gateway.adapters.offers import Offer
from plugin_gateway.adapters.registrar import Registrar
from plugin_gateway.adapters.unhealthy_first import UnhealthyFirst
from plugin_gateway.core.devices import Device
from plugin_gateway.core.errors import GatewayError
from plugin_gateway.core.observations import DriverSilence, Observation
from plugin_gateway.core.policy import AllocationPolicy
from plugin_gateway.core.ports import HostNodes
from plugin_gateway.core.resource_names import ResourceName
from plugin_gateway.core.resources import Advertisement, ResourceRule, advertise, unmatched
from plugin_gateway.core.state import Changes, SilenceChange, State, advance

MOST_DEVICES_TOLD = 32
LISTEN_INTERVAL = 5.0
"""Seconds between two looks at how long the driver has been silent."""


class DriverUnavailableError(GatewayError):
    """The driver or its devices are not there, and the admin asked to fail then."""


class Offering(NamedTuple):
    """What the admin decided about resources and containers; can be changed while the gateway runs."""

    rules: tuple[ResourceRule, ...]
    policy: AllocationPolicy
    nodes: HostNodes
    fail_on_init_error: bool = False
    unhealthy_first: UnhealthyFirst = UnhealthyFirst.AUTO

    def offer(self, resource: ResourceName, advertisement: Advertisement) -> Offer:
        """Offer one more resource."""
        return Offer(resource, advertisement, self.policy, self.nodes, self.unhealthy_first)


class Gateway:
    """One node's devices, offered to its kubelet until cancelled."""

    def __init__(
        self, *, mailbox: Mailbox, registrar: Registrar, offering: Offering, silent_for: Callable[[], float]
    ) -> None:
        self._mailbox = mailbox
        self._registrar = registrar
        self._offering = offering
        self._silent_for = silent_for
        self._state = State()
        self._offers: dict[ResourceName, Offer] = {}
        self._unmatched: tuple[Device, ...] = ()

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

    async def _observe(self) -> None:
        loop, filled = asyncio.get_running_loop(), asyncio.Event()
        self._mailbox.attach(lambda: loop.call_soon_threadsafe(filled.set))
        try:
            while True:
                await filled.wait()
                filled.clear()
                self._take()
                self._publish()
        finally:
            self._mailbox.detach()

    async def _listen(self) -> None:
        """Notice when the driver does not answer: its own thread cannot tell."""
        while True:
            await asyncio.sleep(LISTEN_INTERVAL)
            self._advance(DriverSilence(self._silent_for()))

    def _take(self) -> None:
        for observation in self._mailbox.take():
            self._advance(observation)

    def _advance(self, observation: Observation) -> None:
        self._state, changes = advance(self._state, observation, time.time())
        _tell(changes)
        if self._offering.fail_on_init_error and self._state.inventory is None:
            if self._state.driver_problem:
                raise DriverUnavailableError(self._state.driver_problem)
            if self._state.driver_is_silent:
                raise DriverUnavailableError("the driver does not answer")

    def _publish(self) -> None:
        self._tell_unmatched()
        wanted = advertise(self._state, self._offering.rules)
        names = {rule.name for rule in self._offering.rules}
        for name in [name for name in self._offers if name not in names]:
            self._withdraw(name)
        for name, offer in self._offers.items():
            offer.advertisement.publish(wanted.get(name) or _without_devices(offer.advertisement.value))
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
        """Tell the kubelet that the resource has no devices any more, then leave."""
        offer = self._offers.pop(name)
        offer.advertisement.publish(_without_devices(offer.advertisement.value))
        log.info("resource removed", resource=name)
        self._registrar.remove(name)


def _without_devices(advertisement: Advertisement) -> Advertisement:
    return Advertisement(devices=(), unhealthy=frozenset(), visibility_variable=advertisement.visibility_variable)


def _tell(changes: Changes) -> None:
    """Log one line for each change of state."""
    _tell_devices("device added", changes.added)
    _tell_deaf(changes.added)
    _tell_devices("device removed", changes.removed)
    _tell_devices("device changed", changes.altered)
    for rejected in changes.rejected:
        log.error("device cannot be offered", device=rejected.place, problem=rejected.problem)
    if changes.health:
        log.warning(
            "device changed its health",
            device=changes.health.device,
            health=changes.health.health.value,
            reason=changes.health.reason,
        )
    if changes.dismissed:
        log.info(
            "event changed nothing",
            device=changes.dismissed.device,
            driver_event=changes.dismissed.event,
            because=changes.dismissed.dismissal.value,
        )
    if changes.driver:
        _tell_driver(changes.driver.problem)
    if changes.silence:
        _tell_silence(changes.silence)
    if changes.events:
        _tell_events(changes.events.problem)


def _tell_devices(event: str, devices: Sequence[Device]) -> None:
    """Log each device; of more than any machine has, only how many."""
    if len(devices) > MOST_DEVICES_TOLD:
        log.info(event, count=len(devices))
        return
    for device in devices:
        log.info(event, device=device.id, index=device.index, product=device.product, pci_address=device.pci_address)


def _tell_deaf(devices: Sequence[Device]) -> None:
    deaf = [device.id for device in devices if not device.reports_faults]
    if deaf:
        log.warning("devices whose faults the driver does not report stay healthy whatever happens", devices=deaf)


def _tell_driver(problem: str | None) -> None:
    if problem is None:
        log.info("driver is available")
    else:
        log.warning("waiting for the driver", problem=problem)


def _tell_silence(change: SilenceChange) -> None:
    if change.silent:
        log.warning("the driver does not answer, faults of its devices go unseen", seconds=round(change.seconds))
    else:
        log.info("the driver answers again")


def _tell_events(problem: str | None) -> None:
    if problem is None:
        log.info("the driver's events are seen again")
    else:
        log.warning("the driver's events cannot be waited for, faults of its devices go unseen", problem=problem)
