"""What a model of network cards is given to judge, read at once."""

from collections.abc import Iterable

from plugin_gateway.linux.card_model import PortId, Signs
from plugin_gateway.linux.facts import PciFunctions
from plugin_gateway.linux.signs import DirectReader, KeepingTree, plans_of


def signs_of(tree: KeepingTree, bus: PciFunctions, ports: Iterable[PortId]) -> Signs:
    """Return the signs of all functions, read now, in this thread."""
    reader = DirectReader(tree)
    reader.follow(plans_of(tree, bus, ports, [each.address for each in bus.functions]))
    try:
        return reader.look()
    finally:
        reader.stop()
