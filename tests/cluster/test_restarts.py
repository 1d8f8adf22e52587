"""The kubelet, the gateway and the node end and come back."""

import time

import pytest

from cluster.cluster import Cluster
from cluster.conftest import Note
from cluster.gateway import Gateway
from cluster.images import NEXT_GATEWAY
from cluster.machine import wait_until
from cluster.pods import LIMIT, Pods, gpu_pod
from cluster.watch import Watch, now_by_clock

SOON = 5.0
"""Seconds after which the node must be right again."""
A_WHILE = 3.0
"""Seconds for which it must stay so."""


def _stays_right(watch: Watch) -> None:
    came = len(watch.history)
    time.sleep(A_WHILE)
    assert {seen.allocatable for seen in watch.history[came:]} == {8}


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
    _stays_right(watch)
    assert gateway.run("status").count("registered as") > registered
    assert pods.lives() == lives
    pods.start(gpu_pod("after", 3))
    assert len(pods.given("after").uuids | pods.given("two").uuids | pods.given("three").uuids) == 8
    assert set(pods.phases().values()) == {"Running"}


@pytest.mark.parametrize("how", ["pod deleted", "killed with -9", "rolled to another tag"])
def test_the_gateway_ends_and_comes_back(
    cluster: Cluster, gateway: Gateway, pods: Pods, watch: Watch, note: Note, how: str
) -> None:
    """However the gateway ends, the node is right again within 5 s and stays so; pods run on, new ones are admitted."""
    pods.start(gpu_pod("two", 2))
    lives = pods.lives()
    before = gateway.container()
    watch.wait_for(lambda seen: seen.allocatable == 8, "8")
    began = time.monotonic()
    match how:
        case "pod deleted":
            cluster.kubectl(
                "delete", "pod", gateway.pod()["metadata"]["name"], "--namespace=kube-system", "--wait=false"
            )
        case "killed with -9":
            gateway.kill()
        case _:
            image = f"plugin-gateway={NEXT_GATEWAY}"
            cluster.kubectl("set", "image", "daemonset/plugin-gateway", image, "--namespace=kube-system")
    wait_until(lambda: _is_another(gateway, before), "another container of the gateway runs", LIMIT)
    # The kubelet reports once a second, and so need not have reported the time without a gateway.
    back = watch.wait_for(lambda seen: seen.allocatable == 8, "8 again", since=time.monotonic())
    assert back.at - began < SOON
    note(f"{how}: to allocatable again", back.at - began)
    _stays_right(watch)
    assert pods.lives() == lives
    pods.start(gpu_pod("after", 6))
    assert len(pods.given("after").uuids | pods.given("two").uuids) == 8
    assert set(pods.phases().values()) == {"Running"}


def _is_another(gateway: Gateway, before: str) -> bool:
    return [
        "running" in status["state"] and not status["containerID"].endswith(before)
        for pod in gateway.pods()
        for status in pod["status"].get("containerStatuses", ())
    ] == [True]
