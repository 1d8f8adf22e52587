"""How long labels and taints outlast what they were made of.

Those of devices stay for a time after their driver has gone. A taint stays for a moment after its cause, so that one
that comes and goes does not send pods here and away.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from plugin_gateway.core.health.state import State
from plugin_gateway.core.labels.making import Labelled, NodeLabels, node_labels
from plugin_gateway.core.labels.names import LabelName
from plugin_gateway.core.labels.policy import Effect, LabelPolicy, Taint
from plugin_gateway.core.resources.rules import ResourceRule

TAINT_TIME = 20.0
"""Seconds for which a taint stays when nothing asks for it any more."""


class Lasting(NamedTuple):
    """The labels that the node should have now, and until when they stay so if nothing else changes."""

    labels: NodeLabels
    """Not complete while a backend has not answered, or its driver is gone that never answered, and may come back."""
    until: float | None = None
    """On the clock of who asks. None if nothing follows from time alone."""


def lasting_labels(
    backends: Iterable[Labelled], rules: Sequence[ResourceRule], policy: LabelPolicy, uptime: float, grace: float
) -> Lasting:
    """Return the labels of the node now. ``grace`` are the seconds for which labels outlive their driver."""
    known, ends = list[Labelled](), list[float]()
    is_known = True
    for each in backends:
        since = each.state.driver_away_since
        if since is not None and uptime >= since + grace:
            known.append(each._replace(state=_without_devices(each.state)))
            continue
        if since is not None:
            ends.append(since + grace)
        known.append(each)
        is_known = is_known and each.state.inventory is not None
    labels = node_labels(known, rules, policy)
    return Lasting(
        labels._replace(is_complete=labels.is_complete and is_known),
        min((end for end in ends if end != math.inf), default=None),
    )


def _without_devices(state: State) -> State:
    """Return the state as it would be after a restart. It is still known that there are devices, which are out."""
    unserved = state.unserved if state.inventory is None else len(state.present_faults)
    return replace(state, inventory=None, ports=(), facts=None, unserved=unserved)


class HeldTaint(NamedTuple):
    """A taint that the node has."""

    taint: Taint
    why: str
    until: float | None = None
    """Until when it stays though nothing asks for it any more. None while something does."""


Held = Mapping[tuple[LabelName, Effect], HeldTaint]
"""The taints of the node, of which there is one for each name and effect."""


def hold_taints(labels: NodeLabels, held: Held, now: float) -> tuple[Lasting, Held]:
    """Return the labels with the taints that the node should have ``now``, and these taints. It had those of ``held``.

    A taint that is to have another value stays as well for its time. So it is one taint, whatever comes and goes.
    """
    found = {(each.name, each.effect): HeldTaint(each, labels.why[each.name]) for each in labels.taints}
    for key, before in held.items():
        if key in found and found[key].taint == before.taint:
            continue
        left = before if before.until is not None else before._replace(until=now + TAINT_TIME)
        if left.until is not None and now < left.until:
            found[key] = left
    taints = tuple(each.taint for each in found.values())
    why: dict[str, str] = {**labels.why, **{each.taint.name: each.why for each in found.values()}}
    ends = [each.until for each in found.values() if each.until is not None]
    return Lasting(labels._replace(taints=taints, why=why), min(ends, default=None)), found
