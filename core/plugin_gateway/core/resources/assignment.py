"""Which device belongs to which resource, and what a resource advertises."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

from plugin_gateway.core.devices import Device, DeviceId, Kind, Offered, OfferedId, Recipe
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.state import State
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule, named

if TYPE_CHECKING:
    from plugin_gateway.core.resources.container_options import ContainerOptions
    from plugin_gateway.core.resources.daemons import Shared

GRANT_GRACE = 5.0
"""Seconds for which an allocated device stays in the list, even if it has vanished.

Kubelets of 1.34 and later crash if a device vanishes from the list before the kubelet has stored its allocation. That
takes milliseconds. Seen with genuine kubelets of 1.36.3 and 1.37.2.
"""


class Health(Enum):
    """The two health values that every kubelet knows. A kubelet treats any other value as unhealthy."""

    HEALTHY = "Healthy"
    UNHEALTHY = "Unhealthy"


HEALTHY: frozenset[OfferedId] = frozenset()
"""What is unhealthy where nothing is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advertisement:
    """What one resource offers at one moment. Device lists and allocations are made from it."""

    offered: tuple[Offered, ...]
    """In the order of place and replica. No id occurs twice."""
    unhealthy: frozenset[OfferedId] = HEALTHY
    recipes: Mapping[Kind, Recipe]
    """How a container gets the devices: one for each kind that can be allocated."""
    numa_hints: bool = True
    """Whether the kubelet is told the NUMA nodes of the devices."""
    one_per_request: bool = False
    """Whether a container may get only one of the devices that are shared."""
    through: Mapping[DeviceId, "Shared"] = field(default_factory=dict)
    """The devices that containers share through a daemon."""
    options: "ContainerOptions | None" = None
    out: frozenset[DeviceId] = frozenset()
    """The devices of a pool that no container gets, because they are unhealthy. The others are given all the same."""
    by_id: Mapping[str, Offered] = field(init=False, repr=False, compare=False)
    """What is offered, by its id."""
    only_recipe: Recipe | None = field(init=False, repr=False, compare=False)
    """The recipe of all that is offered. None if there are several kinds, or none."""
    is_shared: bool = field(init=False, repr=False, compare=False)
    """Whether there are replicas."""
    is_pool: bool = field(init=False, repr=False, compare=False)
    """Whether an id stands for all devices."""
    asks_for_more: bool = field(init=False, repr=False, compare=False)
    """Whether containers get more than a variable and the device nodes that are there, or need all of these."""

    def __post_init__(self) -> None:
        """Find out once what would make each allocation slower.

        Raises:
            InvalidValueError: an id occurs twice.
        """
        by_id = {each.id: each for each in self.offered}
        if len(by_id) != len(self.offered):
            raise InvalidValueError(f"an id is offered twice: {', '.join(each.id for each in self.offered)}")
        kinds = {each.device.kind for each in self.offered}
        is_complete = any(self.recipes[kind].is_complete for kind in kinds if kind in self.recipes)
        is_shared = any(each.replica is not None for each in self.offered)
        is_pool = is_shared and any(each.pool for each in self.offered)
        object.__setattr__(self, "is_pool", is_pool)
        object.__setattr__(self, "by_id", by_id)
        object.__setattr__(self, "only_recipe", self.recipes.get(kinds.pop()) if len(kinds) == 1 else None)
        object.__setattr__(self, "is_shared", is_shared)
        object.__setattr__(self, "asks_for_more", is_complete or is_pool or self.options is not None)

    @property
    def devices(self) -> tuple[Device, ...]:
        """The devices, each once."""
        if not self.is_pool:
            return tuple({each.device.id: each.device for each in self.offered}.values())
        pools = {id(each.pool or each.device): each.devices for each in self.offered}
        return tuple({device.id: device for devices in pools.values() for device in devices}.values())

    def word_of(self, device: Device) -> str:
        """Return the daemon through which containers share a device, in a word of the backend. Empty if none."""
        return self.through[device.id].word if device.id in self.through else ""

    def with_all_unhealthy(self) -> "Advertisement":
        """Return the same offer, all of it unhealthy."""
        return replace(self, unhealthy=frozenset(each.id for each in self.offered))

    def withholding(self, devices: Collection[DeviceId]) -> "Advertisement":
        """Return the same offer, with these devices, and all their replicas, unhealthy as well."""
        if self.is_pool:
            from plugin_gateway.core.resources.pools import withholding  # noqa: PLC0415 - only with pools

            return withholding(self, devices)
        withheld = frozenset(each.id for each in self.offered if each.device.id in devices)
        return replace(self, unhealthy=self.unhealthy | withheld) if withheld else self

    def with_unhealthy(self, others: Sequence[Offered]) -> "Advertisement":
        """Return the same offer together with others that are unhealthy."""
        offered = sorted([*self.offered, *others], key=offered_order)
        return replace(self, offered=tuple(offered), unhealthy=self.unhealthy.union(each.id for each in others))

    def without_devices(self) -> "Advertisement":
        """Return the advertisement of the same resource when it has no device any more."""
        return Advertisement(offered=(), recipes=self.recipes)

    def health_of(self, offered: OfferedId) -> Health:
        """Return the health of a device, or of a replica, as the kubelet sees it."""
        return Health.UNHEALTHY if offered in self.unhealthy else Health.HEALTHY


