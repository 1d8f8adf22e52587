"""Reads the configuration file, which has the keys of NVIDIA's device plugin and some more. Unknown keys are errors."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import yaml

from plugin_gateway.adapters.configuration.card_options import CARDS
from plugin_gateway.adapters.configuration.document import (
    FRACTION,
    NULL,
    NUMBER,
    STRING,
    SWITCH,
    Document,
    FileValue,
    allowed_by,
    described,
    load,
    shown,
)
from plugin_gateway.adapters.configuration.file_version import FileVersion
from plugin_gateway.adapters.configuration.health_section import HEALTH, HEALTH_KEYS, NO_HEALTH, FileHealth, read_health
from plugin_gateway.adapters.configuration.ignored_keys import IgnoredKeys
from plugin_gateway.adapters.configuration.option import Option
from plugin_gateway.adapters.configuration.unsupported import (
    NOT_SUPPORTED,
    UNSUPPORTED_KEYS,
    UnsupportedSettingError,
    only,
)
from plugin_gateway.adapters.configuration.yaml_mistakes import explain_other
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.policy import HealthPolicy

if TYPE_CHECKING:
    from plugin_gateway.adapters.configuration.card_rules import FileCards
    from plugin_gateway.adapters.configuration.cards_section import CardSections
    from plugin_gateway.adapters.configuration.reading import CardHealth
    from plugin_gateway.adapters.configuration.resource_rules import FileResources
    from plugin_gateway.adapters.configuration.resources_section import ResourceSections

VERSION = "v1"
PATTERN_KEYS = ("resources.gpus", "resources.mig")
"""NVIDIA's plugin knows these keys, and ignores what they say."""
SHARING_KEYS = ("sharing.timeSlicing", "sharing.mps")
CARD_KEYS = tuple(f"resources.{backend}" for backend in CARDS)
RESOURCE_KEYS = (*PATTERN_KEYS, "resources.rules", *SHARING_KEYS)
_SHARING = tuple(
    f"sharing.timeSlicing.{word}" for word in ("renameByDefault", "failRequestsGreaterThanOne", "resources")
)
"""Keys below one of them, for those who give them somewhere else."""
_NO_KEYS = "{}"
_WORDS = (STRING, NUMBER, FRACTION)
"""The YAML types of a word. Some words look like numbers to YAML, such as the API version 0.1."""


class FileContent(NamedTuple):
    """Everything that a file decides."""

    values: Mapping[str, FileValue]
    """Values by the full path of their key, such as ``flags.plugin.apiVersion``."""
    resources: "FileResources | None"
    """None where the file says nothing about resources of GPUs."""
    cards: "FileCards | None"
    """None where the file says nothing about network cards."""
    health: FileHealth
    ignored: tuple[str, ...]
    """What NVIDIA's device plugin ignores in it, a sentence for each key."""
    version: FileVersion | None = None
    """Which version of the file it was. None for a text that is no file."""


def read_file(
    path: str,
    options: Sequence[Option[object]],
    health: HealthPolicy,
    *,
    as_nvidia: bool = False,
    card_health: "CardHealth | None" = None,
) -> FileContent:
    """Read a configuration file. The section `health` may name the kinds of evidence of the policy ``health``.

    ``card_health`` returns those of backends with network cards, which it may name as well.

    With ``as_nvidia``, what NVIDIA's device plugin ignores is ignored here, too.

    Raises:
        InvalidValueError: the file cannot be read, or has a key or value that is not allowed. The message names file,
        line and column.
    """
    root, version = load(Path(path))
    document = Document(Path(path))
    content = read_document(document, root, options, health, as_nvidia=as_nvidia, card_health=card_health)
    return content._replace(version=version)


def read_document(
    document: Document,
    root: yaml.Node,
    options: Sequence[Option[object]],
    health: HealthPolicy,
    *,
    as_nvidia: bool,
    card_health: "CardHealth | None" = None,
) -> FileContent:
    """Read a configuration as `read_file`, from its root node. ``document`` collects what is wrong with it.

    Raises:
        InvalidValueError: it has a key or value that is not allowed.
    """
    policies = health, lambda: [card_health(each) for each in CARDS] if card_health is not None else []
    return _Reader(document, options, policies, IgnoredKeys(are_ignored=as_nvidia)).read(root)


