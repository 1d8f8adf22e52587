"""Which labels and taints of a node are the gateway's to write, where it writes them onto the node itself.

Those that it wrote are listed in one annotation, so that they are known after a restart. Everything else on the node is
somebody else's, and so is what somebody changed back twice. Labels named like the gateway's own are taken over where it
wants them, and nothing else of that name is removed but the taint of a fault.

A key stands for a label by its name, and for a taint by name and effect with a colon between them, which no name has.
"""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from plugin_gateway.core.labels.making import NodeLabels
from plugin_gateway.core.labels.names import OWN, is_of_kubernetes
from plugin_gateway.core.labels.policy import FAULT_TAINT

ANNOTATION = f"{OWN}/labels"
"""The annotation that lists the keys of what the gateway wrote, with commas between them."""
MAX_LENGTH = 65_536
"""Characters of the list that are read. A node with devices in 100 kinds of parts has fewer than 40,000."""
PATIENCE = 2
"""How often somebody changes something back until it is left alone."""
_COLON = ":"

Keys = Mapping[str, str]
"""The values of labels and taints by their keys."""
Adopts = Callable[[str], bool]
"""Whether what has this key is to be taken over, though somebody else wrote it."""


class Memory(NamedTuple):
    """What this process wrote, and what became of it."""

    written: Mapping[str, str] = {}
    undone: Mapping[tuple[str, str], int] = {}
    """How often somebody changed what was written, by its key and value, as long as that is wanted."""


class Plan(NamedTuple):
    """What to write onto a node."""

    changes: Mapping[str, str | None]
    """The new values by their keys. None removes."""
    owned: frozenset[str]
    """The keys that are the gateway's when this is written."""
    left_alone: Mapping[str, str]
    """Why something is not as it should be, by its key, for people: somebody else writes it."""
    memory: Memory
    """What is known when this is written."""


def nobody(_: str) -> bool:
    """Take nothing over."""
    return False


def key_of_taint(name: str, effect: str) -> str:
    """Return the key of a taint."""
    return f"{name}{_COLON}{effect}"


def name_and_effect(key: str) -> tuple[str, str]:
    """Return the name and the effect of the taint with this key."""
    name, _, effect = key.rpartition(_COLON)
    return name, effect


def is_taint(key: str) -> bool:
    """Whether a key stands for a taint."""
    return _COLON in key


def keys_of(labels: NodeLabels) -> Keys:
    """Return labels and taints by their keys."""
    taints = {key_of_taint(each.name, each.effect.value): each.value for each in labels.taints}
    return {**labels.labels, **taints}


def owned_keys(text: str) -> frozenset[str]:
    """Return the keys of the annotation. Of a text that no gateway has written, what it seems to list.

    Labels and taints of Kubernetes are never the gateway's, whoever lists them.
    """
    keys = text.split(",") if len(text) <= MAX_LENGTH else ()
    return frozenset(key for key in keys if key and not is_of_kubernetes(key))


def owned_text(keys: Collection[str]) -> str:
    """Return the content of the annotation."""
    return ",".join(sorted(keys))


def plan(has: Keys, owned: frozenset[str], wanted: NodeLabels, memory: Memory, adopts: Adopts) -> Plan:
    """Return what to write onto a node which ``has`` this, of which ``owned`` is the gateway's by the annotation.

    What is not wanted is removed only if ``wanted`` is complete; the taint of a fault also if all faults are known.
    """
    want = keys_of(wanted)
    undone = _undone(has, want, memory)
    ours = {key for key in {*owned, *has, *want} if key in owned or _is_of_fault(key) or adopts(key)}
    given_up = {key for (key, _), times in undone.items() if times >= PATIENCE}
    taken = {key for key in want if (key not in has or key in ours or _is_own(key)) and key not in given_up}
    changes: dict[str, str | None] = {key: want[key] for key in taken if has.get(key) != want[key]}
    stale = (ours & has.keys()) - want.keys()
    kept = {key for key in stale if not (wanted.is_complete or (wanted.knows_faults and _is_of_fault(key)))}
    changes |= dict.fromkeys(stale - kept)
    left_alone = {
        key: f"{_words(has.get(key))} where {_words(want[key])} belongs, and somebody else writes it"
        for key in sorted(want.keys() - taken)
        if has.get(key) != want[key]
    }
    return Plan(
        changes=dict(sorted(changes.items())),
        owned=frozenset(taken | (kept & owned)),
        left_alone=left_alone,
        memory=Memory({key: want[key] for key in taken}, undone),
    )


def after_clearing(has: Keys, owned: frozenset[str], *, labels: bool) -> NodeLabels:
    """Return what the node should have at the end: no taint, and the ``labels`` that it has unless they go."""
    kept = {} if labels else {key: has[key] for key in sorted(owned) if key in has and not is_taint(key)}
    return NodeLabels(kept)


def _undone(has: Keys, want: Keys, memory: Memory) -> Mapping[tuple[str, str], int]:
    """Return how often somebody changed what is wanted now."""
    found = {(key, value): times for (key, value), times in memory.undone.items() if want.get(key) == value}
    for key, value in memory.written.items():
        if want.get(key) == value and has.get(key) != value:
            found[key, value] = found.get((key, value), 0) + 1
    return found


def _is_of_fault(key: str) -> bool:
    return key.startswith(f"{FAULT_TAINT}{_COLON}")


def _is_own(key: str) -> bool:
    return key.startswith(f"{OWN}/")


def _words(value: str | None) -> str:
    return "nothing" if value is None else repr(value)
