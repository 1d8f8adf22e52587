"""The parser of a sub-command's arguments, for help, for mistakes, and for all that `read_plainly` leaves to it.

It is a module of its own because argparse, with what it imports and a parser with all flags, takes 4 ms. `run` starts
without it.
"""

import argparse
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NoReturn

from plugin_gateway.adapters.commands.command_line import columns, fail, suggestion
from plugin_gateway.adapters.configuration.option import GivenFlag


class _Help(argparse.HelpFormatter):
    """Wraps each paragraph separately, and leaves indented examples as they are."""

    def __init__(self, prog: str, **settings: Any) -> None:
        super().__init__(prog, **{"width": columns()} | settings)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        paragraphs = text.split("\n\n")
        return "\n\n".join(part if "\n  " in part else fill(part, width, indent) for part in paragraphs)

    def _split_lines(self, text: str, width: int) -> list[str]:
        from textwrap import wrap  # noqa: PLC0415 - only for people

        # A path or a flag must stay in one piece, so that it can be copied.
        return wrap(text, width, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """Reports each mistake in one line, without the usage of argparse."""

    def error(self, message: str) -> NoReturn:
        """Print one line, and exit."""
        fail(f"{message.removeprefix('argument ')} (see {self.prog} --help)")

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse all arguments. An unknown flag is an error that suggests the nearest one."""
        parsed, unknown = self.parse_known_args(arguments)
        if unknown:
            self._refuse(unknown[0])
        return parsed

    def _refuse(self, word: str) -> NoReturn:
        if not word.startswith("-"):
            self.error(f"unexpected argument {word}")
        shown = [action for action in self._actions if action.help != argparse.SUPPRESS]
        flags = [name for action in shown for name in action.option_strings]
        self.error(f"unknown flag {word}{suggestion(word.partition('=')[0], flags)}")

    def flags(self) -> AbstractSet[str]:
        """Return all flags, also those that the help does not show."""
        return {name for action in self._actions for name in action.option_strings}


def make_parser(prog: str, description: str) -> Parser:
    """Return a parser without arguments. ``description`` is for the help."""
    return Parser(prog=prog, description=description, formatter_class=_Help, allow_abbrev=False)


class Remember(argparse.Action):
    """Keeps the name with which a flag was given, for error messages and the log, and what was given before it."""

    def __call__(
        self, _parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, flag: str | None = None
    ) -> None:
        """Add it to the result."""
        earlier = getattr(namespace, self.dest, None)
        setattr(namespace, self.dest, GivenFlag(flag=flag or self.dest, text=values, earlier=earlier))
