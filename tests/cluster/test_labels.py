"""Tests of the labels and taints of the node, with the genuine scheduler and the genuine garbage collector."""

import json
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from cluster.cluster import LIMIT, RESOURCE, SYSTEM, Cluster
from cluster.configuration import NODE, RUNTIME
from cluster.facts import Note
from cluster.gateway import Gateway
from cluster.machine import MachineError, wait_until
from cluster.pods import Pods, gpu_pod
from cluster.stand_in import Lay
from image.build import PROJECT
from plugin_gateway.core.labels.ownership import ANNOTATION

pytestmark = pytest.mark.usefixtures("node_features", "clean")

FALLEN_OFF_THE_BUS = 79
COUNT, PRODUCT, REPLICAS = (f"nvidia.com/gpu.{word}" for word in ("count", "product", "replicas"))
TAINT = "plugin-gateway/unhealthy-device"
SHARING = "nvidia.com/gpu.sharing-strategy"
HEALTHY = "plugin-gateway/gpu.healthy"
RULED = "example.com/h100"
OLD = "nvidia.com/mig-1g.5gb.count"
PRESENT = "nvidia.com/gpu.present"
OTHER_NODE = "other"
GUIDE = (PROJECT / "docs" / "labels.md").read_text()
POLICY = PROJECT / "deploy" / "examples" / "own-node" / "policy.yaml"
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


@pytest.fixture(scope="module")
def node_features(cluster: Cluster) -> Iterator[None]:
    """The API server knows the kind NodeFeature. The garbage collector needs up to 30 s to learn of it."""
    cluster.kubectl("apply", "--filename=-", stdin=yaml.safe_dump(NODE_FEATURES))
    yield
    cluster.kubectl("delete", "crd", "nodefeatures.nfd.k8s-sigs.io")


@pytest.fixture
def others(cluster: Cluster) -> Iterator[Mapping[str, str]]:
    """Labels that other programs of NVIDIA left: two that nobody renews, and one that no gateway writes."""
    left = {COUNT: "4", OLD: "7", PRESENT: "true"}
    cluster.kubectl("label", "node", NODE, *(f"{name}={value}" for name, value in left.items()))
    yield left
    cluster.kubectl("label", "node", NODE, f"{PRESENT}-")


@pytest.fixture
def foreign_taint(cluster: Cluster) -> Iterator[str]:
    """A taint of somebody else, which stays whatever becomes of those of the gateway."""
    name = "example.com/maintenance"
    cluster.kubectl("taint", "node", NODE, f"{name}:PreferNoSchedule")
    yield name
    cluster.kubectl("taint", "node", NODE, f"{name}-")


