"""Which of the available devices a container should get.

Devices on the same NUMA node are preferred, then devices with a low index. It is the rule where the links between whole
devices say nothing; `choice` decides between the rules.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from itertools import combinations
from typing import NamedTuple

from plugin_gateway.core.devices import Offered
from plugin_gateway.core.resources.assignment import Advertisement, offered_order

_MAX_NODES_COMPARED = 12
"""With more NUMA nodes than this, the largest ones are taken instead of the best combination."""

_Nodes = tuple[int | None, ...]


class PreferenceRequest(NamedTuple):
    """What the kubelet asks for one container before it chooses devices."""

    available: Sequence[str]
    """The ids that can be chosen."""
    must_include: Sequence[str] = ()
    """The ids that are chosen already."""
    size: int = 0
    """How many devices the container gets, with those of `must_include`."""


def prefer(
    advertised: Advertisement, available: Sequence[str], must_include: Sequence[str], size: int
) -> tuple[str, ...]:
    """Return ``size`` ids: those of ``must_include`` first, then few NUMA nodes, then low indexes.

    The function never fails, because an error would fail the admission of the pod. Unknown ids come last. If there are
    too few ids, all are returned. More than ``size`` ids are returned only if ``must_include`` has more.
    """
    chosen = tuple(dict.fromkeys(must_include))
    fixed = frozenset(chosen)
    free = [name for name in dict.fromkeys(available) if name not in fixed]
    missing = min(max(size - len(chosen), 0), len(free))
    if not missing:
        return chosen
    devices = sorted((advertised.by_id[name] for name in free if name in advertised.by_id), key=offered_order)
    held = {advertised.by_id[name].device.physical.numa_node for name in chosen if name in advertised.by_id}
    ranked: list[str] = [each.id for each in _closest(devices, held, missing)]
    ranked += [name for name in free if name not in advertised.by_id]
    return chosen + tuple(ranked[:missing])


def _closest(devices: Sequence[Offered], held: AbstractSet[int | None], missing: int) -> list[Offered]:
    """Return the devices, ordered so that the first ``missing`` of them add as few NUMA nodes as possible."""
    by_node: dict[int | None, list[Offered]] = {}
    for each in devices:
        by_node.setdefault(each.device.physical.numa_node, []).append(each)
    near = [node for node in by_node if node in held]
    far = [node for node in by_node if node not in held]
    taken = sorted((each for node in near for each in by_node[node]), key=offered_order)
    if len(taken) < missing:
        nodes = _fewest_nodes({node: by_node[node] for node in far}, missing - len(taken))
        taken += sorted((each for node in nodes for each in by_node[node]), key=offered_order)
    return taken


def _fewest_nodes(by_node: dict[int | None, list[Offered]], missing: int) -> _Nodes:
    """Return the smallest set of NUMA nodes with enough devices. Of equal sets, the one with the lowest indexes."""
    largest_first = sorted(by_node, key=lambda node: (-len(by_node[node]), offered_order(by_node[node][0])))
    count, devices_in_them = 0, 0
    while count < len(largest_first) and devices_in_them < missing:
        devices_in_them += len(by_node[largest_first[count]])
        count += 1
    if devices_in_them < missing or len(by_node) > _MAX_NODES_COMPARED:
        return tuple(largest_first[:count])

    # ``by_node`` is ordered by the lowest index, so the combinations are as well.
    combined: Iterable[_Nodes] = combinations(by_node, count)
    return next(nodes for nodes in combined if sum(len(by_node[node]) for node in nodes) >= missing)
