"""The whole: what the backend sees goes through the state function, and every resource is offered to the kubelet."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from plugin_gateway.adapters.logs import log
from plugin_gateway.adapters.mailbox import Mailbox
from plugin_gateway.adapters.offers import Offer
from plugin_gateway.adapters.registrar import Registrar
from plugin_gateway.core.devices import Device
from plugin_gateway.core.errors import GatewayError
from plugin_gateway.core.policy import AllocationPolicy
from plugin_gateway.core.ports import HostNodes
from plugin_gateway.core.resource_names import ResourceName
from plugin_gateway.core.resources import Advertisement, ResourceRule, advertise
from plugin_gateway.core.state import Changes, State, advance

MOST_DEVICES_TOLD = 32


class DriverUnavailableError(GatewayError):
    """The driver or its devices are not there, and the admin asked to fail then."""


class Offering(NamedTuple):
    """What the admin decided about resources and containers; can be changed while the gateway runs."""

    rules: tuple[ResourceRule, ...]
    policy: AllocationPolicy
    nodes: HostNodes
    fail_on_init_error: bool = False


class Gateway:
    """One node's devices, offered to its kubelet until cancelled."""

    def __init__(
        self, *, mailbox: Mailbox, registrar: Registrar, offering: Offering, clock: Callable[[], float] = time.time
    ) -> None:
        self._mailbox = mailbox
        self._registrar = registrar
        self._offering = offering
        self._clock = clock
        self._state = State()
        self._offers: dict[ResourceName, Offer] = {}

    @property
    def state(self) -> State:
        """What is known of the devices."""
        return self._state

    async def run(self) -> None:
        """Offer the devices until cancelled.

        Raises:
            DriverUnavailableError: ``fail_on_init_error`` is set and the first look found no driver or no device.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._registrar.run(), name="registrar")
            tasks.create_task(self._observe(), name="inventory")

    async def apply(self, offering: Offering) -> None:
        """Change what is offered and how; what stays the same is not touched."""
        self._offering = offering
        for offer in self._offers.values():
            offer.policy, offer.nodes = offering.policy, offering.nodes
        await self._publish()

    async def _observe(self) -> None:
        loop, filled = asyncio.get_running_loop(), asyncio.Event()
        self._mailbox.attach(lambda: loop.call_soon_threadsafe(filled.set))
        try:
            while True:
                await filled.wait()
                filled.clear()
                self._take()
                await self._publish()
        finally:
            self._mailbox.detach()

    def _take(self) -> None:
        for observation in self._mailbox.take():
            self._state, changes = advance(self._state, observation, self._clock())
            _tell(changes)
            self._check_start()

    def _check_start(self) -> None:
        if self._offering.fail_on_init_error and self._state.inventory is None and self._state.driver_problem:
            raise DriverUnavailableError(self._state.driver_problem)

    async def _publish(self) -> None:
        wanted = advertise(self._state, self._offering.rules)
        names = {rule.name for rule in self._offering.rules}
        for name in [name for name in self._offers if name not in names]:
            await self._withdraw(name)
        for name, offer in self._offers.items():
            offer.advertisement.publish(wanted.get(name) or _without_devices(offer.advertisement.value))
        for name, advertisement in wanted.items():
            if name not in self._offers:
                self._offers[name] = Offer(name, advertisement, self._offering.policy, self._offering.nodes)
                log.info("resource added", resource=name, devices=len(advertisement.devices))
                self._registrar.add(self._offers[name])

    async def _withdraw(self, name: ResourceName) -> None:
        """Tell the kubelet that the resource has no devices any more, then leave."""
        offer = self._offers.pop(name)
        offer.advertisement.publish(_without_devices(offer.advertisement.value))
        log.info("resource removed", resource=name)
        await self._registrar.remove(name)


def _without_devices(advertisement: Advertisement) -> Advertisement:
    return Advertisement(devices=(), unhealthy=frozenset(), visibility_variable=advertisement.visibility_variable)


def _tell(changes: Changes) -> None:
    """Log one line for each change of state."""
    _tell_devices("device added", changes.added)
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


def _tell_devices(event: str, devices: Sequence[Device]) -> None:
    """Log each device; of more than any machine has, only how many."""
    if len(devices) > MOST_DEVICES_TOLD:
        log.info(event, count=len(devices))
        return
    for device in devices:
        log.info(event, device=device.id, index=device.index, product=device.product, pci_address=device.pci_address)


def _tell_driver(problem: str | None) -> None:
    if problem is None:
        log.info("driver is available")
    else:
        log.warning("waiting for the driver", problem=problem)