class Restricted:
    """A cluster with the policy, and with another node, which gets no pod."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def wait_in_force(self, gateway: Gateway) -> None:
        """Wait until the policy is in force, which takes a moment."""
        label = ("label", "node", OTHER_NODE, "example.com/a=b", "--dry-run=server")
        refusal = f"may not change {OTHER_NODE}"
        wait_until(lambda: refusal in _as_gateway(self._cluster, gateway, *label), "a refusal", LIMIT)


@pytest.fixture
def restricted(cluster: Cluster) -> Iterator[Restricted]:
    """The policy and another node are there during the test."""
    taints = [{"key": OTHER_NODE, "effect": "NoSchedule"}]
    other = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": OTHER_NODE}, "spec": {"taints": taints}}
    cluster.kubectl("apply", f"--filename={POLICY}")
    cluster.kubectl("apply", "--filename=-", stdin=yaml.safe_dump(other))
    yield Restricted(cluster)
    cluster.kubectl("delete", f"--filename={POLICY}")
    cluster.kubectl("delete", "node", OTHER_NODE)


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


def _wait_taint(cluster: Cluster) -> None:
    wait_until(lambda: TAINT in _taints(cluster), lambda: f"the taint: {_taints(cluster)}", LIMIT)


def _remove_leftovers(cluster: Cluster) -> None:
    """Do what the guide says."""
    (script,) = re.findall(r"```sh\n(node=NAME\n.*?)```", GUIDE, re.DOTALL)
    cluster.run_script(script.replace("NAME", NODE))


def test_the_labels_find_the_node_and_stay(
    cluster: Cluster, others: Mapping[str, str], bare: Gateway, pods: Pods, note: Note
) -> None:
    """Labels find the node and follow sharing; those of others are left, or adopted; after an uninstall they stay."""
    began = time.monotonic()
    bare.install(nodeLabels="patch")
    _wait_labels(cluster, {REPLICAS: "1", SHARING: "none", **others})
    note("install to labels", time.monotonic() - began)
    assert f"{COUNT} is left as it is: '4' where '8' belongs" in bare.run("status")
    product = _labels(cluster)[PRODUCT]
    pods.start(gpu_pod("chosen", nodeSelector={PRODUCT: product, "nvidia.com/gpu.family": "hopper"}))
    pods.delete()

    sharing = {"timeSlicing": {"resources": [{"name": RESOURCE, "replicas": 2}]}}
    bare.install(nodeLabels="patch", nodeLabelsAdopt=True, config={"file": {"version": "v1", "sharing": sharing}})
    shared = {REPLICAS: "2", SHARING: "time-slicing", PRODUCT: f"{product}-SHARED"}
    _wait_labels(cluster, {COUNT: "8", OLD: None, PRESENT: others[PRESENT], **shared})

    bare.uninstall()
    wait_until(lambda: not bare.pods(), "its pods are gone", LIMIT)
    assert _labels(cluster)[COUNT] == "8"
    assert COUNT in _metadata(cluster)["annotations"][ANNOTATION].split(",")


def test_a_fault_taints_the_node_under_the_policy(
    cluster: Cluster, restricted: Restricted, foreign_taint: str, bare: Gateway, pods: Pods, note: Note
) -> None:
    """By a rule a fault taints the node, not for our pods; own-node/policy.yaml lets it change nothing but that."""
    bare.install(nodeLabels="patch", nodeLabelsOwn="gpu.healthy", nodeTaintByCause="xid-79=NoSchedule")
    _wait_labels(cluster, {HEALTHY: "8"})
    restricted.wait_in_force(bare)
    began = time.monotonic()
    cluster.gpus.driver.xid(7, FALLEN_OFF_THE_BUS)
    _wait_taint(cluster)
    note("XID to taint", time.monotonic() - began)
    assert _labels(cluster)[HEALTHY] == "7"
    pods.apply(gpu_pod("kept-away", 0), gpu_pod("tolerating", 0, tolerations=[{"key": TAINT, "operator": "Exists"}]))
    pods.wait_running("tolerating")
    assert "untolerated taint" in pods.why_it_waits("kept-away")

    def change(**patch: Any) -> str:
        return _as_gateway(cluster, bare, "patch", "node", NODE, "--type=merge", f"--patch={json.dumps(patch)}")

    owner = {"apiVersion": "v1", "kind": "Node", "name": "gone", "uid": "1"}  # with which the node would be removed
    assert "labels of Kubernetes" in change(metadata={"labels": {"node-role.kubernetes.io/x": ""}})
    assert "nothing of a node but" in change(metadata={"ownerReferences": [owner]})
    assert "nothing of a node but" in change(spec={"unschedulable": True})
    assert "on which node" in _as_gateway(cluster, None, "label", "node", NODE, "example.com/a=b")

    bare.run("health", "clear", "--all")  # the taint outlasts its cause by 20 s, and by a gateway that hangs
    before = bare.pod()["metadata"]
    bare.hang()  # so that only the next gateway can remove the taint, whose pod has to come in spite of it
    assert TAINT in _taints(cluster)
    cluster.kubectl("delete", "pod", SYSTEM, before["name"], "--grace-period=1")
    wait_until(lambda: [each["metadata"]["uid"] for each in bare.pods()] not in ([], [before["uid"]]), "another", LIMIT)
    wait_until(lambda: _taints(cluster) == [foreign_taint], lambda: f"no taint of ours: {_taints(cluster)}", LIMIT)
    bare.wait_ready()
    pods.wait_running("kept-away")
    assert _labels(cluster)[HEALTHY] == "8"


def test_labels_follow_a_layout_and_go_with_a_gateway_that_is_ended(
    cluster: Cluster, bare: Gateway, lay_out: Lay
) -> None:
    """Labels of MIG follow the layout; ended as the guide says, with nodeLabelsRemove, they go, and a rule's taint."""
    rule = {"nodeLabelsByProduct": f"*H100*={RULED}=yes:PreferNoSchedule", "nodeLabelsRemove": True}
    bare.install_released(runtimeClassName=RUNTIME, migStrategy="mixed", nodeLabels="patch", **rule)
    _wait_labels(cluster, {"nvidia.com/mig-1g.10gb.count": "2", "nvidia.com/mig-3g.40gb.count": "1", RULED: "yes"})
    assert _taints(cluster) == [RULED]
    lay_out("0:3g.40gb,2g.20gb,2g.20gb;1:3g.40gb,3g.40gb")
    _wait_labels(cluster, {"nvidia.com/mig-1g.10gb.count": None, "nvidia.com/mig-3g.40gb.count": "3"})

    (command,) = re.findall(r"kubectl (delete daemonset .*)", GUIDE)
    cluster.kubectl(*command.split())
    assert not {name for name in _labels(cluster) if name == RULED or name.startswith("nvidia.com/")}
    assert not _taints(cluster)


