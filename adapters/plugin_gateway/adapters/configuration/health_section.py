"""Reads the section `health` of the configuration file: which action follows from which evidence."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import yaml

from plugin_gateway.adapters.configuration.document import NUMBER, STRING, Document
from plugin_gateway.adapters.configuration.parsers import XID, range_name
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.policy import Action, Decision, EvidenceKind, family_of, numbered

MAX_XID = 9999
"""The largest XID that a rule may name. NVIDIA's catalog ends at 162; the rest is room for new ones."""
HEALTH = "health"
XIDS = "health.xids"
UNKNOWN_XID = "health.unknownXid"
EVIDENCE = "health.evidence"
HEALTH_KEYS = (XIDS, UNKNOWN_XID, EVIDENCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHealth:
    """The decisions of the section: for single kinds of evidence, and for whole families, such as all other XIDs."""

    kinds: Mapping[EvidenceKind, Decision]
    families: Mapping[str, Decision]


NO_HEALTH = FileHealth(kinds={}, families={})


def read_health(document: Document, node: yaml.Node, known: Collection[EvidenceKind]) -> FileHealth:
    """Read the keys of the section that are not options. ``known`` are the kinds of evidence that the backend has.

    Raises:
        InvalidValueError: a key or a value is not allowed. The message names file, line and column.
    """
    xids: Mapping[EvidenceKind, Decision] = {}
    others: Mapping[EvidenceKind, Decision] = {}
    families: Mapping[str, Decision] = {}
    for full, _, value in document.entries(node, HEALTH):
        if full == XIDS:
            xids = _read_xids(document, value)
        elif full == UNKNOWN_XID:
            families = {XID: _decision(document, value, full)}
        else:
            others = _read_evidence(document, value, known)
    return FileHealth(kinds={**xids, **others}, families=families)


def _read_xids(document: Document, node: yaml.Node) -> Mapping[EvidenceKind, Decision]:
    """Read `health.xids`, whose keys are XIDs and ranges of them. Two keys must not name the same XID."""
    decisions: dict[EvidenceKind, Decision] = {}
    ranges: list[tuple[int, int]] = []
    for full, key, value in document.entries(node, XIDS):
        first, last = _range(document, key)
        decision = _decision(document, value, full)
        for before in ranges:
            if first <= before[1] and before[0] <= last:
                both = max(first, before[0])
                raise InvalidValueError(
                    f"{document.place(key)}: {full}: XID {both} was decided about before, "
                    f"by {XIDS}.{range_name(*before)}"
                )
        ranges.append((first, last))
        decisions |= dict.fromkeys((numbered(XID, xid) for xid in range(first, last + 1)), decision)
    return decisions


def _range(document: Document, key: yaml.Node) -> tuple[int, int]:
    """Return the first and the last XID that a key names."""
    assert isinstance(key, yaml.ScalarNode)
    first, dash, last = key.value.partition("-")
    if _is_xid(first) and (_is_xid(last) if dash else True) and int(first) <= int(last or first):
        return int(first), int(last or first)
    raise InvalidValueError(
        f"{document.place(key)}: {XIDS}: {key.value[:80]!r} is no XID, "
        f"allowed are 1 to {MAX_XID} and ranges such as 126-135"
    )


def _is_xid(word: str) -> bool:
    is_number = word.isascii() and word.isdigit() and len(word) <= len(str(MAX_XID))
    return is_number and 1 <= int(word) <= MAX_XID


def _read_evidence(
    document: Document, node: yaml.Node, known: Collection[EvidenceKind]
) -> Mapping[EvidenceKind, Decision]:
    names = [kind for kind in known if family_of(kind) is None]
    decisions: dict[EvidenceKind, Decision] = {}
    for full, key, value in document.entries(node, EVIDENCE):
        kind = EvidenceKind(full.removeprefix(f"{EVIDENCE}."))
        if kind not in names:
            raise InvalidValueError(f"{document.place(key)}: unknown key {full}, known are {', '.join(names)}")
        decisions[kind] = _decision(document, value, full)
    return decisions


def _decision(document: Document, node: yaml.Node, full: str) -> Decision:
    actions = [action.value for action in Action]
    written = document.word(node, full, (STRING, NUMBER), allowed=", ".join(actions))
    if written.text not in actions:
        raise InvalidValueError(f"{written.place}: {full}: {written.text[:80]!r}, allowed are {', '.join(actions)}")
    return Decision(Action(written.text), f"file {written.place.line}")
