"""Reads the section `health` of the configuration file: which action follows from which evidence."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import yaml

from plugin_gateway.adapters.configuration.document import FRACTION, NUMBER, STRING, Document, allowed_by
from plugin_gateway.adapters.configuration.health_options import XID, range_name
from plugin_gateway.adapters.configuration.kinds import MAX_TIME, Parse, parse_time
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.policy import Action, Decision, EvidenceKind, HealthPolicy, family_of, numbered
from plugin_gateway.core.health.repetition import MAX_COUNT

T = TypeVar("T")
MAX_XID = 9999
"""The largest XID that a rule may name. NVIDIA's catalog has far smaller ones; the rest is room."""
HEALTH = "health"
XIDS = "health.xids"
UNKNOWN_XID = "health.unknownXid"
EVIDENCE = "health.evidence"
_REPEATED_KEYS = ("action", "count", "window")
HEALTH_KEYS = (XIDS, UNKNOWN_XID, EVIDENCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHealth:
    """The decisions of the section: for single kinds of evidence, and for whole families, such as all other XIDs."""

    kinds: Mapping[EvidenceKind, Decision]
    families: Mapping[str, Decision]


NO_HEALTH = FileHealth(kinds={}, families={})


CardPolicies = Callable[[], Sequence[HealthPolicy]]
"""Returns the policies of the backends with network cards. It imports them."""


def read_health(
    document: Document, node: yaml.Node, by_default: HealthPolicy, of_cards: CardPolicies = lambda: ()
) -> FileHealth:
    """Read the keys of the section that are not options. ``by_default`` has the kinds of evidence of GPUs.

    ``of_cards`` is asked for those of network cards where a key is none of them.

    The document collects a complaint for each key and value that is not allowed.
    """
    xids: Mapping[EvidenceKind, Decision] = {}
    others: Mapping[EvidenceKind, Decision] = {}
    families: Mapping[str, Decision] = {}
    for full, _, value in document.entries(node, HEALTH):
        with document.collecting():
            if full == XIDS:
                xids = _read_xids(document, value)
            elif full == UNKNOWN_XID:
                families = {XID: _decision(document, value, full)}
            else:
                others = _read_evidence(document, value, by_default, of_cards)
    return FileHealth(kinds={**xids, **others}, families=families)


def _read_xids(document: Document, node: yaml.Node) -> Mapping[EvidenceKind, Decision]:
    """Read `health.xids`, whose keys are XIDs and ranges of them. Two keys must not name the same XID."""
    decisions: dict[EvidenceKind, Decision] = {}
    ranges: list[tuple[int, int]] = []
    for full, key, value in document.entries(node, XIDS):
        xids = range(0)
        with document.collecting():
            first, last = _range(document, key)
            _check_new(first, last, ranges, f"{document.place(key)}: {full}")
            ranges.append((first, last))
            xids = range(first, last + 1)
        with document.collecting():
            decisions |= dict.fromkeys((numbered(XID, xid) for xid in xids), _decision(document, value, full))
    return decisions


def _check_new(first: int, last: int, ranges: Sequence[tuple[int, int]], culprit: str) -> None:
    """Check that no earlier range has an XID of this one."""
    for before in ranges:
        if first <= before[1] and before[0] <= last:
            both = max(first, before[0])
            raise InvalidValueError(f"{culprit}: XID {both} was decided about before, by {XIDS}.{range_name(*before)}")


def _range(document: Document, key: yaml.Node) -> tuple[int, int]:
    """Return the first and the last XID that a key names."""
    assert isinstance(key, yaml.ScalarNode)
    first, dash, last = key.value.partition("-")
    is_octal = key.tag == NUMBER and first.startswith("0")  # to YAML, 010 is 8
    if not is_octal and _is_xid(first) and (_is_xid(last) if dash else True) and int(first) <= int(last or first):
        return int(first), int(last or first)
    raise InvalidValueError(
        f"{document.place(key)}: {XIDS}: {key.value[:80]!r} is no XID; "
        f"expected 1 to {MAX_XID} or ranges such as 126-135"
    )


def _is_xid(word: str) -> bool:
    is_number = word.isascii() and word.isdigit() and len(word) <= len(str(MAX_XID))
    return is_number and 1 <= int(word) <= MAX_XID


def _read_evidence(
    document: Document, node: yaml.Node, by_default: HealthPolicy, of_cards: CardPolicies
) -> Mapping[EvidenceKind, Decision]:
    names = [kind for kind in by_default.kinds if family_of(kind) is None]
    cards: list[EvidenceKind] | None = None
    decisions: dict[EvidenceKind, Decision] = {}
    for full, key, value in document.entries(node, EVIDENCE):
        kind = EvidenceKind(full.removeprefix(f"{EVIDENCE}."))
        with document.collecting():
            if kind not in names and cards is None:
                cards = [each for policy in of_cards() for each in policy.kinds if each not in names]
                names += dict.fromkeys(cards)
            if kind not in names:
                raise InvalidValueError(f"{document.place(key)}: unknown key {full}, known are {', '.join(names)}")
            if isinstance(value, yaml.MappingNode) and kind not in by_default.events:
                events = ", ".join(by_default.events)
                raise InvalidValueError(
                    f"{document.place(value)}: {full} is a mapping; expected an action: a check finds this evidence, "
                    f"and only what is reported can be counted, which are XIDs, {events}"
                )
            decisions[kind] = _decision(document, value, full)
    return decisions


def _decision(document: Document, node: yaml.Node, full: str) -> Decision:
    """Read a decision: an action, or a mapping for evidence that has to be repeated."""
    if isinstance(node, yaml.MappingNode):
        return _repeated(document, node, full)
    return _single(document, node, full, list(Action))


def _repeated(document: Document, node: yaml.Node, full: str) -> Decision:
    """Read how often evidence has to be reported, and within which time, until the action applies."""
    decision = Decision(Action.IGNORE, "")
    missing = list(_REPEATED_KEYS)
    for name, key, value in document.entries(node, full):
        word = name.removeprefix(f"{full}.")
        with document.collecting():
            if word not in _REPEATED_KEYS:
                missing = []  # it may be meant as the one that is missing
                known = ", ".join(_REPEATED_KEYS)
                raise InvalidValueError(f"{document.place(key)}: unknown key {name}, known are {known}")
            missing = [each for each in missing if each != word]
            decision = _with(document, decision, word, value, name)
    if missing:
        raise InvalidValueError(f"{document.place(node)}: {' and '.join(missing)} missing in {full}")
    return decision


def _with(document: Document, decision: Decision, word: str, node: yaml.Node, full: str) -> Decision:
    """Return the decision with the value of one key."""
    if word == "count":
        return decision._replace(times=_parsed(document, node, full, _repetitions))
    if word == "window":
        return decision._replace(window=_parsed(document, node, full, _window))
    single = _single(document, node, full, [each for each in Action if each.needs is not None])
    return decision._replace(action=single.action, origin=single.origin)


def _repetitions(text: str) -> int:
    """Return how often evidence has to be reported until an action applies, from 2 to 100."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_COUNT)) and 2 <= int(text) <= MAX_COUNT):  # noqa: PLR2004 - once is no repetition
        raise InvalidValueError(f"invalid value {text[:80]!r}; expected 2 to {MAX_COUNT}")
    return int(text)


def _window(text: str) -> float:
    """Return a time in seconds; ``10m`` and ``2h`` are minutes and hours."""
    found = parse_time(text)
    if found is None or not 1 <= found <= MAX_TIME:
        raise InvalidValueError(
            f"invalid value {text[:80]!r}; expected 1 to {MAX_TIME} seconds, also as 90s, 10m or 2h"
        )
    return found


def _parsed(document: Document, node: yaml.Node, full: str, parse: Parse[T]) -> T:
    written = document.word(node, full, (STRING, NUMBER, FRACTION), allowed_by(parse))
    try:
        return parse(written.text)
    except InvalidValueError as error:
        raise InvalidValueError(f"{written.place}: {full}: {error}") from error


def _single(document: Document, node: yaml.Node, full: str, allowed: Sequence[Action]) -> Decision:
    actions = [action.value for action in allowed]
    written = document.word(node, full, (STRING, NUMBER), allowed=", ".join(actions))
    if written.text not in actions:
        raise InvalidValueError(
            f"{written.place}: {full}: invalid value {written.text[:80]!r}; expected {', '.join(actions)}"
        )
    return Decision(Action(written.text), f"file {written.place.line}")
