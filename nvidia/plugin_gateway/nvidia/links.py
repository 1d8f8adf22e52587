"""How near each pair of GPUs is, and by how many NVLinks it is connected. This is asked once for each inventory.

The driver is asked at most 73 questions for each GPU and one for each pair. After the first question about its links
that fails, a GPU is not asked for more of them.

Source of the levels: nvml.h, nvmlGpuTopologyLevel_t. Of their weights: NVIDIA/go-gpuallocator,
gpuallocator/besteffort_policy.go.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from plugin_gateway.core.devices import NO_LINKS, Links, Pair, PhysicalId
from plugin_gateway.nvidia import nvml

_NEARNESS: Mapping[int, int] = {0: 60, 10: 50, 20: 40, 30: 30, 40: 20, 50: 10}
"""The weights of NVML's levels: the same board, one PCIe switch, several switches, one host bridge, one NUMA node, and
different NUMA nodes."""
SAME_GPU, FARTHEST = 60, 10


PairTable = tuple[tuple[Pair, ...], ...]
"""The pairs of all GPUs, by their positions. It is symmetric."""
_UNKNOWN = Pair(0, 0)


class _Gpu(NamedTuple):
    """What one GPU says of its links."""

    handle: nvml.Handle
    address: str
    up: Mapping[str, int]
    """How many links are up, by the PCI address at the other end."""


def read_links(gpus: Mapping[PhysicalId, nvml.Handle | None], between: Callable[[], object] = lambda: None) -> Links:
    """Return how these GPUs are connected, in their order. Nothing is known if the driver tells it of no pair.

    None stands for a GPU that cannot be asked. ``between`` is called after each call of the driver.
    """
    pairs = read_pairs(list(gpus.values()), between)
    is_told = any(pair != _UNKNOWN for place, row in enumerate(pairs) for pair in row[:place])
    return Links(tuple(gpus), pairs) if is_told else NO_LINKS


def read_pairs(gpus: Sequence[nvml.Handle | None], between: Callable[[], object] = lambda: None) -> PairTable:
    """Return the pairs of these GPUs. None stands for a GPU that cannot be asked.

    A pair whose answer is missing has an unknown nearness, and no links. ``between`` is called after each call of the
    driver.
    """
    asked = [_read(handle, between) for handle in gpus] if len(gpus) > 1 else [None] * len(gpus)
    table = [[_UNKNOWN] * len(asked) for _ in asked]
    for one, gpu in enumerate(asked):
        table[one][one] = Pair(SAME_GPU, 0)
        for position, other in enumerate(asked[:one]):
            if gpu is not None and other is not None:
                table[one][position] = table[position][one] = _pair(gpu, other)
                between()
    return tuple(map(tuple, table))


def _read(handle: nvml.Handle | None, between: Callable[[], object]) -> _Gpu | None:
    """Return what a GPU says of its links. None if it cannot be asked. After a failure it counts as without links."""
    if handle is None:
        return None
    try:
        address = nvml.pci_address(handle)
    except nvml.NvmlError:
        return None
    try:
        return _Gpu(handle, address, Counter(_remote_addresses(handle, between)))
    except nvml.NvmlError:
        return _Gpu(handle, address, {})


def _remote_addresses(handle: nvml.Handle, between: Callable[[], object]) -> Iterator[str]:
    """Return the PCI address at the other end of each link that is up.

    Raises:
        NvmlError: a call failed, which is no answer.
    """
    for link in range(nvml.MAX_LINKS):
        is_up = nvml.is_link_up(handle, link)
        between()
        if is_up is None:
            return
        if is_up:
            remote = nvml.ask_if_there_is("nvmlDeviceGetNvLinkRemotePciInfo", handle, link)
            between()
            if remote is not None:
                yield nvml.address_in(remote)


def _pair(one: _Gpu, other: _Gpu) -> Pair:
    """Return how two GPUs are connected. A link counts if both see it."""
    try:
        level = nvml.ask_if_there_is("nvmlDeviceGetTopologyCommonAncestor", one.handle, other.handle)
    except nvml.NvmlError:
        return _UNKNOWN
    links = min(one.up.get(other.address, 0), other.up.get(one.address, 0))
    return Pair(_UNKNOWN.nearness if level is None else _NEARNESS.get(int(level), FARTHEST), links)
