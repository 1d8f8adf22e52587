"""Counts the changes of health and the evidence, for the metrics, and keeps the latest changes, for people."""

import time
from collections import Counter, deque
from typing import NamedTuple

from plugin_gateway.core.health.changes import Changes, HealthChange, Significance
from plugin_gateway.core.health.faults import Stage
from plugin_gateway.core.health.policy import EvidenceKind, HealthPolicy, token_of

MAX_TOKENS = 256
"""Kinds of evidence that are counted by themselves although the policy does not know them. A driver can report any."""
OTHER = "other"
"""The token for all other kinds."""
MAX_KEPT = 128
"""Changes of health that are kept."""


class Changed(NamedTuple):
    """A change of health, and its time."""

    at: float
    """In seconds since the epoch."""
    change: HealthChange


class HealthCounters:
    """Counters of one gateway. They do not grow for ever."""

    def __init__(self) -> None:
        self.transitions: Counter[tuple[Stage, str]] = Counter()
        """Number of changes of health, by the new stage and the token of the reason."""
        self.evidence: Counter[tuple[str, Significance]] = Counter()
        """Number of pieces of evidence that changed no health, by the token of their kind and their meaning."""
        self.latest: deque[Changed] = deque(maxlen=MAX_KEPT)
        """The latest changes of health, the oldest first."""
        self.since = time.time()
        """Since when changes are kept, in seconds since the epoch."""
        self._unknown: set[EvidenceKind] = set()
        """The kinds with a counter that the policy does not know."""

    def count(self, changes: Changes, policy: HealthPolicy) -> None:
        """Count what changed."""
        for change in changes.health:
            self.transitions[change.after, self._token(change.kind, policy)] += 1
            self.latest.append(Changed(time.time(), change))
        for note in changes.notes:
            self.evidence[self._token(note.kind, policy), note.significance] += note.times

    def _token(self, kind: EvidenceKind, policy: HealthPolicy) -> str:
        if kind not in policy.kinds and kind not in self._unknown:
            if len(self._unknown) >= MAX_TOKENS:
                return OTHER
            self._unknown.add(kind)
        return token_of(kind)
