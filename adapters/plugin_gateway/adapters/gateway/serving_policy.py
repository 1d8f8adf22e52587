"""The administrator's decisions about resources and containers, as the gateway serves resources by them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from plugin_gateway.adapters.serving.resource import ServedResource
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.policy import USUAL_PREFERENCES, AllocationPolicy, Preferences, UnhealthyFirst
from plugin_gateway.core.resources.rules import ResourceRule

if TYPE_CHECKING:
    from plugin_gateway.adapters.gateway.device_info import DeviceInfoFiles
    from plugin_gateway.adapters.serving.resource import FollowedNodes


class ServingPolicy(NamedTuple):
    """The administrator's decisions about resources and containers. They can change while the gateway runs."""

    rules: tuple[ResourceRule, ...]
    policy: AllocationPolicy
    nodes: "FollowedNodes"
    unhealthy_first: UnhealthyFirst = UnhealthyFirst.AUTO
    numa_hints: bool = True
    preferences: Preferences = USUAL_PREFERENCES
    card_nodes: "Mapping[ResourceName, FollowedNodes]" = MappingProxyType({})
    """The nodes for the resources whose devices have them in the host's own /dev, whatever holds for others."""
    look_again: Callable[[], object] = lambda: None
    """Called when a device node was not there. It returns at once."""
    device_info: "DeviceInfoFiles | None" = None
    """The files about devices that are given out. None if nobody asked for any."""

    def serve(self, resource: ResourceName, advertisement: Advertisement) -> ServedResource:
        """Return a resource with this advertisement that follows the policy."""
        return self.followed_by(ServedResource(resource, advertisement, self.policy, self.nodes))

    def followed_by(self, served: ServedResource) -> ServedResource:
        """Return a resource, which follows this policy from now on. The policy about containers is not touched."""
        served.nodes = self.card_nodes.get(served.resource, self.nodes)
        served.unhealthy_first, served.preferences = self.unhealthy_first, self.preferences
        served.look_again = self.look_again
        is_told = self.device_info is not None and served.resource in self.device_info.resources
        served.tell_granted = self.device_info.write if self.device_info is not None and is_told else None
        return served
