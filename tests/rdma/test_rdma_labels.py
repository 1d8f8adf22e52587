"""The label about the link layer of RDMA devices."""

import pytest

from plugin_gateway.core.devices import PhysicalId, PortOfDevice
from plugin_gateway.core.health.state import State
from plugin_gateway.core.labels.making import Labelled, node_labels
from plugin_gateway.core.labels.policy import LabelPolicy
from plugin_gateway.rdma.labels import LINK_LAYER, make_labels

WANTED = LabelPolicy(own=frozenset({LINK_LAYER}))


def state(*layers: str) -> State:
    ports = [
        PortOfDevice(PhysicalId("a"), number, layer, False, "down", None, 0) for number, layer in enumerate(layers, 1)
    ]
    return State(ports=tuple(ports))


@pytest.mark.parametrize(
    ("layers", "labels"),
    [
        ((), {}),
        (("",), {}),
        (("infiniband", "infiniband"), {"plugin-gateway/rdma.link-layer": "infiniband"}),
        (("infiniband", "ethernet"), {"plugin-gateway/rdma.link-layer": "mixed"}),
    ],
)
def test_the_link_layer_is_that_of_all_ports(layers: tuple[str, ...], labels: dict[str, str]) -> None:
    assert node_labels([Labelled(state(*layers), make_labels)], (), WANTED).labels == labels


def test_without_a_wish_there_is_no_label() -> None:
    assert not node_labels([Labelled(state("ethernet"), make_labels)], (), LabelPolicy()).labels
