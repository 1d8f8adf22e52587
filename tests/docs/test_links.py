"""Links between the pages lead somewhere, and the table of options has every option and no other."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from plugin_gateway.__main__ import API_VERSIONS, parse_backend
from plugin_gateway.adapters.configuration.option import Option
from plugin_gateway.adapters.configuration.options import run_options

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in (
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "deploy/README.md")),
        *(ROOT / "docs").rglob("*.md"),
    )
    if path.exists()
)
OPTIONS_HEADING = "Flags, environment variables and file"
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


def options_table(text: str) -> Mapping[tuple[str, ...], tuple[tuple[str, ...], str]]:
    """Read the flags of each row, with the variables and the key beside them."""
    section = text.partition(f"## {OPTIONS_HEADING}\n")[2]
    table = [line for line in section.partition("| ---")[2].partition("\n\n")[0].splitlines() if "`--" in line]
    found = {}
    for line in table:
        flags, variables, key, _ = (cell.strip() for cell in line.strip("|").split("|"))
        keys = _WORDS.findall(key)
        found[tuple(_WORDS.findall(flags))] = (tuple(_WORDS.findall(variables)), keys[0] if keys else "")
    return found


def options() -> tuple[Option, ...]:
    return run_options(tuple(API_VERSIONS), parse_backend)


def test_the_table_has_every_option_and_no_other() -> None:
    expected = {option.flags: (option.variables, option.file_key or "") for option in options()}
    assert options_table((ROOT / "docs" / "configure.md").read_text()) == expected


def test_the_table_has_the_defaults_of_the_code() -> None:
    text = (ROOT / "docs" / "configure.md").read_text()
    for option in options():
        (row,) = (
            line for line in text.splitlines() if line.startswith(f"| `{option.flags[0]}`") and line.count("|") == 5
        )
        default = row.split("|")[4]
        assert (
            (f"`{option.default}`" in default)
            if option.default
            else ("`" not in default or option.name == "resource_name")
        )


def test_a_row_that_is_missing_is_found() -> None:
    text = (ROOT / "docs" / "configure.md").read_text()
    lines = [line for line in text.splitlines(keepends=True) if not line.startswith("| `--listen` | `LISTEN`")]
    assert len(options_table("".join(lines))) == len(options()) - 1
