"""Tests of the upgrade and the removal of the chart."""

import re
import time

from cluster.cluster import LIMIT, SYSTEM, Cluster
from cluster.configuration import NODE
from cluster.facts import Note
from cluster.gateway import CONDITION, Gateway
from cluster.machine import wait_until
from cluster.pods import Pods, gpu_pod
from cluster.watch import Watch
from image.build import PROJECT

STATE = "/run/plugin-gateway"
MADE = "configmap,serviceaccount,secret,clusterrole,clusterrolebinding"
"""Kinds of objects that the chart makes beside the DaemonSet."""
KEPT = ("health.json", "known-devices.json", "told-states.json")
"""Files of the state directory. Which of them there are depends on what has happened."""
GUIDE = PROJECT / "deploy" / "README.md"


def test_it_is_upgraded_and_leaves_nothing(
    cluster: Cluster, bare: Gateway, pods: Pods, watch: Watch, note: Note
) -> None:
    """The chart is upgraded to other values, which take effect; uninstalled, it leaves what the guide says, no more."""
    began = time.monotonic()
    bare.install(kubernetesEvents=True, nodeCondition=CONDITION, config={"file": {"version": "v1"}})
    watch.wait_for(lambda seen: seen.allocatable == 8, "8", since=began)
    made = cluster.kubectl("get", MADE, SYSTEM, "--output=name").split()
    assert {kind.partition("/")[0] for kind in made if "plugin-gateway" in kind} >= {
        "configmap", "serviceaccount", "secret", "clusterrole.rbac.authorization.k8s.io",
    }  # fmt: skip
    pods.start(gpu_pod("before"))
    assert "nvidiactl" in pods.given("before").nodes
    lives = pods.lives()
    bare.install(passDeviceSpecs=False, port=9500)
    bare.wait_offered()
    pods.start(gpu_pod("after"))
    assert not pods.given("after").nodes
    assert pods.lives()["before"] == lives["before"]

    began = time.monotonic()
    bare.uninstall()
    gone = watch.wait_for(lambda seen: seen.allocatable == 0, "none", since=began)
    note("uninstall to allocatable 0", gone.at - began)
    wait_until(lambda: not bare.pods(), "its pods are gone", LIMIT)
    left = cluster.machine.run("find", "/var/lib/kubelet/device-plugins", STATE)
    assert set(left.split()) - {f"{STATE}/{name}" for name in KEPT} == {
        STATE,
        "/var/lib/kubelet/device-plugins",
        "/var/lib/kubelet/device-plugins/kubelet.sock",
        "/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint",
    }
    assert "plugin-gateway" not in cluster.kubectl("get", f"all,{MADE}", "--all-namespaces")
    assert CONDITION in cluster.conditions()
    (patch,) = re.findall(r"--type=strategic --patch='([^']*)'", GUIDE.read_text())
    cluster.kubectl("patch", "node", NODE, "--subresource=status", "--type=strategic", f"--patch={patch}")
    assert CONDITION not in cluster.conditions()
    pods.delete()
    cluster.stop("kubelet")
    began = time.monotonic()
    cluster.start_kubelet()
    watch.wait_for(lambda seen: seen.capacity == 0, "a kubelet that starts anew has none", since=began)
