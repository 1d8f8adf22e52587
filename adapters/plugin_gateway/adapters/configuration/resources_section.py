"""Reads the sections `resources` and `sharing` of the configuration file. `resource_rules` makes rules from them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import yaml

from plugin_gateway.adapters.configuration.document import (
    FRACTION,
    NULL,
    NUMBER,
    STRING,
    SWITCH,
    Document,
    Place,
    allowed_by,
    described,
)
from plugin_gateway.adapters.configuration.ignored_keys import IgnoredKeys
from plugin_gateway.adapters.configuration.kinds import parse_switch
from plugin_gateway.adapters.configuration.resource_rules import (
    ALL,
    MIG,
    MPS,
    SHARED,
    TIME_SLICING,
    WAYS,
    Chosen,
    FileResources,
    OwnRule,
    SharedResource,
    SharedResources,
    Way,
)
from plugin_gateway.adapters.configuration.resource_words import (
    IDS,
    parse_address,
    parse_backend,
    parse_count,
    parse_device,
    parse_kind,
    parse_pattern,
    parse_place,
    parse_uuid,
    parse_way,
    replicas_from,
    value_at,
)
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.resources.names import ResourceName, parse_resource_name
from plugin_gateway.core.resources.rules import ResourceRule, Selector
from plugin_gateway.core.resources.sharing import Sharing

T = TypeVar("T")
GPUS, MIGS, RULES = "resources.gpus", "resources.mig", "resources.rules"
_PATTERNS = "a list with pattern and name each"
_NVIDIA_DOMAIN = "nvidia.com/"
_SHARED_FROM = 2
"""Replicas from which on something is shared."""
_WITH_REPLICAS = ("sharing", "failRequestsGreaterThanOne")
"""Keys of a rule that say nothing without replicas."""
_SELECTING = ("uuid", "index", "pci", "product", "profile", "kind", "backend")
_ANY_WORD = (STRING, NUMBER, FRACTION)
"""The YAML types of a word: 1:30 is a number to YAML."""

Read = Callable[[yaml.Node, str], object]
"""Returns the value of a key, whose full path is given. Raises InvalidValueError."""


class ResourceSections:
    """Both sections, read key by key. The document collects the complaints."""

    def __init__(self, document: Document, place: Place, ignored: IgnoredKeys) -> None:
        """``place`` is that of the first key."""
        self._document = document
        self._place = place
        self._ignored = ignored
        self._gpus: tuple[ResourceRule, ...] = ()
        self._mig: tuple[ResourceRule, ...] = ()
        self._own: tuple[OwnRule, ...] = ()
        self._shared: dict[Way, SharedResources] = {}

    def whole(self) -> FileResources:
        """Return what was read. Whatever does not go together is a complaint, also where a flag decides instead."""
        shared = self._shared.get(MPS) or self._shared.get(TIME_SLICING) or SharedResources()
        found = FileResources(own=self._own, mig=self._mig, gpus=self._gpus, shared=shared, place=self._place)
        with self._document.collecting():
            found.rules(None)
        return found

    def read(self, node: yaml.Node, full: str) -> None:
        """Read one of the keys. ``full`` is its path.

        Raises:
            InvalidValueError: it has another form.
        """
        way = next((each for each in WAYS if each.key == full), None)
        if way is not None:
            self._read_shared(way, node)
        elif full == RULES:
            self._own = self._list(node, full, "a list with a name each", self._own_rule)
        elif full == MIGS:
            self._mig = self._list(node, full, _PATTERNS, self._pattern_rule)
        else:
            self._gpus = self._list(node, full, _PATTERNS, self._pattern_rule)

    def _list(
        self, node: yaml.Node, full: str, allowed: str, read: Callable[[yaml.Node, str], Sequence[T]]
    ) -> tuple[T, ...]:
        """Return what the items of a list say. ``read`` returns nothing for an item that was complained about."""
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            raise InvalidValueError(f"{self._document.place(node)}: {full} is {described(node)}; expected {allowed}")
        items: list[T] = []
        for item in node.value:
            with self._document.collecting():
                items += read(item, full)
        return tuple(items)

    def _keys(
        self, node: yaml.Node, path: str, readers: Mapping[str, Read], needed: Sequence[str]
    ) -> Mapping[str, Any] | None:
        """Return the values of the keys of a mapping. None if one of them was complained about.

        Raises:
            InvalidValueError: a key is missing, or the node is no mapping.
        """
        values: dict[str, object] = {}
        missing, silent = list(needed), 0
        repeated = self._ignored if self._ignored.are_ignored and path != RULES else None
        for full, key, value in self._document.entries(node, path, repeated):
            word = full.removeprefix(f"{path}.")
            with self._document.collecting():
                if path != RULES and self._says_nothing(full, key, value, readers, needed):
                    silent += 1
                    continue
                if word not in readers:
                    missing = []  # it may be meant as the one that is missing
                    known = " and ".join(filter(None, (", ".join([*readers][:-1]), [*readers][-1])))
                    raise InvalidValueError(f"{self._document.place(key)}: unknown key {full}, known are {known}")
                missing = [each for each in missing if each != word]
                values[word] = readers[word](value, full)
        if missing:
            raise InvalidValueError(
                f"{self._document.place(node)}: {' and '.join(missing)} missing in an entry of {path}"
            )
        keys = [str(key.value) for key, _ in node.value]
        return values if len(values) + silent == len(keys if repeated is None else set(keys)) else None

    def _says_nothing(
        self, full: str, key: yaml.Node, value: yaml.Node, readers: Mapping[str, Read], needed: Sequence[str]
    ) -> bool:
        """Whether an entry has no value, or an unknown key that is ignored, as by NVIDIA's plugin, and noted."""
        word = full.rpartition(".")[2]
        if word in readers:
            return value.tag == NULL and word not in needed
        return self._ignored.are_ignored and self._ignored.note(full, self._document.place(key))

    def _pattern_rule(self, node: yaml.Node, path: str) -> Sequence[ResourceRule]:
        """Read a rule of NVIDIA's form: a pattern for the product of a GPU, or for the profile of a MIG device."""
        values = self._keys(node, path, {"pattern": self._pattern, "name": self._name}, ("pattern", "name"))
        if values is None:
            return ()
        pattern = (values["pattern"],)
        selector = Selector(products=pattern) if path == GPUS else Selector(profiles=pattern, kinds=(MIG,))
        return (ResourceRule(selector=selector, name=values["name"], origin=self._origin(node)),)

    def _own_rule(self, node: yaml.Node, path: str) -> Sequence[OwnRule]:
        readers: Mapping[str, Read] = {
            "uuid": self._several(parse_uuid),
            "index": self._several(parse_place),
            "pci": self._several(parse_address),
            "product": self._several(parse_pattern),
            "profile": self._several(parse_pattern),
            "kind": self._several(parse_kind),
            "backend": self._several(parse_backend),
            "name": self._name,
            "never": self._never,
            "replicas": self._parsed(replicas_from(1)),
            "sharing": self._parsed(parse_way),
            "failRequestsGreaterThanOne": self._switch,
        }
        values = self._keys(node, path, readers, ())
        if values is None:
            return ()
        self._check_together(node, values)
        uuid, index, pci, product, profile, kind, backend = (values.get(word, ()) for word in _SELECTING)
        way: Way = values.get("sharing", TIME_SLICING)
        sharing = Sharing(
            replicas=values.get("replicas", 1),
            one_per_request=values.get("failRequestsGreaterThanOne", way.one_per_request),
            through=way.through,
        )
        rule = ResourceRule(
            selector=Selector(
                ids=uuid,
                places=index,
                addresses=pci,
                products=product,
                profiles=profile,
                kinds=kind,
                backends=backend,
            ),
            name=values.get("name"),
            sharing=sharing,
            origin=self._origin(node),
        )
        return (OwnRule(rule, has_replicas="replicas" in values),)

    def _check_together(self, node: yaml.Node, values: Mapping[str, Any]) -> None:
        """Check what the keys of an entry of `resources.rules` say together."""
        place = self._document.place(node)
        if ("name" in values) == ("never" in values):
            both = "name and never are both there" if "name" in values else "name missing"
            raise InvalidValueError(f"{place}: {both} in an entry of {RULES}; expected a name, or never: true")
        shared = [word for word in ("replicas", *_WITH_REPLICAS) if word in values]
        if "never" in values and shared:
            raise InvalidValueError(
                f"{place}: {' and '.join(shared)} in an entry of {RULES} with never; expected never alone"
            )
        if shared and "replicas" not in values:
            raise InvalidValueError(
                f"{place}: {' and '.join(shared)} in an entry of {RULES} without replicas, which are needed with it"
            )
        self._check_replicas(place, values.get("sharing", TIME_SLICING), values.get("replicas", 1))

    def _check_replicas(self, place: Place, way: Way, replicas: int) -> None:
        """Check the number of an entry of `resources.rules` that is shared through a daemon."""
        if way.through and not _SHARED_FROM <= replicas <= way.max_replicas:
            raise InvalidValueError(
                f"{place}: {replicas} replicas in an entry of {RULES} with sharing: {way.word}; expected "
                f"{_SHARED_FROM} to {way.max_replicas}"
            )

    def _read_shared(self, way: Way, node: yaml.Node) -> None:
        """Read one of the sections that share devices. Only one of them may be there; NVIDIA's plugin takes MPS."""
        readers: Mapping[str, Read] = {
            "renameByDefault": self._switch,
            "failRequestsGreaterThanOne": self._switch,
            "resources": lambda entries, full: self._shared_resources(way, entries, full),
        }
        others = [each for each in self._shared if each is not way]
        values = self._keys(node, way.key, readers, ("resources",)) or {}
        by_default = values.get("renameByDefault", False)
        ending = SHARED if by_default else ""
        self._shared[way] = SharedResources(
            way=way,
            resources=tuple(
                self._known_to_nvidia(way, each, each.name + ending) for each in values.get("resources", ())
            ),
            rename_by_default=by_default,
            one_per_request=values.get("failRequestsGreaterThanOne", way.one_per_request),
        )
        if others and not self._ignored.are_ignored:
            raise InvalidValueError(
                f"{self._document.place(node)}: {way.key} is there, and {others[0].key} too; expected one of them; "
                f"{RULES} can share some devices in one way and some in the other"
            )
        if others:
            self._ignored.note(f"{TIME_SLICING.key}, beside {MPS.key},", self._document.place(node))

    def _known_to_nvidia(self, way: Way, entry: SharedResource, name: str) -> SharedResource:
        """Return an entry, without what NVIDIA's plugin ignores if that is ignored here, too. It is noted.

        ``name`` is that of the shared devices without `rename`.
        """
        path = f"{way.key}.resources"
        if entry.rename not in {None, name} and self._ignored.note(f"{path}.rename", entry.place):
            entry = replace(entry, rename=None)
        if entry.devices != ALL and self._ignored.note(f"{path}.devices", entry.place):
            entry = replace(entry, devices=ALL)
        return entry

    def _shared_resources(self, way: Way, node: yaml.Node, full: str) -> tuple[SharedResource, ...]:
        def read(item: yaml.Node, path: str) -> Sequence[SharedResource]:
            return self._shared_resource(way, item, path)

        shared = self._list(node, full, "a list with name and replicas each", read)
        last: dict[ResourceName, SharedResource] = {}
        for each in shared:
            with self._document.collecting():
                if (before := last.get(each.name)) is not None:
                    self._take_second(each, before, full)
                last[each.name] = each
        return tuple(last.values())

    def _take_second(self, entry: SharedResource, before: SharedResource, full: str) -> None:
        """Refuse an entry for a name that has one, or note that the one before is ignored."""
        if not self._ignored.are_ignored:
            raise InvalidValueError(
                f"{entry.place}: {full}.name: {entry.name} occurs twice, first at {before.place}; "
                f"{RULES} can share devices of one name differently"
            )
        self._ignored.note(f"{full} for {entry.name}, which has a later entry,", before.place)

    def _shared_resource(self, way: Way, node: yaml.Node, path: str) -> Sequence[SharedResource]:
        readers: Mapping[str, Read] = {
            "name": self._name,
            "replicas": self._parsed(replicas_from(_SHARED_FROM, way.max_replicas)),
            "rename": self._name,
            "devices": self._devices,
        }
        values = self._keys(node, path, readers, ("name", "replicas"))
        return () if values is None else (SharedResource(**values, place=self._document.place(node)),)

    def _devices(self, node: yaml.Node, full: str) -> Chosen:
        """Read which devices of a resource are shared: all, a number of them, or a list of indexes and UUIDs."""
        if isinstance(node, yaml.SequenceNode) and node.value:
            words = [self._document.word(each, full, _ANY_WORD, "indexes and UUIDs") for each in node.value]
            ids = [value_at(word, full, parse_uuid) for word in words if word.text.startswith(IDS)]
            places = [value_at(word, full, parse_device) for word in words if not word.text.startswith(IDS)]
            return Chosen(ids=tuple(dict.fromkeys(ids)), places=tuple(dict.fromkeys(places)))
        written = self._document.word(node, full, _ANY_WORD, "all, a number, or a list of indexes and UUIDs")
        return ALL if written.text == "all" else Chosen(at_most=value_at(written, full, parse_count))

    def _several(self, parse: Callable[[str], T]) -> Read:
        """Return a reader for one word or a list of words."""
        allowed = f"{allowed_by(parse, 'words')}; one, or a list of them"

        def read(node: yaml.Node, full: str) -> tuple[T, ...]:
            nodes = node.value if isinstance(node, yaml.SequenceNode) and node.value else [node]
            words = [self._document.word(each, full, _ANY_WORD, allowed) for each in nodes]
            return tuple(dict.fromkeys(value_at(word, full, parse) for word in words))

        return read

    def _parsed(self, parse: Callable[[str], T]) -> Read:
        allowed = allowed_by(parse)
        return lambda node, full: value_at(self._document.word(node, full, _ANY_WORD, allowed), full, parse)

    def _switch(self, node: yaml.Node, full: str) -> bool:
        return parse_switch(self._document.word(node, full, (SWITCH,), "true or false, without quotes").text)

    def _never(self, node: yaml.Node, full: str) -> bool:
        if not self._switch(node, full):
            raise InvalidValueError(f"{self._document.place(node)}: {full} is false; expected true; or give a name")
        return True

    def _pattern(self, node: yaml.Node, full: str) -> str:
        return value_at(
            self._document.word(node, full, (STRING,), "shell patterns, numbers in quotes"), full, parse_pattern
        )

    def _name(self, node: yaml.Node, full: str) -> ResourceName:
        name = self._document.word(node, full, (STRING,), "names such as nvidia.com/gpu")
        try:
            return parse_resource_name(name.text if "/" in name.text else _NVIDIA_DOMAIN + name.text)
        except InvalidValueError as error:
            raise InvalidValueError(f"{name.place}: {error}") from error

    def _origin(self, node: yaml.Node) -> str:
        return f"file {self._document.place(node).line}"
