"""What somebody found who looked at a node, for people. A vendor says it of its devices, and the doctor prints it."""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple


class Verdict(Enum):
    """How serious a finding is."""

    WELL = "ok"
    HINT = "note"
    """Not wrong, but it can matter."""
    MEND = "mend"
    """Something is wrong and needs action."""
    UNSEEN = "?"
    """It could not be checked, mostly because this user may not."""


class Finding(NamedTuple):
    """The result of one check."""

    verdict: Verdict
    what: str
    todo: str = ""
    """What to do about it."""
    details: Sequence[str] = ()
    """More about it, a line each."""


def well(what: str) -> Finding:
    """Return the finding that something is in order."""
    return Finding(Verdict.WELL, what)


def hint(what: str, todo: str = "") -> Finding:
    """Return the finding that something is not wrong, but can matter."""
    return Finding(Verdict.HINT, what, todo)


def mend(what: str, todo: str, details: Sequence[str] = ()) -> Finding:
    """Return the finding that something is wrong."""
    return Finding(Verdict.MEND, what, todo, details)
