"""Tables, lines and JSON on standard output, for sub-commands that need no library for it."""

import sys
from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table. The first row is its head; a column is as wide as its widest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def print_json(value: object) -> None:
    """Print a value as JSON."""
    import json  # noqa: PLC0415 - `run` needs none of it

    print_lines([json.dumps(value, indent=2)])


def print_lines(lines: Sequence[str]) -> None:
    """Print lines."""
    sys.stdout.write("\n".join(lines) + "\n")


def printable(words: str) -> str:
    """Return the text without control characters; each is replaced by its escape. It then fits on one line."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in words)


def local_time(epoch: float) -> str:
    """Return a time in seconds since the epoch as people of this time zone read it."""
    from datetime import datetime  # noqa: PLC0415 - `run` needs none of it

    return datetime.fromtimestamp(epoch).astimezone().isoformat(sep=" ", timespec="seconds")
