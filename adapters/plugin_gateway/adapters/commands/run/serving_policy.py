"""What the gateway needs of the settings to serve resources, and to count its devices."""

from typing import TYPE_CHECKING

from plugin_gateway.adapters.configuration.settings import Settings
from plugin_gateway.adapters.gateway.device_nodes import DeviceNodes
from plugin_gateway.adapters.gateway.gateway import ServingPolicy
from plugin_gateway.core.resources.policy import Preferences

if TYPE_CHECKING:
    from plugin_gateway.adapters.gateway.device_counter import Given


def serving_policy(settings: Settings) -> ServingPolicy:
    """Return the administrator's decisions about resources and containers."""
    return ServingPolicy(
        rules=settings.resources,
        policy=settings.policy,
        nodes=DeviceNodes(settings.visible_dev_root),
        unhealthy_first=settings.unhealthy_first,
        numa_hints=settings.numa_hints,
        preferences=Preferences(settings.preferred_allocation, settings.shared_devices_allocation_policy),
    )


def expected_number(settings: Settings) -> "Given":
    """Return how many devices the administrator expects."""
    from plugin_gateway.adapters.gateway.device_counter import Given  # noqa: PLC0415 - after the start

    return Given(settings.expected_gpus, settings.sources["expected_gpus"])
