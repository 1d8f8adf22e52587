"""How long the labels of devices stay whose driver is gone."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from plugin_gateway.core.labels.making import Labelled, NodeLabels, node_labels
from plugin_gateway.core.labels.policy import LabelPolicy
from plugin_gateway.core.resources.rules import ResourceRule


class Lasting(NamedTuple):
    """The labels that the node should have now, and until when they stay so if nothing else changes."""

    labels: NodeLabels
    """Not complete while a backend has not answered, or its driver is gone that never answered, and may come back."""
    until: float | None = None
    """On the uptime clock. None if nothing follows from time alone."""


def lasting_labels(
    backends: Iterable[Labelled], rules: Sequence[ResourceRule], policy: LabelPolicy, uptime: float, grace: float
) -> Lasting:
    """Return the labels of the node now. ``grace`` are the seconds for which labels outlive their driver."""
    kept, ends = list[Labelled](), list[float]()
    is_known = True
    for each in backends:
        since = each.state.driver_missing_since
        if since is not None and uptime >= since + grace:
            continue
        if since is not None:
            ends.append(since + grace)
        kept.append(each)
        is_known = is_known and each.state.inventory is not None
    labels = node_labels(kept, rules, policy)
    return Lasting(
        labels._replace(is_complete=labels.is_complete and is_known),
        min((end for end in ends if end != math.inf), default=None),
    )
