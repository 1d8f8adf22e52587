"""Names that RDMA in Linux uses, and those of this backend."""

from collections.abc import Mapping
from dataclasses import replace

from plugin_gateway.core.devices import Kind, Recipe

BACKEND = "rdma"
"""The name of the backend."""
DEVICE_WORD = "RDMA device"
"""The common word for a device."""
RDMA = Kind("rdma")
"""The kind of an HCA or a virtual function of one."""

NODES_FOLDER = "/dev/infiniband"
"""The folder of the device nodes."""
CONNECTION_MANAGER = "rdma_cm"
"""The device node through which programs find each other by IP addresses. There is one for the host."""
UMAD, ISSM = "umad", "issm"
"""The words for device nodes that are handed out only on request: they open the fabric, and not data alone."""
NCCL, UCX = "nccl", "ucx"
"""The words under which a variable names devices as these two libraries read them."""
ETHERNET, INFINIBAND = "ethernet", "infiniband"
"""The words for what a port connects to."""
LINK_LAYERS: Mapping[str, str] = {"Ethernet": ETHERNET, "InfiniBand": INFINIBAND}
"""The kernel's words for the link layer of a port."""
HARDWARE_TYPES: Mapping[int, str] = {1: ETHERNET, 32: INFINIBAND}
"""The kernel's numbers for the hardware type of an interface."""

RDMA_DEVICE = "rdmaDevice"
"""The attribute with the names of its RDMA devices."""
HOLDER, HOST, ELSEWHERE = "holder", "host", "elsewhere"
"""An attribute for people: in which network namespace a device is. Of another one, nothing else is seen."""

_RECIPE = Recipe(shared_nodes=(f"{NODES_FOLDER}/{CONNECTION_MANAGER}",), is_complete=True)
RECIPES: Mapping[Kind, Recipe] = {RDMA: _RECIPE}
"""How a container gets RDMA devices."""
SIMULATED_RECIPES: Mapping[Kind, Recipe] = {
    RDMA: replace(_RECIPE, shared_nodes=(), optional_nodes=_RECIPE.shared_nodes, is_complete=False)
}
"""The same where no device node is needed: a machine without RDMA has none."""


def node(name: str) -> str:
    """Return the path of a device node of RDMA."""
    return f"{NODES_FOLDER}/{name}"
