"""The schema of the status is that of the code, and refuses what the code never writes."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

import status_schema
from harness.statuses import BARE, RESOURCE, assert_valid
from plugin_gateway.adapters.gateway.status_document import encode

SCHEMA = json.loads(status_schema.PAGE.read_text())


def document() -> Any:
    return json.loads(json.dumps({**encode(BARE), "resources": [encode(RESOURCE)]}))


def test_the_file_is_what_make_generate_writes() -> None:
    assert status_schema.schema() == SCHEMA
    Draft202012Validator.check_schema(SCHEMA)


def test_a_description_is_what_the_docstring_says() -> None:
    """One of a dataclass, one of a base class, one of a NamedTuple of the core, and one of a class."""
    known = SCHEMA["$defs"]
    assert (
        known["CountStatus"]["properties"]["not_kept"]["description"]
        == "Why that file cannot be written. Null if it can."
    )
    assert known["Status"]["properties"]["kubelet_dir"]["description"] == "The kubelet's directory of device plugins."
    assert known["RejectedDevice"]["properties"]["problem"]["description"] == "Why it cannot be offered."
    assert known["DriverStatus"]["description"] == "The driver of the devices."


def test_a_bare_status_is_valid() -> None:
    assert_valid(document())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda each: each.pop("driver"), "'driver' is a required property"),
        (lambda each: each["resources"][0].pop("failures"), "'failures' is a required property"),
        (lambda each: each.update(kubelet_dir=None), "None is not of type 'string'"),
        (lambda each: each.update(holders="nobody"), "'nobody' is not of type 'array'"),
        (lambda each: each["device_count"].update(present="8"), "'8' is not valid under any of the given schemas"),
        (lambda each: each.update(absent=[{"id": "x", "health": "ill"}]), "'ill' is not one of"),
    ],
)
def test_what_the_code_never_writes_is_refused(change: Callable[[Any], object], words: str) -> None:
    wrong = document()
    change(wrong)
    with pytest.raises(ValidationError, match=words):
        assert_valid(wrong)
