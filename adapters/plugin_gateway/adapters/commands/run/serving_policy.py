"""What the gateway needs of the settings to serve resources, and to count its devices."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from plugin_gateway.adapters.configuration.settings import Settings
from plugin_gateway.adapters.gateway.device_nodes import DeviceNodes
from plugin_gateway.adapters.gateway.serving_policy import ServingPolicy
from plugin_gateway.core.resources.policy import Preferences
from plugin_gateway.core.resources.sharing import ALONE

if TYPE_CHECKING:
    from plugin_gateway.adapters.gateway.device_counter import Given
    from plugin_gateway.adapters.gateway.device_info import DeviceInfoFiles

_KEYS = {"rdma-device": "rdmaDevice"}
"""What a file about a device has beside its PCI address."""


def serving_policy(settings: Settings, look_again: Callable[[], object] = lambda: None) -> ServingPolicy:
    """Return the administrator's decisions about resources and containers.

    ``look_again`` is called when a container cannot get a device because a node of it is not there.
    """
    names = settings.card_resources
    return ServingPolicy(
        rules=settings.resources,
        policy=settings.policy,
        nodes=DeviceNodes(settings.visible_dev_root),
        unhealthy_first=settings.unhealthy_first,
        numa_hints=settings.numa_hints,
        preferences=Preferences(
            settings.preferred_allocation, settings.shared_devices_allocation_policy, settings.pair_devices
        ),
        card_nodes=dict.fromkeys(names, DeviceNodes(settings.host_root, host_root=settings.host_root)) if names else {},
        look_again=look_again,
        device_info=_device_info(settings) if settings.device_info_dir else None,
    )


def _device_info(settings: Settings) -> "DeviceInfoFiles":
    from plugin_gateway.adapters.gateway.device_info import DeviceInfoFiles  # noqa: PLC0415 - only where asked for

    alone = {rule.name for rule in settings.resources if rule.name is not None and rule.sharing == ALONE}
    return DeviceInfoFiles(settings.device_info_dir, settings.card_resources & alone, _KEYS)


def expected_number(settings: Settings) -> "Given":
    """Return how many devices the administrator expects."""
    from plugin_gateway.adapters.gateway.device_counter import Given  # noqa: PLC0415 - after the start

    return Given(settings.expected_gpus, settings.sources["expected_gpus"])
