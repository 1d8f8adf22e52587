"""The causes of a fault, each with what the vendor says to do about it. For people, and for those who mend nodes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from plugin_gateway.core.devices import MAX_NAMES, FaultId
from plugin_gateway.core.health.faults import Evidence, Fault, Source
from plugin_gateway.core.health.policy import EvidenceKind


class Remedy(NamedTuple):
    """What to do about evidence of one kind. A text is empty if nothing is known."""

    action: str = ""
    """The vendor's own word for what to do at once."""
    todo: str = ""
    """What that means, in a plain sentence."""
    investigation: str = ""
    """The vendor's own word for what to look into afterwards."""
    to_investigate: str = ""
    """What that means, in a plain sentence."""


Remedies = Callable[[Evidence], Remedy]
"""Returns what the vendor says to do about a piece of evidence."""


def of_several(remedies: Mapping[str, Remedies]) -> Remedies:
    """Return what several vendors say, by the words for their devices.

    Where more than one knows the evidence, what to do has these words before it: nothing else says which device it is.
    """
    if len(remedies) == 1:
        return next(iter(remedies.values()))

    def of_all(evidence: Evidence) -> Remedy:
        found = {words: remedy for words, each in remedies.items() if (remedy := each(evidence)) != Remedy()}
        if len(frozenset(found.values())) <= 1:
            return next(iter(found.values()), Remedy())
        first = next(iter(found.values()))
        return first._replace(todo="; ".join(f"{words}: {remedy.todo}" for words, remedy in found.items()))

    return of_all


class Cause(NamedTuple):
    """Everything that was reported in the same words."""

    kind: EvidenceKind
    """Empty if it is not known."""
    what: str
    source: Source
    first: float
    """Seconds since the epoch, as ``last``."""
    last: float
    remedy: Remedy

    @property
    def words(self) -> str:
        """What was reported, and the vendor's word for what to do at once."""
        return f"{self.what} ({self.remedy.action})" if self.remedy.action else self.what


def causes_of(evidence: Iterable[Evidence], remedies: Remedies) -> tuple[Cause, ...]:
    """Return each cause once, in the order in which they came up."""
    causes: dict[str, Cause] = {}
    for each in evidence:
        first = causes[each.what].first if each.what in causes else each.first
        causes[each.what] = Cause(each.kind, each.what, each.source, first, each.at, remedies(each))
    return tuple(causes.values())


def summarize(faults: Mapping[FaultId, Fault], remedies: Remedies, limit: int) -> str:
    """Return one line about these faults, of at most ``limit`` characters.

    It names every cause with the vendor's word for what to do; only the first cause of each device where that does not
    fit; and no word of the vendor where that does not fit either. Then it is cut off.
    """
    causes = {device: causes_of(fault.evidence, remedies) for device, fault in list(faults.items())[:MAX_NAMES]}
    more = len(faults) - len(causes)
    line = ""
    for words in (_every_cause, _first_cause, _reason):
        named = [f"{device}: {words(found)}" for device, found in causes.items()]
        line = "; ".join((*named, f"and {more} more") if more else named)
        if len(line) <= limit:
            break
    return line[:limit]


def _every_cause(causes: Sequence[Cause]) -> str:
    return ", ".join(cause.words for cause in causes)


def _first_cause(causes: Sequence[Cause]) -> str:
    return causes[0].words


def _reason(causes: Sequence[Cause]) -> str:
    return causes[0].what
