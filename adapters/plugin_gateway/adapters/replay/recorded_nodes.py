"""What the host had at the time of a recorded call, as far as the answer to it tells."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from plugin_gateway.adapters.dialects.dialect import Ids
from plugin_gateway.core.devices import Device
from plugin_gateway.core.errors import MissingNodeError
from plugin_gateway.core.ports import matching
from plugin_gateway.core.resources.allocation import ContainerEdits
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.complete import any_node_in
from plugin_gateway.core.resources.container_options import NO_OPTIONS, ContainerOptions

_NO_FOLDERS: Mapping[str, Sequence[str]] = MappingProxyType({})


class RecordedNodes:
    """Device nodes. Present are those that the recorded answer names; they were there at that time."""

    def __init__(self, named: frozenset[str], folders: Mapping[str, Sequence[str]] = _NO_FOLDERS) -> None:
        """``folders`` has the names that were in the folders of the host."""
        self._named = named
        self._folders = folders

    def present(self, paths: Sequence[str]) -> frozenset[str]:
        """Return which of these device nodes are present."""
        return self._named.intersection(paths)

    def seen(self, patterns: Sequence[str]) -> Sequence[str]:
        """Return which of these device nodes are present. A star at the end stands for any ending."""
        return [path for pattern in patterns for path in matching(pattern, self._named)]

    def names_in(self, folder: str) -> Sequence[str] | None:
        """Return the names that were in a folder. None if nothing in it was given."""
        return self._folders.get(folder)

    def is_visible(self) -> bool:
        """Return True: what the recorded answer does not name was not given."""
        return True


def folders_at(
    advertised: Advertisement, containers: Sequence[Ids], granted: Sequence[ContainerEdits] | None, problem: str
) -> Mapping[str, Sequence[str]]:
    """Return the names in the folders of the host when these containers were given something, or not.

    ``granted`` is what they were given. If it is None, all was there except what ``problem`` says.
    """
    devices = [device for ids in containers for each in ids for device in _devices(advertised, each)]
    devices = sorted({device.id: device for device in devices}.values(), key=lambda device: device.place)
    if granted is None:
        return _without(advertised, devices, MissingNodeError.missing_in(problem))
    nodes = list(dict.fromkeys(node.host_path for edits in granted for node in edits.device_nodes))
    files = dict.fromkeys(mount.host_path for edits in granted for mount in edits.mounts)
    return {**_by_folder([*nodes, *files]), **dict(_names_of(advertised, devices, nodes))}


def _devices(advertised: Advertisement, offered: str) -> Sequence[Device]:
    return advertised.by_id[offered].devices if offered in advertised.by_id else ()


def _by_folder(paths: Iterable[str]) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = {}
    for folder, _, name in (path.rpartition("/") for path in paths):
        found.setdefault(folder, []).append(name)
    return found


def _names_of(
    advertised: Advertisement, devices: Sequence[Device], given: Sequence[str]
) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the folder of each device with the names of its nodes. Nodes of nobody are those that were made anew."""
    known = {*_common(advertised), *(path for device in devices for path in _of_device(advertised, device))}
    anew = [path for path in given if path not in known]
    for device in (each for each in devices if each.node_folder):
        own = [path for path in device.nodes if path in given]
        missing = len(device.nodes) - len(own)
        now, anew = [*own, *anew[:missing]], anew[missing:]
        yield device.node_folder, [path.rpartition("/")[2] for path in now]


def _without(
    advertised: Advertisement, devices: Sequence[Device], missing: Sequence[str]
) -> Mapping[str, Sequence[str]]:
    """Return the folders with all that is known, except what was missing."""
    nodes = [*_common(advertised), *(path for device in devices for path in _of_device(advertised, device))]
    files = [f"{each.folder}/{pattern}" for each in _options(advertised).files for pattern in each.patterns]
    there = [path for path in dict.fromkeys([*nodes, *files]) if path not in missing]
    own = {
        device.node_folder: [path.rpartition("/")[2] for path in device.nodes]
        for device in devices
        if device.node_folder and any_node_in(device.node_folder) not in missing
    }
    return {**_by_folder(there), **own}


def _common(advertised: Advertisement) -> Sequence[str]:
    recipes = advertised.recipes.values()
    return [path for recipe in recipes for path in (*recipe.shared_nodes, *recipe.optional_nodes)]


def _options(advertised: Advertisement) -> ContainerOptions:
    return advertised.options or NO_OPTIONS


def _of_device(advertised: Advertisement, device: Device) -> Sequence[str]:
    words = _options(advertised).requested_nodes
    return [*device.nodes, *(path for word in words for path in device.requested_nodes.get(word, ()))]
