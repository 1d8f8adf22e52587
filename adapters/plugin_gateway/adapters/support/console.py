"""A console of rich for output that can be piped into another program."""

from typing import NoReturn

from rich.console import Console


class PlainConsole(Console):
    """Raises an error when the reader of the output is gone. rich would exit, even inside an event loop."""

    def on_broken_pipe(self) -> NoReturn:
        """Raise the error that rich has caught."""
        raise  # noqa: PLE0704 - rich calls this from its except clause
