"""Links between the pages lead somewhere."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in (
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "deploy/README.md")),
        *(ROOT / "docs").rglob("*.md"),
    )
    if path.exists()
)
_BLOCK = re.compile(r"^( *)```.*?^\1```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)")
_HEADING = re.compile(r"^#+ +(.*?) *#*$", re.MULTILINE)
_WORDS = re.compile(r"`([^`]+)`")


def prose(text: str) -> str:
    """Leave blocks and spans of code out: what looks like a link there is none."""
    return _WORDS.sub("", _BLOCK.sub("", text))


def anchors(text: str) -> set[str]:
    """Name the headings as GitHub does: of two that are the same the second gets a number."""
    found: list[str] = []
    for heading in _HEADING.findall(_BLOCK.sub("", text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        taken = sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", each) is not None for each in found)
        found.append(f"{slug}-{taken}" if taken else slug)
    return set(found)


def broken(page: Path, text: str) -> Iterator[str]:
    """Name each relative link of a page that leads nowhere."""
    for link in _LINK.findall(prose(text)):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or not target.is_relative_to(ROOT):
            yield f"{link}: there is no such file"
        elif anchor and anchor not in anchors(text if target == page else target.read_text()):
            yield f"{link}: there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert not list(broken(page, page.read_text()))


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("# Some `code`, and more\n[here](#some-code-and-more)", 0),
        ("# One\n# One\n[first](#one) [second](#one-1)", 0),
        ("[out](https://example.com/x#y) `[no](link.md)`\n```\n[no](link.md)\n```\n", 0),
        ("[page](health.md#health) and [wrapped\nwords](health.md)", 0),
        ("# One\n[here](#two)", 1),
        ("[gone](gone.md)", 1),
        ("[wrapped\nwords](gone.md)", 1),
        ("[page](health.md#gone)", 1),
        ("```\n# One\n```\n[here](#one)", 1),
        ("[outside](../../gone.md)", 1),
    ],
)
def test_a_link_that_leads_nowhere_is_found(text: str, problems: int) -> None:
    assert len(list(broken(ROOT / "docs" / "cluster.md", text))) == problems


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set[Path](), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        links = (link.partition("#")[0] for link in _LINK.findall(prose(page.read_text())))
        targets = {(page.parent / link).resolve() for link in links if link.endswith(".md") and ":" not in link}
        waiting += [target for target in targets if target in PAGES and target not in reached]
    assert [page for page in PAGES if page.parent == ROOT / "docs" and page not in reached] == []
