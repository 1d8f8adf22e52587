"""Tests of the labels and taints of the node, with the genuine scheduler and the genuine garbage collector."""

import json
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from cluster.cluster import LIMIT, SYSTEM, Cluster
from cluster.configuration import NODE, RUNTIME
from cluster.facts import Note
from cluster.gateway import Gateway
from cluster.machine import MachineError, wait_until
from cluster.pods import Pods, gpu_pod
from cluster.stand_in import Lay
from image.build import PROJECT
from plugin_gateway.core.labels.ownership import ANNOTATION

pytestmark = pytest.mark.usefixtures("forgotten", "clean")

FALLEN_OFF_THE_BUS = 79
COUNT, PRODUCT, REPLICAS = (f"nvidia.com/gpu.{word}" for word in ("count", "product", "replicas"))
TAINT = "plugin-gateway/unhealthy-device"
GUIDE = (PROJECT / "docs" / "labels.md").read_text()
POLICY = PROJECT / "deploy" / "examples" / "own-node" / "policy.yaml"
ACCOUNT = "system:serviceaccount:kube-system:plugin-gateway"
FILE = "/etc/kubernetes/node-feature-discovery/features.d/gfd"
NODE_LABEL = "nfd.node.kubernetes.io/node-name"
NODE_FEATURES = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "nodefeatures.nfd.k8s-sigs.io",
        "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/node-feature-discovery"},
    },
    "spec": {
        "group": "nfd.k8s-sigs.io",
        "names": {"kind": "NodeFeature", "plural": "nodefeatures", "singular": "nodefeature"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "required": ["spec"],
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {
                                    "features": {
                                        "type": "object",
                                        "required": ["flags", "attributes", "instances"],
                                        "x-kubernetes-preserve-unknown-fields": True,
                                    },
                                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                                },
                            }
                        },
                    }
                },
            }
        ],
    },
}
"""NodeFeature, as the first releases of node-feature-discovery define it: later ones ask for less."""


@pytest.fixture
def clean(cluster: Cluster) -> Iterator[None]:
    """The node has no label of the gateway after the test, as the guide says."""
    yield
    _remove_leftovers(cluster)
    assert not {name for name in _labels(cluster) if name.startswith(("nvidia.com/", "plugin-gateway/"))}
    assert not _taints(cluster)


def _metadata(cluster: Cluster) -> Mapping[str, Mapping[str, str]]:
    found: Mapping[str, Mapping[str, str]] = cluster.node()["metadata"]
    return found


def _labels(cluster: Cluster) -> Mapping[str, str]:
    return _metadata(cluster)["labels"]


def _taints(cluster: Cluster) -> list[str]:
    return [each["key"] for each in cluster.node()["spec"].get("taints", [])]


def _wait_labels(cluster: Cluster, wanted: Mapping[str, str | None]) -> None:
    def is_so() -> bool:
        found = _labels(cluster)
        return all(found.get(name) == value for name, value in wanted.items())

    wait_until(is_so, lambda: f"{wanted}: {_labels(cluster)}", LIMIT)


def _remove_leftovers(cluster: Cluster) -> None:
    """Do what the guide says."""
    (script,) = re.findall(r"```sh\n(node=NAME\n.*?)```", GUIDE, re.DOTALL)
    cluster.run_script(script.replace("NAME", NODE))