@pytest.mark.usefixtures("restricted")
def test_an_object_of_node_feature_discovery_goes_with_its_daemonset(cluster: Cluster, bare: Gateway) -> None:
    """The NodeFeature object has the labels and its DaemonSet as owner, with which Kubernetes removes it."""
    bare.install(nodeLabels="nodefeature")
    wait_until(lambda: _features(cluster), "the object", LIMIT)
    (found,) = _features(cluster)
    assert found["metadata"]["name"] == f"plugin-gateway-for-{NODE}"
    assert found["metadata"]["labels"] == {NODE_LABEL: NODE}
    (owner,) = found["metadata"]["ownerReferences"]
    assert owner["uid"] == cluster.get("daemonset", "plugin-gateway", SYSTEM)["metadata"]["uid"]
    assert found["spec"]["labels"][COUNT] == "8"
    assert COUNT not in _labels(cluster), "which node-feature-discovery would write"

    mine, others = f"plugin-gateway-for-{NODE}", f"plugin-gateway-for-{OTHER_NODE}"
    feature = {**found, "metadata": {"name": others, "labels": {NODE_LABEL: NODE}}}

    def try_to(*arguments: str) -> str:
        return _as_gateway(cluster, bare, *arguments, SYSTEM, "--dry-run=server", stdin=json.dumps(feature))

    wait_until(lambda: f"may not change {others}" in try_to("create", "--filename=-"), "a refusal", LIMIT)
    change = ("label", "nodefeature", mine, "--overwrite")
    assert "labeled" in try_to(*change, "a=b")
    assert "no labels to other nodes" in try_to(*change, f"{NODE_LABEL}={OTHER_NODE}")
    bare.uninstall()
    wait_until(lambda: not _features(cluster), "the object is gone", 2 * LIMIT)


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


def _as_gateway(cluster: Cluster, gateway: Gateway | None, *arguments: str, stdin: str = "") -> str:
    """Run kubectl with a token of the gateway's pod, or of no pod. Return what it says, or why it failed."""
    bound = () if gateway is None else ("--bound-object-kind=Pod", f"--bound-object-name={_name(gateway)}")
    token = cluster.kubectl("create", "token", "plugin-gateway", SYSTEM, *bound).strip()
    try:
        return cluster.kubectl(f"--token={token}", *arguments, stdin=stdin)
    except MachineError as refused:
        return str(refused)


def _name(gateway: Gateway) -> str:
    return str(gateway.pod()["metadata"]["name"])
