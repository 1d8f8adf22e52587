"""What a container gets of devices of which it needs every node, or all devices of a resource, and what options add.

A driver can make the nodes of such a device anew under other names, for example when a container ends that had it. So
their names are looked up at each allocation. Whoever gets too few of them could do nothing with the device, and whoever
gets those of before could have another one. Only imported where a resource has such devices or options.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import filter as matching_names
from typing import TYPE_CHECKING, NamedTuple

from plugin_gateway.core.devices import Device, DeviceId, Recipe
from plugin_gateway.core.errors import MissingNodeError
from plugin_gateway.core.resources.allocation import (
    ContainerEdits,
    DeviceNode,
    Group,
    Mount,
    by_kind,
    environment_of,
    granted,
    nodes_of,
)
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.container_options import NO_OPTIONS, ContainerOptions, DeviceVariable, FileMounts
from plugin_gateway.core.resources.policy import AllocationPolicy

if TYPE_CHECKING:
    from plugin_gateway.core.ports import HostNodes

_NODE = "/dev/"
"""How the path of a device node begins."""


def allocate_all(
    advertised: Advertisement, ids: Sequence[str], policy: AllocationPolicy, host: "HostNodes"
) -> ContainerEdits:
    """Return what one container gets for these ids, as `allocate` does.

    Raises:
        UnknownDeviceError, RepeatedDeviceError, SharedRequestError, UnhealthyDeviceError, MissingNodeError: with the
            ids concerned.
    """
    look, options = _Look(host), advertised.options or NO_OPTIONS
    devices = _granted(advertised, ids, look)
    groups = by_kind(advertised.recipes, devices)
    located = {device.id: look.located(device) for device in devices}
    nodes: dict[str, DeviceNode] = {}
    absent: list[str] = []
    for recipe, of_kind in groups:
        if recipe.is_complete:
            needed = look.needed(recipe, [located[device.id] for device in of_kind], options)
            nodes |= {path: DeviceNode(path, path, recipe.permissions) for path in needed}
        elif policy.lists_nodes:
            group = recipe, [_with_requested(device, options) for device in of_kind]
            present, missed = nodes_of(group, policy.dev_root.rstrip("/"), host)
            nodes |= {node.container_path: node for node in present}
            absent += missed
    mounts = tuple(mount for files in options.files for mount in look.mounts(files))
    if look.missing:
        raise MissingNodeError(ids, tuple(look.missing))
    return ContainerEdits(
        environment=_environment(groups, [located[device.id] for device in devices], nodes, policy, options),
        mounts=mounts,
        device_nodes=tuple(nodes.values()),
        absent_nodes=tuple(dict.fromkeys(absent)),
    )


class _Located(NamedTuple):
    """A device with the paths that its nodes have now."""

    device: Device
    nodes: tuple[str, ...]
    renamed: Mapping[str, str]
    """The path that each node has now, by that of before, for those that were made anew."""


class _Look:
    """Looks into folders of the host, into each once, and notes what is not there."""

    def __init__(self, host: "HostNodes") -> None:
        self._host = host
        self._names: dict[str, Sequence[str] | None] = {}
        self.missing: dict[str, None] = {}
        """What is not there, in the order in which it was looked for."""

    def _names_in(self, folder: str) -> Sequence[str] | None:
        if folder not in self._names:
            self._names[folder] = self._host.names_in(folder)
        return self._names[folder]

    def is_there(self, device: Device) -> bool:
        """Whether the driver shows nodes of a device now. True if their names always stay the same."""
        return not device.node_folder or bool(self._names_in(device.node_folder))

    def located(self, device: Device) -> _Located:
        """Return a device with the paths that its nodes have now."""
        names = self._names_in(device.node_folder) if device.node_folder else None
        if not names or not device.nodes:
            return _Located(device, device.nodes, {})
        folder = _folder_of(device.nodes[0])
        now = tuple(f"{folder}/{name}" for name in names)
        left = [path for path in device.nodes if path not in now]
        come = [path for path in now if path not in device.nodes]
        return _Located(device, now, dict(zip(left, come, strict=False)))

    def needed(self, recipe: Recipe, devices: Sequence[_Located], options: ContainerOptions) -> Iterable[str]:
        """Return the nodes of devices without which a container cannot use them. Note those that are not there."""
        for device, _, _ in devices:
            if not (self.is_there(device) and (device.nodes or not device.node_folder)):
                self.missing[any_node_in(device.node_folder)] = None
        needed = [path for located in devices for path in (*located.nodes, *self._requested(located, options))]
        found = dict.fromkeys([*needed, *recipe.shared_nodes])
        self.missing |= {path: None for path in found if not self._is_there(path)}
        return [*found, *(path for path in recipe.optional_nodes if self._is_there(path))]

    def _requested(self, located: _Located, options: ContainerOptions) -> Iterator[str]:
        """Yield the nodes that the options ask for. Where the others were made anew, these can be those of another."""
        for path in _requested(located.device, options):
            if located.renamed:
                self.missing[path] = None
            yield path

    def _is_there(self, path: str) -> bool:
        return path.rpartition("/")[2] in (self._names_in(_folder_of(path)) or ())

    def mounts(self, files: FileMounts) -> Iterator[Mount]:
        """Yield a mount for each file, once. Note the patterns that match none."""
        names = self._names_in(files.folder) or ()
        found: dict[str, None] = {}
        for pattern in files.patterns:
            matched = matching_names(names, pattern)
            if not matched:
                self.missing[f"{files.folder}/{pattern}"] = None
            found |= dict.fromkeys(matched)
        yield from (Mount(f"{files.container_folder}/{name}", f"{files.folder}/{name}") for name in found)


def _granted(advertised: Advertisement, ids: Sequence[str], look: _Look) -> Sequence[Device]:
    """Return the devices with these ids, each once, and of a pool those that can be given. Ordered by place.

    A device of a pool can be away for a while, such as in a container that has it for itself.
    """
    granted(advertised, ids)
    found: dict[DeviceId, Device] = {}
    for offered in (advertised.by_id[name] for name in ids):
        healthy = [device for device in offered.devices if device.id not in advertised.out]
        there = [device for device in healthy if not offered.pool or look.is_there(device)]
        found |= {device.id: device for device in there or healthy}
    return sorted(found.values(), key=lambda device: device.place)


def any_node_in(folder: str) -> str:
    """Return what stands for any node of a device whose nodes are in this folder. The folder itself can be there."""
    return f"{folder}/*"


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0]


def _requested(device: Device, options: ContainerOptions) -> Sequence[str]:
    return [path for word in options.requested_nodes for path in device.requested_nodes.get(word, ())]


def _with_requested(device: Device, options: ContainerOptions) -> Device:
    """Return a device that needs the nodes that the options ask for as well."""
    requested = _requested(device, options)
    return replace(device, nodes=(*device.nodes, *requested)) if requested else device


def _environment(
    groups: Sequence[Group],
    devices: Sequence[_Located],
    nodes: Collection[str],
    policy: AllocationPolicy,
    options: ContainerOptions,
) -> Mapping[str, str]:
    """Return the variables of the recipes and the options, and those that name the devices.

    Two variables with one name are one, with a comma between.
    """
    environment = {**environment_of(groups, policy), **options.environment}
    for variable in options.variables:
        names = [name for device, _, _ in devices if (name := _name(device, variable))]
        if names:
            named = ",".join(names)
            before = environment.get(variable.name)
            environment[variable.name] = variable.prefix + named if before is None else f"{before},{named}"
    if options.details_variable:
        environment[options.details_variable] = _details(devices, nodes)
    return environment


def _name(device: Device, variable: DeviceVariable) -> str:
    return device.values.get(variable.value, "") if variable.value else device.id


def _details(devices: Sequence[_Located], nodes: Collection[str]) -> str:
    """Return the details of the devices in JSON, without the paths of device nodes that the container does not get."""
    told = {
        located.device.id: {
            section: {
                key: now
                for key, value in entries.items()
                if not (now := located.renamed.get(value, value)).startswith(_NODE) or now in nodes
            }
            for section, entries in located.device.details.items()
        }
        for located in devices
    }
    return json.dumps(told, sort_keys=True, separators=(",", ":"))
