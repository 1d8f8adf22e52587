"""What every kind of network card needs of a host, and whether this process sees it. For the doctor."""

import posixpath
import socket
from collections.abc import Collection, Generator, Iterator
from typing import NamedTuple

from plugin_gateway.core.devices import Device, Inventory
from plugin_gateway.core.findings import Finding, hint, mend, well
from plugin_gateway.linux.card_model import Tree, Unread
from plugin_gateway.linux.facts import PciFunctions
from plugin_gateway.linux.pci_scan import BUS_TODO, NoBusError, scan
from plugin_gateway.linux.sysfs import HostTree

POLL = "poll"
"""The value of ``--link-events`` with which nobody waits for an event."""
_DEV = "/dev"
_MAX_NAMED = 8
"""Names in one finding."""


class HostView(NamedTuple):
    """What this process sees of a host, and with which settings the gateway looks at it."""

    tree: Tree
    root: str = "/"
    """Where the root of the host is seen."""
    own_interfaces: Collection[str] = ()
    """The interfaces of the network namespace of this process."""
    link_events: str = "auto"
    """The value of ``--link-events``."""
    poll_interval: float = 1.0
    """Seconds between two looks at the links."""

    def path(self, path: str) -> str:
        """Return a path of the host as this process sees it."""
        return f"{self.root.rstrip('/')}{path}"


def view_of(root: str, link_events: str, poll_interval: float) -> HostView:
    """Return what this process sees below this folder."""
    own = frozenset(name for _, name in socket.if_nameindex())
    return HostView(HostTree(root), root, own, link_events, poll_interval)


def check_bus(view: HostView) -> Generator[Finding, None, PciFunctions | None]:
    """Check that the PCI bus of the host is seen. Returns what is on it, and None if it is not seen."""
    try:
        return scan(view.tree)
    except NoBusError as error:
        yield mend(f"network cards are not seen: {error}", BUS_TODO)
        return None


def check_interfaces(view: HostView, bus: PciFunctions, cards: Collection[str]) -> Iterator[Finding]:
    """Check that the interfaces of these cards are seen, and whether their events reach the gateway.

    ``cards`` has PCI addresses. An interface of a virtual function can be in a pod, so physical ones decide.
    """
    physical = [each for each in bus.functions if each.address in cards and not each.is_virtual and each.driver]
    names = [interface.name for each in physical for interface in each.interfaces]
    if physical and not names:
        yield mend(
            f"no interface of a network card is seen: {view.path('/sys')} belongs to another network namespace than "
            "that of the host, so neither rules by interface nor the health of links can be right",
            BUS_TODO,
        )
    elif names and view.link_events != POLL and not set(names) & set(view.own_interfaces):
        yield hint(
            "this process is not in the network namespace of the host, so no event of a link reaches it; where the "
            f"gateway is neither, it looks at the links every {view.poll_interval:g} s instead",
            "for a lost link to be seen at once, run the gateway in the network namespace of the host (hostNetwork)",
        )


def check_nodes(view: HostView, inventory: Inventory) -> Iterator[Finding]:
    """Check that the device nodes of the cards are there, as they are called now. A pod can have some of them."""
    if not any(recipe.is_complete for recipe in inventory.recipes.values()) or not inventory.devices:
        return
    folder = view.tree.names(_DEV)
    if isinstance(folder, Unread) or not folder:
        yield mend(
            f"the device nodes of the host are not seen: {view.path(_DEV)} is missing or empty; no container gets a "
            "network card without them",
            "mount the /dev of the host read-only, beside its /sys",
        )
        return
    own = [node for device in inventory.devices for node in _nodes_now(device, view.tree)]
    needed = dict.fromkeys((*own, *inventory.shared_nodes))
    missing = [node for node in needed if not view.tree.exists(node)]
    if missing:
        yield mend(
            f"device nodes are missing in {view.path(_DEV)}: {listed(missing)}; containers that need them are refused",
            "see on the host whether they are there: where they are, mount the /dev of the host and not another one",
        )
    elif needed:
        yield well(f"every device node of a network card is there: {len(needed)}")


def _nodes_now(device: Device, tree: Tree) -> list[str]:
    """Return the nodes that the kernel has for a device now. Those of one that stay the same are as they were seen."""
    if not device.node_folder:
        return list(device.nodes)
    names = tree.names(device.node_folder)
    if isinstance(names, Unread) or not device.nodes:
        return []
    return [f"{posixpath.dirname(device.nodes[0])}/{name}" for name in names]


def listed(names: Collection[str]) -> str:
    """Return names for people. Of very many, the first ones and how many more there are."""
    named = list(names)[:_MAX_NAMED]
    more = len(names) - len(named)
    return ", ".join((*named, f"and {more} more") if more else named)
