"""Tests of pods that ask for GPUs."""

import re

from cluster.cluster import LIMIT
from cluster.facts import Note
from cluster.gateway import Gateway
from cluster.machine import wait_until
from cluster.pods import COMPUTE_NODES, Pods, gpu_pod
from cluster.stand_in import MAJOR


def test_a_pod_sees_its_gpus_and_no_others(gateway: Gateway, pods: Pods, note: Note) -> None:
    """A pod that asks for 2 of 8 GPUs runs; its process sees their UUIDs and nodes, and can open no other GPU."""
    note("pod to running", pods.start(gpu_pod("two", 2)))
    given = pods.given("two")
    assert len(given.uuids) == 2
    nodes = {f"nvidia{minor}" for minor in given.minors}
    assert given.nodes == nodes | {*COMPUTE_NODES, "nvidia-modeset"}
    expected = {f"nvidia{minor}": f"character special file {MAJOR:x}:{minor:x}" for minor in given.minors}
    assert pods.numbers("two", nodes) == expected
    assert pods.usable("two") == given.minors
    held = re.findall(r"(GPU-\S+) .* main$", gateway.run("status"), re.MULTILINE)
    assert set(held) == given.uuids


def test_eight_pods_share_eight_gpus_and_the_ninth_waits(gateway: Gateway, pods: Pods, note: Note) -> None:
    """8 pods of 1 GPU run, each with another one; the ninth waits, and runs when one ends."""
    assert gateway.allocatable() == 8
    names = [f"one-{number}" for number in range(8)]
    note("8 pods to running", pods.start(*(gpu_pod(name) for name in names)))
    given = {name: pods.given(name).uuids for name in names}
    assert len(frozenset().union(*given.values())) == 8
    assert all(pods.usable(name) == pods.given(name).minors for name in names)
    pods.apply(gpu_pod("ninth"))
    wait_until(lambda: "Insufficient nvidia.com/gpu" in pods.why_it_waits("ninth"), "the ninth is told why it waits")
    pods.delete("one-3")
    pods.wait_running("ninth", limit=LIMIT)
    assert pods.given("ninth").uuids == given["one-3"]
