"""The last hour as bars: a picture with its words, for each resource and for the health of the devices."""

from collections.abc import Sequence

from plugin_gateway.adapters.monitoring.last_hour import HOUR, LastHour, Mark, Row
from plugin_gateway.adapters.monitoring.markup import clock, text

_WIDTH = 12
"""Seconds that a mark is wide. On a narrow page that is one pixel."""

_MEANING = "upper half: faults and failures; lower half: registrations; grey: not known, as before the start"


def hour_bars(hour: LastHour) -> str:
    """Return the bars, with what their colours mean in words."""
    begin = hour.now - HOUR
    faults = _count(hour.health.marks, "fault", is_bad=True)
    ill = f"{faults}, {_length(hour.health.seconds)} with a device that was not healthy"
    rows = [_bar("devices", hour.health, begin, "shut", "ill", ill)]
    for resource, row in hour.streams.items():
        times, failures = _count(row.marks, "registration", is_bad=False), _count(row.marks, "failure", is_bad=True)
        words = f"stream open {_length(row.seconds)} of {_length(row.known.end - row.known.begin)}, {times}, {failures}"
        rows.append(_bar(resource, row, begin, "shut", "on", words))
    scale = f"<div class=scale><span>{clock(begin)}</span><span>{clock(hour.now)} UTC</span></div>"
    meaning = f"<p class=soft>{_MEANING}</p>"
    return "".join(rows) + scale + meaning


def _bar(name: str, row: Row, begin: float, without: str, within: str, words: str) -> str:
    """Return one bar. Its heights are percents, its widths seconds."""
    known = row.known
    shapes = [_rect(without, known.begin - begin, known.end - known.begin)]
    shapes += [_rect(within, each.begin - begin, each.end - each.begin) for each in row.spans]
    shapes += [_mark(each, begin) for each in row.marks]
    return (
        f"<p><b>{text(name)}</b> <span class=soft>{text(words)}</span></p>"
        f"<svg role=img aria-label='{text(f'{name}: {words}')}' viewBox='0 0 {HOUR:.0f} 100' preserveAspectRatio=none>"
        f"{''.join(shapes)}</svg>"
    )


def _rect(kind: str, x: float, width: float) -> str:
    return f"<rect class={kind} x={x:.0f} y=0 width={width:.0f} height=100 />"


def _mark(mark: Mark, begin: float) -> str:
    kind, y = ("fault", 0) if mark.is_bad else ("mark", 50)
    x = min(mark.at - begin, HOUR - _WIDTH)
    title = text(f"{clock(mark.at)} {mark.words}")
    return f"<rect class={kind} x={x:.0f} y={y} width={_WIDTH} height=50><title>{title}</title></rect>"


def _count(marks: Sequence[Mark], word: str, *, is_bad: bool) -> str:
    number = sum(each.is_bad is is_bad for each in marks)
    return f"{number} {word}{'' if number == 1 else 's'}"


def _length(seconds: float) -> str:
    """Return a time as people read it."""
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"  # noqa: PLR2004 - a minute
