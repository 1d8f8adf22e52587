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


def fitted(rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """Return the lines of a table. In a narrower width, what does not fit beside a row's first cell is below it.

    None for a width without end.
    """
    lines = table(rows)
    if width is None or max(len(line) for line in lines) <= width:
        return lines
    rows = [[printable(cell) for cell in row] for row in rows]
    margin = max(len(row[0]) for row in rows) + 2
    return [line for row in rows for line in _folded(row, margin, max(width, 2 * margin))]


def _folded(row: Sequence[str], margin: int, width: int) -> list[str]:
    """Return the lines of a row: its cells follow each other where they fit, and words are never cut."""
    from textwrap import wrap  # noqa: PLC0415 - `run` needs none of it

    parts = [
        part for cell in row[1:] for part in wrap(cell, width - margin, break_long_words=False, break_on_hyphens=False)
    ]
    lines = [row[0].ljust(margin)]
    for part in parts:
        is_first = len(lines[-1]) == margin
        if not is_first and len(lines[-1]) + 2 + len(part) > width:
            lines.append(" " * margin)
            is_first = True
        lines[-1] += part if is_first else f"  {part}"
    return [line.rstrip() for line in lines]


def terminal_width() -> int | None:
    """Return the columns of the terminal that standard output is. None if it is a file or a pipe."""
    if not sys.stdout.isatty():
        return None
    from shutil import get_terminal_size  # noqa: PLC0415 - `run` needs none of it

    return get_terminal_size().columns


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
