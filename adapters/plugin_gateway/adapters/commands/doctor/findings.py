"""The findings of the checks."""

import errno
import os
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from plugin_gateway.adapters.support.unix_files import who_may


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


def unseen(what: str, todo: str = "") -> Finding:
    """Return the finding that something could not be checked. By default it says who may look."""
    return Finding(Verdict.UNSEEN, what, todo or who_may())


def unwritable(what: str, error: OSError, flag: str, so: str = "") -> Finding:
    """Return the finding that a folder, which ``flag`` names, cannot be written, and ``so`` what follows from it."""
    if isinstance(error, PermissionError) and os.geteuid() != 0:
        return unseen(f"{what} cannot be written by this user", "a gateway that runs as another may be able to")
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            todo = f"free space on its file system, or give another {flag}"
        case errno.EROFS:
            todo = f"mount it without readOnly, or give another {flag}"
        case errno.ENOTDIR:
            todo = f"put a folder in place of the file that is there, or give another {flag}"
        case _:
            todo = who_may()
    return mend(f"{what} cannot be written: {error.strerror}{so}", todo)
