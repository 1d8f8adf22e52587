"""Makes the CDI specs of the devices that there are."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from plugin_gateway.core.cdi import (
    CdiDevice,
    CdiEdits,
    CdiNode,
    CdiSpec,
    DriverFiles,
    DriverId,
    name_problem,
    qualified,
)
from plugin_gateway.core.devices import Device, DeviceId, Extra, Inventory, Recipe
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.resources.policy import AllocationPolicy

LOOKING = "what a container needs of its driver is being looked for"
ANOTHER_DRIVER = "its driver is another one now, and what a container needs of it is being looked for"
_WAIT = "wait a moment; if it stays so, the driver hangs"
_NO_NODES = "see why the driver has not made them, and that the gateway sees the dev folder of the host"
_NO_MINOR = "see why the driver does not tell its minor number, or set --device-list-strategy to envvar"
_BY_INDEX = "set --device-id-strategy to index, or install a newer driver"


class Source(NamedTuple):
    """One backend, as specs are made from it."""

    inventory: Inventory
    files: DriverFiles | None
    """What containers need of its driver. None if it was not found yet."""
    driver: DriverId
    """The driver that answered last."""


class HostNode(NamedTuple):
    """A device node as the host has it."""

    major: int
    minor: int
    mode: int
    """Permission bits."""
    gid: int


class HostDevices(NamedTuple):
    """The device nodes of the host, as far as this process sees them."""

    nodes: Mapping[str, HostNode | None]
    """Those that are there, by their path in a container. None if the numbers of one are not known."""
    is_visible: bool
    """Whether the folder of the device nodes is seen. If not, one that is not seen can exist."""
    of_extras: Mapping[str, Sequence[str]] = {}
    """The device nodes of each extra that are seen, by its word."""


class Lack(NamedTuple):
    """Why a device is in no spec."""

    reason: str
    """For people."""
    todo: str = ""
    """What to do about it, for people. Empty if nothing is known."""


class Described(NamedTuple):
    """The specs of all devices that can have one."""

    specs: tuple[CdiSpec, ...]
    """One for each kind."""
    kind_of: Mapping[DeviceId, str]
    """The kind of each device that is in a spec."""
    lacking: Mapping[DeviceId, Lack]
    """The devices that are in none, although their recipe says so."""
    extras: Mapping[str, str] = {}
    """The qualified name of each extra that is in a spec, by its word."""


def needed_nodes(sources: Iterable[Source]) -> Sequence[str]:
    """Return the paths of all device nodes that can be in a spec, each once."""
    found: dict[str, None] = {}
    for inventory, files, _ in sources:
        found |= dict.fromkeys(inventory.nodes)
        for recipe in inventory.recipes.values():
            found |= dict.fromkeys((*recipe.shared_nodes, *recipe.optional_nodes))
        found |= {node.path: None for edits in (files.own.values() if files else ()) for node in edits.nodes}
    return list(found)


def nodes_of_extras(sources: Iterable[Source], policy: AllocationPolicy) -> Mapping[str, Sequence[str]]:
    """Return the device nodes of each extra that is asked for and can be in a spec, by its word. As `Extra.nodes`."""
    return {word: extra.nodes for source in sources for word, extra, _ in _extras_of(source, policy)}


def _extras_of(source: Source, policy: AllocationPolicy) -> Iterator[tuple[str, Extra, Recipe]]:
    for recipe in source.inventory.recipes.values():
        for word, extra in recipe.extras.items():
            if word in policy.extras and extra.cdi_kind:
                yield word, extra, recipe


def describe(sources: Sequence[Source], policy: AllocationPolicy, host: HostDevices) -> Described:
    """Return the specs of the devices of all backends, and those of the extras of which the host has device nodes.

    A spec that a runtime would refuse is left out.

    If one kind has devices of several backends, each device has all of its edits, because their drivers differ.
    """
    maker, lacking = _Maker(policy, host), dict[DeviceId, Lack]()
    by_kind: dict[str, dict[int, list[tuple[Device, CdiDevice]]]] = {}
    for number, source in enumerate(sources):
        for device in source.inventory.devices:
            recipe = source.inventory.recipes[device.kind]
            if not recipe.cdi_kind:
                continue
            made = maker.make(device, recipe, source)
            if isinstance(made, Lack):
                lacking[device.id] = made
            else:
                by_kind.setdefault(recipe.cdi_kind, {}).setdefault(number, []).append((device, made))
    specs, refused = list[CdiSpec](), set[str]()
    for kind, of_source in by_kind.items():
        common = {number: maker.common(kind, sources[number]) for number in of_source}
        made_all = [(number, made) for number, devices in of_source.items() for _, made in devices]
        try:
            if len(common) == 1:
                specs.append(CdiSpec(kind, tuple(made for _, made in made_all), *common.values()))
            else:
                joined = (made._replace(edits=common[number].joined(made.edits)) for number, made in made_all)
                specs.append(CdiSpec(kind, tuple(joined)))
        except InvalidValueError as error:
            refused.add(kind)
            lacking |= {device.id: Lack(str(error)) for devices in of_source.values() for device, _ in devices}
    written = {kind: of_source for kind, of_source in by_kind.items() if kind not in refused}
    kind_of = {device.id: kind for kind, each in written.items() for devices in each.values() for device, _ in devices}
    extras = maker.extras(sources)
    names = {word: qualified(spec.kind, spec.devices[0].name) for word, spec in extras.items()}
    return Described((*specs, *extras.values()), kind_of, lacking, names)


class _Maker:
    def __init__(self, policy: AllocationPolicy, host: HostDevices) -> None:
        self._policy = policy
        self._root = policy.dev_root.rstrip("/")
        self._host = host
        self._names: set[tuple[str, str]] = set()

    def make(self, device: Device, recipe: Recipe, source: Source) -> CdiDevice | Lack:
        """Return the device as it stands in a spec, or why it cannot."""
        files, name = source.files or DriverFiles(source.driver), self._policy.name_in_spec(device)
        lack = _lack_of_files(source) or self._lack_of_name(name, recipe) or self._lack_of_nodes(device, recipe)
        if lack is not None:
            return lack
        own = files.own.get(device.id, CdiEdits())
        nodes = (*device.nodes, *(node.path for node in own.nodes if node.path in self._host.nodes))
        edits = own._replace(nodes=tuple(self._nodes(nodes, recipe)))
        if edits == CdiEdits():
            return Lack("nothing is known of it that a container could be given, not even a device node", _NO_MINOR)
        self._names.add((recipe.cdi_kind, name))
        return CdiDevice(name, edits)

    def _lack_of_name(self, name: str, recipe: Recipe) -> Lack | None:
        if (problem := name_problem(name)) is not None:
            return Lack(problem, _BY_INDEX)
        if (recipe.cdi_kind, name) in self._names:
            return Lack(f"another device has the name {name} in its CDI spec", "set --device-id-strategy to uuid")
        return None

    def _lack_of_nodes(self, device: Device, recipe: Recipe) -> Lack | None:
        if missing := [path for path in device.nodes if not self._is_there(path)]:
            return Lack(f"its device nodes are not there: {', '.join(missing)}", _NO_NODES)
        for word, extra in recipe.extras.items():
            if word in self._policy.required_extras and extra.needs_nodes and not self._host.of_extras.get(word):
                return Lack(f"{', '.join(extra.nodes)}, which every container needs, is not there", extra.todo)
        return None

    def common(self, kind: str, source: Source) -> CdiEdits:
        """Return what a container with any device of a kind gets."""
        files = source.files
        nodes: dict[str, CdiNode] = {}
        for recipe in (each for each in source.inventory.recipes.values() if each.cdi_kind == kind):
            paths = [path for path in recipe.shared_nodes if self._is_there(path)]
            paths += [path for path in recipe.optional_nodes if path in self._host.nodes]
            nodes |= {node.path: node for node in self._nodes(paths, recipe)}
        return (files.common if files else CdiEdits())._replace(nodes=tuple(nodes.values()))

    def extras(self, sources: Sequence[Source]) -> Mapping[str, CdiSpec]:
        """Return the spec of each extra of which the host has device nodes, by its word. Backends can have the same."""
        made: dict[str, CdiSpec] = {}
        for source in sources:
            for word, extra, recipe in _extras_of(source, self._policy):
                paths = [path for path in self._host.of_extras.get(word, ()) if path.isprintable()]
                if word in made or not paths or source.files is None or _lack_of_files(source) is not None:
                    continue
                found = source.files.extras.get(word, CdiEdits())
                own = found._replace(environment={}, nodes=tuple(self._nodes(paths, recipe)))
                with suppress(InvalidValueError):  # that of the devices has the same root, and says why
                    made[word] = CdiSpec(extra.cdi_kind, (CdiDevice(extra.cdi_name, own),), CdiEdits(found.environment))
        return made

    def _is_there(self, path: str) -> bool:
        return path in self._host.nodes or not self._host.is_visible

    def _nodes(self, paths: Iterable[str], recipe: Recipe) -> Iterator[CdiNode]:
        for path in paths:
            known = self._host.nodes.get(path)
            node = CdiNode(path, self._root + path, permissions=recipe.permissions)
            if known is not None:
                node = node._replace(major=known.major, minor=known.minor, file_mode=known.mode, gid=known.gid)
            yield node


def _lack_of_files(source: Source) -> Lack | None:
    """Return why containers cannot get what they need of the driver. None if they can."""
    if source.files is None:
        return Lack(LOOKING, _WAIT)
    if source.files.driver != source.driver:
        return Lack(ANOTHER_DRIVER, _WAIT)
    return Lack(source.files.problem, source.files.todo) if source.files.problem else None
