"""Reads the configuration of another device plugin as that one does: keys without case, and unknown ones ignored."""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import yaml

from plugin_gateway.adapters.configuration.document import (
    MAX_NODES,
    NULL,
    NUMBER,
    STRING,
    SWITCH,
    Document,
    described,
)
from plugin_gateway.adapters.configuration.kinds import parse_switch
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.resources.names import parse_resource_name

_PATTERN_CHARACTER = re.compile(r"[*?[]")
_PCI_ID = re.compile(r"[0-9a-f]{4}")
_LINK_TYPES = {"ether": "ethernet", "infiniband": "infiniband"}
"""The kernel's words, which the other plugins compare with, and ours."""


class Entry(NamedTuple):
    """A key with a value."""

    full: str
    """The path of the key, as it is written."""
    key: yaml.Node
    value: yaml.Node


Entries = Mapping[str, Entry]
"""By the key, as its plugin spells it. A key without a value says nothing and is left out."""


class ForeignDocument(Document):
    """A configuration of another device plugin. Collects what becomes of it, too."""

    def __init__(self, path: Path, plugin: str) -> None:
        """``plugin`` is what complaints call the other device plugin."""
        super().__init__(path)
        self.plugin = plugin
        self.lost: list[str] = []
        self.left_out: list[str] = []
        self._left = MAX_NODES

    def _visit(self, node: yaml.CollectionNode) -> None:
        """Count what is read of a list or a mapping. Aliases can repeat it in few words.

        Raises:
            InvalidValueError: it is too much.
        """
        self._left -= len(node.value)
        if self._left < 0:
            raise InvalidValueError(f"{self.place(node)}: more than the {MAX_NODES} keys and values allowed")

    def known(self, node: yaml.Node, path: str, keys: Sequence[str], below: Mapping[str, str] | None = None) -> Entries:
        """Return the entries of a mapping whose keys are known. The others are noted.

        ``below`` has the right paths of keys that belong below one of them, in lower case.

        Raises:
            InvalidValueError: the node is no mapping.
        """
        if isinstance(node, yaml.CollectionNode):
            self._visit(node)
        in_lower_case = {key.lower(): key for key in keys}
        found: dict[str, Entry] = {}
        for full, key, value in self.entries(node, path):
            word = full.removeprefix(f"{path}.")
            spelled = in_lower_case.get(word.lower())
            if spelled is None:
                self._note_unknown(Entry(full, key, value), word.lower(), in_lower_case, below or {})
            elif spelled in found:
                with self.collecting():
                    first = self.place(found[spelled].key)
                    raise InvalidValueError(f"{self.place(key)}: {full} occurs twice, first at {first}")
            elif value.tag != NULL:
                found[spelled] = Entry(full, key, value)
        return found

    def _note_unknown(self, entry: Entry, word: str, known: Mapping[str, str], below: Mapping[str, str]) -> None:
        """Note an unknown key. One that looks like another was meant as that one. ``word`` is in lower case."""
        meant = below.get(word) or next((known[each] for each in get_close_matches(word, known, n=1, cutoff=0.8)), None)
        ignored = f"{self.place(entry.key)}: {entry.full} is ignored by {self.plugin}, and left out"
        if meant:
            self.lost.append(f"{ignored}; did you mean {meant}?")
        else:
            self.left_out.append(ignored)

    def lose(self, entry: Entry, why: str) -> None:
        """Note that what a key asks for is lost."""
        self.lost.append(f"{self.place(entry.key)}: {entry.full}: {described(entry.value)} is lost: {why}")

    def leave_out(self, entry: Entry, why: str) -> None:
        """Note that a key is not needed."""
        self.left_out.append(f"{self.place(entry.key)}: {entry.full} is left out: {why}")

    def items(self, entry: Entry) -> Sequence[yaml.Node]:
        """Return the items of a list.

        Raises:
            InvalidValueError: it is none.
        """
        if not isinstance(entry.value, yaml.SequenceNode):
            raise InvalidValueError(
                f"{self.place(entry.value)}: {entry.full} is {described(entry.value)}; expected a list"
            )
        self._visit(entry.value)
        items: Sequence[yaml.Node] = entry.value.value
        return items

    def some_items(self, root: yaml.Node, entries: Entries, key: str) -> Sequence[yaml.Node]:
        """Return the items of a list in the root that has to have some.

        Raises:
            InvalidValueError: it has none, or is no list.
        """
        items = self.items(entries[key]) if key in entries else ()
        if not items:
            place = self.place(entries[key].value if key in entries else root)
            raise InvalidValueError(f"{place}: {key} is empty, with which {self.plugin} ends")
        return items

    def texts(self, entries: Entries, key: str) -> tuple[str, ...]:
        """Return the texts of a list. Empty where the key is missing.

        Raises:
            InvalidValueError: it is no list, or something else is in it.
        """
        if key not in entries:
            return ()
        entry = entries[key]
        return tuple(self.word(item, entry.full, (STRING,), "texts in quotes").text for item in self.items(entry))

    def text(self, entries: Entries, key: str, otherwise: str = "") -> str:
        """Return a text. Raises InvalidValueError for anything else."""
        if key not in entries:
            return otherwise
        return self.word(entries[key].value, entries[key].full, (STRING,), "a text in quotes").text

    def switch(self, entries: Entries, key: str, *, otherwise: bool = False) -> bool:
        """Return whether a switch is on. Raises InvalidValueError for anything but true and false."""
        if key not in entries:
            return otherwise
        allowed = "true or false, without quotes"
        return parse_switch(self.word(entries[key].value, entries[key].full, (SWITCH,), allowed).text)

    def number(self, entries: Entries, key: str, otherwise: int) -> int:
        """Return a whole number from 0 on. Raises InvalidValueError for anything else."""
        if key not in entries:
            return otherwise
        entry = entries[key]
        text = self.word(entry.value, entry.full, (NUMBER,), "whole numbers, without quotes").text
        if not (text.isascii() and text.isdigit()) or len(text) > len("1000000"):
            raise InvalidValueError(
                f"{self.place(entry.value)}: {entry.full}: invalid value {text[:80]!r}; expected 0 to 9999999"
            )
        return int(text)

    def pci_ids(self, entries: Entries, key: str) -> tuple[str, ...]:
        """Return ids of vendors or devices.

        Raises:
            InvalidValueError: one is written in another way, so that it matches nothing there.
        """
        for text in (ids := self.texts(entries, key)):
            if not _PCI_ID.fullmatch(text):
                raise InvalidValueError(
                    f"{self.place(entries[key].value)}: {entries[key].full}: {text[:80]!r} matches nothing there; "
                    "expected four hex digits in lower case, such as 15b3"
                )
        return ids

    def names(self, entries: Entries, key: str) -> tuple[str, ...]:
        """Return names as shell patterns that match nothing else. Raises InvalidValueError for anything else."""
        return tuple(literal(text) for text in self.texts(entries, key))

    def link_types(self, entries: Entries, key: str = "linkTypes") -> tuple[str, ...]:
        """Return link types as our words.

        Raises:
            InvalidValueError: one is another word, which matches nothing there or here.
        """
        found = self.texts(entries, key)
        for text in found:
            if text not in (*_LINK_TYPES, *_LINK_TYPES.values()):
                raise InvalidValueError(
                    f"{self.place(entries[key].value)}: {entries[key].full}: {text[:80]!r} matches nothing there; "
                    f"expected {' or '.join(_LINK_TYPES)}"
                )
            if text not in _LINK_TYPES:
                self.lost.append(
                    f"{self.place(entries[key].value)}: {entries[key].full}: {text!r} matches nothing there, whose "
                    "word is ether; here it is followed"
                )
        return tuple(_LINK_TYPES.get(text, text) for text in found)

    def resource_name(self, entry: Entry, prefix: str, name: str) -> str:
        """Return the whole name of a resource. Raises InvalidValueError if no kubelet takes it."""
        with_place = f"{self.place(entry.value)}: {entry.full}"
        try:
            return parse_resource_name(f"{prefix}/{name}")
        except InvalidValueError as error:
            raise InvalidValueError(f"{with_place}: {error}") from error


def literal(text: str) -> str:
    """Return the shell pattern that matches a text alone."""
    return _PATTERN_CHARACTER.sub(lambda found: f"[{found[0]}]", text)


def without_empty(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    """Return a section without what is empty."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in pairs if value}
