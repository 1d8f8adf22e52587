"""Puts what is made from the code into its place on a page that is written by hand."""

from pathlib import Path

BEGIN, END = "<!-- made by make generate -->", "<!-- end of what make generate made -->"


def put(page: Path, text: str) -> None:
    """Write the text between the two lines of the page.

    Raises:
        ValueError: the page has not both of them.
    """
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} has not both of the lines {BEGIN!r} and {END!r}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
