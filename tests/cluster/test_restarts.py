"""Tests in which the kubelet and the gateway end and come back, while pods come and go."""

import time

import pytest

from cluster.cluster import LIMIT, SYSTEM, Cluster
from cluster.facts import Note
from cluster.gateway import Gateway
from cluster.images import NEXT_GATEWAY
from cluster.machine import wait_until
from cluster.pods import Pods, deployment, gpu_pod
from cluster.watch import Watch, now_by_clock

SOON = 5.0
"""Seconds after which the node must have all GPUs again."""
A_WHILE = 5.0
"""Seconds after that in which it must keep them."""


def _is_right_for_a_while(watch: Watch, began: float) -> None:
    """Wait until that time is over, and check all reports of the kubelet in it. There is one each second."""
    time.sleep(max(0.0, began + SOON + A_WHILE - time.monotonic()))
    said = [seen.allocatable for seen in watch.history if seen.at > began + SOON]
    assert len(said) >= A_WHILE / 2
    assert set(said) == {8}


def test_the_kubelet_is_killed(cluster: Cluster, gateway: Gateway, pods: Pods, watch: Watch, note: Note) -> None:
    """The kubelet is killed with -9 while pods run, and started: they run on, the GPUs are back, no pod fails."""
    pods.start(gpu_pod("two", 2), gpu_pod("three", 3))
    lives = pods.lives()
    registered = gateway.run("status").count("registered as")
    cluster.stop("kubelet")
    began, by_clock = time.monotonic(), now_by_clock()
    cluster.start_kubelet()
    back = watch.wait_for_word_of_new_kubelet(began, by_clock)
    note("kubelet start to allocatable", back.at - began)
    assert back.at - began < SOON
    _is_right_for_a_while(watch, began)
    assert gateway.run("status").count("registered as") > registered
    assert pods.lives() == lives
    pods.start(gpu_pod("after", 3))
    assert len(pods.given("after").uuids | pods.given("two").uuids | pods.given("three").uuids) == 8
    assert set(pods.phases().values()) == {"Running"}


@pytest.mark.parametrize("how", ["pod deleted", "killed with -9", "rolled to another tag"])
def test_the_gateway_ends_and_comes_back(
    cluster: Cluster, gateway: Gateway, pods: Pods, watch: Watch, note: Note, how: str
) -> None:
    """However the gateway ends, the node is right within 5 s and stays so; pods run on, those that come then run."""
    pods.start(gpu_pod("two", 2))
    lives = pods.lives()
    before = gateway.container()
    watch.wait_for(lambda seen: seen.allocatable == 8, "8")
    began = time.monotonic()
    match how:
        case "pod deleted":
            cluster.kubectl("delete", "pod", gateway.pod()["metadata"]["name"], SYSTEM, "--wait=false")
        case "killed with -9":
            gateway.kill()
        case _:
            image = f"plugin-gateway={NEXT_GATEWAY}"
            cluster.kubectl("set", "image", "daemonset/plugin-gateway", image, SYSTEM)
    wait_until(lambda: _is_another(gateway, before), "another container of the gateway runs", LIMIT)
    # The kubelet reports once a second, so a report without the gateway need not exist.
    back = watch.wait_for(lambda seen: seen.allocatable == 8, "8 again", since=time.monotonic())
    assert back.at - began < SOON
    note(f"{how}: to allocatable again", back.at - began)
    _is_right_for_a_while(watch, began)
    assert pods.lives() == lives
    pods.start(gpu_pod("after", 6))
    assert len(pods.given("after").uuids | pods.given("two").uuids) == 8
    assert set(pods.phases().values()) == {"Running"}


def test_the_gateway_is_killed_again(gateway: Gateway, pods: Pods, watch: Watch, note: Note) -> None:
    """Killed a second time the kubelet starts it after 10 s: pods wait, or fail and a Deployment replaces them."""
    before = gateway.container()
    gateway.kill()
    wait_until(lambda: _is_another(gateway, before), "another container of the gateway runs", LIMIT)
    watch.wait_for(lambda seen: seen.allocatable == 8, "8 again", since=time.monotonic())
    began = time.monotonic()
    gateway.kill()
    pods.apply(deployment("late", replicas=3))
    away = watch.wait_for(lambda seen: seen.allocatable == 0, "none", since=began)
    back = watch.wait_for(lambda seen: seen.allocatable == 8, "8 again", since=away.at)
    note("to allocatable again", back.at - began)
    wait_until(lambda: pods.count("Running") == 3, lambda: f"3 run: {pods.phases()}", LIMIT)
    assert pods.count("Running") + pods.count("Failed") == len(pods.phases())
    reasons = {pod["status"]["reason"] for pod in pods.all() if pod["status"]["phase"] == "Failed"}
    assert reasons <= {"UnexpectedAdmissionError"}
    gateway.remove()  # otherwise the kubelet would delay the restart in the next test too


def _is_another(gateway: Gateway, before: str) -> bool:
    return [
        "running" in status["state"] and not status["containerID"].endswith(before)
        for pod in gateway.pods()
        for status in pod["status"].get("containerStatuses", ())
    ] == [True]
