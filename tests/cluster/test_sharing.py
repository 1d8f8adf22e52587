"""Tests of GPUs that several pods share."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from cluster.cluster import LIMIT, RESOURCE, Cluster
from cluster.gateway import Gateway
from cluster.machine import wait_until
from cluster.pods import Pods, forget, gpu_pod
from cluster.watch import KubeletWatch

pytestmark = pytest.mark.usefixtures("forgotten")

FALLEN_OFF_THE_BUS = 79
SHARED = f"{RESOURCE}.shared"


def _file(**sharing: Any) -> Mapping[str, Any]:
    """Return the values of the chart for a configuration file that shares GPUs."""
    return {"config": {"file": {"version": "v1", "sharing": {"timeSlicing": sharing}}}}


def test_pods_share_gpus(cluster: Cluster, bare: Gateway, pods: Pods) -> None:
    """Eight pods share two of eight GPUs, each sees one; the ninth waits; an XID takes out all replicas of its GPU."""
    sharing = {"name": RESOURCE, "replicas": 4, "devices": [0, 1]}
    bare.install(**_file(renameByDefault=True, failRequestsGreaterThanOne=True, resources=[sharing]))
    bare.wait_offered_as({"gpu": 6, "gpu.shared": 8})
    names = [f"shared-{number}" for number in range(8)]
    pods.start(gpu_pod("alone", 6), *(gpu_pod(name, resource=SHARED) for name in names))
    assert pods.given("alone").minors == set(range(2, 8))
    given = [pods.given(name) for name in names]
    assert Counter(minor for each in given for minor in each.minors) == {0: 4, 1: 4}
    for name, each in zip(names, given, strict=True):
        assert {node for node in each.nodes if node[-1].isdigit()} == {f"nvidia{minor}" for minor in each.minors}
        assert pods.usable(name) == each.minors
    pods.apply(gpu_pod("ninth", resource=SHARED))
    wait_until(lambda: f"Insufficient {SHARED}" in pods.why_it_waits("ninth"), "the ninth is told why it waits")
    cluster.gpus.driver.xid(0, FALLEN_OFF_THE_BUS)
    bare.wait_offered_as({"gpu": 6, "gpu.shared": 4})
    bare.run("health", "clear", "--all")
    bare.wait_offered_as({"gpu": 6, "gpu.shared": 8})


def test_a_pod_that_asks_for_two_replicas_is_refused(cluster: Cluster, bare: Gateway, pods: Pods) -> None:
    """With failRequestsGreaterThanOne a pod that asks for two replicas fails admission; its status has the reason."""
    bare.install(**_file(failRequestsGreaterThanOne=True, resources=[{"name": RESOURCE, "replicas": 2}]))
    bare.wait_offered_as({"gpu": 16})
    pods.apply(gpu_pod("greedy", 2))
    wait_until(lambda: pods.phases()["greedy"] == "Failed", lambda: f"it fails: {pods.phases()}", LIMIT)
    status = cluster.get("pod", "greedy")["status"]
    assert status["reason"] == "UnexpectedAdmissionError"
    assert "shared" in status["message"]
    pods.start(gpu_pod("modest"))


@pytest.mark.parametrize("source", ["pod-resources", "checkpoint"])
def test_a_roll_out_from_whole_gpus_to_shared_ones(cluster: Cluster, bare: Gateway, pods: Pods, source: str) -> None:
    """The chart is upgraded to share all GPUs while a pod holds one: that one is shared only when the pod has ended."""
    forget(bare, pods)
    mounted = {"mountPodResources": source == "pod-resources"}
    bare.install(**mounted)
    bare.wait_offered()
    pods.start(gpu_pod("holder"))
    held, lives = pods.given("holder").minors, pods.lives()
    with KubeletWatch(cluster) as kubelet:
        bare.install(**_file(resources=[{"name": RESOURCE, "replicas": 2}]), **mounted)
        bare.wait_offered_as({"gpu": 14})
        pods.start(gpu_pod("many", 14 - 1))
        assert pods.given("many").minors == set(range(8)) - held
        pods.apply(gpu_pod("next", 2))
        wait_until(lambda: f"Insufficient {RESOURCE}" in pods.why_it_waits("next"), "it is told why it waits")
        assert pods.lives()["holder"] == lives["holder"]
    assert {count for _, count in kubelet.changes} <= {0, 7, 8, 14}
    pods.delete("holder")
    if source == "checkpoint":
        pods.start(gpu_pod("other"))  # the checkpoint names the pod that has ended until the kubelet allocates
    bare.wait_offered_as({"gpu": 16})
    pods.wait_running("next")
    assert held & pods.given("next").minors
