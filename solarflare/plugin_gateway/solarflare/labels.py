"""The labels of a node with Onload, all of them the gateway's own and only where somebody asks for them."""

from collections.abc import Iterator, Sequence

from plugin_gateway.core.health.state import State
from plugin_gateway.core.labels.making import Label
from plugin_gateway.core.labels.names import OWN, cleaned
from plugin_gateway.core.labels.policy import LabelPolicy
from plugin_gateway.core.resources.rules import ResourceRule
from plugin_gateway.solarflare.onload import VERSION_FACT

VERSION = "onload.version"
"""A label that has to be asked for: the version of Onload's kernel module."""
OWN_LABELS = (VERSION,)


def make_labels(state: State, _: Sequence[ResourceRule], policy: LabelPolicy) -> Iterator[Label]:
    """Yield the labels that follow from the state of the backend."""
    version = state.facts.node.get(VERSION_FACT, "") if state.facts is not None else ""
    if VERSION in policy.own and version:
        yield Label(f"{OWN}/{VERSION}", cleaned(version), "the kernel module of Onload says it")
