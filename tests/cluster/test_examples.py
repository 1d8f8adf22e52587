"""The examples of deploy/examples, as a user applies them."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import yaml

from cluster.cluster import NODE, Cluster
from cluster.conftest import Note
from cluster.gateway import Gateway
from cluster.machine import wait_until
from cluster.pods import LIMIT, Pods, gpu_pod
from image.build import PROJECT

EXAMPLES = PROJECT / "deploy" / "examples"
EXTENDER = EXAMPLES / "scheduler-extender"
LICENSE, QUOTA, MANY = "example.com/license", 5, 50
SYSTEM = "--namespace=kube-system"


def test_a_pod_chooses_a_model_of_gpu(gateway: Gateway, cluster: Cluster, pods: Pods) -> None:  # noqa: ARG001
    """by-model.yaml: a pod with a nodeSelector waits until a node has the label, and then gets its GPU."""
    cluster.kubectl("apply", f"--filename={EXAMPLES / 'by-model.yaml'}")
    wait_until(lambda: "didn't match Pod's node affinity/selector" in pods.why_it_waits("on-an-h100"), "it waits")
    cluster.kubectl("label", "node", NODE, "gpu-model=h100")
    wait_until(lambda: pods.phases() == {"on-an-h100": "Succeeded"}, "it has run", LIMIT)
    assert re.fullmatch(r"GPU-\S+\n", cluster.kubectl("logs", "on-an-h100"))
    cluster.kubectl("label", "node", NODE, "gpu-model-")


def test_two_gpus(gateway: Gateway, cluster: Cluster, pods: Pods) -> None:  # noqa: ARG001
    """pod.yaml: it shows two UUIDs and their nodes."""
    cluster.kubectl("apply", f"--filename={EXAMPLES / 'pod.yaml'}")
    wait_until(lambda: pods.phases() == {"two-gpus": "Succeeded"}, "it has run", LIMIT)
    told = cluster.kubectl("logs", "two-gpus")
    assert len(re.findall("GPU-", told)) == len(re.findall(r"/dev/nvidia\d$", told, re.MULTILINE)) == 2


def test_a_node_is_kept_for_those_who_ask_for_gpus(gateway: Gateway, cluster: Cluster, pods: Pods) -> None:
    """reserved-nodes.yaml: a taint keeps pods without GPUs away, others get a toleration by themselves; we stay."""
    before = gateway.pod()["metadata"]["uid"]
    cluster.kubectl("taint", "node", NODE, "nvidia.com/gpu=:NoSchedule")
    try:
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
        assert gateway.pod()["metadata"]["uid"] == before
    finally:
        cluster.kubectl("taint", "node", NODE, "nvidia.com/gpu-")


def test_a_node_has_what_no_plugin_offers(cluster: Cluster, pods: Pods) -> None:
    """node-resource.yaml and .json: the node's status is patched, and a pod is counted against it."""
    cluster.kubectl("apply", f"--filename={EXAMPLES / 'node-resource.yaml'}")
    wait_until(lambda: "Insufficient example.com/dongle" in pods.why_it_waits("with-a-dongle"), "it waits")
    patch = f"--patch-file={EXAMPLES / 'node-resource.json'}"
    cluster.kubectl("patch", "node", NODE, "--subresource=status", "--type=json", patch)
    wait_until(lambda: pods.phases() == {"with-a-dongle": "Succeeded"}, "it has run", LIMIT)
    assert cluster.node()["status"]["allocatable"]["example.com/dongle"] == "4"


@contextmanager
def _extender(cluster: Cluster) -> Iterator[None]:
    """The extender as a pod, and the scheduler with the example's configuration for it."""
    program = f"--from-file={EXTENDER / 'extender.py'}"
    cluster.kubectl("create", "configmap", "scheduler-extender", SYSTEM, program)
    cluster.kubectl("apply", f"--filename={EXTENDER / 'in-cluster.yaml'}")
    cluster.kubectl("rollout", "status", "deployment/scheduler-extender", SYSTEM, f"--timeout={LIMIT:.0f}s")
    address = cluster.get("service", "scheduler-extender", SYSTEM)["spec"]["clusterIP"]
    configuration = yaml.safe_load((EXTENDER / "scheduler-config.yaml").read_text())
    configuration["extenders"][0]["urlPrefix"] = f"http://{address}:8888"
    cluster.start_scheduler(configuration)
    try:
        yield
    finally:
        cluster.start_scheduler()
        cluster.kubectl("delete", f"--filename={EXTENDER / 'in-cluster.yaml'}")
        cluster.kubectl("delete", "configmap", "scheduler-extender", SYSTEM)


def _license_pod(name: str) -> dict[str, object]:
    pod = yaml.safe_load((EXTENDER / "pod.yaml").read_text())
    (container,) = pod["spec"]["containers"]
    container["command"] = ["sleep", "1000"]
    return {**pod, "metadata": {"name": name}, "spec": {**pod["spec"], "terminationGracePeriodSeconds": 0}}


def test_a_quota_of_the_cluster_is_kept(cluster: Cluster, pods: Pods, note: Note) -> None:
    """scheduler-extender: with the genuine scheduler it keeps a quota of 5 while 50 pods come at once."""
    with _extender(cluster):
        began = time.monotonic()
        pods.apply(*(_license_pod(f"licensed-{number}") for number in range(MANY)))
        ever: set[str] = set()
        for _ in range(3):
            wait_until(lambda: len(_running(pods)) == QUOTA, f"{QUOTA} run", LIMIT)
            if not ever:
                note(f"{MANY} pods to {QUOTA} running", time.monotonic() - began)
            running = _running(pods)
            assert not running & ever
            binders = cluster.binders()
            assert {binders[name] for name in running} == {"system:serviceaccount:kube-system:scheduler-extender"}
            ever |= running
            for _ in range(5):
                assert len(_bound(pods)) <= QUOTA
            pods.delete(*running)


def _running(pods: Pods) -> set[str]:
    return {name for name, phase in pods.phases().items() if phase == "Running"}


def _bound(pods: Pods) -> set[str]:
    return {pod["metadata"]["name"] for pod in pods.all() if pod["spec"].get("nodeName")}
