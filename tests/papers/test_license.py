"""Terms and metadata say what is so."""

import hashlib
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from image.test_wheels import PYTHON as PYTHON_OF_IMAGE

ROOT = Path(__file__).parents[2]
SETTINGS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT: dict[str, Any] = SETTINGS["project"]
APACHE_2_0 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
"""SHA-256 of the text as the Apache Software Foundation publishes it."""


def known(prefix: str) -> set[str]:
    return {each.removeprefix(prefix) for each in PROJECT["classifiers"] if each.startswith(prefix)}


def test_the_license_is_the_whole_text_of_the_one_that_is_declared() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2_0


def test_whoever_gets_it_gets_its_terms() -> None:
    assert PROJECT["license-files"] == ["LICENSE", "NOTICE"]
    let_through = (ROOT / ".containerignore").read_text().splitlines()
    (copied,) = re.findall(
        "^COPY pyproject.toml (.*) /src/$", (ROOT / "deploy/Containerfile").read_text(), re.MULTILINE
    )
    for name in PROJECT["license-files"]:
        assert f"!{name}" in let_through
        assert name in copied.split()


@pytest.mark.parametrize(
    "folder", ["api", "nvidia", "deploy/helm", "tests/kubelets/programs", "tests/cluster/programs"]
)
def test_what_the_notice_speaks_of_is_there(folder: str) -> None:
    assert folder in (ROOT / "NOTICE").read_text()
    assert (ROOT / folder).is_dir()


@pytest.mark.parametrize(
    ("folder", "name"), [("nvidia", "xid_catalog.py"), ("tests", "xid-catalog.csv"), ("docs", "health.md")]
)
def test_files_that_have_something_of_others_are_named_rightly(folder: str, name: str) -> None:
    assert name in (ROOT / "NOTICE").read_text()
    assert len(list((ROOT / folder).rglob(name))) == 1


def test_every_message_file_says_where_it_comes_from() -> None:
    files = list((ROOT / "api").rglob("*.proto"))
    assert files
    assert [path for path in files if "// Source: " not in path.read_text()] == []


def test_it_names_the_pythons_that_tests_run_on() -> None:
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert known("Programming Language :: Python :: ") == {"3 :: Only", oldest, PYTHON_OF_IMAGE}


def test_every_part_has_types() -> None:
    assert known("Typing :: ") == {"Typed"}
    parts = SETTINGS["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    assert [part for part in parts if not list((ROOT / part).rglob("py.typed"))] == []
