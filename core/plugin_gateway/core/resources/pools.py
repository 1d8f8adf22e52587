"""Resources of which each id stands for all devices, so that a container gets all of them with any id.

The ids are numbers from 0. A pool is healthy as long as one of its devices is, and a container gets those that are.
Where the devices are on several NUMA nodes, the kubelet is told none. Only imported where a rule asks for a pool.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from plugin_gateway.core.devices import Device, DeviceId, Offered, OfferedId
from plugin_gateway.core.health.state import State
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule
from plugin_gateway.core.resources.sharing import Sharing


def pool_offers(devices: Sequence[Device], sharing: Sharing) -> tuple[Offered, ...]:
    """Return what is offered of these devices. Nothing if there is none."""
    pool = tuple(devices)
    return tuple(Offered(OfferedId(str(number)), pool[0], number, pool) for number in range(sharing.replicas) if pool)


def with_pools(
    wanted: Mapping[ResourceName, Advertisement],
    pools: Mapping[ResourceName, Sequence[Device]],
    state: State,
    rules: Sequence[ResourceRule],
    *,
    numa_hints: bool,
) -> Mapping[ResourceName, Advertisement]:
    """Return the advertisements with those of the pools, whose devices are given in the order of their place.

    The first rule with the name says how many ids there are. What it offers in another way stays beside.
    """
    recipes = state.inventory.recipes if state.inventory is not None else {}
    found = dict(wanted)
    for name, devices in pools.items():
        sharing = next(rule.sharing for rule in rules if rule.sharing.is_pool and _can_be_named(rule, name))
        beside = found.get(name) or Advertisement(offered=(), recipes=recipes, numa_hints=numa_hints)
        nodes = {device.physical.numa_node for device in devices}
        found[name] = withholding(
            replace(
                beside,
                offered=(*beside.offered, *pool_offers(devices, sharing)),
                numa_hints=beside.numa_hints and len(nodes) == 1,
                one_per_request=beside.one_per_request or sharing.one_per_request,
            ),
            {device.id for device in devices if state.is_out(device)},
        )
    return found


def _can_be_named(rule: ResourceRule, name: ResourceName) -> bool:
    """Whether a rule can give a device this name, which can have the profile of a part at its end."""
    return rule.name is not None and (name == rule.name or (rule.has_profile and name.startswith(f"{rule.name}-")))


def withholding(advertised: Advertisement, devices: Collection[DeviceId]) -> Advertisement:
    """Return the same offer, with these devices unhealthy as well, and the ids that stand for no other ones."""
    out = advertised.out.union(device.id for device in advertised.devices if device.id in devices)
    if out == advertised.out:
        return advertised
    unhealthy = {each.id for each in advertised.offered if not each.pool and each.device.id in out}
    pools = {id(each.pool): each.pool for each in advertised.offered if each.pool}
    empty = {key for key, pool in pools.items() if all(device.id in out for device in pool)}
    unhealthy |= {each.id for each in advertised.offered if id(each.pool) in empty}
    return replace(advertised, unhealthy=advertised.unhealthy | unhealthy, out=out)
