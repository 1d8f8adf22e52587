"""What an administrator decided about the labels and taints of the node."""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from plugin_gateway.core.labels.names import OWN, LabelName

FAULT_TAINT = LabelName(f"{OWN}/unhealthy-device")
"""The name of the taint of a node with an unhealthy device."""


class Effect(Enum):
    """What a taint does to pods that do not tolerate it. No taint of the gateway ends a pod that runs."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"


class Taint(NamedTuple):
    """A taint of the node."""

    name: LabelName
    value: str
    effect: Effect


def taint_text(taint: Taint) -> str:
    """Return a taint as kubectl writes it."""
    return f"{taint.name}={taint.value}:{taint.effect.value}"


class ProductRule(NamedTuple):
    """A node with a device of some product gets a label."""

    pattern: str
    """A shell pattern for the whole product name. Case matters."""
    name: LabelName
    value: str
    effect: Effect | None = None
    """That of a taint with the same name and value. None if there is none."""


class CauseRule(NamedTuple):
    """A node with a device that is unhealthy because of some evidence gets the taint `FAULT_TAINT`."""

    pattern: str
    """A shell pattern for the kind of the evidence."""
    effect: Effect


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelPolicy:
    """What labels there are, where that does not follow from the devices."""

    has_deprecated: bool = True
    """Whether there are also labels that the vendor has replaced by others."""
    own: frozenset[str] = frozenset()
    """The labels of the gateway's own that are wanted, by their names without `OWN`."""
    strategy: str = ""
    """How parts of devices are offered, in a word of the backend. Empty if no parts are."""
    machine: str | None = None
    """The model of the machine, as its firmware tells it. None if it cannot be read."""
    started_at: int | None = None
    """When the process started, in seconds since the epoch. None if no label says it."""
    by_product: tuple[ProductRule, ...] = ()
    """All that match count. Of two that give a label another value, the first does."""
    by_cause: tuple[CauseRule, ...] = ()
    """The first one that matches decides. Without any there is no taint."""
