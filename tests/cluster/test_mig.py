"""Tests with GPUs in MIG mode, and of layouts that change while pods hold MIG devices."""

import time
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from cluster.cluster import LIMIT, SYSTEM, Cluster
from cluster.configuration import RUNTIME
from cluster.facts import Note
from cluster.gateway import Gateway
from cluster.machine import wait_until
from cluster.nvidia_runtime import DRIVER_ROOT
from cluster.pods import COMPUTE_NODES, SPEC_NODES, Pods, gpu_pod
from cluster.stand_in import Lay
from cluster.watch import held_devices

pytestmark = pytest.mark.usefixtures("forgotten")

SYS_ADMIN = 21
"""The number of this capability."""


def _install(gateway: Gateway, **values: Any) -> None:
    gateway.install_released(runtimeClassName=RUNTIME, **values)


def _mig(profile: str) -> str:
    return f"nvidia.com/mig-{profile}"


def _assert_has(cluster: Cluster, pods: Pods, name: str, uuid: str) -> None:
    """Check that a pod has one MIG device: its UUID, its device nodes, and those of no other instance."""
    listed = cluster.gpus.driver.mig.nodes()
    assert pods.given(name).uuids == {uuid}
    _assert_has_nodes(pods, name, listed[uuid], _all_caps(listed))


def _assert_has_nodes(
    pods: Pods, name: str, own: tuple[int, int, int], every: set[int], shared: frozenset[str] = COMPUTE_NODES
) -> None:
    """Check that a pod has the nodes of these minor numbers, of a GPU and of its instances, and of no others."""
    gpu, *instances = own
    assert pods.given(name).nodes - shared == {
        f"nvidia{gpu}", *(f"nvidia-caps/nvidia-cap{minor}" for minor in instances),
    }  # fmt: skip
    assert pods.usable(name) == {gpu}
    assert pods.usable_caps(name, every) == set(instances)


def _all_caps(listed: Mapping[str, tuple[int, int, int]]) -> set[int]:
    return {minor for _, *instances in listed.values() for minor in instances}


@pytest.mark.usefixtures("lay_out")
def test_pods_get_mig_devices_and_shared_ones(cluster: Cluster, bare: Gateway, pods: Pods) -> None:
    """Mixed MIG, and time-slicing of one profile: the node has the names, and pods see their own instances alone."""
    sharing = {"renameByDefault": True, "resources": [{"name": _mig("1g.10gb"), "replicas": 2}]}
    file = {"version": "v1", "flags": {"migStrategy": "mixed"}, "sharing": {"timeSlicing": sharing}}
    _install(bare, config={"file": file})
    bare.wait_offered_as({"gpu": 6, "mig-3g.40gb": 1, "mig-1g.10gb.shared": 4, "mig-7g.80gb": 1})
    mig = cluster.gpus.driver.mig
    shared = [f"shared-{number}" for number in range(4)]
    pods.start(
        gpu_pod("part", resource=_mig("3g.40gb")),
        gpu_pod("all-parts", resource=_mig("7g.80gb"), runtimeClassName=RUNTIME),
        gpu_pod("whole"),
        *(gpu_pod(name, resource=f"{_mig('1g.10gb')}.shared") for name in shared),
    )
    _assert_has(cluster, pods, "part", mig.uuid(0, 0))
    _assert_has(cluster, pods, "all-parts", mig.uuid(1, 0))
    small = [uuid for name in shared for uuid in pods.given(name).uuids]
    assert sorted(small) == sorted([mig.uuid(0, 1), mig.uuid(0, 2)] * 2)
    for name, uuid in zip(shared, small, strict=True):
        _assert_has(cluster, pods, name, uuid)
    (minor,) = pods.given("whole").minors
    assert minor > 1
    assert pods.given("whole").nodes == {f"nvidia{minor}", *COMPUTE_NODES}
    assert not pods.usable_caps("whole", _all_caps(mig.nodes()))


@pytest.mark.usefixtures("lay_out", "no_spec_is_left")
def test_pods_get_mig_devices_from_cdi_specs(cluster: Cluster, bare: Gateway, pods: Pods) -> None:
    """By CDI, two pods with MIG devices of one GPU see its node and those of their own instances alone."""
    _install(bare, migStrategy="mixed", deviceListStrategy="cdi-cri", nvidiaDriverRoot=DRIVER_ROOT)
    bare.wait_offered_as({"gpu": 6, "mig-3g.40gb": 1, "mig-1g.10gb": 2, "mig-7g.80gb": 1})
    asked = {"part": "3g.40gb", "small": "1g.10gb"}
    pods.start(*(gpu_pod(name, resource=_mig(profile)) for name, profile in asked.items()))
    listed = cluster.gpus.driver.mig.nodes()
    for name in asked:
        (uuid,) = held_devices(cluster)[name]
        _assert_has_nodes(pods, name, listed[uuid], _all_caps(listed), SPEC_NODES)


