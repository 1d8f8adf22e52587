"""Tests of a node that is switched off and on again."""

import time

from cluster.cluster import Cluster
from cluster.facts import Note
from cluster.gateway import Gateway
from cluster.machine import MachineError, wait_until
from cluster.pods import Pods, deployment, gpu_pod
from cluster.watch import Watch

SLOW_DRIVER = 3000
"""Milliseconds that the driver takes to initialise: longer than a kubelet takes to admit pods."""
BACK_LIMIT = 60.0
"""Seconds for a whole Kubernetes to come up and settle on a busy machine."""


def test_a_pod_comes_back_from_a_reboot_if_somebody_makes_it_anew(
    cluster: Cluster, gateway: Gateway, pods: Pods, note: Note
) -> None:
    """After a reboot, kubelet first and gateway last, pods with GPUs fail admission; a Deployment's is replaced."""
    pods.start(gpu_pod("alone", restartPolicy="Always"))
    pods.apply(deployment("managed"))
    wait_until(lambda: _phases(pods) == ["Running", "Running"], "both run")

    cluster.machine.power_off()
    began = time.monotonic()
    cluster.power_on()
    cluster.start_kubelet()
    cluster.start_etcd()
    cluster.start_api()
    cluster.start_controllers()
    # Until the kubelet has reported, the API server has the phases from before.
    wait_until(
        lambda: _phases(pods) == ["Failed", "Failed", "Running"],
        lambda: f"a replacement runs, and not {_phases(pods)}; ended: {cluster.ended()}",
        BACK_LIMIT,
    )
    note("switched on to running", time.monotonic() - began)
    cluster.wait_ready()
    failed = cluster.get("pod", "alone")["status"]
    assert (failed["phase"], failed["reason"]) == ("Failed", "UnexpectedAdmissionError")
    assert gateway.allocatable() == 8

    cluster.kubectl("delete", "deployment", "managed")
    pods.delete("alone")
    pods.start(gpu_pod("alone"))


def _phases(pods: Pods) -> list[str]:
    """Return the phases of all pods; nothing while the API server does not answer."""
    try:
        return sorted(pods.phases().values())
    except MachineError:
        return []


def test_a_service_of_the_node_has_no_pod_fail_in_a_reboot(
    cluster: Cluster, bare: Gateway, pods: Pods, watch: Watch, note: Note
) -> None:
    """With the gateway as a service for which the kubelet waits, pods with GPUs run again with those they had."""
    bare.start_service()
    cluster.gpus.driver.init_delay(SLOW_DRIVER)
    try:
        watch.wait_for(lambda seen: seen.allocatable == 8, "8")
        pods.start(gpu_pod("one", restartPolicy="Always"), gpu_pod("two", 2, restartPolicy="Always"))
        before = {name: pods.given(name) for name in ("one", "two")}

        cluster.machine.power_off()
        cluster.power_on()
        # In other clusters these run on other machines, and have run all the time.
        for part in (cluster.start_etcd, cluster.start_api, cluster.start_controllers):
            part()
        began = time.monotonic()
        bare.start_service()
        cluster.start_kubelet()
        wait_until(lambda: _restarts(pods) == {"one": 1, "two": 1}, "both were started again", BACK_LIMIT)
        note("start of the gateway to running", time.monotonic() - began)
        cluster.wait_ready()
        assert _phases(pods) == ["Running", "Running"]
        assert {name: pods.given(name) for name in before} == before
    finally:
        cluster.gpus.driver.init_delay(0)
        bare.end_service()


def _restarts(pods: Pods) -> dict[str, int]:
    """Return how often the container of each running pod was restarted."""
    try:
        found = pods.all()
    except MachineError:
        return {}
    return {
        pod["metadata"]["name"]: status["restartCount"]
        for pod in found
        for status in pod["status"].get("containerStatuses", ())
        if "running" in status["state"]
    }
