"""Tables and JSON on standard output, for sub-commands that need no more."""

import sys
from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Write rows under each other, the first of them as the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def print_json(value: object) -> None:
    """Write a value."""
    import json  # noqa: PLC0415 - `run` needs none of it

    print_lines([json.dumps(value, indent=2)])


def print_lines(lines: Sequence[str]) -> None:
    """Write lines."""
    sys.stdout.write("\n".join(lines) + "\n")


def printable(words: str) -> str:
    """Write one line without anything that would mean something to a terminal."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in words)
