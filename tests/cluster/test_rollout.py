"""Roll-outs of the gateway while pods come."""

import os
import time

from cluster.build import RELEASE
from cluster.cluster import LIMIT, SYSTEM, Cluster
from cluster.facts import Note
from cluster.gateway import Gateway
from cluster.machine import wait_until
from cluster.pods import Pods, gpu_pod
from cluster.watch import KubeletWatch, Watch

ROLL_OUTS = int(os.environ.get("ROLL_OUTS", "3"))
PODS = int(os.environ.get("ROLL_OUT_PODS", "40"))
GROUP = 4
"""Pods that come together. Each has one GPU, so that the node has room for the next group."""


def test_no_pod_fails_in_a_roll_out(cluster: Cluster, bare: Gateway, pods: Pods, watch: Watch, note: Note) -> None:
    """The chart rolls out three times while 40 pods come: none fails, and the node always has all its GPUs."""
    bare.install(kubeletVersion=RELEASE.removeprefix("v").rpartition(".")[0])
    bare.wait_offered()
    known = len(watch.history)
    with KubeletWatch(cluster) as kubelet:
        for number in range(ROLL_OUTS):
            began, before = time.monotonic(), bare.container()
            annotation = f'{{"spec": {{"template": {{"metadata": {{"annotations": {{"roll-out": "{number}"}}}}}}}}}}'
            cluster.kubectl("patch", "daemonset", "plugin-gateway", SYSTEM, "--patch", annotation)
            for first in range(_pods_before(number), _pods_before(number + 1), GROUP):
                names = [f"pod-{each}" for each in range(first, first + GROUP)]
                pods.apply(*(gpu_pod(name) for name in names))
                pods.wait_running(*names)
                pods.delete(*names)
            bare.wait_ready()
            wait_until(lambda: len(bare.pods()) == 1, "the old pod is gone", LIMIT)
            assert bare.container() != before
            note("roll-out", time.monotonic() - began)
    assert {seen.allocatable for seen in watch.history[known:]} == {8}
    note("without all GPUs, by the kubelet", kubelet.longest_without(8))
    assert [count for _, count in kubelet.changes] == [8, 8]


def _pods_before(number: int) -> int:
    """Return how many pods have come before this roll-out. Pods come in whole groups."""
    return PODS // GROUP * number // ROLL_OUTS * GROUP
