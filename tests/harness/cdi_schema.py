"""The form of a CDI spec, as SPEC.md of cncf-tags/container-device-interface has it.

The schema beside it allows fields that runtimes refuse, so this one is stricter: it allows nothing that is not named
there, and each field from its version on only.
"""

import json
from collections.abc import Mapping
from typing import Any

import jsonschema

_TEXTS = {"type": "array", "items": {"type": "string"}, "minItems": 1}
_PATH = {"type": "string", "pattern": "^/"}
_NUMBER = {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}


def _exactly(required: Mapping[str, Any], others: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "type": "object",
        "properties": {**required, **others},
        "required": list(required),
        "additionalProperties": False,
    }


def schema_of(version: str) -> Mapping[str, Any]:
    """The schema of a version."""
    minor = int(version.split(".")[1])
    numbers = dict.fromkeys(("minor", "fileMode", "uid", "gid"), _NUMBER)
    node = {"type": {"enum": ["c"]}, "major": {**_NUMBER, "minimum": 1}, "permissions": {"pattern": "^[rwm]{1,3}$"}}
    edits = {
        "env": {"type": "array", "items": {"type": "string", "pattern": "^[^=]+="}, "minItems": 1},
        "deviceNodes": {
            "type": "array",
            "minItems": 1,
            "items": _exactly({"path": _PATH}, {**numbers, **node, **({"hostPath": _PATH} if minor >= 5 else {})}),
        },
        "mounts": {
            "type": "array",
            "minItems": 1,
            "items": _exactly({"hostPath": _PATH, "containerPath": _PATH}, {"options": _TEXTS}),
        },
        "hooks": {
            "type": "array",
            "minItems": 1,
            "items": _exactly(
                {"hookName": {"const": "createContainer"}, "path": _PATH}, {"args": _TEXTS, "env": _TEXTS}
            ),
        },
    }
    name = "^[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?$" if minor >= 5 else "^[A-Za-z]([A-Za-z0-9_.:-]*[A-Za-z0-9])?$"
    device = _exactly(
        {
            "name": {"type": "string", "pattern": name},
            "containerEdits": {**_exactly({}, edits), "minProperties": 1},
        },
        {},
    )
    return _exactly(
        {
            "cdiVersion": {"enum": ["0.3.0", "0.5.0"]},
            "kind": {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9]/[A-Za-z][A-Za-z0-9_-]*$"},
            "devices": {"type": "array", "items": device, "minItems": 1},
        },
        {"containerEdits": {**_exactly({}, edits), "minProperties": 1}},
    )


def checked(data: bytes) -> Any:
    """Return the document if a runtime would read it."""
    document = json.loads(data)
    jsonschema.validate(document, schema_of(document["cdiVersion"]))
    return document
