"""Reads the sections `resources.rdma` and `resources.onload` of the configuration file, strictly.

`card_rules` makes rules from them. They are the gateway's own, so no key is ever ignored.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import yaml

from plugin_gateway.adapters.configuration.card_options import CARDS, ONLOAD, RDMA
from plugin_gateway.adapters.configuration.card_rules import (
    DEFAULT_REPLICAS,
    DEFAULT_SECTIONS,
    CardEntry,
    FileCards,
    Section,
)
from plugin_gateway.adapters.configuration.card_words import (
    ANY,
    EXCLUSIVE,
    PCIDEVICE,
    POOL,
    SHARED,
    parse_functions,
    parse_id,
    parse_link_type,
    parse_onload_sharing,
    parse_parent,
    parse_rdma_sharing,
    parse_variable,
)
from plugin_gateway.adapters.configuration.document import (
    FRACTION,
    NUMBER,
    STRING,
    SWITCH,
    Document,
    FileValue,
    allowed_by,
    described,
)
from plugin_gateway.adapters.configuration.kinds import parse_root, parse_switch
from plugin_gateway.adapters.configuration.resource_words import parse_address, parse_pattern, replicas_from, value_at
from plugin_gateway.core.cards import DEVICE, DRIVER, FUNCTION, INTERFACE, LINK_TYPE, PARENT, PHYSICAL, VENDOR, VIRTUAL
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.resources.names import ResourceName, parse_resource_name
from plugin_gateway.core.resources.rules import Selector
from plugin_gateway.core.resources.sharing import ALONE, Sharing

T = TypeVar("T")
Read = Callable[[yaml.Node, str], object]
"""Returns the value of a key, whose full path is given. None if something in it was complained about.

