"""The forms for issues and pull requests are such as GitHub takes, and ask for what there is."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from plugin_gateway.__main__ import COMMANDS
from plugin_gateway.adapters.commands.command_line import main

PROJECT = Path(__file__).parents[2]
GITHUB = PROJECT / ".github"
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").iterdir() if path.name != "config.yml")
TEXT = {"type": "string", "pattern": r"\S"}
OF_KIND: dict[str, dict[str, Any]] = {
    "markdown": {"value": TEXT},
    "input": {"label": TEXT, "description": TEXT, "placeholder": TEXT, "value": TEXT},
    "textarea": {"label": TEXT, "description": TEXT, "placeholder": TEXT, "value": TEXT, "render": TEXT},
    "dropdown": {
        "label": TEXT,
        "description": TEXT,
        "multiple": {"type": "boolean"},
        "options": {"type": "array", "items": TEXT, "minItems": 1, "uniqueItems": True},
        "default": {"type": "integer", "minimum": 0},
    },
}
"""What GitHub's documentation allows below `attributes`, for the kinds of field that are used here."""
NEEDED = {"markdown": ["value"], "input": ["label"], "textarea": ["label"], "dropdown": ["label", "options"]}


def element(kind: str) -> dict[str, Any]:
    required = {"properties": {"required": {"type": "boolean"}}, "additionalProperties": False}
    answerable: dict[str, Any] = {
        "id": {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"},
        "validations": {"type": "object", **required},
    }
    attributes = {"properties": OF_KIND[kind], "required": NEEDED[kind], "additionalProperties": False}
    return {
        "type": "object",
        "properties": {
            "type": {"const": kind},
            "attributes": {"type": "object", **attributes},
            **(answerable if kind != "markdown" else {}),
        },
        "required": ["type", "attributes"],
        "additionalProperties": False,
    }


FORM = {
    "type": "object",
    "properties": {
        "name": TEXT,
        "description": TEXT,
        "title": TEXT,
        "labels": {"type": "array", "items": TEXT},
        "body": {"type": "array", "items": {"oneOf": [element(kind) for kind in OF_KIND]}, "minItems": 1},
    },
    "required": ["name", "description", "body"],
    "additionalProperties": False,
}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def named(text: str) -> list[str]:
    """The calls of the program in a text, without its name."""
    return re.findall(r"`plugin-gateway ([^`]*)`", text)


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_a_form_is_one_that_github_takes(path: Path) -> None:
    form = load(path)
    Draft202012Validator(FORM).validate(form)
    fields = [each for each in form["body"] if each["type"] != "markdown"]
    assert fields, "GitHub wants a field that can be filled in"
    for key in ("id", "label"):
        words = [each.get(key) or each["attributes"].get(key) for each in fields]
        assert len(set(words)) == len(words)


@pytest.mark.parametrize("name", ["id", "attributes", "type"])
def test_a_form_that_github_refuses_is_told(name: str) -> None:
    form = load(GITHUB / "ISSUE_TEMPLATE/bug.yml")
    field = form["body"][1]
    field[name] = {"id": "with a blank", "attributes": {}, "type": "text"}[name]
    assert not Draft202012Validator(FORM).is_valid(form)


def test_names_of_forms_differ() -> None:
    assert len({load(path)["name"] for path in FORMS}) == len(FORMS) == 2


def test_a_bug_comes_with_what_it_takes_to_find_it() -> None:
    text = (GITHUB / "ISSUE_TEMPLATE/bug.yml").read_text()
    assert named(text) == [
        "--version",
        "bundle bundle.tar.gz",
        "doctor",
        "status --json",
        "run --record FILE",
        "replay FILE",
    ]


def texts() -> list[Path]:
    return [path for path in (*GITHUB.rglob("*"), PROJECT / "SECURITY.md") if path.is_file()]


@pytest.mark.parametrize("path", texts(), ids=lambda path: path.name)
def test_every_call_that_is_named_there_is_one(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for call in named(path.read_text()):
        command, *flags = call.split()
        if command.startswith("--"):
            assert command in {"--version", "--help"}
            continue
        assert command in COMMANDS
        with pytest.raises(SystemExit):
            main(COMMANDS, (command, "--help"), lambda: "")
        shown = capsys.readouterr().out
        assert [flag for flag in flags if flag not in shown] == []


@pytest.mark.parametrize("path", texts(), ids=lambda path: path.name)
def test_every_target_of_make_that_is_named_there_is_one(path: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"`make ([a-z-]+)`", path.read_text())) <= set(targets)


def test_the_other_choices_are_those_that_github_knows() -> None:
    assert load(GITHUB / "ISSUE_TEMPLATE/config.yml").keys() <= {"blank_issues_enabled", "contact_links"}
