"""Looks into the kubelet's checkpoint before the first list of a gateway, and before one that follows another gateway.

A pod can hold a device in a form in which an earlier gateway offered it: under another name, shared or not, as a part.
The checkpoint tells which ones, and what was offered last. It is a small file, so this delays no list. The kubelet is
asked a moment later, see `held_elsewhere`.
"""

import time
from collections.abc import Callable, Collection, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from plugin_gateway.adapters.kubelet.checkpoint import Checkpoint, CheckpointError, read_checkpoint
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.core.devices import is_replica
from plugin_gateway.core.registration.failures import Reason
from plugin_gateway.core.resources.id_words import is_number

if TYPE_CHECKING:
    from plugin_gateway.adapters.gateway.gateway import Gateway
    from plugin_gateway.core.resources.conflicts import FormerPart


AFTER_ANOTHER = (Reason.OTHER_GATEWAY_LEFT, Reason.OTHER_GATEWAY_AGREED)
"""Why a gateway registers that follows another one."""


class CheckpointLook:
    """Withholds the devices that somebody holds, or may have been given a moment ago, in another form than now."""

    def __init__(
        self, gateway: "Gateway", kubelet_dir: Path, former_parts: "Callable[[], Mapping[str, FormerPart]]"
    ) -> None:
        """``former_parts`` reads the parts of devices that there were."""
        self._gateway = gateway
        self._kubelet_dir = kubelet_dir
        self._former_parts = former_parts
        self._seen: tuple[bool, ...] = ()
        """Which backends had told their devices at the last look."""

    def before_register(self, reason: Reason) -> None:
        """Look before the first Register with the devices of a backend, and before one that follows another gateway.

        If the checkpoint cannot be read, all devices are withheld until the next look at the pods.
        """
        before, self._seen = self._seen, tuple(state.inventory is not None for state in self._gateway.states)
        if before == self._seen and reason not in AFTER_ANOTHER:
            return
        try:
            checkpoint = read_checkpoint(self._kubelet_dir)
        except CheckpointError as error:
            log.warning("the checkpoint does not tell which pods hold devices, asking the kubelet", problem=str(error))
            self._gateway.forms.is_unknown = True
            self._gateway.suspect({})
            return
        if checkpoint is not None and _has_other_forms(self._gateway, checkpoint):
            _withhold(self._gateway, self._kubelet_dir, checkpoint, self._former_parts())


def _has_other_forms(gateway: "Gateway", checkpoint: Checkpoint) -> bool:
    """Whether the checkpoint has ids that are not offered now under the same name, or may be shared in another way."""
    known: list[tuple[str, Collection[str]]] = [*checkpoint.registered.items()]
    known += ((each.resource, each.devices) for each in checkpoint.holders)
    offered = {str(name): each.by_id.keys() for name, each in gateway.offered.items()}
    held = [each for holder in checkpoint.holders for each in holder.devices]
    if any(map(is_replica, held)) or any(not offered.get(resource, set()) >= set(ids) for resource, ids in known):
        return True
    return any(map(is_number, held)) and _has_left_a_pool(gateway, checkpoint)


def _has_left_a_pool(gateway: "Gateway", checkpoint: Checkpoint) -> bool:
    """Whether somebody was given a device with an id of a resource that stands for others now."""
    from plugin_gateway.adapters.gateway.held_elsewhere import inventories_of  # noqa: PLC0415 - seldom
    from plugin_gateway.core.resources.conflicts import given_in, pools_in  # noqa: PLC0415 - seldom

    given = pools_in(given_in(checkpoint.answers, inventories_of(gateway)))
    now = {str(name): {device.id for device in each.devices} for name, each in gateway.offered.items()}
    return any(not devices <= now.get(resource, set()) for resource, devices in given.items())


def _withhold(
    gateway: "Gateway",
    kubelet_dir: Path,
    checkpoint: Checkpoint,
    former_parts: "Mapping[str, FormerPart]",
) -> None:
    from plugin_gateway.adapters.gateway.forms import with_suspected  # noqa: PLC0415 - seldom
    from plugin_gateway.adapters.gateway.held_elsewhere import STORED_WITHIN, held_now, inventories_of  # noqa: PLC0415 - seldom
    from plugin_gateway.adapters.kubelet.holders import mark_gone  # noqa: PLC0415 - seldom
    from plugin_gateway.core.resources.conflicts import given_in, holdings_of, in_the_way, pools_in  # noqa: PLC0415 - seldom

    gateway.forms.learn_pools(pools_in(given_in(checkpoint.answers, inventories_of(gateway))))
    pools = gateway.pools
    held = held_now(gateway, mark_gone(checkpoint.holders, kubelet_dir), checkpoint.answers)
    registered = {
        holding
        for name, ids in checkpoint.registered.items()
        for each in ids
        for holding in holdings_of(each, name, pools=pools)
    }
    forms = gateway.forms
    forms.parts = {**former_parts, **forms.parts}
    found = in_the_way(gateway.offered, [*held, *registered], forms.parts)
    if found:
        outdated = registered.intersection(chain.from_iterable(found.values()))
        gateway.suspect(with_suspected(held, forms.suspect(outdated, time.monotonic() + STORED_WITHIN)))
