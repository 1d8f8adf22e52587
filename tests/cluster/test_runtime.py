"""Tests with NVIDIA's container runtime, which hides from a container what its variables do not ask for."""

import re
from typing import Any

import pytest

from cluster.cluster import LIMIT, Cluster
from cluster.configuration import RUNTIME
from cluster.gateway import Gateway
from cluster.machine import MachineError, wait_until
from cluster.nvidia_runtime import LIBRARY
from cluster.pods import COMPUTE_NODES, Pods, gpu_pod
from cluster.stand_in import SYSFS, add_folder

CLASS = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": RUNTIME}, "handler": RUNTIME}
KERNEL = {"module": "module", "pci": "bus/pci/devices"}
"""Folders of sysfs with the kernel module and the GPUs. Every container on a node with a driver sees them."""


@pytest.fixture(scope="module", autouse=True)
def runtime_class(cluster: Cluster) -> None:
    """The RuntimeClass, as NVIDIA's guides create it."""
    Pods(cluster).apply(CLASS)


@pytest.mark.parametrize("by", ["manifest", "chart"])
def test_as_released_with_nvidias_runtime(cluster: Cluster, bare: Gateway, pods: Pods, by: str) -> None:
    """As released, with NVIDIA's runtime: a pod gets its GPU's nodes and nvidia-uvm, whatever runtime it has itself."""
    if by == "manifest":
        bare.apply_released(_start_by_runtime)
        bare.wait_ready()
    else:
        bare.install_released(runtimeClassName=RUNTIME)
    bare.wait_offered()
    assert "every device node is there" in bare.run("doctor")
    pods.start(gpu_pod("plain"), gpu_pod("by-runtime", runtimeClassName=RUNTIME))
    for name in ("plain", "by-runtime"):
        given = pods.given(name)
        (minor,) = given.minors
        assert given.nodes == {f"nvidia{minor}", *COMPUTE_NODES}
        assert pods.usable(name) == {minor}
    assert pods.given("plain").uuids != pods.given("by-runtime").uuids
    assert cluster.kubectl("exec", "by-runtime", "--", "ls", f"/{LIBRARY}")


def test_capabilities_that_hide_a_node_are_named(bare: Gateway, pods: Pods) -> None:
    """With NVIDIA_DRIVER_CAPABILITIES=utility there is no nvidia-uvm: each allocation warns, doctor names the cause."""
    bare.apply_released(_ask_for_utility_alone)
    bare.wait_ready()
    bare.wait_offered()
    pods.start(gpu_pod("plain"))
    assert pods.given("plain").nodes & COMPUTE_NODES == {"nvidiactl"}
    assert re.search(r"device nodes are missing, the container gets none.*/dev/nvidia-uvm", bare.log())
    with pytest.raises(MachineError) as found:
        bare.run("doctor")
    assert "set NVIDIA_DRIVER_CAPABILITIES=compute,utility: it is 'utility' here" in str(found.value)


def test_a_gateway_that_another_runtime_started_says_so(bare: Gateway) -> None:
    """Without runtimeClassName, where NVIDIA's runtime is not the default: not ready; log and doctor name the cause."""
    bare.apply_released(_show_kernel)
    words = "NVIDIA's container runtime did not start this container"
    wait_until(lambda: words in bare.log(), "the log says it", LIMIT)
    with pytest.raises(MachineError) as found:
        bare.run("doctor")
    assert words in str(found.value)
    assert "give the pod `runtimeClassName: nvidia`" in str(found.value)


def _start_by_runtime(pod: Any) -> None:
    pod["runtimeClassName"] = RUNTIME


def _ask_for_utility_alone(pod: Any) -> None:
    _start_by_runtime(pod)
    (container,) = pod["containers"]
    (capabilities,) = (each for each in container["env"] if each["name"] == "NVIDIA_DRIVER_CAPABILITIES")
    capabilities["value"] = "utility"


def _show_kernel(pod: Any) -> None:
    for name, folder in KERNEL.items():
        add_folder(pod, name, f"{SYSFS}/{folder}", f"/sys/{folder}")
