"""What a container gets for the devices that the kubelet allocates to it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from plugin_gateway.core.devices import Device, Kind, Recipe
from plugin_gateway.core.errors import (
    RepeatedDeviceError,
    SharedRequestError,
    UnhealthyDeviceError,
    UnknownDeviceError,
)
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.policy import (
    USUAL_STRATEGIES,
    AllocationPolicy,
    DeviceIdStrategy,
    ListStrategy,
)

if TYPE_CHECKING:
    from plugin_gateway.core.ports import HostNodes

READ_WRITE = "rw"
"""The permissions of a device node in the container, as the device plugin API writes them."""
_PLACE = attrgetter("place")
_NOTHING: Mapping[str, str] = MappingProxyType({})


class DeviceNode(NamedTuple):
    """A device node that the container runtime creates in the container."""

    container_path: str
    host_path: str
    permissions: str = READ_WRITE


class Mount(NamedTuple):
    """A file or folder of the host that is mounted into the container."""

    container_path: str
    host_path: str
    read_only: bool = True


class Edit(Enum):
    """The kinds of edits. The value is the field of `ContainerEdits`. Each dialect says which of them it carries."""

    ENVIRONMENT = "environment"
    MOUNTS = "mounts"
    DEVICE_NODES = "device_nodes"
    ANNOTATIONS = "annotations"
    CDI_DEVICES = "cdi_devices"

    @property
    def words(self) -> str:
        """The name for people."""
        return "CDI devices" if self is Edit.CDI_DEVICES else self.value.replace("_", " ")


class ContainerEdits(NamedTuple):
    """Everything that the kubelet adds to a container."""

    environment: Mapping[str, str] = _NOTHING
    mounts: tuple[Mount, ...] = ()
    device_nodes: tuple[DeviceNode, ...] = ()
    annotations: Mapping[str, str] = _NOTHING
    cdi_devices: tuple[str, ...] = ()
    absent_nodes: tuple[str, ...] = ()
    """Device nodes that the container needs but the host lacks. They are logged, not sent."""

    def among(self, kinds: Iterable[Edit]) -> frozenset[Edit]:
        """Return those of these kinds that the container gets something of."""
        return frozenset(kind for kind in kinds if getattr(self, kind.value))


NO_EDITS = ContainerEdits()
Group: TypeAlias = tuple[Recipe, Sequence[Device]]
"""The granted devices of one kind, in order, and how a container gets them."""


def allocate(
    advertised: Advertisement,
    ids: Sequence[str],
    policy: AllocationPolicy,
    host: "HostNodes",
) -> ContainerEdits:
    """Return what one container gets for these ids. A device of which it has several replicas is named once.

    ``host`` knows which device nodes exist now. Some drivers create them late, so this is checked at every allocation.
    If the folder of the device nodes is not visible, the container gets those that it needs all the same. Others are
    left out, because a device node that the host lacks keeps the container from starting.

    Raises:
        UnknownDeviceError, RepeatedDeviceError, SharedRequestError, UnhealthyDeviceError, MissingExtraError,
            MissingNodeError: with the ids concerned.
    """
    if not ids:
        return NO_EDITS
    if advertised.asks_for_more:
        from plugin_gateway.core.resources.complete import allocate_all  # noqa: PLC0415 - only where asked for

        return allocate_all(advertised, ids, policy, host)
    devices, recipe = granted(advertised, ids), advertised.only_recipe
    groups = [(recipe, devices)] if recipe is not None else by_kind(advertised.recipes, devices)
    if policy.is_usual:
        return _edits(advertised, ids, groups, policy, host)
    if policy.needs_specs:
        policy = _for_recipes(policy, groups)
    edits = _edits(advertised, ids, groups, policy, host)
    if policy.needs_specs:
        edits = _with_names(edits, groups, policy)
    if not policy.asks_for_more:
        return edits
    from plugin_gateway.core.resources.extras import with_more  # noqa: PLC0415 - only where asked for

    return with_more(edits, groups, ids, policy, host)


def _edits(
    advertised: Advertisement, ids: Sequence[str], groups: Sequence[Group], policy: AllocationPolicy, host: "HostNodes"
) -> ContainerEdits:
    """Return what the recipes of the devices say: variables, folders of daemons, and device nodes."""
    environment = environment_of(groups, policy)
    mounts: tuple[Mount, ...] = ()
    if advertised.through:
        environment, mounts = _through_daemons(advertised, ids, environment, policy.daemon_root)
    if not policy.lists_nodes:
        return ContainerEdits(environment, mounts)
    root = policy.dev_root.rstrip("/")
    if len(groups) == 1:
        nodes, absent = nodes_of(groups[0], root, host)
        return ContainerEdits(environment, mounts, tuple(nodes), absent_nodes=tuple(absent))
    found = [nodes_of(group, root, host) for group in groups]
    return ContainerEdits(
        environment,
        mounts,
        tuple({node.container_path: node for nodes, _ in found for node in nodes}.values()),
        absent_nodes=tuple(dict.fromkeys(path for _, absent in found for path in absent)),
    )


def _for_recipes(policy: AllocationPolicy, groups: Sequence[Group]) -> AllocationPolicy:
    """Return the policy for these devices, which can be in no CDI spec."""
    if all(recipe.cdi_kind for recipe, _ in groups):
        return policy
    from plugin_gateway.core.resources.cdi_names import carried  # noqa: PLC0415 - only where asked for

    return carried(policy, ())


def _with_names(edits: ContainerEdits, groups: Sequence[Group], policy: AllocationPolicy) -> ContainerEdits:
    from plugin_gateway.core.resources.cdi_names import with_names  # noqa: PLC0415 - only where asked for

    return with_names(edits, groups, policy)


def _through_daemons(
    advertised: Advertisement, ids: Sequence[str], environment: Mapping[str, str], root: str
) -> tuple[Mapping[str, str], tuple[Mount, ...]]:
    """Return the variables, with those for the daemons of these ids, and the folders of the daemons."""
    from plugin_gateway.core.resources.daemons import access  # noqa: PLC0415 - only where asked for

    found = access(advertised.through, [advertised.by_id[each].device for each in ids], root)
    mounts = tuple(Mount(inside, host, read_only=False) for inside, host in found.mounts.items())
    return {**environment, **found.environment}, mounts


def by_kind(recipes: Mapping[Kind, Recipe], devices: Sequence[Device]) -> Sequence[Group]:
    """Return the devices of each kind, with their recipe."""
    kinds = dict.fromkeys(device.kind for device in devices)
    return [(recipes[kind], [device for device in devices if device.kind == kind]) for kind in kinds]


def environment_of(groups: Sequence[Group], policy: AllocationPolicy) -> Mapping[str, str]:
    """Return the variables of the recipes, and those that name the devices. Two kinds can have the same variable."""
    environment: dict[str, str] = {}
    by_uuid = policy.device_id_strategy is DeviceIdStrategy.UUID
    names_devices = policy.list_strategies == USUAL_STRATEGIES or ListStrategy.ENVVAR in policy.list_strategies
    for recipe, devices in groups:
        if recipe.environment:
            environment.update(recipe.environment)
        variable = recipe.visibility_variable
        if variable is not None and names_devices:
            names = ",".join([device.id if by_uuid else device.place_words for device in devices])
            environment[variable] = f"{environment[variable]},{names}" if variable in environment else names
    return environment


def nodes_of(group: Group, root: str, host: "HostNodes") -> tuple[Sequence[DeviceNode], Sequence[str]]:
    """Return the device nodes that are given, each once, and the paths of those that are needed and absent."""
    recipe, devices = group
    own = devices[0].nodes if len(devices) == 1 else dict.fromkeys([path for each in devices for path in each.nodes])
    needed = [*own, *recipe.shared_nodes]
    paths = [*needed, *recipe.optional_nodes]
    present, permissions = host.present(paths), recipe.permissions
    absent = [path for path in needed if path not in present]
    unseen = absent if absent and not host.is_visible() else ()
    given = [_node(path, root, permissions) for path in paths if path in present or path in unseen]
    return given, () if unseen else absent


@lru_cache(4096)
def _node(path: str, root: str, permissions: str) -> DeviceNode:
    """Return a device node. Making the same ones anew would take a tenth of the time of an allocation."""
    return DeviceNode(path, root + path, permissions)


def granted(advertised: Advertisement, ids: Sequence[str]) -> list[Device]:
    """Return the devices with these ids, each once, ordered by place, because kubelets send ids in random order."""
    by_id = advertised.by_id
    try:
        devices = [by_id[name].device for name in ids]
    except KeyError:
        raise UnknownDeviceError([name for name in ids if name not in by_id]) from None
    if len(set(ids)) != len(ids):
        raise RepeatedDeviceError([name for name, times in Counter(ids).items() if times > 1])
    if advertised.one_per_request and len(ids) > 1 and any(by_id[name].replica is not None for name in ids):
        raise SharedRequestError(ids)
    if not advertised.unhealthy.isdisjoint(ids):
        raise UnhealthyDeviceError([name for name in ids if name in advertised.unhealthy])
    if len(devices) > 1:
        devices.sort(key=_PLACE)
    return list({device.id: device for device in devices}.values()) if advertised.is_shared else devices
