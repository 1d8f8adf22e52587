"""Resource names, which device belongs to which resource, and what a resource advertises."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import NewType

from plugin_gateway.core.devices import Device, DeviceId
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health import Health
from plugin_gateway.core.state import State

ResourceName = NewType("ResourceName", str)

DEFAULT_RESOURCE = ResourceName("nvidia.com/gpu")

_QUOTA_PREFIX = "requests."
_MAX_DOMAIN = 253 - len(_QUOTA_PREFIX)
_MAX_NAME = 63
_DOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")


def parse_resource_name(text: str) -> ResourceName:
    """Accept a name that every kubelet registers and every API server lets a pod ask for.

    The rules are those of 1.10 to the newest; 1.8 and 1.9 check less, but a pod could not ask for such a name.

    Raises:
        InvalidValueError: the message says which rule it breaks.
    """
    domain, slash, name = text.partition("/")
    rules = (
        (bool(slash), "it must have the form DOMAIN/NAME"),
        ("kubernetes.io/" not in text, "kubelets refuse every name that contains kubernetes.io/"),
        (not text.startswith(_QUOTA_PREFIX), f"it must not start with {_QUOTA_PREFIX}"),
        (len(domain) <= _MAX_DOMAIN, f"the domain has {len(domain)} characters, allowed are {_MAX_DOMAIN}"),
        (_DOMAIN.fullmatch(domain), "the domain must be lower-case DNS labels: letters, digits and -, joined by dots"),
        (len(name) <= _MAX_NAME, f"the part after / has {len(name)} characters, allowed are {_MAX_NAME}"),
        (
            _NAME.fullmatch(name),
            "the part after / must be letters, digits, - _ . and start and end with a letter or digit",
        ),
    )
    for kept, rule in rules:
        if not kept:
            raise InvalidValueError(f"resource name {text!r}: {rule}")
    return ResourceName(text)


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

    def health_of(self, device: DeviceId) -> Health:
        """Tell the health that the kubelet is told."""
        return Health.UNHEALTHY if device in self.unhealthy else Health.HEALTHY


def advertise(state: State, rules: Sequence[ResourceRule]) -> Mapping[ResourceName, Advertisement]:
    """Sort the devices into resources by the first rule that matches.

    A device that no rule matches is not offered; a resource without devices is left out.
    """
    if state.inventory is None:
        return {}
    sorted_devices: dict[ResourceName, list[Device]] = {}
    for device in state.inventory.devices:
        rule = next((rule for rule in rules if fnmatchcase(device.product, rule.pattern)), None)
        if rule is not None:
            sorted_devices.setdefault(rule.name, []).append(device)
    return {
        name: Advertisement(
            devices=tuple(devices),
            unhealthy=frozenset(device.id for device in devices if device.id in state.unhealthy),
            shared_nodes=state.inventory.shared_nodes,
            visibility_variable=state.inventory.visibility_variable,
        )
        for name, devices in sorted_devices.items()
    }
