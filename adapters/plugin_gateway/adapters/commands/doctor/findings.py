"""What a check found."""

from enum import Enum
from typing import NamedTuple


class Verdict(Enum):
    """How it is."""

    WELL = "ok"
    HINT = "note"
    """Nothing is wrong with it, but it can matter."""
    MEND = "mend"
    UNSEEN = "?"
    """It could not be looked at."""


class Finding(NamedTuple):
    """One cause."""

    verdict: Verdict
    what: str
    todo: str = ""
    """What to do about it."""


def well(what: str) -> Finding:
    """Nothing is wrong."""
    return Finding(Verdict.WELL, what)


def hint(what: str, todo: str = "") -> Finding:
    """Something that can matter."""
    return Finding(Verdict.HINT, what, todo)


def mend(what: str, todo: str) -> Finding:
    """Something is wrong."""
    return Finding(Verdict.MEND, what, todo)


def unseen(what: str, todo: str = "run it as root") -> Finding:
    """Something could not be looked at."""
    return Finding(Verdict.UNSEEN, what, todo)