def test_the_labels_find_the_node_and_a_fault_taints_it(
    cluster: Cluster, bare: Gateway, pods: Pods, note: Note
) -> None:
    """Labels appear, a nodeSelector finds the node; by a rule a fault taints it; labels stay after an uninstall."""
    began = time.monotonic()
    bare.install(nodeLabels="patch", nodeLabelsOwn="gpu.healthy", nodeTaintByCause="xid-79=NoSchedule")
    _wait_labels(cluster, {COUNT: "8", REPLICAS: "1", "plugin-gateway/gpu.healthy": "8"})
    note("install to labels", time.monotonic() - began)
    product = _labels(cluster)[PRODUCT]
    pods.start(gpu_pod("chosen", nodeSelector={PRODUCT: product, "nvidia.com/gpu.family": "hopper"}))

    began = time.monotonic()
    cluster.gpus.driver.xid(7, FALLEN_OFF_THE_BUS)
    wait_until(lambda: TAINT in _taints(cluster), lambda: f"the taint: {_taints(cluster)}", LIMIT)
    note("XID to taint", time.monotonic() - began)
    assert _labels(cluster)["plugin-gateway/gpu.healthy"] == "7"
    pods.apply(gpu_pod("kept-away", 0), gpu_pod("tolerating", 0, tolerations=[{"key": TAINT, "operator": "Exists"}]))
    pods.wait_running("tolerating")
    assert "untolerated taint" in pods.why_it_waits("kept-away")
    cluster.kubectl("delete", "pod", SYSTEM, bare.pod()["metadata"]["name"])
    wait_until(lambda: len(bare.pods()) == 1, "one pod of the gateway", LIMIT)
    bare.wait_ready()
    wait_until(lambda: TAINT in _taints(cluster), "the taint by the next gateway", LIMIT)
    bare.run("health", "clear", "--all")
    wait_until(lambda: not _taints(cluster), "no taint", LIMIT)
    pods.wait_running("kept-away")

    bare.uninstall()
    wait_until(lambda: not bare.pods(), "its pods are gone", LIMIT)
    assert _labels(cluster)[COUNT] == "8"
    assert COUNT in _metadata(cluster)["annotations"][ANNOTATION].split(",")


def test_what_another_program_wrote_is_taken_over_on_request(cluster: Cluster, bare: Gateway) -> None:
    """Labels that NVIDIA's program left are kept and named; with nodeLabelsAdopt they are taken over and follow."""
    cluster.kubectl("label", "node", NODE, f"{COUNT}=4", "nvidia.com/mig-1g.5gb.count=7", "nvidia.com/gpu.present=true")
    try:
        bare.install(nodeLabels="patch")
        _wait_labels(cluster, {REPLICAS: "1", COUNT: "4"})
        assert f"{COUNT} is left as it is: '4' where '8' belongs" in bare.run("status")
        bare.install(nodeLabels="patch", nodeLabelsAdopt=True, nodeLabelsRemove=True)
        _wait_labels(cluster, {COUNT: "8", "nvidia.com/mig-1g.5gb.count": None, "nvidia.com/gpu.present": "true"})
        (command,) = re.findall(r"kubectl (delete daemonset .*)", GUIDE)
        cluster.kubectl(*command.split())
        _wait_labels(cluster, {COUNT: None, REPLICAS: None, "nvidia.com/gpu.present": "true"})
    finally:
        cluster.kubectl("label", "node", NODE, "nvidia.com/gpu.present-")


def test_labels_follow_a_layout(cluster: Cluster, bare: Gateway, lay_out: Lay) -> None:
    """With mixed MIG, the labels of each profile come and go with the layout, while the gateway runs."""
    bare.install_released(runtimeClassName=RUNTIME, migStrategy="mixed", nodeLabels="patch")
    _wait_labels(cluster, {"nvidia.com/mig-1g.10gb.count": "2", "nvidia.com/mig-3g.40gb.count": "1"})
    lay_out("0:3g.40gb,2g.20gb,2g.20gb;1:3g.40gb,3g.40gb")
    _wait_labels(cluster, {"nvidia.com/mig-1g.10gb.count": None, "nvidia.com/mig-3g.40gb.count": "3"})