def offered_order(offered: Offered) -> tuple[tuple[int, ...], int]:
    """Return the key by which offers are ordered: by place, then by replica."""
    return offered.device.place, -1 if offered.replica is None else offered.replica


def keep_granted(
    wanted: Advertisement, before: Advertisement, granted_until: Mapping[str, float], now: float
) -> tuple[Advertisement, float | None]:
    """Return what to advertise instead of ``before``, and when to do it again. None if nothing will change by itself.

    A device that has vanished stays in the list as unhealthy until its time in ``granted_until``, which is
    `GRANT_GRACE` after it was allocated last.
    """
    leaving = {
        each: until
        for each, until in granted_until.items()
        if now < until and each in before.by_id and each not in wanted.by_id
    }
    kept = wanted.with_unhealthy([before.by_id[each] for each in leaving]) if leaving else wanted
    return kept, min(leaving.values(), default=None)


def kept_names(rules: Sequence[ResourceRule]) -> frozenset[ResourceName]:
    """Return the names of the resources that stay registered without a device.

    One whose name has a profile goes with the last device of this profile.
    """
    return frozenset(rule.name for rule in rules if rule.name is not None and not rule.has_profile)


def advertise(
    state: State, rules: Sequence[ResourceRule], *, numa_hints: bool = True, backend: str = ""
) -> Mapping[ResourceName, Advertisement]:
    """Return the advertisement of each resource. The first matching rule decides the resource of a device.

    A device that no rule matches is not offered. A resource without devices is left out, unless its rule says that it
    is always there. ``backend`` is the name of the backend whose devices these are, if there are several.
    """
    if state.inventory is None and state.driver_problem is None:
        return {}
    if state.inventory is None:
        return _with_options(_always_there(state, rules, backend, numa_hints=numa_hints), rules, backend)
    offered: dict[ResourceName, list[Offered]] = {}
    pools: dict[ResourceName, list[Device]] = {}
    limited: set[ResourceName] = set()
    for device, name, sharing in named(state.devices, rules):
        if sharing.is_pool:
            pools.setdefault(name, []).append(device)
            continue
        offered.setdefault(name, []).extend(sharing.offers(device))
        limited.update((name,) if sharing.one_per_request else ())
    advertisements: Mapping[ResourceName, Advertisement] = {
        name: Advertisement(
            offered=tuple(offers),
            unhealthy=frozenset(each.id for each in offers if state.is_out(each.device)) if state.faults else HEALTHY,
            recipes=state.inventory.recipes,
            numa_hints=numa_hints,
            one_per_request=name in limited,
        )
        for name, offers in offered.items()
    }
    if pools:
        from plugin_gateway.core.resources.pools import with_pools  # noqa: PLC0415 - only where asked for

        advertisements = with_pools(advertisements, pools, state, rules, numa_hints=numa_hints)
    if absent := _always_there(state, rules, backend, numa_hints=numa_hints):
        advertisements = {**advertisements, **{name: absent[name] for name in absent if name not in advertisements}}
    advertisements = _with_options(advertisements, rules, backend)
    if state.requirement is not None and state.requirement.problem:
        advertisements = {name: each.with_all_unhealthy() for name, each in advertisements.items()}
    if not any(rule.sharing.through for rule in rules):
        return advertisements
    from plugin_gateway.core.resources.daemons import with_daemons  # noqa: PLC0415 - only where asked for

    return with_daemons(advertisements, state, rules)


def _always_there(
    state: State, rules: Sequence[ResourceRule], backend: str, *, numa_hints: bool
) -> Mapping[ResourceName, Advertisement]:
    """Return the resources of a backend that are offered without a device, as if there were none."""
    recipes = state.inventory.recipes if state.inventory is not None else {}
    return {
        rule.name: Advertisement(offered=(), recipes=recipes, numa_hints=numa_hints)
        for rule in rules
        if rule.is_always_there and rule.name is not None and rule.is_about(backend)
    }


def _with_options(
    wanted: Mapping[ResourceName, Advertisement], rules: Sequence[ResourceRule], backend: str
) -> Mapping[ResourceName, Advertisement]:
    """Return the advertisements with what an administrator gives to their containers. The first rule decides."""
    options = {
        rule.name: rule.options for rule in reversed(rules) if rule.options is not None and rule.is_about(backend)
    }
    if not options:
        return wanted
    return {name: replace(each, options=options[name]) if name in options else each for name, each in wanted.items()}
