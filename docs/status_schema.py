"""Writes the JSON schema of the status, made from its types, beside the documentation: ``make generate``."""

import ast
import inspect
import json
from collections.abc import Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NewType, Union, get_args, get_origin

from plugin_gateway.adapters.commands.status import StatusReport
from plugin_gateway.adapters.gateway.status import Status
from plugin_gateway.adapters.support.typed_json import field_names, hints_of
from plugin_gateway.core.resources.container_options import NAMES

PAGE = Path(__file__).with_name("status.schema.json")
SIMPLE = {str: "string", bool: "boolean", int: "integer", float: "number", NoneType: "null"}


def schema() -> Mapping[str, Any]:
    """Return the schema of what `/status` serves and `plugin-gateway status --json` shows."""
    forms: dict[str, Mapping[str, Any]] = {}
    status = _value(Status, forms)
    properties = _object(StatusReport, forms)["properties"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The status of a gateway",
        "description": "What /status serves. plugin-gateway status --json adds the properties of this level.",
        **status,
        "properties": {name: each for name, each in properties.items() if name not in field_names(Status)},
        "$defs": dict(sorted(forms.items())),
    }


def _object(form: type, forms: dict[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the schema of a dataclass or a NamedTuple. What its fields refer to is added to ``forms``."""
    hints, texts = hints_of(form, NAMES), _texts(form)
    return {
        "type": "object",
        "properties": {
            name: {**_value(hints[name], forms), **({"description": texts[name]} if name in texts else {})}
            for name in field_names(form)
        },
        "required": list(field_names(form)),
    }


def _value(annotation: Any, forms: dict[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    if isinstance(annotation, NewType):
        return _value(annotation.__supertype__, forms)
    if annotation in SIMPLE:
        return {"type": SIMPLE[annotation]}
    if get_origin(annotation) is not None:
        return _combined(annotation, forms)
    if issubclass(annotation, Enum):
        return {"enum": [each.value for each in annotation]}
    if annotation.__name__ not in forms:
        forms[annotation.__name__] = {"description": _first_line(annotation), **_object(annotation, forms)}
    return {"$ref": f"#/$defs/{annotation.__name__}"}


def _combined(annotation: Any, forms: dict[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the schema of a union, a list or an object with any keys."""
    origin, parts = get_origin(annotation), [_value(each, forms) for each in get_args(annotation) if each is not ...]
    if origin in {Union, UnionType}:
        return {"anyOf": parts}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": parts[1]}
    return {"type": "array", "items": parts[0]}


def _first_line(form: type) -> str:
    return (form.__doc__ or "").splitlines()[0]


def _texts(form: type) -> Mapping[str, str]:
    """Return the docstrings of the fields, those of the classes before it included."""
    found: dict[str, str] = {}
    for each in reversed(form.__mro__):
        if field_names(each):
            found |= _own_texts(each)
    return found


@cache
def _own_texts(form: type) -> Mapping[str, str]:
    (definition,) = ast.parse(inspect.getsource(form)).body
    assert isinstance(definition, ast.ClassDef)
    return {
        field.target.id: " ".join(text.value.value.split()).replace("None ", "Null ")
        for field, text in zip(definition.body, definition.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def main() -> None:
    """Write the schema."""
    PAGE.write_text(f"{json.dumps(schema(), indent=2)}\n")


if __name__ == "__main__":
    main()
