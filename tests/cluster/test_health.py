"""Tests of a GPU that fails while a pod holds it."""

import json
import re
import time

from cluster.cluster import RESOURCE, Cluster
from cluster.configuration import NODE
from cluster.facts import Note
from cluster.gateway import CONDITION, Gateway
from cluster.machine import wait_until
from cluster.pods import Pods, gpu_pod
from cluster.watch import Watch

FALLEN_OFF_THE_BUS = 79
NVLINK_ERROR = 145
"""Harmless or fatal: only the driver's recovery action tells."""
GPU_RESET = 1
DECISION_TIME = 5.0
"""Seconds after the event from which on the driver's answer counts."""
STATUS_CYCLE = 1.0
"""Seconds between two reports of the cluster's kubelet."""


def test_a_gpu_fails_and_recovers(cluster: Cluster, bare: Gateway, pods: Pods, watch: Watch, note: Note) -> None:
    """An XID takes a GPU out within 1 s and the kubelet's report; its holder lives, all is told, new pods avoid it."""
    bare.install(kubernetesEvents=True, nodeCondition=CONDITION, mountPodResources=True)
    watch.wait_for(lambda seen: seen.allocatable == 8, "8")
    pods.start(gpu_pod("holder"))
    (failed,) = pods.given("holder").uuids
    lives = pods.lives()
    assert re.search(f"{failed} .* default/holder main$", bare.run("status"), re.MULTILINE)

    began = time.monotonic()
    cluster.gpus.driver.xid(int(failed[-12:], 16), FALLEN_OFF_THE_BUS)
    seven = watch.wait_for(lambda seen: seen.allocatable == 7, "7", since=began)
    note("XID to allocatable 7", seven.at - began)
    assert (seven.capacity, seven.at - began < STATUS_CYCLE + 1) == (8, True)
    wait_until(lambda: cluster.conditions().get(CONDITION) == "True", "the node's condition tells")
    wait_until(lambda: failed in _events(cluster), "an Event tells")
    wait_until(lambda: _health_told(cluster, "holder") == {failed: "Unhealthy"}, "the pod's status tells")

    names = [f"new-{number}" for number in range(6)]
    pods.start(*(gpu_pod(name) for name in names))
    given = frozenset().union(*(pods.given(name).uuids for name in names))
    assert (len(given), failed in given) == (6, False)
    assert pods.lives()["holder"] == lives["holder"]

    began = time.monotonic()
    bare.run("health", "clear", failed)
    note(
        "word that it is well to allocatable 8",
        watch.wait_for(lambda seen: seen.allocatable == 8, "8", since=began).at - began,
    )
    wait_until(lambda: cluster.conditions().get(CONDITION) == "False", "the node's condition tells")
    wait_until(lambda: _health_told(cluster, "holder") == {failed: "Healthy"}, "the pod's status tells")


def test_the_driver_decides_about_an_nvlink_error(
    cluster: Cluster, bare: Gateway, pods: Pods, watch: Watch, note: Note
) -> None:
    """The pod's status has the GPU back soon after a harmless XID 145. After a fatal one, it needs the reset."""
    bare.install(quietTime=1)
    watch.wait_for(lambda seen: seen.allocatable == 8, "8")
    pods.start(gpu_pod("holder"))
    (failed,) = pods.given("holder").uuids
    index, driver = int(failed[-12:], 16), cluster.gpus.driver

    began = time.monotonic()
    driver.xid(index, NVLINK_ERROR)
    wait_until(lambda: _health_told(cluster, "holder") == {failed: "Unhealthy"}, "the pod's status tells")
    wait_until(lambda: _health_told(cluster, "holder") == {failed: "Healthy"}, "the pod's status tells")
    lasted = time.monotonic() - began
    note("harmless XID 145 to healthy again, in the pod's status", lasted)
    assert lasted > DECISION_TIME

    began = time.monotonic()
    driver.ask_for_recovery(index, GPU_RESET)
    driver.xid(index, NVLINK_ERROR)
    wait_until(lambda: _health_told(cluster, "holder") == {failed: "Unhealthy"}, "the pod's status tells")
    while time.monotonic() < began + 3 * DECISION_TIME:
        assert _health_told(cluster, "holder") == {failed: "Unhealthy"}
        time.sleep(1)
    driver.recover(index)
    wait_until(lambda: _health_told(cluster, "holder") == {failed: "Healthy"}, "the pod's status tells")
    watch.wait_for(lambda seen: seen.allocatable == 8, "8", since=began)


def _events(cluster: Cluster) -> str:
    events = cluster.get("events", "--namespace=default", f"--field-selector=involvedObject.name={NODE}")["items"]
    return json.dumps([event.get("message") for event in events])


def _health_told(cluster: Cluster, pod: str) -> dict[str, str]:
    """Return the health of the devices in a pod's status."""
    (status,) = cluster.get("pod", pod)["status"]["containerStatuses"]
    return {
        device["resourceID"]: device["health"]
        for resource in status.get("allocatedResourcesStatus", ())
        if resource["name"] == RESOURCE
        for device in resource["resources"]
    }
