"""Writes the drawing and the tables of registration.md from the state machine: ``make generate``."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from generated import put, table
from plugin_gateway.core.registration.machine import TRANSITIONS
from plugin_gateway.core.registration.pauses import PAUSES
from plugin_gateway.core.registration.states import Absent, State

PAGE = Path(__file__).with_name("registration.md")


def first_sentence(documented: Callable[..., object]) -> str:
    """Return the first sentence of a docstring."""
    first_line = (documented.__doc__ or "").strip().splitlines()[0]
    return re.split(r"(?<=\.)\s", first_line)[0]


def names(types: Iterable[type]) -> str:
    """Return the names of types, in the order of the table."""
    return ", ".join(f"`{each.__name__}`" for each in dict.fromkeys(types))


def drawing() -> list[str]:
    """Return the states with one arrow from each to each other. A state that stays is not drawn."""
    arrows: dict[tuple[type[State], type[State]], list[str]] = {}
    for (before, event), transition in TRANSITIONS.items():
        for after in transition.to:
            if after is not before:
                arrows.setdefault((before, after), []).append(event.__name__)
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {Absent.__name__}"]
    for (before, after), events in arrows.items():
        lines.append(f"    {before.__name__} --> {after.__name__}: {', '.join(events)}")
    return [*lines, "```"]


def state_table() -> list[str]:
    """Return what each state means."""
    states = dict.fromkeys(before for before, _ in TRANSITIONS)
    return table(("State", "Meaning"), [(f"`{each.__name__}`", first_sentence(each)) for each in states])


def transition_table() -> list[str]:
    """Return what follows from each event in each state."""
    rows = []
    for (before, event), transition in TRANSITIONS.items():
        follows = first_sentence(transition.follow)
        rows.append((f"`{before.__name__}`", f"`{event.__name__}`", follows, names(transition.to)))
    return table(("State", "Event", "What follows", "Leads to"), rows)


def pause_table() -> list[str]:
    """Return all pauses."""
    rows = [
        (f"`{name}`", f"{pause.seconds:g}", pause.releases or "—", pause.meaning, pause.fact)
        for name, pause in PAUSES.items()
    ]
    return table(("Name", "Seconds", "Releases", "Lasts", "Why"), rows)


def tables() -> str:
    """Return everything that is made from the code."""
    return "\n".join(
        [
            "### Drawing",
            "",
            *drawing(),
            "",
            "### States",
            "",
            *state_table(),
            "",
            "### Transitions",
            "",
            *transition_table(),
            "",
            "### Pauses",
            "",
            *pause_table(),
        ]
    )


def main() -> None:
    """Write the tables into their place on the page."""
    put(PAGE, tables())


if __name__ == "__main__":
    main()