def test_a_layout_changes_while_pods_run(cluster: Cluster, bare: Gateway, pods: Pods, lay_out: Lay, note: Note) -> None:
    """Beside an instance that a pod holds, others are made anew: the node follows, and nobody gets the one it has."""
    _install(bare, migStrategy="mixed")
    bare.wait_offered_as({"gpu": 6, "mig-3g.40gb": 1, "mig-1g.10gb": 2, "mig-7g.80gb": 1})
    mig = cluster.gpus.driver.mig
    held = mig.uuid(0, 0)
    pods.start(gpu_pod("holder", resource=_mig("3g.40gb")))
    lives = pods.lives()
    began = time.monotonic()
    lay_out("0:3g.40gb,2g.20gb,2g.20gb;1:3g.40gb,3g.40gb")
    bare.wait_offered_as({"gpu": 6, "mig-3g.40gb": 3, "mig-2g.20gb": 2})
    note("another layout to allocatable", time.monotonic() - began)
    asked = {"new-1": "3g.40gb", "new-2": "3g.40gb", "new-3": "2g.20gb", "new-4": "2g.20gb"}
    pods.start(*(gpu_pod(name, resource=_mig(profile)) for name, profile in asked.items()))
    given = {name: pods.given(name).uuids for name in asked}
    assert frozenset().union(*given.values()) == mig.nodes().keys() - {held}
    for name, uuids in given.items():
        (uuid,) = uuids
        _assert_has(cluster, pods, name, uuid)
    pods.apply(gpu_pod("next", resource=_mig("3g.40gb")))
    wait_until(lambda: f"Insufficient {_mig('3g.40gb')}" in pods.why_it_waits("next"), "it is told why it waits")
    assert pods.lives()["holder"] == lives["holder"]
    pods.delete("holder")
    pods.wait_running("next")
    _assert_has(cluster, pods, "next", held)


def test_an_instance_is_replaced_that_a_pod_holds(cluster: Cluster, bare: Gateway, pods: Pods, lay_out: Lay) -> None:
    """The instance of a pod is replaced by one with the same device nodes: that one is unhealthy until the pod ends."""
    _install(bare, migStrategy="mixed")
    bare.wait_offered_as({"gpu": 6, "mig-3g.40gb": 1, "mig-1g.10gb": 2, "mig-7g.80gb": 1})
    pods.start(gpu_pod("holder", resource=_mig("3g.40gb")))
    lay_out("0:4g.40gb;1:7g.80gb")
    _wait_withheld(cluster, bare, {"gpu": 6, "mig-7g.80gb": 1}, {"mig-4g.40gb": 1})
    _assert_waits_for(pods, "holder", "4g.40gb")
    _assert_has(cluster, pods, "next", cluster.gpus.driver.mig.uuid(0, 0))


def test_a_gpu_is_divided_that_a_pod_holds(cluster: Cluster, bare: Gateway, pods: Pods, lay_out: Lay) -> None:
    """The driver is released, and a GPU divided that a pod holds whole: its parts are unhealthy until the pod ends."""
    lay_out("")
    _install(bare, migStrategy="mixed", quietTime=1)
    bare.wait_offered()
    pods.start(gpu_pod("holder"))
    lives = pods.lives()
    (index,) = pods.given("holder").minors
    mig = cluster.gpus.driver.mig
    assert not mig.ask_for_mode(index, enabled=True), "the gateway has NVML open"
    bare.run("driver", "release", "--for", "10m")
    wait_until(lambda: mig.ask_for_mode(index, enabled=True), "no process has NVML open")
    lay_out(f"{index}:3g.40gb,3g.40gb")
    bare.run("driver", "take")
    _wait_withheld(cluster, bare, {"gpu": 7}, {"mig-3g.40gb": 2})
    assert pods.lives() == lives
    _assert_waits_for(pods, "holder", "3g.40gb")
    _assert_has(cluster, pods, "next", *pods.given("next").uuids)
    bare.wait_offered_as({"gpu": 7, "mig-3g.40gb": 2})


@pytest.mark.usefixtures("lay_out")
def test_without_the_right_to_see_mig_devices(cluster: Cluster, bare: Gateway, pods: Pods) -> None:
    """With the strategy in a ConfigMap of one's own the chart needs it as a value, too; doctor says what is missing."""
    file = yaml.safe_dump({"version": "v1", "flags": {"migStrategy": "mixed"}})
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "own", "namespace": "kube-system"}}
    pods.apply({**made, "data": {"config.yaml": file}})
    _install(bare, config={"name": "own"})
    bare.wait_offered_as({"gpu": 6})
    assert (
        bare.complaints().count("give the container the capability SYS_ADMIN and NVIDIA_MIG_MONITOR_DEVICES=all") == 4
    )
    assert bare.capabilities() == 0
    _install(bare, config={"name": "own"}, migStrategy="mixed")
    bare.wait_offered_as({"gpu": 6, "mig-3g.40gb": 1, "mig-1g.10gb": 2, "mig-7g.80gb": 1})
    assert bare.capabilities() == 1 << SYS_ADMIN
    cluster.kubectl("delete", "configmap", "own", SYSTEM)


def _wait_withheld(cluster: Cluster, gateway: Gateway, offered: Mapping[str, int], withheld: Mapping[str, int]) -> None:
    """Wait until the node has these devices, and others that are unhealthy because of a pod."""
    gateway.wait_offered_as(offered)

    def has_them() -> bool:
        capacity = cluster.node()["status"]["capacity"]
        return all(capacity.get(f"nvidia.com/{name}") == str(count) for name, count in withheld.items())

    wait_until(has_them, lambda: f"{withheld} in {cluster.node()['status']['capacity']}", LIMIT)
    assert gateway.offered() == offered
    assert gateway.run("status").count("by default/holder main") >= sum(withheld.values())


def _assert_waits_for(pods: Pods, holder: str, profile: str) -> None:
    """Check that a pod called "next" gets a MIG device of this profile only when the other pod has ended."""
    pods.apply(gpu_pod("next", resource=_mig(profile)))
    wait_until(lambda: f"Insufficient {_mig(profile)}" in pods.why_it_waits("next"), "it is told why it waits")
    pods.delete(holder)
    pods.wait_running("next")
