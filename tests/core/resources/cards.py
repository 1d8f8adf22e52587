"""Devices that are no GPUs, whose nodes the driver can make anew under other names."""

from collections.abc import Sequence
from typing import Any

from harness.hosts import Host
from plugin_gateway.core.devices import Device, DeviceId, Inventory, Kind, PhysicalDevice, PhysicalId, Recipe
from plugin_gateway.core.health.state import State
from plugin_gateway.core.resources.assignment import Advertisement, advertise
from plugin_gateway.core.resources.container_options import ContainerOptions
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule, Selector
from plugin_gateway.core.resources.sharing import ALONE, Sharing

CARD = Kind("card")
NAME = ResourceName("example.com/card")
COMMON = "/dev/net/common"
RECIPE = Recipe(shared_nodes=(COMMON,), is_complete=True)


def address(number: int) -> str:
    return f"0000:3b:00.{number}"


def folder(number: int) -> str:
    return f"/sys/bus/pci/devices/{address(number)}/verbs"


def card(number: int, *, numa_node: int | None = 0, **others: Any) -> Device:
    physical = PhysicalDevice(
        id=PhysicalId(address(number)),
        index=number,
        minor=None,
        pci_address=address(number),
        product="A card",
        memory_bytes=0,
        numa_node=numa_node,
        attributes={"driver": ("x_core",), "function": ("vf" if number else "pf",)},
    )
    usual: dict[str, Any] = {
        "id": DeviceId(physical.id),
        "physical": physical,
        "kind": CARD,
        "place": (number,),
        "nodes": (f"/dev/net/verbs{number}",),
        "memory_bytes": 0,
        "node_folder": folder(number),
        "requested_nodes": {"fabric": (f"/dev/net/fabric{number}",)},
        "values": {"name": f"x_{number}:1"},
        "details": {
            "generic": {"deviceID": address(number)},
            "net": {"verbs": f"/dev/net/verbs{number}", "fabric": f"/dev/net/fabric{number}", "common": COMMON},
        },
    }
    return Device(**{**usual, **others})


def inventory(*cards: Device, recipe: Recipe = RECIPE) -> Inventory:
    return Inventory(physical=tuple(each.physical for each in cards), devices=cards, recipes={CARD: recipe})


def rule(sharing: Sharing = ALONE, options: ContainerOptions | None = None, **others: Any) -> ResourceRule:
    return ResourceRule(name=NAME, sharing=sharing, options=options, is_always_there=True, **others)


def offer(
    cards: Sequence[Device],
    sharing: Sharing = ALONE,
    options: ContainerOptions | None = None,
    *,
    recipe: Recipe = RECIPE,
    **others: Any,
) -> Advertisement:
    """What the resource of these devices offers."""
    state = State(inventory=inventory(*cards, recipe=recipe), **others)
    return advertise(state, [rule(sharing, options, selector=Selector(kinds=(CARD,)))])[NAME]


def host(*numbers: int, names: Sequence[str] = (), **folders: Sequence[str]) -> Host:
    """A host with the nodes of these cards, and further ones by their names."""
    verbs = {folder(number): [f"verbs{number}"] for number in numbers}
    nodes = ["common", *(name for number in numbers for name in (f"verbs{number}", f"fabric{number}")), *names]
    return Host(folders={"/dev/net": sorted(nodes), **verbs, **folders})
