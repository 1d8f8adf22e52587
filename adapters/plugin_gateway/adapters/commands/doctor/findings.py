"""The findings of the checks, and those that only this process can make."""

import errno
import os

from plugin_gateway.adapters.support.unix_files import who_may
from plugin_gateway.core.findings import Finding, Verdict, hint, mend, well

__all__ = ["Finding", "Verdict", "hint", "mend", "unseen", "unwritable", "well"]


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
