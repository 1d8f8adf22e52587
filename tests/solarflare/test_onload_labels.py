"""The label about the version of Onload."""

import pytest

from plugin_gateway.core.health.observations import FactsSeen
from plugin_gateway.core.health.state import State
from plugin_gateway.core.labels.making import Labelled, node_labels
from plugin_gateway.core.labels.policy import LabelPolicy
from plugin_gateway.solarflare.labels import VERSION, make_labels
from plugin_gateway.solarflare.onload import VERSION_FACT

WANTED = LabelPolicy(own=frozenset({VERSION}))


@pytest.mark.parametrize(
    ("facts", "labels"),
    [
        (None, {}),
        (FactsSeen({}, {}), {}),
        (FactsSeen({VERSION_FACT: "8.1.2.26"}, {}), {"plugin-gateway/onload.version": "8.1.2.26"}),
        (FactsSeen({VERSION_FACT: "8.1.2+dirty build"}, {}), {"plugin-gateway/onload.version": "8.1.2dirty-build"}),
    ],
)
def test_the_version_is_that_of_the_kernel_module(facts: FactsSeen | None, labels: dict[str, str]) -> None:
    assert node_labels([Labelled(State(facts=facts), make_labels)], (), WANTED).labels == labels


def test_without_a_wish_there_is_no_label() -> None:
    known = State(facts=FactsSeen({VERSION_FACT: "8.1.2.26"}, {}))
    assert not node_labels([Labelled(known, make_labels)], (), LabelPolicy()).labels
