"""Tests that replace the node's kubelet by one of another release, and back."""

import time

from cluster.build import RELEASE, YEAR_BEFORE
from cluster.cluster import Cluster
from cluster.facts import Note
from cluster.gateway import Gateway
from cluster.pods import Pods, gpu_pod
from cluster.watch import Watch, now_by_clock


def test_another_kubelet_takes_over_and_gives_back(
    cluster: Cluster, gateway: Gateway, pods: Pods, watch: Watch, note: Note
) -> None:
    """The kubelet becomes one of a year before and again the newest: pods and gateway stay, the GPUs are offered."""
    pods.start(gpu_pod("two", 2))
    lives, container = pods.lives(), gateway.container()
    for release in (YEAR_BEFORE, RELEASE):
        cluster.stop("kubelet")
        began, by_clock = time.monotonic(), now_by_clock()
        cluster.start_kubelet(release)
        back = watch.wait_for_word_of_new_kubelet(began, by_clock)
        note(f"{release} start to allocatable", back.at - began)
        assert cluster.node()["status"]["nodeInfo"]["kubeletVersion"] == release
        name = f"under-{release.replace('.', '-')}"
        pods.start(gpu_pod(name, 3))
        assert not pods.given(name).uuids & pods.given("two").uuids
        pods.delete(name)
        assert pods.lives() == lives
        assert gateway.container() == container
