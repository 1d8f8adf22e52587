"""Tests of what the gateway may do on the node, and what pods may do with it."""

import re

import pytest
import yaml

from cluster.cluster import Cluster
from cluster.gateway import RELEASED, Gateway
from cluster.machine import MachineError
from cluster.pods import Pods, gpu_pod

SOCKETS = "/var/lib/kubelet/device-plugins /run/plugin-gateway"


def test_an_ordinary_pod_cannot_reach_its_sockets(gateway: Gateway, cluster: Cluster, pods: Pods) -> None:
    """A pod, with GPUs or without, sees neither the plugin's socket nor the one for operators."""
    assert gateway.allocatable() == 8
    there = cluster.machine.run("find", *SOCKETS.split(), "-type", "s")
    assert "/device-plugins/plugin-gateway-" in there
    assert "/run/plugin-gateway/control-" in there
    pods.start(gpu_pod("without", 0), gpu_pod("with", 1))
    for name in ("without", "with"):
        found = cluster.kubectl(
            "exec", name, "--", "sh", "-c", f"ls -d {SOCKETS} 2>&1; find / -xdev -type s; cat /proc/net/unix"
        )
        assert found.count("No such file or directory") == 2
        assert not re.search("sock", found)


def test_pod_security_objects_to_its_two_folders_alone(cluster: Cluster) -> None:
    """What keeps its pod from Pod Security "baseline" are the two folders of the host, and nothing else."""
    namespace = "baseline"
    cluster.kubectl("create", "namespace", namespace)
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=baseline")
    template = yaml.safe_load(RELEASED.read_text())["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {"name": "gateway"}}
    command = ("apply", "--dry-run=server", f"--namespace={namespace}", "--filename=-")
    with pytest.raises(MachineError) as refusal:
        cluster.kubectl(*command, stdin=yaml.safe_dump(pod))
    (reason,) = re.findall('violates PodSecurity "baseline:latest": (.*)$', str(refusal.value), re.MULTILINE)
    assert reason == 'hostPath volumes (volumes "device-plugins", "state")'
    del pod["spec"]["volumes"], pod["spec"]["containers"][0]["volumeMounts"]
    assert "created (server dry run)" in cluster.kubectl(*command, stdin=yaml.safe_dump(pod))
