"""One resource as the protocol adapters see it: its latest devices, and answers from memory."""

import os
from collections.abc import Callable, Sequence

from plugin_gateway.adapters.publication import Latest
from plugin_gateway.core.allocations import ContainerEdits, allocate
from plugin_gateway.core.policy import AllocationPolicy
from plugin_gateway.core.preference import prefer
from plugin_gateway.core.resource_names import ResourceName
from plugin_gateway.core.resources import Advertisement


def _exists(path: str) -> bool:
    return os.access(path, os.F_OK)


class Offer:
    """A resource, what it advertises at the moment, and how its devices are handed out."""

    def __init__(
        self,
        resource: ResourceName,
        advertisement: Advertisement,
        policy: AllocationPolicy,
        node_exists: Callable[[str], bool] = _exists,
    ) -> None:
        self.resource = resource
        self.advertisement = Latest(advertisement)
        self.policy = policy
        self._node_exists = node_exists

    def allocate(self, ids: Sequence[str]) -> ContainerEdits:
        """Grant devices to one container.

        Raises:
            AllocationError: with the ids that cannot be granted.
        """
        return allocate(self.advertisement.value, ids, self.policy, self._node_exists)

    def prefer(self, available: Sequence[str], must_include: Sequence[str], size: int) -> tuple[str, ...]:
        """Choose among the available devices; never fails."""
        return prefer(self.advertisement.value, available, must_include, size)