class _Reader:
    def __init__(
        self,
        document: Document,
        options: Sequence[Option[object]],
        policies: tuple[HealthPolicy, Callable[[], Sequence[HealthPolicy]]],
        ignored: IgnoredKeys,
    ) -> None:
        self._document = document
        self._ignored = ignored
        self._options = {option.key: option for option in options if option.key}
        self._without_key = {option.word: option for option in options if not option.key}
        self._default_health, self._card_health = policies
        self._groups = {"flags"} | {key.rpartition(".")[0] for key in (*self._options, *RESOURCE_KEYS)}
        known = (*self._options, *RESOURCE_KEYS, *CARD_KEYS, *UNSUPPORTED_KEYS, *self._groups, "version", HEALTH)
        self._in_lower_case = {key.lower(): key for key in known}
        self._values: dict[str, FileValue] = {}
        self._resources: ResourceSections | None = None
        self._cards: CardSections | None = None
        self._health = NO_HEALTH

    def read(self, root: yaml.Node) -> FileContent:
        self._check_version(root)
        with self._document.collecting():
            self._mapping(root, "")
        resources = self._resources.whole() if self._resources is not None else None
        self._document.check()
        return FileContent(
            values=self._values,
            resources=resources,
            cards=self._cards.whole() if self._cards is not None else None,
            health=self._health,
            ignored=self._ignored.told(),
        )

    def _check_version(self, root: yaml.Node) -> None:
        """Check the version before all other keys, because it defines what they mean. Without one it is v1.

        Raises:
            InvalidValueError: it is another version, or no configuration file at all.
        """
        other = explain_other(root)
        if other is not None:
            raise InvalidValueError(f"{self._document.place(other[0])}: {other[1]}")
        for key, value in root.value if isinstance(root, yaml.MappingNode) else ():
            if key.value == "version" and value.tag != NULL:
                written = self._document.word(value, "version", _WORDS).text
                if written != VERSION:
                    raise InvalidValueError(
                        f"{self._document.place(value)}: version: invalid value {written!r}; expected {VERSION}"
                    )

    def _mapping(self, node: yaml.Node, path: str) -> None:
        """Read a mapping, and the groups of keys in it. ``path`` is its full path, and empty for the root."""
        repeated = self._ignored if self._ignored.are_ignored and path != HEALTH else None
        for full, key, value in self._document.entries(node, path, repeated):
            with self._document.collecting():
                self._entry(full, key, value)

    def _entry(self, full: str, key: yaml.Node, value: yaml.Node) -> None:
        if self._ignored.are_ignored:  # Go's decoder of JSON takes a key in any case
            full = self._in_lower_case.get(full.lower(), full)
        if full not in self._in_lower_case.values():
            self._take_unknown(full, key)
        elif _says_nothing(full, value):
            return
        elif full in self._options:
            self._values[full] = self._value(value, full)
        elif full in RESOURCE_KEYS or full in CARD_KEYS:
            if full not in PATTERN_KEYS or not self._ignored.note(full, self._document.place(key)):
                self._read_resources(full, key, value)
        elif full == HEALTH:
            self._health = self._health_and_times(value)
        elif full in self._groups:
            self._mapping(value, full)
        elif full in UNSUPPORTED_KEYS:
            self._check_not_asked_for(full, key, value)

    def _take_unknown(self, full: str, key: yaml.Node) -> None:
        """Refuse an unknown key, or note that it is ignored. The section `health` is ours, and always read strictly."""
        place = self._document.place(key)
        if not self._ignored.are_ignored or full.startswith(f"{HEALTH}."):
            raise InvalidValueError(f"{place}: unknown key {full}, {self._known(full)}")
        self._ignored.note(full, place)

    def _read_resources(self, full: str, key: yaml.Node, value: yaml.Node) -> None:
        if full in CARD_KEYS:
            self._read_cards(full, value)
            return
        from plugin_gateway.adapters.configuration.resources_section import ResourceSections  # noqa: PLC0415 - where used

        if self._resources is None:
            self._resources = ResourceSections(self._document, self._document.place(key), self._ignored)
        self._resources.read(value, full)

    def _read_cards(self, full: str, value: yaml.Node) -> None:
        from plugin_gateway.adapters.configuration.cards_section import CardSections  # noqa: PLC0415 - where used

        if self._cards is None:
            self._cards = CardSections(self._document)
        self._cards.read(value, full)

    def _health_and_times(self, node: yaml.Node) -> FileHealth:
        """Read the section `health`. Its times and counts are options like others; the rest goes to `read_health`."""
        rest = yaml.MappingNode(node.tag, [], node.start_mark, node.end_mark)
        own = yaml.MappingNode(node.tag, [], node.start_mark, node.end_mark)
        for full, key, value in self._document.entries(node, HEALTH):
            (own if full in HEALTH_KEYS else rest).value.append((key, value))
        self._mapping(rest, HEALTH)
        return read_health(self._document, own, self._default_health, self._card_health)

    def _known(self, full: str) -> str:
        """Return a hint for an unknown key: where it can be given, the key that was probably meant, or all keys."""
        from difflib import get_close_matches  # noqa: PLC0415 - only where somebody made a mistake

        word = full.rpartition(".")[2].strip("'")
        if option := self._without_key.get(word):
            return f"it can only be given by {option.flags[0]} or {option.variables[0]}"
        keys = (*self._options, *RESOURCE_KEYS, *CARD_KEYS, *HEALTH_KEYS, "version")
        known = [*keys, *UNSUPPORTED_KEYS, *self._groups, *_SHARING]
        same_word = [key for key in known if key.rpartition(".")[2] == word]
        same_word.sort(key=lambda key: not key.startswith(full.rpartition(".")[0]))  # what is below the same key first
        near = same_word or get_close_matches(full, known, n=1)
        if near and near[0] in UNSUPPORTED_KEYS:
            return f"it looks like {near[0]}, which {NOT_SUPPORTED}{only(UNSUPPORTED_KEYS[near[0]])}"
        return f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(keys))}"

    def _check_not_asked_for(self, full: str, key: yaml.Node, value: yaml.Node) -> None:
        """Refuse an unsupported key of NVIDIA's plugin, unless each value below it asks for nothing."""
        row = UNSUPPORTED_KEYS[full]
        if all(text in ("", *row.neutral) for text in _texts(value)):
            return
        written = f"{full}: {shown(value.value)}" if isinstance(value, yaml.ScalarNode) else full
        raise UnsupportedSettingError(f"{self._document.place(key)}: {written} {NOT_SUPPORTED}{only(row)}")

    def _value(self, node: yaml.Node, full: str) -> FileValue:
        """Return the value of an option. It is checked here too, because a flag may decide instead of it."""
        option = self._options[full]
        if option.is_switch:
            return self._document.word(node, full, (SWITCH,), "true or false, without quotes")
        if option.is_list and isinstance(node, yaml.SequenceNode):
            texts = ",".join(self._checked(each, full).text for each in node.value)
            return self._parsed(FileValue(text=texts, place=self._document.place(node)), full)
        return self._checked(node, full)

    def _checked(self, node: yaml.Node, full: str) -> FileValue:
        allowed = allowed_by(self._options[full].kind.parse)
        return self._parsed(self._document.word(node, full, _WORDS, allowed), full)

    def _parsed(self, written: FileValue, full: str) -> FileValue:
        try:
            self._options[full].kind.parse(written.text)
        except InvalidValueError as error:
            raise InvalidValueError(f"{written.place}: {full}: {error}") from error
        return written


def _says_nothing(full: str, node: yaml.Node) -> bool:
    """Whether a key has no value. A section that shares devices may be empty, as where NVIDIA's plugin logs it."""
    return node.tag == NULL or (full in SHARING_KEYS and isinstance(node, yaml.MappingNode) and not node.value)


def _texts(node: yaml.Node) -> Iterator[str]:
    """Yield a node as a text, or what is in a list, or what the keys of a mapping have. Nothing deeper is looked at."""
    if isinstance(node, yaml.MappingNode):
        yield _NO_KEYS
        yield from (_text(value) for _, value in node.value)
    elif isinstance(node, yaml.SequenceNode) and node.value:
        yield from map(_text, node.value)
    else:
        yield _text(node)


def _text(node: yaml.Node) -> str:
    """Return a value in lower case. A word that is no to YAML is false, and null is empty."""
    if isinstance(node, yaml.ScalarNode):
        is_off = node.tag == SWITCH and node.value.lower() in ("false", "no", "off")
        return "" if node.tag == NULL else "false" if is_off else node.value.lower()
    empty = _NO_KEYS if isinstance(node, yaml.MappingNode) else "[]"
    return described(node) if node.value else empty
