"""The API of a Kubernetes release, as its own OpenAPI document tells it, and what a manifest has that it does not."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft4Validator
from jsonschema.exceptions import relevance

RELEASES = ("1.8.15", "1.9.11", "1.10.13", "1.16.15", "1.25.16", "1.37.2")
LIMIT = 300
"""Seconds to download one release's Go module."""
_GVK = "x-kubernetes-group-version-kind"


class Api:
    """What the API server of one release takes, read strictly: an unknown key is refused."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._definitions = {name: _closed(name, each) for name, each in document["definitions"].items()}
        self._names = {
            (_version(each["group"], each["version"]), each["kind"]): name
            for name, definition in document["definitions"].items()
            for each in definition.get(_GVK, ())
        }

    def problems(self, manifest: Any) -> Iterator[str]:
        """Tell everything that is wrong with one object, each with its place."""
        if not isinstance(manifest, dict) or not {"apiVersion", "kind"} <= manifest.keys():
            yield "no object of Kubernetes: apiVersion or kind is missing"
            return
        kind = (manifest["apiVersion"], manifest["kind"])
        if kind not in self._names:
            yield f"{kind[0]} {kind[1]} is not served"
            return
        reference = f"#/definitions/{self._names[kind]}"
        validator = Draft4Validator({"definitions": self._definitions, "allOf": [{"$ref": reference}]})
        for error in sorted(validator.iter_errors(manifest), key=relevance):
            yield f"{error.json_path.removeprefix('$.')}: {error.message}"


def _version(group: str, version: str) -> str:
    return f"{group}/{version}" if group else version


def _closed(name: str, definition: Mapping[str, Any]) -> Mapping[str, Any]:
    """Allow no keys but those that are described, and the two kinds of values that are written in two ways."""
    if definition.get("format") == "int-or-string":
        return {"type": ["string", "integer"]}
    if name.endswith(".resource.Quantity"):
        return {"type": ["string", "number"]}
    if "properties" in definition:
        return {**definition, "type": "object", "additionalProperties": False}
    return definition


@cache
def api(release: str) -> Api:
    """Read the document that comes with the release's Go module."""
    shown = subprocess.run(
        ("go", "mod", "download", "-json", f"k8s.io/kubernetes@v{release}"),
        cwd="/",
        check=True,
        timeout=LIMIT,
        stdout=subprocess.PIPE,
    )
    return Api(json.loads((Path(json.loads(shown.stdout)["Dir"]) / "api/openapi-spec/swagger.json").read_text()))
