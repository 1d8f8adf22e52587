"""Figures with their samples, and the table of all figures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median


@dataclass(slots=True)
class Figure:
    """One figure of one subject, with a sample or more for each round."""

    name: str
    subject: str
    unit: str
    samples: list[float] = field(default_factory=list)
    limit: str = ""
    """The limit in words; empty for the floor itself."""
    reached: bool | None = None
    """None where there is no limit."""

    @property
    def median(self) -> float:
        """Return the median of the samples."""
        return median(self.samples)


def percentile(samples: Sequence[float], part: float) -> float:
    """Return the sample below which this part of the samples lies; ``part`` is from 0 to 1."""
    ordered = sorted(samples)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


def table(figures: Sequence[Figure]) -> str:
    """Return a Markdown table with minimum, median and maximum of each figure."""
    lines = [
        "| figure | subject | min | median | max | unit | must reach | reached |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in figures:
        low, middle, high = min(each.samples), each.median, max(each.samples)
        reached = {None: "", True: "yes", False: "**no**"}[each.reached]
        lines.append(
            f"| {each.name} | {each.subject} | {low:.2f} | {middle:.2f} | {high:.2f} | {each.unit} "
            f"| {each.limit} | {reached} |"
        )
    return "\n".join(lines)
