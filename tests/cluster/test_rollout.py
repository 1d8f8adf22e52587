"""Roll-outs of the gateway while pods come."""

import time

from cluster.build import RELEASE
from cluster.cluster import LIMIT, SYSTEM, Cluster
from cluster.facts import Note
from cluster.gateway import Gateway
from cluster.machine import wait_until
from cluster.pods import Pods, gpu_pod
from cluster.watch import Watch

ROLL_OUTS = ((0, 3), (3, 6), (6, 10))
"""The groups of pods that come during each roll-out: the first one, and the one after the last."""
GROUP = 4
"""Pods that come together, 40 in all. Each has one GPU, so that the node has room for the next group."""


def test_no_pod_fails_in_a_roll_out(cluster: Cluster, bare: Gateway, pods: Pods, watch: Watch, note: Note) -> None:
    """The chart rolls out three times while 40 pods come: none fails, and the node always has all its GPUs."""
    bare.install(kubeletVersion=RELEASE.removeprefix("v").rpartition(".")[0])
    bare.wait_offered()
    known = len(watch.history)
    for number, groups in enumerate(ROLL_OUTS):
        began, before = time.monotonic(), bare.container()
        annotation = f'{{"spec": {{"template": {{"metadata": {{"annotations": {{"roll-out": "{number}"}}}}}}}}}}'
        cluster.kubectl("patch", "daemonset", "plugin-gateway", SYSTEM, "--patch", annotation)
        for group in range(*groups):
            names = [f"pod-{group}-{each}" for each in range(GROUP)]
            pods.apply(*(gpu_pod(name) for name in names))
            pods.wait_running(*names)
            pods.delete(*names)
        bare.wait_ready()
        wait_until(lambda: len(bare.pods()) == 1, "the old pod is gone", LIMIT)
        assert bare.container() != before
        note("roll-out", time.monotonic() - began)
    assert {seen.allocatable for seen in watch.history[known:]} == {8}