def test_an_object_of_node_feature_discovery_goes_with_its_daemonset(cluster: Cluster, bare: Gateway) -> None:
    """The NodeFeature object has the labels and its DaemonSet as owner, with which Kubernetes removes it."""
    cluster.kubectl("apply", "--filename=-", stdin=yaml.safe_dump(NODE_FEATURES))
    try:
        bare.install(nodeLabels="nodefeature")
        wait_until(lambda: _features(cluster), "the object", LIMIT)
        (found,) = _features(cluster)
        assert found["metadata"]["name"] == f"plugin-gateway-for-{NODE}"
        assert found["metadata"]["labels"] == {NODE_LABEL: NODE}
        assert [owner["kind"] for owner in found["metadata"]["ownerReferences"]] == ["DaemonSet"]
        assert found["spec"]["labels"][COUNT] == "8"
        assert COUNT not in _labels(cluster), "which node-feature-discovery would write"
        cluster.kubectl("apply", f"--filename={POLICY}")
        named = ("label", "nodefeature", SYSTEM, "--overwrite", found["metadata"]["name"], f"{NODE_LABEL}=other")
        wait_until(lambda: "no labels to other nodes" in _as_gateway(cluster, *named), "a refusal", LIMIT)
        bare.uninstall()
        wait_until(lambda: not _features(cluster), "the object is gone", 2 * LIMIT)
    finally:
        cluster.kubectl("delete", "--ignore-not-found", f"--filename={POLICY}")
        cluster.kubectl("delete", "crd", "nodefeatures.nfd.k8s-sigs.io")


def _as_gateway(cluster: Cluster, *arguments: str) -> str:
    """Return what the gateway of the node is answered, or why it is refused."""
    user = (f"--as={ACCOUNT}", f"--as-user-extra=authentication.kubernetes.io/node-name={NODE}")
    try:
        return cluster.kubectl(*user, *arguments)
    except MachineError as refused:
        return str(refused)


def _features(cluster: Cluster) -> list[Any]:
    found: list[Any] = cluster.get("nodefeatures", SYSTEM)["items"]
    return found


def test_the_feature_file_is_one_of_the_node(cluster: Cluster, bare: Gateway) -> None:
    """The feature file is in its folder of the node, without any right at the API server, and goes on request."""
    bare.install(nodeLabels="file", nodeLabelsRemove=True)
    wait_until(lambda: f"{COUNT}=8" in cluster.machine.run("sh", "-c", f"cat {FILE} 2>&1 || true"), "the file", LIMIT)
    assert "expiry-time" in cluster.machine.run("cat", FILE)
    bare.uninstall()
    wait_until(lambda: "No such file" in cluster.machine.run("sh", "-c", f"ls {FILE} 2>&1 || true"), "no file", LIMIT)


def test_a_policy_keeps_a_gateway_from_other_nodes(cluster: Cluster, bare: Gateway) -> None:
    """With own-node/policy.yaml the gateway labels its own node, and may change no other one and nothing else of it."""
    taints = [{"key": "other", "effect": "NoSchedule"}]  # so that it gets no pod
    other = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "other"}, "spec": {"taints": taints}}
    cluster.kubectl("apply", f"--filename={POLICY}")
    cluster.kubectl("apply", "--filename=-", stdin=yaml.safe_dump(other))
    try:
        bare.install(nodeLabels="patch")
        _wait_labels(cluster, {COUNT: "8"})

        def change(node: str, patch: str) -> str:
            return _as_gateway(cluster, "patch", "node", node, "--type=merge", f"--patch={patch}")

        wait_until(
            lambda: "may not change other" in change("other", '{"metadata": {"labels": {"a": "b"}}}'),
            "a refusal",
            LIMIT,
        )
        assert "patched" in change(NODE, '{"metadata": {"labels": {"example.com/a": null}}}')
        assert "labels of Kubernetes" in change(NODE, '{"metadata": {"labels": {"node-role.kubernetes.io/x": ""}}}')
        owner = {"apiVersion": "v1", "kind": "Node", "name": "gone", "uid": "1"}  # with which the node would be removed
        for patch in ({"spec": {"unschedulable": True}}, {"metadata": {"ownerReferences": [owner]}}):
            assert "nothing of a node but" in change(NODE, json.dumps(patch))
    finally:
        cluster.kubectl("delete", f"--filename={POLICY}")
        cluster.kubectl("delete", "node", "other")
