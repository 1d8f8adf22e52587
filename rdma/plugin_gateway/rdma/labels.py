"""The labels of a node with RDMA devices, all of them the gateway's own and only where somebody asks for them."""

from collections.abc import Iterator, Sequence

from plugin_gateway.core.health.state import State
from plugin_gateway.core.labels.making import Label
from plugin_gateway.core.labels.names import OWN, cleaned
from plugin_gateway.core.labels.policy import LabelPolicy
from plugin_gateway.core.resources.rules import ResourceRule

LINK_LAYER = "rdma.link-layer"
"""A label that has to be asked for: what the ports connect to."""
OWN_LABELS = (LINK_LAYER,)
MIXED = "mixed"
"""Its value where ports connect to different kinds of networks."""


def make_labels(state: State, _: Sequence[ResourceRule], policy: LabelPolicy) -> Iterator[Label]:
    """Yield the labels that follow from the state of the backend. A port that is down has a link layer, too."""
    layers = sorted({port.layer for port in state.ports if port.layer})
    if LINK_LAYER in policy.own and layers:
        value = cleaned(layers[0]) if len(layers) == 1 else MIXED
        yield Label(f"{OWN}/{LINK_LAYER}", value, f"what {len(state.ports)} ports connect to: {', '.join(layers)}")
