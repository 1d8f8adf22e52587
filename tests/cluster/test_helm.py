"""The chart is upgraded and uninstalled."""

import time

from cluster.cluster import Cluster
from cluster.conftest import Note
from cluster.gateway import Gateway
from cluster.machine import wait_until
from cluster.pods import LIMIT, Pods, gpu_pod
from cluster.watch import Watch

STATE = "/run/plugin-gateway"


def test_it_is_upgraded_and_leaves_nothing(
    cluster: Cluster, bare: Gateway, pods: Pods, watch: Watch, note: Note
) -> None:
    """The chart is upgraded to other values, which take effect; uninstalled, it leaves an empty folder of the node."""
    cluster.machine.run("rm", "-rf", STATE)  # what other tests held against a GPU, which is kept on purpose
    bare.install()
    watch.wait_for(lambda seen: seen.allocatable == 8, "8")
    pods.start(gpu_pod("before"))
    assert "nvidiactl" in pods.given("before").nodes
    lives = pods.lives()
    bare.install(passDeviceSpecs=False, port=9500)
    wait_until(lambda: bare.allocatable() == 8, "8", LIMIT)
    pods.start(gpu_pod("after"))
    assert not pods.given("after").nodes
    assert pods.lives()["before"] == lives["before"]

    began = time.monotonic()
    bare.uninstall()
    gone = watch.wait_for(lambda seen: seen.allocatable == 0, "none", since=began)
    note("uninstall to allocatable 0", gone.at - began)
    wait_until(lambda: not bare.pods(), "its pods are gone", LIMIT)
    left = cluster.machine.run("find", "/var/lib/kubelet/device-plugins", STATE)
    assert sorted(left.split()) == [
        STATE,
        "/var/lib/kubelet/device-plugins",
        "/var/lib/kubelet/device-plugins/kubelet.sock",
        "/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint",
    ]
    assert "plugin-gateway" not in cluster.kubectl("get", "all,configmap,serviceaccount", "--all-namespaces")
    assert "plugin-gateway" not in cluster.kubectl("get", "clusterrole,clusterrolebinding")
    pods.delete()
    cluster.stop("kubelet")
    cluster.start_kubelet()
    watch.wait_for(lambda seen: seen.capacity == 0, "a kubelet that starts anew has none")
