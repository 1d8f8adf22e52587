"""Output for people."""

from typing import NoReturn

from rich.console import Console


class PlainConsole(Console):
    """rich's console, but a reader that went is an error like any other: rich exits from the midst of an event loop."""

    def on_broken_pipe(self) -> NoReturn:
        """Raise what rich has just caught."""
        raise  # noqa: PLE0704 - rich calls this from its except clause
