"""How long answers took, as a histogram."""

from bisect import bisect_left
from collections.abc import Sequence

BOUNDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0)
"""Seconds; an answer from memory takes about 20 µs."""


class Timings:
    """Counts by duration."""

    def __init__(self) -> None:
        self.total = 0.0
        """Seconds of all together."""
        self._counts = [0] * (len(BOUNDS) + 1)

    def note(self, seconds: float) -> None:
        """Count one."""
        self.total += seconds
        self._counts[bisect_left(BOUNDS, seconds)] += 1

    def buckets(self) -> Sequence[tuple[str, float]]:
        """List for each bound how many took that long at most, the last for all."""
        cumulative, listed = 0, []
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self._counts, strict=True):
            cumulative += count
            listed.append((bound, float(cumulative)))
        return listed
