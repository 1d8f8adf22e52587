"""Samples of one figure, and the table of all of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median


@dataclass(slots=True)
class Figure:
    """One figure of one subject over all rounds."""

    name: str
    subject: str
    unit: str
    samples: list[float] = field(default_factory=list)
    limit: str = ""
    """What it must reach, in words; empty where it is the floor itself."""
    reached: bool | None = None

    @property
    def median(self) -> float:
        """The middle of the samples."""
        return median(self.samples)


def percentile(samples: Sequence[float], part: float) -> float:
    """Take the sample below which this part of all samples lies."""
    ordered = sorted(samples)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


def table(figures: Sequence[Figure]) -> str:
    """Write the figures as lines of a Markdown table, minimum, median and maximum each."""
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
