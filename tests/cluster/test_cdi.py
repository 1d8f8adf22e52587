"""Tests of containers that get their GPUs from containerd, which reads CDI specs. No runtime of NVIDIA is there."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cluster import gpu_program
from cluster.cluster import Cluster
from cluster.configuration import CONTAINERD_CONF
from cluster.gateway import SPECS, Gateway
from cluster.gpu_program import CUDA, NVML
from cluster.images import PYTHON
from cluster.machine import wait_until
from cluster.nvidia_runtime import MACHINE
from cluster.pods import SPEC_NODES, Pods, gpu_pod
from cluster.watch import held_devices

pytestmark = pytest.mark.usefixtures("no_spec_is_left")

SPEC = "k8s.device-plugin.nvidia.com-gpu.json"
Restart = Callable[[bool], None]
"""Restarts containerd, which then reads CDI specs or not."""


@pytest.fixture
def restart_containerd(cluster: Cluster) -> Iterator[Restart]:
    """It reads CDI specs again after the test."""

    def restart(reads_cdi: bool) -> None:
        cluster.start_containerd(reads_cdi=reads_cdi)
        cluster.wait_ready()

    yield restart
    restart(True)


def _program(name: str, gpus: int = 1) -> Mapping[str, Any]:
    """Return a pod with the program that lists its GPUs, and with the stand-in for the hardware."""
    pod: Any = gpu_pod(name, gpus)
    (container,) = pod["spec"]["containers"]
    container["image"] = PYTHON
    container["command"] = ["python3", "-c", Path(gpu_program.__file__).read_text()]
    container["env"] = [{"name": "NVML_STAND_IN_NODES", "value": "/dev"}]
    container["volumeMounts"] = [{"name": "machine", "mountPath": MACHINE}]
    pod["spec"]["volumes"] = [{"name": "machine", "hostPath": {"path": MACHINE, "type": "Directory"}}]
    return pod  # type: ignore[no-any-return]


def _told(cluster: Cluster, name: str) -> Any:
    """Return what the program in a pod prints."""
    wait_until(lambda: cluster.kubectl("logs", name), f"{name} has printed what it sees")
    return json.loads(cluster.kubectl("logs", name))


def _nodes(cluster: Cluster, name: str) -> set[str]:
    """Return the driver's device nodes in a pod."""
    found = cluster.kubectl("exec", name, "--", "ls", "/dev").split()
    return {node for node in found if node.startswith("nvidia")}


@pytest.mark.parametrize("strategy", ["cdi-cri", "cdi-annotations", "cdi-annotations,cdi-cri"])
def test_a_program_finds_the_driver_and_its_own_gpus(
    cluster: Cluster, bare: Gateway, pods: Pods, strategy: str
) -> None:
    """By CDI alone, named by the kubelet's field, by annotation or both: a program loads the driver, lists its GPUs."""
    bare.install(deviceListStrategy=strategy)
    bare.wait_offered()
    pods.start(_program("one"), _program("three", 3))
    held = held_devices(cluster)
    assert (len(held["one"]), len(held["three"]), len(held["one"] | held["three"])) == (1, 3, 4)
    for name in ("one", "three"):
        told = _told(cluster, name)
        assert told.keys() == {CUDA, NVML}
        assert set(told[CUDA]) == set(told[NVML]) == held[name]
        minors = {int(gpu[-12:], 16) for gpu in held[name]}
        assert _nodes(cluster, name) == {*SPEC_NODES, *(f"nvidia{minor}" for minor in minors)}
        assert pods.usable(name) == minors
    bare.remove()
    assert cluster.machine.run("ls", SPECS).split() == [SPEC], "the guide says that it stays"


def test_without_cdi_a_container_starts_without_a_gpu(
    cluster: Cluster, bare: Gateway, pods: Pods, restart_containerd: Restart
) -> None:
    """Where containerd reads no CDI specs, a container starts without a GPU; doctor says so, until it reads them."""
    restart_containerd(False)
    where = {"name": "containerd", "mountPath": "/etc/containerd/config.toml", "readOnly": True}
    bare.install(
        deviceListStrategy="cdi-cri",
        extraVolumes=[{"name": "containerd", "hostPath": {"path": CONTAINERD_CONF, "type": "File"}}],
        extraVolumeMounts=[where],
    )
    bare.wait_offered()
    pods.start(_program("before"))
    assert CUDA in _told(cluster, "before")["error"]
    assert _nodes(cluster, "before") == set()
    assert pods.usable("before") == set()
    assert len(held_devices(cluster)["before"]) == 1, "the kubelet has given it a GPU all the same"
    assert "containerd reads no CDI specs, so containers start without a GPU" in bare.complaints()

    restart_containerd(True)
    assert "keeps containerd from reading CDI specs" in bare.run("doctor")
    pods.start(_program("after"))
    assert set(_told(cluster, "after")[CUDA]) == held_devices(cluster)["after"]
