"""Objects of a small API server, which can be created, read, changed by merge patches and deleted."""

import copy
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

NODES = "/api/v1/nodes"


class ApiObjects:
    """Objects by their paths. Each change gives one another version, as etcd does."""

    def __init__(self) -> None:
        self.folders = {NODES}
        """Where objects can be. The server knows no others, as where a CRD is missing."""
        self.objects: dict[str, dict[str, Any]] = {}
        self.changes: list[tuple[str, str, dict[str, Any]]] = []
        """Method, path and body of each change that was accepted."""
        self.meanwhile: list[Callable[[], object]] = []
        """What somebody else does between a GET and the next change; each once."""
        self.invalid = "refused"
        """A label with this value is refused."""
        self._version = 1
        self._lock = threading.RLock()

    def put(self, path: str, **parts: Any) -> None:
        """Create an object, or replace it, as somebody else does."""
        with self._lock:
            metadata = {"name": path.rpartition("/")[2], "uid": f"uid-{self._version}", **parts.pop("metadata", {})}
            self.objects[path] = {"metadata": metadata, **parts}
            self._stamp(path)

    def change(self, path: str, body: dict[str, Any]) -> None:
        """Change an object as somebody else does."""
        with self._lock:
            self.objects[path] = merged(self.objects[path], body)
            self._stamp(path)

    def _stamp(self, path: str) -> None:
        self._version += 1
        self.objects[path]["metadata"]["resourceVersion"] = str(self._version)

    def find(self, path: str) -> dict[str, Any] | None:
        """Return a copy of an object."""
        with self._lock:
            return copy.deepcopy(self.objects.get(path))

    def answer(self, method: str, path: str, body: dict[str, Any]) -> HTTPStatus:
        """Carry out a change, and return the status."""
        if self.meanwhile:
            self.meanwhile.pop(0)()
        with self._lock:
            status = self._answer(method, path, body)
            if status < HTTPStatus.BAD_REQUEST:
                self.changes.append((method, path, body))
            return status

    def _answer(self, method: str, path: str, body: dict[str, Any]) -> HTTPStatus:
        if method == "POST":
            return self._create(path, body)
        if path not in self.objects:
            return HTTPStatus.NOT_FOUND
        if method == "PATCH":
            return self._change(path, body)
        del self.objects[path]
        return HTTPStatus.OK

    def _create(self, folder: str, body: dict[str, Any]) -> HTTPStatus:
        path = f"{folder}/{body['metadata']['name']}"
        if folder not in self.folders:
            return HTTPStatus.NOT_FOUND
        if path in self.objects:
            return HTTPStatus.CONFLICT
        self.put(path, **copy.deepcopy(body))
        return HTTPStatus.CREATED

    def _change(self, path: str, body: dict[str, Any]) -> HTTPStatus:
        known = self.objects[path]["metadata"]["resourceVersion"]
        if body.get("metadata", {}).get("resourceVersion", known) != known:
            return HTTPStatus.CONFLICT
        after = merged(self.objects[path], body)
        labels = {**after["metadata"].get("labels", {}), **after.get("spec", {}).get("labels", {})}
        if self.invalid in labels.values():
            return HTTPStatus.UNPROCESSABLE_ENTITY
        self.objects[path] = after
        self._stamp(path)
        return HTTPStatus.OK


def merged(value: Any, patch: Any) -> Any:
    """Return a value after a merge patch. Source: RFC 7386, section 2."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    found = dict(value) if isinstance(value, dict) else {}
    for key, change in patch.items():
        if change is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), change)
    return found
