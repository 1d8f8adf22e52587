"""What was allocated a moment ago of all resources, so that a container gets devices that are near each other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from plugin_gateway.adapters.support.logs import log
from plugin_gateway.core.resources.choice import Known, preferred
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.pairing import Grant, Grants, counting, nearest, nearness, noted, words_of
from plugin_gateway.core.resources.preference import PreferenceRequest

if TYPE_CHECKING:
    from plugin_gateway.adapters.serving.resource import ServedResource


class Pairing:
    """The grants of a gateway whose resources have devices of several backends."""

    def __init__(self) -> None:
        self._grants: Grants = ()

    def note(self, served: "ServedResource", ids: Sequence[str], now: float) -> None:
        """Take note of an answer to Allocate. ``now`` is on the monotonic clock."""
        grant = Grant(served.resource, served.backend, served.advertisement.value, tuple(ids), now)
        self._grants = noted(self._grants, grant)

    def prefer(self, served: "ServedResource", known: Known, request: PreferenceRequest, now: float) -> tuple[str, ...]:
        """Return which ids of a resource the kubelet should choose. Never fails."""
        grants = counting(self._grants, served.resource, served.backend, now)
        if not grants:
            return preferred(known, request, served.preferences)
        granted = [device for grant in grants for device in grant.devices]
        ids = nearest(known, request, granted, served.preferences)
        self._tell(served.resource, ids, known, grants)
        return ids

    @staticmethod
    def _tell(resource: ResourceName, ids: Sequence[str], known: Known, grants: Grants) -> None:
        """Log how near each device is to the nearest one of the others."""
        others = [device for grant in grants for device in grant.devices]
        by_id = known.advertised.by_id

        def near() -> dict[str, str]:
            devices = {each: by_id[each].device.physical for each in ids if each in by_id}
            return {
                each: words_of(max(nearness(device, other) for other in others)) for each, device in devices.items()
            }

        log.debug(
            "devices are preferred near those of other resources",
            resource=resource,
            devices=near,
            others={grant.resource: list(grant.ids) for grant in grants},
        )
