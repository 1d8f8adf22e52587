"""Mounts that name the devices, and what a container gets besides them. Only where an administrator asks for it.

The variable of a container can be set by anybody who writes an image or a pod. A mount at a certain place only comes
from the kubelet, so a container runtime that looks for mounts alone gives no device to others. Each mount is an empty
file: only its name counts.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from plugin_gateway.core.devices import Device, Extra, Recipe
from plugin_gateway.core.errors import MissingExtraError
from plugin_gateway.core.resources.allocation import ContainerEdits, DeviceNode, Group, Mount
from plugin_gateway.core.resources.policy import AllocationPolicy, DeviceIdStrategy, ListStrategy

if TYPE_CHECKING:
    from plugin_gateway.core.ports import HostNodes

EMPTY_FILE = "/dev/null"
"""What is mounted. The vendors' runtimes look for mounts of this file of the host."""


def with_more(
    edits: ContainerEdits, groups: Sequence[Group], ids: Sequence[str], policy: AllocationPolicy, host: "HostNodes"
) -> ContainerEdits:
    """Return the edits of a container with what the policy asks for besides. Each device node is there once.

    Raises:
        MissingExtraError: the node lacks what no container may be without.
    """
    environment, mounts = dict(edits.environment), list(edits.mounts)
    nodes = {node.container_path: node for node in edits.device_nodes}
    by_mounts = ListStrategy.VOLUME_MOUNTS in policy.list_strategies
    if by_mounts:
        _name_by_mounts(groups, policy, environment, mounts)
    for word, (extra, recipe) in _extras(groups, policy.extras).items():
        seen = host.seen(extra.nodes) if extra.nodes else ()
        if extra.needs_nodes and not seen:
            if word in policy.required_extras:
                raise MissingExtraError(ids, extra.nodes)
            continue
        environment |= extra.environment
        if ListStrategy.ENVVAR in policy.list_strategies:
            environment |= extra.names
        if by_mounts and extra.mount:
            mounts.append(_mount(recipe, extra.mount))
        nodes |= {node.container_path: node for node in _nodes(seen, recipe, policy)}
    return edits._replace(environment=environment, mounts=tuple(mounts), device_nodes=tuple(nodes.values()))


def _name_by_mounts(
    groups: Sequence[Group], policy: AllocationPolicy, environment: dict[str, str], mounts: list[Mount]
) -> None:
    """Add a mount for each device, and name the folder of the mounts in the variable instead of the devices.

    Where the runtime looks for no mounts, the variable has to name the devices.
    """
    by_uuid = policy.device_id_strategy is DeviceIdStrategy.UUID
    for recipe, devices in groups:
        if (variable := recipe.visibility_variable) is None:
            continue
        if not recipe.mounts_folder:
            environment.setdefault(variable, ",".join(map(policy.name_in_spec, devices)))
        else:
            environment[variable] = recipe.mounts_folder
            mounts += [_mount(recipe, _name(device, by_uuid=by_uuid)) for device in devices]


def _name(device: Device, *, by_uuid: bool) -> str:
    """Return the name of a mount. An id with a slash is no name of a file, so the place stands for it."""
    return device.id if by_uuid and "/" not in device.id else device.place_words


def _mount(recipe: Recipe, name: str) -> Mount:
    return Mount(f"{recipe.mounts_folder}/{name}", EMPTY_FILE, read_only=False)


def _extras(groups: Sequence[Group], words: Sequence[str]) -> Mapping[str, tuple[Extra, Recipe]]:
    """Return what is asked for and the recipes know, by its word. Two kinds of devices can have the same."""
    return {word: (recipe.extras[word], recipe) for recipe, _ in groups for word in words if word in recipe.extras}


def _nodes(seen: Sequence[str], recipe: Recipe, policy: AllocationPolicy) -> Iterator[DeviceNode]:
    """Yield the device nodes of an extra. A container that is told its devices through CDI alone gets none here."""
    if policy.lists_nodes:
        root = policy.dev_root.rstrip("/")
        yield from (DeviceNode(path, root + path, recipe.permissions) for path in seen)


def missing(recipes: Iterable[Recipe], required: Sequence[str], host: "HostNodes") -> Mapping[str, Extra]:
    """Return what these devices may not be given out without and the node lacks, by its word."""
    known = {word: recipe.extras[word] for recipe in recipes for word in required if word in recipe.extras}
    return {word: extra for word, extra in known.items() if extra.needs_nodes and not host.seen(extra.nodes)}
