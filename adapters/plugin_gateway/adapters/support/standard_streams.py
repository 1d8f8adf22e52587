"""Standard input, output and error that may be closed."""

import os
import sys


def open_missing_streams() -> None:
    """Open streams that were closed as /dev/null. Otherwise the next file that is opened would get our output."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            lowest_free = os.open(os.devnull, os.O_RDWR)  # the one that was closed, because lower ones are open
            setattr(sys, name, open(lowest_free, mode, closefd=False))  # noqa: SIM115 - it stays open