Raises InvalidValueError.
"""
SECTION_KEYS: Mapping[str, str] = {f"resources.{backend}": backend for backend in CARDS}
"""The backend of each section."""
_ANY_WORD = (STRING, NUMBER, FRACTION)
_LEAST = {SHARED: 2, POOL: 1}
_REQUESTED: Mapping[str, str] = {"umad": "umad", "subnetManager": "issm"}
"""Keys of `nodes`, with the words of the backend for them."""
_CONDITIONS: Mapping[str, str] = {
    "vendors": VENDOR,
    "devices": DEVICE,
    "drivers": DRIVER,
    "interfaces": INTERFACE,
    "linkTypes": LINK_TYPE,
    "parents": PARENT,
}
"""Keys of `select`, with the attributes of a device that they are about."""
_WORDS_OF_PEERS: Mapping[str, str] = {
    "resourceName": "name",
    "resourcePrefix": "name",
    "rdmaHcaMax": "replicas",
    "maxPodsPerNode": "replicas",
    "selectors": "select",
    "deviceIDs": "devices",
    "ifNames": "interfaces",
    "pfNames": "parents",
    "rootDevices": "parents",
    "hostOnloadPath": "hostPath",
    "baseMountPath": "containerPath",
    "setPreload": "preload",
    "mountOnload": "script",
}
"""What other device plugins call some keys."""


class CardSections:
    """Both sections. The document collects the complaints."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._sections: dict[str, Section] = {}
        self._remarks: list[str] = []

    def whole(self) -> FileCards:
        """Return what was read."""
        return FileCards(self._sections, tuple(self._remarks))

    def read(self, node: yaml.Node, full: str) -> None:
        """Read one of the sections. ``full`` is its key.

        Raises:
            InvalidValueError: it has another form.
        """
        backend = SECTION_KEYS[full]
        if isinstance(node, yaml.MappingNode) and not node.value:
            self._sections[backend] = DEFAULT_SECTIONS[backend]
            return
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            raise InvalidValueError(
                f"{self._document.place(node)}: {full} is {described(node)}; expected a list with a name each, and "
                f"{{}} for {DEFAULT_SECTIONS[backend][0].name}"
            )
        entries: list[CardEntry] = []
        for item in node.value:
            with self._document.collecting():
                entries += self._rdma(item, full) if backend == RDMA else self._onload(item, full)
        self._sections[backend] = tuple(self._distinct(entries, full))

    def _distinct(self, entries: Sequence[CardEntry], full: str) -> Sequence[CardEntry]:
        """Return the entries. Two with one name have to say the same but for what they select, and be no pool."""
        first: dict[ResourceName, CardEntry] = {}
        for each in entries:
            before = first.setdefault(each.name, each)
            with self._document.collecting():
                if before is not each and (before.sharing.is_pool or not _differ_in_selector_only(before, each)):
                    raise InvalidValueError(
                        f"{each.origin.removeprefix('file ')}: {full}.name: {each.name} occurs twice, first at "
                        f"{before.origin.removeprefix('file ')}, allowed where nothing but select differs, and not "
                        "for a pool"
                    )
        return entries

    def _rdma(self, node: yaml.Node, path: str) -> Sequence[CardEntry]:
        values = self._keys(
            node,
            path,
            {
                "name": self._name,
                "sharing": self._parsed(parse_rdma_sharing),
                "replicas": self._replicas,
                "select": self._select,
                "nodes": self._nodes,
                "variables": self._several(parse_variable),
            },
            needed=("name",),
        )
        if values is None:
            return ()
        word = values.get("sharing", EXCLUSIVE)
        default = (PCIDEVICE,) if word == EXCLUSIVE else ()
        return (
            CardEntry(
                name=values["name"],
                selector=self._selector(values, RDMA),
                sharing=self._sharing(node, path, word, values.get("replicas")),
                requested_nodes=values.get("nodes", ()),
                variables=values.get("variables", default),
                origin=self._origin(node),
            ),
        )

    def _onload(self, node: yaml.Node, path: str) -> Sequence[CardEntry]:
        values = self._keys(
            node,
            path,
            {
                "name": self._name,
                "sharing": self._parsed(parse_onload_sharing),
                "replicas": self._replicas,
                "hostPath": self._path,
                "containerPath": self._path,
                "preload": self._switch,
                "script": self._switch,
                "select": self._select,
            },
            needed=("name",),
        )
        if values is None:
            return ()
        if values.get("script") and values.get("preload"):
            raise InvalidValueError(
                f"{self._document.place(node)}: preload and script in an entry of {path}; expected one of them: the "
                "script is for containers that do not run every program with Onload"
            )
        return (
            CardEntry(
                name=values["name"],
                selector=self._selector(values, ONLOAD),
                sharing=self._sharing(node, path, values.get("sharing", POOL), values.get("replicas")),
                host_path=values.get("hostPath"),
                container_path=values.get("containerPath"),
                preload=values.get("preload"),
                script=values.get("script", False),
                origin=self._origin(node),
            ),
        )

    def _keys(
        self, node: yaml.Node, path: str, readers: Mapping[str, Read], needed: Sequence[str] = ()
    ) -> Mapping[str, Any] | None:
        """Return the values of the keys of a mapping. None if one of them was complained about.

        Raises:
            InvalidValueError: a key is missing, or the node is no mapping.
        """
        values: dict[str, object] = {}
        missing = list(needed)
        for full, key, value in self._document.entries(node, path):
            word = full.removeprefix(f"{path}.")
            with self._document.collecting():
                if word not in readers:
                    missing = []  # it may be meant as the one that is missing
                    raise InvalidValueError(
                        f"{self._document.place(key)}: unknown key {full}, {_known(word, list(readers))}"
                    )
                missing = [each for each in missing if each != word]
                if (found := readers[word](value, full)) is not None:
                    values[word] = found
        if missing:
            raise InvalidValueError(
                f"{self._document.place(node)}: {' and '.join(missing)} missing in an entry of {path}"
            )
        return values if len(values) == len(node.value) else None

    def _sharing(self, node: yaml.Node, path: str, word: str, replicas: int | None) -> Sharing:
        place = self._document.place(node)
        if word == EXCLUSIVE:
            if replicas is not None:
                raise InvalidValueError(
                    f"{place}: replicas in an entry of {path} that is exclusive, allowed with sharing: {SHARED} and "
                    f"sharing: {POOL}"
                )
            return ALONE
        count = DEFAULT_REPLICAS if replicas is None else replicas
        if count < _LEAST[word]:
            raise InvalidValueError(f"{place}: {count} replica in an entry of {path} with sharing: {word}; expected "
                                    f"{_LEAST[word]} or more")  # fmt: skip
        return Sharing(replicas=count, is_pool=word == POOL)

    def _selector(self, values: Mapping[str, Any], backend: str) -> Selector:
        select: Mapping[str, Any] = values.get("select", {})
        attributes = {_CONDITIONS[word]: select[word] for word in _CONDITIONS if select.get(word)}
        if select.get("functions", ANY) != ANY:
            attributes[FUNCTION] = (select["functions"],)
        return Selector(backends=(backend,), addresses=select.get("pciAddresses", ()), attributes=attributes)

    def _select(self, node: yaml.Node, full: str) -> Mapping[str, Any] | None:
        values = self._keys(
            node,
            full,
            {
                "vendors": self._conditions(parse_id),
                "devices": self._conditions(parse_id),
                "drivers": self._conditions(parse_pattern),
                "pciAddresses": self._conditions(parse_address),
                "functions": self._parsed(parse_functions),
                "parents": self._parents,
                "interfaces": self._conditions(parse_pattern),
                "linkTypes": self._conditions(parse_link_type),
            },
        )
        if values is None:
            return None
        if not node.value:
            self._remarks.append(f"{self._document.place(node)}: {full} is empty, so it takes every card that is left")
        if values.get("parents") and values.get("functions") == PHYSICAL:
            raise InvalidValueError(
                f"{self._document.place(node)}: {full} has parents with functions: {PHYSICAL}; expected "
                f"{VIRTUAL} and {ANY}: only a virtual function has a parent"
            )
        return values

    def _parents(self, node: yaml.Node, full: str) -> tuple[str, ...]:
        patterns: tuple[tuple[str, ...], ...] = self._conditions(parse_parent)(node, full)
        return tuple(dict.fromkeys(each for several in patterns for each in several))

    def _nodes(self, node: yaml.Node, full: str) -> tuple[str, ...] | None:
        values = self._keys(node, full, dict.fromkeys(_REQUESTED, self._switch))
        if values is None:
            return None
        return tuple(word for key, word in _REQUESTED.items() if values.get(key))

    def _several(self, parse: Callable[[str], T]) -> Callable[[yaml.Node, str], tuple[T, ...]]:
        """Return a reader for one word or a list of words, which may be empty."""
        allowed = f"{allowed_by(parse, 'words')}; one, or a list of them"

        def read(node: yaml.Node, full: str) -> tuple[T, ...]:
            nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
            return tuple(dict.fromkeys(value_at(self._word(each, full, allowed), full, parse) for each in nodes))

        return read

    def _conditions(self, parse: Callable[[str], T]) -> Callable[[yaml.Node, str], tuple[T, ...]]:
        """Return a reader for a key of `select`. An empty list is noted: it is no condition."""
        several = self._several(parse)

        def read(node: yaml.Node, full: str) -> tuple[T, ...]:
            if isinstance(node, yaml.SequenceNode) and not node.value:
                self._remarks.append(f"{self._document.place(node)}: {full} is an empty list, so it is no condition")
            return several(node, full)

        return read

    def _word(self, node: yaml.Node, full: str, allowed: str) -> FileValue:
        """Return a word. An id such as 0703 is one, too, although it is another number to YAML."""
        if isinstance(node, yaml.ScalarNode) and node.tag == NUMBER and full.endswith((".vendors", ".devices")):
            return FileValue(text=node.value, place=self._document.place(node))
        return self._document.word(node, full, _ANY_WORD, allowed)

    def _parsed(self, parse: Callable[[str], T]) -> Callable[[yaml.Node, str], T]:
        allowed = allowed_by(parse)
        return lambda node, full: value_at(self._document.word(node, full, _ANY_WORD, allowed), full, parse)

    def _replicas(self, node: yaml.Node, full: str) -> int:
        return self._parsed(replicas_from(1))(node, full)

    def _switch(self, node: yaml.Node, full: str) -> bool:
        return parse_switch(self._document.word(node, full, (SWITCH,), "true or false, without quotes").text)

    def _path(self, node: yaml.Node, full: str) -> str:
        written = self._document.word(node, full, (STRING,), "absolute paths")
        try:
            return parse_root(written.text)
        except InvalidValueError as error:
            raise InvalidValueError(f"{written.place}: {full}: {error}") from error

    def _name(self, node: yaml.Node, full: str) -> ResourceName:
        name = self._document.word(node, full, (STRING,), "names such as rdma/hca")
        try:
            return parse_resource_name(name.text)
        except InvalidValueError as error:
            raise InvalidValueError(f"{name.place}: {error}") from error

    def _origin(self, node: yaml.Node) -> str:
        return f"file {self._document.place(node).line}"


def _differ_in_selector_only(one: CardEntry, other: CardEntry) -> bool:
    from dataclasses import replace  # noqa: PLC0415 - only for names that occur twice

    return replace(one, selector=other.selector) == other


def _known(word: str, words: Sequence[str]) -> str:
    """Return the end of a complaint about an unknown key: the keys that are known, and the one probably meant."""
    from difflib import get_close_matches  # noqa: PLC0415 - only where somebody made a mistake

    known = f"known are {', '.join(words[:-1])} and {words[-1]}"
    meant = [_WORDS_OF_PEERS[word]] if _WORDS_OF_PEERS.get(word) in words else get_close_matches(word, words, n=1)
    return f"{known}; did you mean {meant[0]}?" if meant else known
