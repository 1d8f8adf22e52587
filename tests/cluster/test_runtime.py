"""Tests with NVIDIA's container runtime, which hides from a container what its variables do not ask for."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from cluster.cluster import LIMIT, Cluster
from cluster.configuration import RUNTIME
from cluster.gateway import Gateway
from cluster.machine import wait_until
from cluster.nvidia_runtime import LIBRARY
from cluster.pods import COMPUTE_NODES, RUNTIME_CLASS, Pods, gpu_pod
from cluster.stand_in import SYSFS, add_folder

KERNEL = {"module": "module", "pci": "bus/pci/devices"}
"""Folders of sysfs with the kernel module and the GPUs. Every container on a node with a driver sees them."""


@pytest.fixture(scope="module", autouse=True)
def runtime_class(cluster: Cluster) -> None:
    """The RuntimeClass."""
    Pods(cluster).apply(RUNTIME_CLASS)


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
    bare.apply_released(partial(_ask_for, "utility"))
    bare.wait_ready()
    bare.wait_offered()
    pods.start(gpu_pod("plain"))
    assert pods.given("plain").nodes & COMPUTE_NODES == {"nvidiactl"}
    assert re.search(r"device nodes are missing, the container gets none.*/dev/nvidia-uvm", bare.log())
    assert "set NVIDIA_DRIVER_CAPABILITIES=compute,utility: it is 'utility' here" in bare.complaints()


def test_capabilities_that_hide_the_library_are_named(bare: Gateway) -> None:
    """With NVIDIA_DRIVER_CAPABILITIES=compute there is no library: not ready; log and doctor name the cause."""
    _assert_not_ready(
        bare,
        partial(_ask_for, "compute"),
        "NVIDIA_DRIVER_CAPABILITIES is 'compute' here",
        "set NVIDIA_DRIVER_CAPABILITIES=compute,utility",
    )


def test_a_gateway_that_another_runtime_started_says_so(bare: Gateway) -> None:
    """Without runtimeClassName, where NVIDIA's runtime is not the default: not ready; log and doctor name the cause."""
    _assert_not_ready(
        bare,
        lambda _: None,
        "NVIDIA's container runtime did not start this container",
        "give the pod `runtimeClassName: nvidia`",
    )


def _assert_not_ready(bare: Gateway, change: Callable[[Any], None], words: str, todo: str) -> None:
    """Apply the manifest where the kernel shows the GPUs, and check what a gateway without the library says."""

    def changed(pod: Any) -> None:
        change(pod)
        for name, folder in KERNEL.items():
            add_folder(pod, name, f"{SYSFS}/{folder}", f"/sys/{folder}")

    bare.apply_released(changed)
    wait_until(lambda: words in bare.log(), "the log says it", LIMIT)
    told = bare.complaints()
    assert told.count(words) == 2, "the gateway's word and doctor's own look"
    assert told.count(f"-> {todo}") == 2
    (status,) = bare.pod()["status"]["containerStatuses"]
    assert not status["ready"]


def _start_by_runtime(pod: Any) -> None:
    pod["runtimeClassName"] = RUNTIME


def _ask_for(capability: str, pod: Any) -> None:
    _start_by_runtime(pod)
    (container,) = pod["containers"]
    (capabilities,) = (each for each in container["env"] if each["name"] == "NVIDIA_DRIVER_CAPABILITIES")
    capabilities["value"] = capability
