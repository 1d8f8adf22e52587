"""Writes labels as an object from which node-feature-discovery makes labels of the node.

Source: kubernetes-sigs/node-feature-discovery, api/nfd/v1alpha1/types.go. Its master takes labels from every object
that names the node in a label, and removes them from the node when the object is gone.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from plugin_gateway.adapters.cluster.kubernetes_api import VERSION, ApiError, KubernetesApi, metadata_of
from plugin_gateway.adapters.cluster.label_way import LabelError, Written
from plugin_gateway.adapters.cluster.retry_on_conflict import retry_on_conflict
from plugin_gateway.adapters.support.problem import Problem
from plugin_gateway.core.labels.making import NodeLabels

LOOK_INTERVAL = 300.0
"""Seconds between two looks whether the object is still as it was written."""
GROUP_VERSION = "nfd.k8s-sigs.io/v1alpha1"
NODE_LABEL = "nfd.node.kubernetes.io/node-name"
"""The label of the object that names the node."""
_NAME = "plugin-gateway-for-"
_FEATURES: Mapping[str, Any] = {"flags": {}, "attributes": {}, "instances": {}}
"""No features, from which rules could be made. The first versions of the object need all three."""


class NodeFeatureWay:
    """The NodeFeature object of the node, in the namespace of the gateway."""

    look_interval = LOOK_INTERVAL

    def __init__(self, api: KubernetesApi, node: str, pod: str) -> None:
        """``pod`` is the name of the gateway's pod. Empty if it is not known."""
        self._api = api
        self._node = node
        self._pod = pod
        self._name = f"{_NAME}{node}"
        self.where = f"NodeFeature {self._name}"
        self._owners: list[Mapping[str, Any]] | None = None
        """The owners of the object. None before they are known."""
        self._no_owner = Problem(
            "the NodeFeature object has no owner, so that it stays without the gateway",
            "the owner of the NodeFeature object is known",
        )

    async def write(self, wanted: NodeLabels) -> Written:
        """Create or change the object. See `Way`."""
        return Written(await retry_on_conflict(lambda: self._write(wanted)))

    async def read(self) -> Mapping[str, str]:
        """Return the labels of the object. See `Way`."""
        try:
            return _parse(await self._api.get(self._path())).labels
        except ApiError as error:
            if error.is_gone:
                return {}
            raise LabelError(str(error)) from error

    def forget(self) -> None:
        """Do nothing: nothing is remembered. See `Way`."""

    async def clear(self, *, labels: bool) -> None:
        """Delete the object if its labels are to go. It has no taints. See `Way`."""
        if not labels:
            return
        try:
            await self._api.delete(self._path())
        except ApiError as error:
            if not error.is_gone:
                raise LabelError(str(error)) from error

    def _folder(self) -> str:
        return f"/apis/{GROUP_VERSION}/namespaces/{quote(self._api.namespace())}/nodefeatures"

    def _path(self) -> str:
        return f"{self._folder()}/{quote(self._name)}"

    async def _write(self, wanted: NodeLabels) -> bool:
        """Write the object, and return whether it had to be changed."""
        try:
            found = await self._api.get(self._path())
        except ApiError as error:
            if not error.is_gone:
                raise
            await self._api.post(self._folder(), self._new(wanted.labels, await self._find_owners([])))
            return True
        parsed = _parse(found)
        patch = _patch(parsed, wanted, self._node, await self._find_owners(parsed.owners))
        if patch is not None:
            await self._api.merge(self._path(), patch)
        return patch is not None

    def _new(self, labels: Mapping[str, str], owners: list[Mapping[str, Any]]) -> Mapping[str, Any]:
        return {
            "apiVersion": GROUP_VERSION,
            "kind": "NodeFeature",
            "metadata": {
                "name": self._name,
                "namespace": self._api.namespace(),
                "labels": {NODE_LABEL: self._node},
                "ownerReferences": owners,
            },
            "spec": {"features": _FEATURES, "labels": dict(labels)},
        }

    async def _find_owners(self, present: list[Any]) -> list[Mapping[str, Any]]:
        """Return who owns the gateway's pod, which is its DaemonSet, or the pod itself.

        It is asked for once, and again when the object does not have these owners, but those that are ``present``:
        another DaemonSet may have taken the pod over. With an owner that is gone the object would be deleted.
        """
        if self._owners is None or _uids(self._owners) != _uids(present):
            self._owners = None
            try:
                self._owners = await self._ask_for_owners()
                self._no_owner.log(None if self._owners else "--pod-name is not set [POD_NAME]")
            except ApiError as error:
                self._no_owner.log(str(error))
        return self._owners or []

    async def _ask_for_owners(self) -> list[Mapping[str, Any]]:
        if not self._pod:
            return []
        pod = await self._api.get(f"/api/v1/namespaces/{quote(self._api.namespace())}/pods/{quote(self._pod)}")
        metadata, uid = metadata_of(pod, "pod", "uid")
        owners = metadata.get("ownerReferences")
        if not isinstance(owners, list) or not owners:
            return [{"apiVersion": "v1", "kind": "Pod", "name": self._pod, "uid": uid}]
        kept = ("apiVersion", "kind", "name", "uid")
        return [{key: owner.get(key) for key in kept} for owner in owners if isinstance(owner, dict)]


class _Found(NamedTuple):
    """What counts of the object."""

    version: str
    labels: Mapping[str, str]
    node: str | None
    """The node that it names."""
    owners: list[Any]


def _parse(found: Any) -> _Found:
    """Return what counts of the object.

    Raises:
        ApiError: it is none.
    """
    metadata, version = metadata_of(found, "NodeFeature")
    spec, named, owners = found.get("spec"), metadata.get("labels"), metadata.get("ownerReferences")
    labels = spec.get("labels") if isinstance(spec, dict) else None
    return _Found(
        version,
        labels if isinstance(labels, dict) else {},
        named.get(NODE_LABEL) if isinstance(named, dict) else None,
        owners if isinstance(owners, list) else [],
    )


def _patch(found: _Found, wanted: NodeLabels, node: str, owners: list[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the merge patch. None if nothing has to be changed. It removes nothing unless all is known."""
    labels: dict[str, str | None] = {
        name: value for name, value in wanted.labels.items() if found.labels.get(name) != value
    }
    if wanted.is_complete:
        labels |= dict.fromkeys(found.labels.keys() - wanted.labels.keys())
    metadata: dict[str, Any] = {}
    if found.node != node:
        metadata["labels"] = {NODE_LABEL: node}
    if owners and _uids(owners) != _uids(found.owners):
        metadata["ownerReferences"] = owners
    if not labels and not metadata:
        return None
    return {"metadata": {VERSION: found.version, **metadata}, "spec": {"labels": labels}}


def _uids(owners: Sequence[Any]) -> Sequence[str]:
    return sorted(str(each.get("uid")) for each in owners if isinstance(each, dict))
