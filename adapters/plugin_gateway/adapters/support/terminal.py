"""Tables, lines and JSON on standard output, for sub-commands that need no library for it.

Whatever the texts are and whoever wrote them, no control character reaches the terminal.
"""

import sys
from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table. The first row is its head; a column is as wide as its widest cell."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def print_json(value: object) -> None:
    """Print a value as JSON."""
    print_lines(as_json(value).split("\n"))


def as_json(value: object) -> str:
    """Return a value as JSON in ASCII, without control characters but newlines."""
    import json  # noqa: PLC0415 - the first registration needs none of it

    return json.dumps(value, indent=2).replace("\x7f", r"\u007f")  # the only one that json does not escape


def print_lines(lines: Sequence[str]) -> None:
    """Print lines, without control characters: a line stays one line."""
    sys.stdout.write("".join(f"{printable(line)}\n" for line in lines))


def printable(words: str) -> str:
    """Return the text without control characters; each is replaced by its escape. It then fits on one line."""
    if words.isprintable():
        return words
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in words)


def local_time(epoch: float) -> str:
    """Return a time in seconds since the epoch as people of this time zone read it."""
    from datetime import datetime  # noqa: PLC0415 - `run` needs none of it

    return datetime.fromtimestamp(epoch).astimezone().isoformat(sep=" ", timespec="seconds")
