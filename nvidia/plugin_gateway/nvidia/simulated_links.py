"""How simulated GPUs are connected: as in a machine that is sold with so many of the model.

Links to an NVSwitch are to no other GPU, so the driver counts none. GPUs of a V100 machine form a cube mesh. Sources:
the tables of NVIDIA/go-gpuallocator, gpuallocator/common_test.go, and the same for the machines with NVSwitches.
"""

from collections.abc import Mapping, Sequence

from plugin_gateway.core.devices import NO_LINKS, Links, Pair, PhysicalDevice

MAX_GPUS = 16
"""Of a machine with more of them nothing is known."""
_SAME_GPU, _ONE_SWITCH, _HOST_BRIDGE, _NODE, _SYSTEM = 60, 50, 30, 20, 10
"""The nearness of two GPUs behind one PCIe switch, below one host bridge, on one NUMA node, and on different ones."""
_CUBE: Mapping[tuple[int, int], int] = {
    **dict.fromkeys(((0, 3), (0, 4), (1, 2), (1, 5), (2, 3), (4, 7), (5, 6), (6, 7)), 2),
    **dict.fromkeys(((0, 1), (0, 2), (1, 3), (2, 6), (3, 7), (4, 5), (4, 6), (5, 7)), 1),
}
"""The NVLinks between the eight GPUs of a DGX-1 with V100, by the places of two GPUs."""
_CUBE_SIZE = 8
_ON_PCIE = ("Tesla T4", "NVIDIA L40S")
"""The products whose GPUs are cards, each in a slot of its own."""


def simulated_links(gpus: Sequence[PhysicalDevice]) -> Links:
    """Return how these GPUs are connected, as the driver of such a machine tells it."""
    if not 1 < len(gpus) <= MAX_GPUS:
        return NO_LINKS
    products = {gpu.product for gpu in gpus}
    is_cube = len(gpus) == _CUBE_SIZE and all("V100" in product for product in products)
    is_baseboard = len(products) == 1 and not products.intersection(_ON_PCIE)

    def pair(one: int, other: int) -> Pair:
        if one == other:
            return Pair(_SAME_GPU, 0)
        links = _CUBE.get((min(one, other), max(one, other)), 0) if is_cube else 0
        if gpus[one].numa_node != gpus[other].numa_node:
            return Pair(_SYSTEM, links)
        if is_baseboard and one // 2 == other // 2:
            return Pair(_ONE_SWITCH, links)
        return Pair(_HOST_BRIDGE if is_cube else _NODE, links)

    places = range(len(gpus))
    return Links(tuple(gpu.id for gpu in gpus), tuple(tuple(pair(one, other) for other in places) for one in places))
