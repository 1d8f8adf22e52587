"""The section of the configuration file that decides what evidence means for a GPU."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

from plugin_gateway.adapters.configuration.document import NUMBER, STRING, Document
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.policy import HIGHEST_XID, Action, Decision, Source, XidRule

HEALTH = "health"
XIDS = "health.xids"
UNKNOWN_XID = "health.unknownXid"
EVIDENCE = "health.evidence"
HEALTH_KEYS = (XIDS, UNKNOWN_XID, EVIDENCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHealth:
    """What a file decides about health."""

    rules: Sequence[XidRule] = ()
    unknown_xid: Decision | None = None
    sources: Mapping[Source, Decision]


NO_HEALTH = FileHealth(sources={})


def read_health(document: Document, node: yaml.Node) -> FileHealth:
    """Read the keys of the section that are no options.

    Raises:
        InvalidValueError: it says anything that is not known here; with file, line and column.
    """
    rules: Sequence[XidRule] = ()
    unknown_xid: Decision | None = None
    sources: Mapping[Source, Decision] = {}
    for full, _, value in document.entries(node, HEALTH):
        if full == XIDS:
            rules = _read_xids(document, value)
        elif full == UNKNOWN_XID:
            unknown_xid = _decision(document, value, full)
        else:
            sources = _read_evidence(document, value)
    return FileHealth(rules=rules, unknown_xid=unknown_xid, sources=sources)


def _read_xids(document: Document, node: yaml.Node) -> Sequence[XidRule]:
    rules: list[XidRule] = []
    for full, key, value in document.entries(node, XIDS):
        first, last = _range(document, key)
        decision = _decision(document, value, full)
        for rule in rules:
            if first <= rule.last and rule.first <= last:
                both = max(first, rule.first)
                raise InvalidValueError(
                    f"{document.place(key)}: {full}: XID {both} was decided about before, by {XIDS}.{rule.name}"
                )
        rules.append(XidRule(first, last, *decision))
    return rules


def _range(document: Document, key: yaml.Node) -> tuple[int, int]:
    """Read an XID, or a range of them."""
    assert isinstance(key, yaml.ScalarNode)
    first, dash, last = key.value.partition("-")
    if _is_xid(first) and (_is_xid(last) if dash else True) and int(first) <= int(last or first):
        return int(first), int(last or first)
    raise InvalidValueError(
        f"{document.place(key)}: {XIDS}: {key.value[:80]!r} is no XID, "
        f"allowed are 1 to {HIGHEST_XID} and ranges such as 126-135"
    )


def _is_xid(word: str) -> bool:
    is_number = word.isascii() and word.isdigit() and len(word) <= len(str(HIGHEST_XID))
    return is_number and 1 <= int(word) <= HIGHEST_XID


def _read_evidence(document: Document, node: yaml.Node) -> Mapping[Source, Decision]:
    known = {source.value: source for source in Source}
    sources: dict[Source, Decision] = {}
    for full, key, value in document.entries(node, EVIDENCE):
        name = full.removeprefix(f"{EVIDENCE}.")
        if name not in known:
            raise InvalidValueError(f"{document.place(key)}: unknown key {full}, known are {', '.join(known)}")
        sources[known[name]] = _decision(document, value, full)
    return sources


def _decision(document: Document, node: yaml.Node, full: str) -> Decision:
    actions = [action.value for action in Action]
    written = document.word(node, full, (STRING, NUMBER), allowed=", ".join(actions))
    if written.text not in actions:
        raise InvalidValueError(f"{written.place}: {full}: {written.text[:80]!r}, allowed are {', '.join(actions)}")
    return Decision(Action(written.text), f"file {written.place.line}")
