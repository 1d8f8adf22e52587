"""Which device belongs to which resource, and what a resource advertises."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from fnmatch import fnmatchcase

from plugin_gateway.core.devices import Device, DeviceId
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.state import State
from plugin_gateway.core.resources.names import ResourceName


class Health(Enum):
    """The two words that every kubelet knows; it takes any other for the second."""

    HEALTHY = "Healthy"
    UNHEALTHY = "Unhealthy"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRule:
    """Devices whose product name matches the pattern are offered under this name."""

    pattern: str
    """A shell pattern for the whole product name, such as ``*H100*``."""
    name: ResourceName

    def __post_init__(self) -> None:
        """Refuse a pattern that matches nothing."""
        if not self.pattern:
            raise InvalidValueError("resource pattern '' matches no product; '*' matches every one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Advertisement:
    """The devices of one resource, as they are at one moment: what its list shows and its allocations are made of."""

    devices: tuple[Device, ...]
    unhealthy: frozenset[DeviceId]
    shared_nodes: tuple[str, ...] = ()
    visibility_variable: str
    by_id: Mapping[str, Device] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the devices once, for every allocation that follows."""
        object.__setattr__(self, "by_id", {device.id: device for device in self.devices})

    def with_all_unhealthy(self) -> "Advertisement":
        """The same devices, none of them healthy."""
        return replace(self, unhealthy=frozenset(device.id for device in self.devices))

    def with_unhealthy(self, others: Sequence[Device]) -> "Advertisement":
        """The same devices, and others that are not healthy."""
        devices = sorted([*self.devices, *others], key=lambda device: device.index)
        return replace(self, devices=tuple(devices), unhealthy=self.unhealthy | {device.id for device in others})

    def health_of(self, device: DeviceId) -> Health:
        """Tell the health that the kubelet is told."""
        return Health.UNHEALTHY if device in self.unhealthy else Health.HEALTHY


def unmatched(state: State, rules: Sequence[ResourceRule]) -> tuple[Device, ...]:
    """Name the devices that no rule matches."""
    return tuple(device for device in state.devices if _rule_for(device, rules) is None)


def advertise(state: State, rules: Sequence[ResourceRule]) -> Mapping[ResourceName, Advertisement]:
    """Sort the devices into resources by the first rule that matches.

    A device that no rule matches is not offered; a resource without devices is left out.
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
            visibility_variable=state.inventory.visibility_variable,
        )
        for name, devices in sorted_devices.items()
    }


def _rule_for(device: Device, rules: Sequence[ResourceRule]) -> ResourceRule | None:
    return next((rule for rule in rules if fnmatchcase(device.product, rule.pattern)), None)
