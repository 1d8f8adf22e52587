"""Writes labels and taints onto the node itself, by GET and PATCH of this one object.

A patch names the version of the node that it was made from, so that nothing is overwritten that came in between. What
is whose is decided in `core.labels.ownership`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from plugin_gateway.adapters.cluster.kubernetes_api import VERSION, ApiError, KubernetesApi, metadata_of
from plugin_gateway.adapters.cluster.label_way import LabelError, Written
from plugin_gateway.adapters.cluster.retry_on_conflict import retry_on_conflict
from plugin_gateway.core.labels.making import NodeLabels
from plugin_gateway.core.labels.ownership import (
    ANNOTATION,
    Adopts,
    Keys,
    Memory,
    after_clearing,
    is_taint,
    key_of_taint,
    name_and_effect,
    nobody,
    owned_keys,
    owned_text,
    plan,
)

LOOK_INTERVAL = 300.0
"""Seconds between two looks at what others made of it. Each node of a large cluster asks the API server so often."""


class NodePatchWay:
    """The labels and taints of the node itself."""

    look_interval = LOOK_INTERVAL

    def __init__(self, api: KubernetesApi, node: str, adopts: Adopts = nobody) -> None:
        """``adopts`` says which keys are taken over that somebody else wrote."""
        self.where = f"node {node}"
        self._api = api
        self._path = f"/api/v1/nodes/{quote(node)}"
        self._adopts = adopts
        self._memory = Memory()
        self._uid: object = None
        """That of the node of which this is known. A node that is made anew has another one."""

    async def write(self, wanted: NodeLabels) -> Written:
        """Change what of the node is the gateway's. See `Way`."""
        return await self._change(lambda _: wanted, self._adopts)

    async def read(self) -> Keys:
        """Return all labels and taints of the node. See `Way`."""
        try:
            return (await self._read()).has
        except ApiError as error:
            raise LabelError(str(error)) from error

    def forget(self) -> None:
        """Count no change of another gateway as one of somebody who changes labels back. See `Way`."""
        self._memory = Memory()

    async def clear(self, *, labels: bool) -> None:
        """Remove the taints, and the ``labels`` too if they are to go. See `Way`."""
        await self._change(lambda node: after_clearing(node.has, node.owned, labels=labels), nobody)

    async def _change(self, wanted: "Callable[[_Node], NodeLabels]", adopts: Adopts) -> Written:
        async def attempt() -> Written:
            node = await self._read()
            return await self._write(node, wanted(node), adopts)

        return await retry_on_conflict(attempt)

    async def _read(self) -> "_Node":
        return _parse(await self._api.get(self._path))

    async def _write(self, node: "_Node", wanted: NodeLabels, adopts: Adopts) -> Written:
        if node.uid != self._uid:
            self._memory, self._uid = Memory(), node.uid
        made = plan(node.has, node.owned, wanted, self._memory, adopts)
        body = _patch(node, made.changes, made.owned)
        if body is not None:
            await self._api.merge(self._path, body)
        self._memory = made.memory
        return Written(body is not None, made.left_alone)


class _Node(NamedTuple):
    """What counts of one version of the node."""

    uid: object
    version: str
    has: Keys
    """Its labels and taints by their keys."""
    annotation: str | None
    taints: Sequence[Mapping[str, Any]]
    """Its taints, as the API server has them."""

    @property
    def owned(self) -> frozenset[str]:
        """What of it is the gateway's."""
        return owned_keys(self.annotation or "")


def _parse(node: Any) -> _Node:
    """Return what counts of a Node.

    Raises:
        ApiError: it is none.
    """
    metadata, version = metadata_of(node, "node")
    spec = node.get("spec")
    listed = spec.get("taints") if isinstance(spec, dict) else None
    taints = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    has = _texts(metadata.get("labels")) | {_key(each): str(each.get("value") or "") for each in taints}
    return _Node(metadata.get("uid"), version, has, _texts(metadata.get("annotations")).get(ANNOTATION), taints)


def _texts(value: object) -> dict[str, str]:
    found = value.items() if isinstance(value, dict) else ()
    return {name: text for name, text in found if isinstance(name, str) and isinstance(text, str)}


def _key(taint: Mapping[str, Any]) -> str:
    return key_of_taint(str(taint.get("key")), str(taint.get("effect")))


def _patch(node: _Node, changes: Mapping[str, str | None], owned: frozenset[str]) -> Mapping[str, Any] | None:
    """Return the merge patch. None if nothing has to be changed."""
    metadata: dict[str, Any] = {}
    if labels := {key: value for key, value in changes.items() if not is_taint(key)}:
        metadata["labels"] = labels
    if (text := owned_text(owned) or None) != node.annotation:
        metadata["annotations"] = {ANNOTATION: text}
    taints = {key: value for key, value in changes.items() if is_taint(key)}
    if not metadata and not taints:
        return None
    body: dict[str, Any] = {"metadata": {VERSION: node.version, **metadata}}
    if taints:
        body["spec"] = {"taints": _changed(node.taints, taints)}
    return body


def _changed(taints: Sequence[Mapping[str, Any]], changes: Mapping[str, str | None]) -> Sequence[Mapping[str, Any]]:
    """Return all taints of the node after changes of some. The API server knows no way to change one alone."""
    kept = [each for each in taints if _key(each) not in changes]
    new = [
        {"key": name, "value": value, "effect": effect}
        for (name, effect), value in ((name_and_effect(key), value) for key, value in changes.items())
        if value is not None
    ]
    return [*kept, *new]
