"""Each file and each test that a page names exists."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    (
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "deploy/README.md")),
        *(ROOT / "docs").rglob("*.md"),
    )
)
FOLDERS = tuple(
    ROOT / folder
    for folder in (
        "",
        "adapters/plugin_gateway/adapters",
        "core/plugin_gateway",
        "linux/plugin_gateway",
        "nvidia/plugin_gateway",
        "rdma/plugin_gateway",
        "solarflare/plugin_gateway",
    )
)
"""The folders that the pages leave out of a path. Paths below the page's own folder are allowed too."""
_PATH = re.compile(r"`([\w.-]+/[\w./-]+\.(?:py|md|yaml|toml|json))`")
_TESTS = re.compile(r"`(test_\w+)`(?:\s+and\s+`(test_\w+)`)?(?:\s+in\s+`([\w./-]+)`)?")
_PLACEHOLDER = re.compile(r"\b(NAME|RELEASE)\b")


def missing_files(page: Path, text: str) -> Iterator[str]:
    """Return the paths of a page that are no file of the project. NAME and RELEASE stand for any name."""
    for path in _PATH.findall(text):
        if not _PLACEHOLDER.search(path) and not any((folder / path).exists() for folder in (*FOLDERS, page.parent)):
            yield path


def missing_tests(text: str) -> Iterator[str]:
    """Return the tests of a page that are not in the file or folder beside them, or in no file at all."""
    for *names, place in _TESTS.findall(text):
        sources = [path for path in (ROOT / "tests").rglob("*.py") if place in str(path.relative_to(ROOT))]
        code = "\n".join(path.read_text() for path in sources)
        yield from (name for name in names if name and not re.search(rf"def {name}\(", code))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_is_named_exists(page: Path) -> None:
    assert not list(missing_files(page, page.read_text()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_test_that_is_named_is_where_the_page_says(page: Path) -> None:
    assert not list(missing_tests(page.read_text()))


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("`docs/health.md`, `support/tasks.py`, `core/ports.py`, `nvidia/evidence.py`, `examples/pod.yaml`", []),
        ("`dialects/NAME.py`, `tests/NAME/test_it.py`", []),
        ("`/etc/config.yaml`, `health.json`, `--flag=docs/gone.md`", []),
        ("`deploy/README.md`, `deploy/gone/README.md`", ["deploy/gone/README.md"]),
        ("`docs/gone.md` and `tests/core/health/test_state.py`", ["docs/gone.md", "tests/core/health/test_state.py"]),
    ],
)
def test_a_file_that_does_not_exist_is_found(text: str, missing: list[str]) -> None:
    assert list(missing_files(ROOT / "deploy/README.md", text)) == missing


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("`test_a_file_that_does_not_exist_is_found` in `tests/docs/test_paths.py`", []),
        ("`test_a_file_that_does_not_exist_is_found` in `test_paths.py`", []),
        ("`test_a_file_that_does_not_exist_is_found` in\n`tests/docs/test_links.py`", [-1]),
        ("`test_gone` and `test_gone_too` in `tests/docs`", [0, 1]),
        ("`test_gone`, with more", [0]),
    ],
)
def test_a_test_that_is_not_there_is_found(text: str, missing: list[int]) -> None:
    names = re.findall(r"`(test_\w+)`", text)
    assert list(missing_tests(text)) == [names[index] for index in missing]


def listed(title: str) -> str:
    """What a list of CONTRIBUTING.md says."""
    return (ROOT / "CONTRIBUTING.md").read_text().partition(f"### {title}\n")[2].partition("###")[0]


def functions_with(mark: str) -> list[str]:
    """The functions of the composition root in which this stands."""
    body = ast.parse((ROOT / "adapters/plugin_gateway/__main__.py").read_text()).body
    return [each.name for each in body if isinstance(each, ast.FunctionDef) and mark in ast.dump(each)]


def test_the_list_for_a_backend_names_everything_that_asks_for_one() -> None:
    vendors = functions_with(".nvidia.")
    assert {"make_backend", "remedies"} < set(vendors)
    assert [name for name in vendors if f"`{name}`" not in listed("A backend")] == []


def test_the_list_for_a_kind_of_network_card_names_everything_that_tells_them_apart() -> None:
    told_apart = functions_with("id='ONLOAD'")
    assert {"make_cards", "card_health"} < set(told_apart)
    assert [name for name in told_apart if f"`{name}`" not in listed("A kind of network card")] == []


def test_the_list_for_a_kind_of_network_card_names_every_file_that_knows_one() -> None:
    adapters = ROOT / "adapters/plugin_gateway/adapters"
    charts = ROOT / "deploy/helm/plugin-gateway"
    known = [*adapters.rglob("*.py"), *(charts / "templates").iterdir(), charts / "values.yaml"]
    names = [path.name for path in known if "onload" in path.read_text().lower()]
    of_others = {"_options.tpl", *(name for name in names if "transl" in name)}
    assert [
        name for name in names if name not in of_others and f"{name}`" not in listed("A kind of network card")
    ] == []
