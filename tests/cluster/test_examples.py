"""Tests of the examples in deploy/examples, applied as a user does."""

import re
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager

import yaml

from cluster.cluster import LIMIT, SYSTEM, Cluster
from cluster.configuration import NODE
from cluster.facts import Note
from cluster.gateway import Gateway
from cluster.machine import wait_until
from cluster.pods import Pods, gpu_pod, why_it_waits
from image.build import PROJECT

EXAMPLES = PROJECT / "deploy" / "examples"
EXTENDER = EXAMPLES / "scheduler-extender"
LICENSE, QUOTA, MANY = "example.com/license", 5, 50
PAPER, HOSTNAME = "paper-node", "kubernetes.io/hostname"


def test_a_pod_chooses_a_model_of_gpu(gateway: Gateway, cluster: Cluster, pods: Pods) -> None:  # noqa: ARG001
    """by-model.yaml: a pod with a nodeSelector waits until a node has the label, and then gets its GPU."""
    cluster.kubectl("apply", f"--filename={EXAMPLES / 'by-model.yaml'}")
    wait_until(lambda: "didn't match Pod's node affinity/selector" in pods.why_it_waits("on-an-h100"), "it waits")
    cluster.kubectl("label", "node", NODE, "gpu-model=h100")
    try:
        wait_until(lambda: pods.phases() == {"on-an-h100": "Succeeded"}, "it has run", LIMIT)
    finally:
        cluster.kubectl("label", "node", NODE, "gpu-model-")
    assert re.fullmatch(r"GPU-\S+\n", cluster.kubectl("logs", "on-an-h100"))


def test_two_gpus(gateway: Gateway, cluster: Cluster, pods: Pods) -> None:  # noqa: ARG001
    """pod.yaml: it shows two UUIDs and the nodes of these GPUs."""
    cluster.kubectl("apply", f"--filename={EXAMPLES / 'pod.yaml'}")
    wait_until(lambda: pods.phases() == {"two-gpus": "Succeeded"}, "it has run", LIMIT)
    told = cluster.kubectl("logs", "two-gpus")
    (uuids,) = re.findall(r"GPU-\S+", told)
    assert len(uuids.split(",")) == 2
    shown = set(re.findall(r"/dev/nvidia(\d)$", told, re.MULTILINE))
    assert shown == {str(int(uuid[-12:], 16)) for uuid in uuids.split(",")}


def test_a_node_is_kept_for_those_who_ask_for_gpus(gateway: Gateway, cluster: Cluster, pods: Pods) -> None:
    """reserved-nodes.yaml: a taint keeps pods without GPUs away, others get a toleration by themselves; we may come."""
    before = gateway.pod()["metadata"]["name"]
    cluster.kubectl("taint", "node", NODE, "nvidia.com/gpu=:NoSchedule")
    try:
        cluster.kubectl("delete", "pod", before, SYSTEM)
        wait_until(lambda: [pod["metadata"]["name"] for pod in gateway.pods()] not in ([], [before]), "another", LIMIT)
        gateway.wait_ready()
        gateway.wait_offered()
        pods.apply(gpu_pod("without", 0))
        cluster.kubectl("apply", f"--filename={EXAMPLES / 'reserved-nodes.yaml'}")
        pods.start(gpu_pod("says-nothing"))
        wait_until(lambda: pods.phases()["on-a-reserved-node"] == "Succeeded", "it has run", LIMIT)
        assert "untolerated taint" in pods.why_it_waits("without")
        (toleration,) = [
            each
            for each in cluster.get("pod", "says-nothing")["spec"]["tolerations"]
            if each["key"] == "nvidia.com/gpu"
        ]
        assert toleration["operator"] == "Exists"
    finally:
        cluster.kubectl("taint", "node", NODE, "nvidia.com/gpu-")


def test_a_node_has_what_no_plugin_offers(cluster: Cluster, pods: Pods) -> None:
    """node-resource.yaml and .json: the node's status is patched, and a pod is counted against it."""
    cluster.kubectl("apply", f"--filename={EXAMPLES / 'node-resource.yaml'}")
    wait_until(lambda: "Insufficient example.com/dongle" in pods.why_it_waits("with-a-dongle"), "it waits")
    (command,) = re.findall(r"^#   kubectl (.*)$", (EXAMPLES / "node-resource.yaml").read_text(), re.MULTILINE)
    here = command.replace("node-resource.json", str(EXAMPLES / "node-resource.json")).replace("NODE", NODE)
    cluster.kubectl(*shlex.split(here))
    wait_until(lambda: pods.phases() == {"with-a-dongle": "Succeeded"}, "it has run", LIMIT)
    assert cluster.node()["status"]["allocatable"]["example.com/dongle"] == "4"


