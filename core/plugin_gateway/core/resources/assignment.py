"""Which device belongs to which resource, and what a resource advertises."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from fnmatch import fnmatchcase

from plugin_gateway.core.devices import Device, DeviceId
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.state import State
from plugin_gateway.core.resources.names import ResourceName

GRANT_GRACE = 5.0
"""Seconds for which an allocated device stays in the list, even if it has vanished.

Kubelets of 1.34 and later crash if a device vanishes from the list before the kubelet has stored its allocation. That
takes milliseconds. Seen with genuine kubelets of 1.36.3 and 1.37.2.
"""


class Health(Enum):
    """The two health values that every kubelet knows. A kubelet treats any other value as unhealthy."""

    HEALTHY = "Healthy"
    UNHEALTHY = "Unhealthy"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRule:
    """Devices whose product name matches the pattern are offered under this resource name."""

    pattern: str
    """A shell pattern for the whole product name, such as ``*80GB*``."""
    name: ResourceName

    def __post_init__(self) -> None:
        """Reject an empty pattern, because it matches no product."""
        if not self.pattern:
            raise InvalidValueError("resource pattern '' matches no product; '*' matches every one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Advertisement:
    """The devices of one resource at one moment. Device lists and allocations are made from it."""

    devices: tuple[Device, ...]
    unhealthy: frozenset[DeviceId]
    shared_nodes: tuple[str, ...] = ()
    """The device nodes that every container with one of the devices needs."""
    optional_nodes: tuple[str, ...] = ()
    """The device nodes that every container with one of the devices gets if they exist."""
    numa_hints: bool = True
    """Whether the kubelet is told the NUMA nodes of the devices."""
    visibility_variable: str
    """The environment variable that names the devices for the vendor's container runtime."""
    by_id: Mapping[str, Device] = field(init=False, repr=False, compare=False)
    """The devices by id."""

    def __post_init__(self) -> None:
        """Build the index of devices once, so that each allocation is fast."""
        object.__setattr__(self, "by_id", {device.id: device for device in self.devices})

    def with_all_unhealthy(self) -> "Advertisement":
        """Return the same devices, all of them unhealthy."""
        return replace(self, unhealthy=frozenset(device.id for device in self.devices))

    def withholding(self, devices: Iterable[DeviceId]) -> "Advertisement":
        """Return the same devices, with these of them unhealthy as well."""
        return replace(self, unhealthy=self.unhealthy.union(each for each in devices if each in self.by_id))

    def with_unhealthy(self, others: Sequence[Device]) -> "Advertisement":
        """Return the same devices together with other devices that are unhealthy."""
        devices = sorted([*self.devices, *others], key=lambda device: device.index)
        return replace(self, devices=tuple(devices), unhealthy=self.unhealthy | {device.id for device in others})

    def without_devices(self) -> "Advertisement":
        """Return the advertisement of the same resource when it has no device any more."""
        return Advertisement(devices=(), unhealthy=frozenset(), visibility_variable=self.visibility_variable)

    def health_of(self, device: DeviceId) -> Health:
        """Return the health of a device as the kubelet sees it."""
        return Health.UNHEALTHY if device in self.unhealthy else Health.HEALTHY


def keep_granted(
    wanted: Advertisement, before: Advertisement, granted_until: Mapping[str, float], now: float
) -> tuple[Advertisement, float | None]:
    """Return what to advertise instead of ``before``, and when to do it again. None if nothing will change by itself.

    A device that has vanished stays in the list as unhealthy until its time in ``granted_until``, which is
    `GRANT_GRACE` after it was allocated last.
    """
    leaving = {
        each: until
        for each, until in granted_until.items()
        if now < until and each in before.by_id and each not in wanted.by_id
    }
    kept = wanted.with_unhealthy([before.by_id[each] for each in leaving]) if leaving else wanted
    return kept, min(leaving.values(), default=None)


def unmatched(state: State, rules: Sequence[ResourceRule]) -> tuple[Device, ...]:
    """Return the devices that no rule matches."""
    return tuple(device for device in state.devices if _rule_for(device, rules) is None)


def advertise(
    state: State, rules: Sequence[ResourceRule], *, numa_hints: bool = True
) -> Mapping[ResourceName, Advertisement]:
    """Return the advertisement of each resource. The first matching rule decides the resource of a device.

    A device that no rule matches is not offered. A resource without devices is left out.
    """
    if state.inventory is None:
        return {}
    sorted_devices: dict[ResourceName, list[Device]] = {}
    for device in state.inventory.devices:
        rule = _rule_for(device, rules)
        if rule is not None:
            sorted_devices.setdefault(rule.name, []).append(device)
    return {
        name: Advertisement(
            devices=tuple(devices),
            unhealthy=frozenset(device.id for device in devices if device.id in state.faults),
            shared_nodes=state.inventory.shared_nodes,
            optional_nodes=state.inventory.optional_nodes,
            numa_hints=numa_hints,
            visibility_variable=state.inventory.visibility_variable,
        )
        for name, devices in sorted_devices.items()
    }


def _rule_for(device: Device, rules: Sequence[ResourceRule]) -> ResourceRule | None:
    return next((rule for rule in rules if fnmatchcase(device.product, rule.pattern)), None)
