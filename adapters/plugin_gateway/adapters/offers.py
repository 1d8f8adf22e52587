"""One resource as the protocol adapters see it: its latest devices, and answers from memory."""

from collections.abc import Sequence

from plugin_gateway.adapters.logs import log
from plugin_gateway.adapters.publication import Latest
from plugin_gateway.adapters.timings import Timings
from plugin_gateway.adapters.unhealthy_first import UnhealthyFirst
from plugin_gateway.core.allocations import ContainerEdits, allocate
from plugin_gateway.core.policy import AllocationPolicy
from plugin_gateway.core.ports import HostNodes
from plugin_gateway.core.preference import prefer
from plugin_gateway.core.resource_names import ResourceName
from plugin_gateway.core.resources import Advertisement


class Offer:
    """A resource, what it advertises at the moment, and how its devices are handed out."""

    def __init__(
        self,
        resource: ResourceName,
        advertisement: Advertisement,
        policy: AllocationPolicy,
        nodes: HostNodes,
        unhealthy_first: UnhealthyFirst = UnhealthyFirst.AUTO,
    ) -> None:
        self.resource = resource
        self.advertisement = Latest(advertisement)
        self.policy = policy
        self.nodes = nodes
        self.unhealthy_first = unhealthy_first
        self.timings: dict[str, Timings] = {}
        """How long the answers took, by method."""

    def allocate(self, ids: Sequence[str]) -> ContainerEdits:
        """Grant devices to one container.

        Raises:
            AllocationError: with the ids that cannot be granted.
        """
        edits = allocate(self.advertisement.value, ids, self.policy, self.nodes)
        if edits.absent_nodes:
            log.warning(
                "device nodes are missing, the container gets none", resource=self.resource, nodes=edits.absent_nodes
            )
        return edits

    def prefer(self, available: Sequence[str], must_include: Sequence[str], size: int) -> tuple[str, ...]:
        """Choose among the available devices; never fails."""
        return prefer(self.advertisement.value, available, must_include, size)