@contextmanager
def _extender(cluster: Cluster) -> Iterator[None]:
    """Run the extender in a pod, and the scheduler with the example's configuration, inside the block."""
    program = f"--from-file={EXTENDER / 'extender.py'}"
    try:
        cluster.kubectl("create", "configmap", "scheduler-extender", SYSTEM, program)
        cluster.kubectl("apply", f"--filename={EXTENDER / 'in-cluster.yaml'}")
        cluster.kubectl("rollout", "status", "deployment/scheduler-extender", SYSTEM, f"--timeout={LIMIT:.0f}s")
        address = cluster.get("service", "scheduler-extender", SYSTEM)["spec"]["clusterIP"]
        configuration = yaml.safe_load((EXTENDER / "scheduler-config.yaml").read_text())
        configuration["extenders"][0]["urlPrefix"] = f"http://{address}:8888"
        cluster.start_scheduler(configuration)
        yield
    finally:
        cluster.start_scheduler()
        cluster.kubectl("delete", f"--filename={EXTENDER / 'in-cluster.yaml'}", "--ignore-not-found")
        cluster.kubectl("delete", "configmap", "scheduler-extender", SYSTEM, "--ignore-not-found")


@contextmanager
def _paper_node(cluster: Cluster) -> Iterator[None]:
    """Add a second node without a kubelet. The scheduler binds pods with a toleration to it, but nothing runs them."""
    taint = {"key": PAPER, "effect": "NoSchedule"}
    room = {"cpu": "2", "memory": "8Gi", "pods": "110"}
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": PAPER, "labels": {HOSTNAME: PAPER}},
        "spec": {"taints": [taint]},
        "status": {"capacity": room, "allocatable": room, "conditions": [{"type": "Ready", "status": "True"}]},
    }
    cluster.kubectl("create", "--filename=-", stdin=yaml.safe_dump(node))
    try:
        wait_until(lambda: cluster.get("node", PAPER)["spec"]["taints"] == [taint], "the controllers think it ready")
        yield
    finally:
        cluster.kubectl("delete", "node", PAPER)


def _license_pod(name: str, **spec: object) -> dict[str, object]:
    pod = yaml.safe_load((EXTENDER / "pod.yaml").read_text())
    (container,) = pod["spec"]["containers"]
    container["command"] = ["sleep", "1000"]
    return {**pod, "metadata": {"name": name}, "spec": {**pod["spec"], "terminationGracePeriodSeconds": 0, **spec}}


def test_a_quota_of_the_cluster_is_kept(cluster: Cluster, pods: Pods, note: Note) -> None:
    """scheduler-extender: with the genuine scheduler it keeps a quota of 5 while 50 pods come at once."""
    with _extender(cluster):
        began = time.monotonic()
        pods.apply(*(_license_pod(f"licensed-{number}") for number in range(MANY)))
        for ended in range(0, 3 * QUOTA, QUOTA):
            wait_until(lambda: pods.count("Running") == QUOTA, f"{QUOTA} run", LIMIT)
            if not ended:
                note(f"{MANY} pods to {QUOTA} running", time.monotonic() - began)
            wait_until(lambda: _are_filtered(pods), "those that are left over are told what is missing", LIMIT)
            # All bindings that the API server ever accepted. One too many is here, even if it lasted only a moment.
            bound = {name: who for name, who in cluster.binders().items() if name.startswith("licensed-")}
            assert len(bound) == ended + QUOTA
            assert set(bound.values()) == {"system:serviceaccount:kube-system:scheduler-extender"}
            pods.delete(*(name for name, phase in pods.phases().items() if phase == "Running"))


def _are_filtered(pods: Pods) -> bool:
    """Return whether the extender has refused all nodes for each pod that waits."""
    waiting = [pod for pod in pods.all() if pod["status"]["phase"] == "Pending"]
    missing = f"0/1 nodes are available: 1 {LICENSE}: 1 wanted, 0 of {QUOTA} left in the cluster"
    return all(missing in why_it_waits(pod) for pod in waiting)


def test_the_node_that_has_less_of_it_is_preferred(cluster: Cluster, pods: Pods) -> None:
    """scheduler-extender: of two nodes that would do, the scheduler takes the one with fewer of the licenses in use."""
    tolerations = [{"key": PAPER, "operator": "Exists"}]
    with _paper_node(cluster), _extender(cluster):
        for more, less in ((NODE, PAPER), (PAPER, NODE)):
            pods.apply(_license_pod("there", tolerations=tolerations, nodeSelector={HOSTNAME: more}))
            wait_until(lambda: set(_nodes(pods)) == {"there"}, "it is bound", LIMIT)
            pods.apply(_license_pod("free", tolerations=tolerations))
            wait_until(lambda: set(_nodes(pods)) == {"there", "free"}, "it is bound", LIMIT)
            assert _nodes(pods) == {"there": more, "free": less}
            pods.delete("there", "free")


def _nodes(pods: Pods) -> dict[str, str]:
    """Return the node of each pod that has one."""
    return {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in pods.all() if "nodeName" in pod["spec"]}
