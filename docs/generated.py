"""Puts what is made from the code into its place on a page that is written by hand."""

from collections.abc import Iterable, Sequence
from pathlib import Path

BEGIN, END = "<!-- made by make generate -->", "<!-- end of what make generate made -->"


def put(page: Path, text: str) -> None:
    """Write the text between the two lines of the page.

    Raises:
        ValueError: the page has not both of them.
    """
    page.write_text(with_text(page.read_text(), text, str(page)))


def with_text(page: str, text: str, name: str, begin: str = BEGIN, end: str = END) -> str:
    """Return the page with the text between the two lines. ``name`` is what the error calls it.

    Raises:
        ValueError: the page has not both of them.
    """
    before, has_begin, rest = page.partition(begin)
    _, has_end, after = rest.partition(end)
    if not (has_begin and has_end):
        raise ValueError(f"{name} has not both of the lines {begin!r} and {end!r}")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
