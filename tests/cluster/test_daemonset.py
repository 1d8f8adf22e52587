"""Tests of the DaemonSet as it is released."""

import time

import pytest

from cluster.cluster import Cluster
from cluster.facts import Note
from cluster.gateway import RELEASED, Gateway
from cluster.watch import Watch

A_WHILE = 4
"""Seconds for which the test asks for the health, as the probe does."""


@pytest.mark.parametrize("by", ["manifest", "chart"])
def test_it_becomes_ready_and_the_node_has_its_gpus(
    cluster: Cluster, bare: Gateway, watch: Watch, note: Note, by: str
) -> None:
    """The DaemonSet gets ready, without capabilities and with a read-only root; the node has its GPUs."""
    began = time.monotonic()
    if by == "manifest":
        bare.apply()
    else:
        bare.install()
    note(f"{by}: to allocatable", watch.wait_for(lambda seen: seen.allocatable == 8, "8", since=began).at - began)
    bare.wait_ready()
    (container,) = bare.pod()["spec"]["containers"]
    secured = container["securityContext"]
    assert (secured["capabilities"], secured["readOnlyRootFilesystem"]) == ({"drop": ["ALL"]}, True)
    pid = cluster.ctr("tasks", "list").split(bare.container())[1].split()[0]
    assert bare.capabilities() == 0
    root = cluster.machine.run("cat", f"/proc/{pid}/mounts").splitlines()[0].split()
    assert (root[1], root[3].split(",")[0]) == ("/", "ro")


def test_a_node_without_a_driver_is_left_alone(cluster: Cluster, bare: Gateway) -> None:
    """The manifest as it is released, where the pod finds no driver: it is ready, says what it looks for, and waits."""
    cluster.kubectl("apply", f"--filename={RELEASED}")
    bare.wait_ready()
    name = bare.pod()["metadata"]["name"]
    for _ in range(A_WHILE):
        assert cluster.kubectl("get", f"--raw=/api/v1/namespaces/kube-system/pods/{name}:9400/proxy/healthz") == "ok\n"
        time.sleep(1)
    assert bare.allocatable() == 0
    (status,) = bare.pod()["status"]["containerStatuses"]
    assert (status["ready"], status["restartCount"]) == (True, 0)
    assert "libnvidia-ml.so.1 is neither in the loader's path nor in" in bare.log()
