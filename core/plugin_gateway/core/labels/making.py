"""Puts together the labels that each backend makes, and what follows from an administrator's rules."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from plugin_gateway.core.devices import FaultId
from plugin_gateway.core.health.faults import Fault
from plugin_gateway.core.health.policy import DRIVER_GONE, EvidenceKind
from plugin_gateway.core.health.state import State
from plugin_gateway.core.labels.names import LabelName, cleaned, is_value, is_word
from plugin_gateway.core.labels.policy import FAULT_TAINT, Effect, LabelPolicy, Taint
from plugin_gateway.core.resources.rules import ResourceRule


class Label(NamedTuple):
    """A label, and why the node has it."""

    name: str
    value: str
    why: str
    """For people."""


LabelMaker = Callable[[State, Sequence[ResourceRule], LabelPolicy], Iterable[Label]]
"""Returns the labels that a backend makes of its state. It is pure."""


class Labelled(NamedTuple):
    """What is known of the devices of one backend, and who makes labels of it."""

    state: State
    make: LabelMaker
    tells_facts: bool = False
    """Whether the backend reports `FactsSeen`, without which labels would be missing."""


class NodeLabels(NamedTuple):
    """The labels and taints that the node should have."""

    labels: Mapping[str, str]
    """The values by the names, in the order of the names."""
    taints: tuple[Taint, ...] = ()
    """At most one for each name and effect."""
    why: Mapping[str, str] = {}
    """Why the node has each of them, by its name, for people."""
    left_out: Mapping[str, str] = {}
    """Why the node does not have a label that was made, by its name, for people."""
    is_complete: bool = True
    """Whether all is known that they are made of. If not, labels from before are to be left as they are."""
    knows_faults: bool = False
    """Whether all is known that the taint of a fault is made of, though not all else is. If not, it is to be left."""


def node_labels(backends: Iterable[Labelled], rules: Sequence[ResourceRule], policy: LabelPolicy) -> NodeLabels:
    """Return the labels and taints of the node. ``backends`` are in the order of their precedence.

    Of two backends that make a label of one name, the first one does. ``rules`` are those by which devices are offered.
    """
    known = tuple(backends)
    states = [each.state for each in known]
    labels: dict[str, str] = {}
    why: dict[str, str] = {}
    left_out: dict[str, str] = {}
    made = [label for each in known for label in each.make(each.state, rules, policy)]
    for name, value, reason in [*made, *_by_product(states, policy)]:
        if problem := _refusal(name, value, labels):
            left_out.setdefault(name, problem)
        else:
            labels[name], why[name] = value, reason
    taints: list[Taint] = []
    for taint, reason in (*_taints_by_product(states, policy), *_taints_by_cause(states, policy)):
        if all((taint.name, taint.effect) != (other.name, other.effect) for other in taints):
            taints.append(taint)
            why.setdefault(taint.name, reason)
    return NodeLabels(
        labels=dict(sorted(labels.items())),
        taints=tuple(taints),
        why=dict(sorted(why.items())),
        left_out=dict(sorted(left_out.items())),
        is_complete=all(map(_is_complete, known)),
        knows_faults=all(map(_knows_faults, states)),
    )


def _refusal(name: str, value: str, labels: Mapping[str, str]) -> str:
    """Return why a label cannot be taken. Empty if it can."""
    if not is_word(name.rpartition("/")[2]):
        return f"the API server takes no label with the name {name!r}"
    if not is_value(value):
        return f"the API server takes no value {value!r}"
    if name in labels and labels[name] != value:
        return f"{labels[name]!r} goes before {value!r}"
    return ""


def _is_complete(backend: Labelled) -> bool:
    """Whether all is known of a backend that its labels are made of."""
    state = backend.state
    if not state.is_settled or not backend.tells_facts or state.inventory is None:
        return state.is_settled
    return state.facts is not None and state.facts.devices.keys() >= set(state.ids)


def _knows_faults(state: State) -> bool:
    """Whether all faults of a backend are known: those of its devices, or none, because it has no device."""
    has_none = state.driver_problem is not None and not state.unserved and not state.faults
    return state.inventory is not None or has_none


def _by_product(states: Iterable[State], policy: LabelPolicy) -> Iterator[Label]:
    """Yield the labels that rules give to a node with such products."""
    products = _products(states)
    for rule in policy.by_product:
        if found := _first_match(products, rule.pattern):
            yield Label(rule.name, rule.value, f"the node has {found}, which {rule.pattern} matches")


def _taints_by_product(states: Iterable[State], policy: LabelPolicy) -> Iterator[tuple[Taint, str]]:
    products = _products(states)
    for rule in policy.by_product:
        if rule.effect is not None and (found := _first_match(products, rule.pattern)):
            taint = Taint(rule.name, rule.value, rule.effect)
            yield taint, f"the node has {found}, which {rule.pattern} matches"


def _products(states: Iterable[State]) -> Sequence[str]:
    return sorted({device.product for state in states for device in state.physical if device.product})


def _first_match(products: Iterable[str], pattern: str) -> str:
    return next((product for product in products if fnmatchcase(product, pattern)), "")


def _taints_by_cause(states: Sequence[State], policy: LabelPolicy) -> Iterator[tuple[Taint, str]]:
    """Yield the taint of a node with an unhealthy device: that of the most severe effect, and its first cause."""
    found: dict[Effect, tuple[EvidenceKind, str]] = {}
    for kind, why in _causes(states):
        effect = next((rule.effect for rule in policy.by_cause if fnmatchcase(kind, rule.pattern)), None)
        if effect is not None:
            found.setdefault(effect, (kind, why))
    for effect in (Effect.NO_SCHEDULE, Effect.PREFER_NO_SCHEDULE):
        if effect in found:
            kind, why = found[effect]
            yield Taint(LabelName(FAULT_TAINT), cleaned(kind), effect), why
            return


def _causes(states: Sequence[State]) -> Iterator[tuple[EvidenceKind, str]]:
    """Yield the kinds of evidence for which devices cannot be given out, those of the first fault first, and in words.

    A fault is no cause yet while the driver decides whether it is one. That takes seconds, and mostly it is none.
    """
    for device, fault in sorted((each for state in states for each in state.present_faults.items()), key=_since):
        if not fault.is_drivers_to_decide:
            for kind in (*(each.kind for each in fault.evidence), *fault.problems):
                yield kind, f"{device} is unhealthy because of {kind}"
    for state in states:
        if state.inventory is None and state.driver_is_gone and state.unserved:
            yield DRIVER_GONE, f"no device is known of those that the node has: {state.driver_trouble}"


def _since(item: tuple[FaultId, Fault]) -> tuple[float, str]:
    return item[1].since, item[0]
