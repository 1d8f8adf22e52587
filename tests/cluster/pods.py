"""The pods of a test."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from cluster.cluster import LIMIT, RESOURCE, Cluster
from cluster.configuration import RUNTIME
from cluster.images import SHELL
from cluster.machine import wait_until
from cluster.stand_in import CAPS_MAJOR, MAJOR

if TYPE_CHECKING:
    from cluster.gateway import Gateway

SHOW = """
echo $NVIDIA_VISIBLE_DEVICES
cd /dev
ls -d nvidia* nvidia-caps/* 2>/dev/null | grep -vx nvidia-caps
echo shown
exec sleep 100000
"""

RUNTIME_CLASS = {
    "apiVersion": "node.k8s.io/v1",
    "kind": "RuntimeClass",
    "metadata": {"name": RUNTIME},
    "handler": RUNTIME,
}
"""The RuntimeClass, as NVIDIA's guides create it."""
COMPUTE_NODES = frozenset({"nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"})
"""The device nodes that are not GPUs, of a container that computes."""
SPEC_NODES = COMPUTE_NODES | {"nvidia-modeset"}
"""The same of a container that has them from a CDI spec, which is for graphics as well."""
_TRY = """
for number in {minors}; do
  mknod /tmp/{major}-$number c {major} $number
  (: <> /tmp/{major}-$number) 2>&1 | grep -q 'Operation not permitted' || echo $number
done
"""
"""Tries to open devices with these numbers, through device nodes that the pod makes itself."""


class Given(NamedTuple):
    """The GPUs that a container sees."""

    uuids: frozenset[str]
    """The UUIDs in its environment."""
    nodes: frozenset[str]
    """The device nodes in its /dev."""

    @property
    def minors(self) -> frozenset[int]:
        """Return the minor numbers of its GPUs. The stand-in has the same number at the end of the UUID."""
        return frozenset(int(uuid[-12:], 16) for uuid in self.uuids)


def gpu_pod(name: str, gpus: int = 1, resource: str = RESOURCE, **spec: Any) -> Mapping[str, Any]:
    """Return a pod that shows what it was given, and then runs on. It asks for so many devices of a resource."""
    container = {
        "name": "main",
        "image": SHELL,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", SHOW],
        "resources": {"limits": {resource: gpus}} if gpus else {},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0, "restartPolicy": "Never", **spec},
    }


def deployment(name: str, replicas: int = 1) -> Mapping[str, Any]:
    """Return a Deployment of such pods."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {**gpu_pod(name)["spec"], "restartPolicy": "Always"}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }


def why_it_waits(pod: Any) -> str:
    """Return what the scheduler says about a pod that has no node."""
    return " ".join(condition.get("message", "") for condition in pod["status"].get("conditions", ()))


class Pods:
    """Makes pods, looks at them, and deletes them."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Apply objects."""
        self._cluster.kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all(objects))

    def start(self, *pods: Mapping[str, Any], limit: float = LIMIT) -> float:
        """Make pods, wait until all run, and return how many seconds that took."""
        began = time.monotonic()
        self.apply(*pods)
        self.wait_running(*(pod["metadata"]["name"] for pod in pods), limit=limit)
        return time.monotonic() - began

    def wait_running(self, *names: str, limit: float = LIMIT) -> None:
        """Wait until these pods run."""

        def run() -> bool:
            phases = self.phases()
            return all(phases.get(name) == "Running" for name in names)

        wait_until(run, lambda: f"{', '.join(names)} run: {self.phases()}", limit)

    def phases(self) -> Mapping[str, str]:
        """Return the phase of each pod of the test."""
        return {pod["metadata"]["name"]: pod["status"]["phase"] for pod in self.all()}

    def count(self, phase: str) -> int:
        """Return the number of the test's pods in a phase."""
        return list(self.phases().values()).count(phase)

    def all(self) -> Sequence[Any]:
        """Return all pods of the test."""
        pods: Sequence[Any] = self._cluster.get("pods")["items"]
        return pods

    def why_it_waits(self, name: str) -> str:
        """Return what the scheduler says about a pod of the test that has no node."""
        return why_it_waits(self._cluster.get("pod", name))

    def given(self, name: str) -> Given:
        """Return the GPUs that a pod sees."""
        wait_until(lambda: "shown" in self._cluster.kubectl("logs", name), f"{name} has shown what it sees")
        told, *rest = self._cluster.kubectl("logs", name).split("\n")
        nodes = rest[: rest.index("shown")]
        return Given(uuids=frozenset(told.split(",")) - {""}, nodes=frozenset(nodes))

    def numbers(self, name: str, nodes: Iterable[str]) -> Mapping[str, str]:
        """Return the file type of each device node of a pod, and its numbers in hexadecimal."""
        told = self.run(name, f"cd /dev; stat -c '%n %F %t:%T' {' '.join(nodes)}")
        return dict(line.split(" ", 1) for line in told.splitlines())

    def usable(self, name: str) -> frozenset[int]:
        """Return the GPUs that the kernel lets a pod open for reading and writing, by device nodes of its own."""
        return self.usable_of(name, MAJOR, range(8))

    def usable_caps(self, name: str, minors: Iterable[int]) -> frozenset[int]:
        """Return those of these device nodes of MIG instances that the kernel lets a pod open."""
        return self.usable_of(name, CAPS_MAJOR, minors)

    def usable_of(self, name: str, major: int, minors: Iterable[int]) -> frozenset[int]:
        """Return those of these devices that the kernel lets a pod open, by device nodes of its own."""
        script = _TRY.format(major=major, minors=" ".join(map(str, minors)))
        return frozenset(map(int, self.run(name, script).split()))

    def run(self, name: str, script: str) -> str:
        """Run a shell script in a pod, and return its output."""
        return self._cluster.kubectl("exec", name, "--", "sh", "-c", script)

    def lives(self) -> Mapping[str, tuple[str, int]]:
        """Return which container each pod runs, and how often it was restarted."""
        return {
            pod["metadata"]["name"]: (status["containerID"], status["restartCount"])
            for pod in self.all()
            for status in pod["status"].get("containerStatuses", ())
        }

    def delete(self, *names: str) -> None:
        """Delete these pods; without names all pods and Deployments of the test."""
        if not names:
            self._cluster.kubectl("delete", "deployment", "--all")
        self._cluster.kubectl("delete", "pod", *(names or ("--all",)), "--grace-period=0", "--force", "--wait")


def forget(gateway: "Gateway", pods: Pods) -> None:
    """Let the kubelet's checkpoint name no pod that has ended. It does so until the kubelet gives out the next device.

    A gateway that cannot ask the kubelet would withhold what those held in another form.
    """
    gateway.remove()
    gateway.install(mountPodResources=True)
    gateway.wait_offered()
    pods.start(gpu_pod("whole", 8))
    pods.delete()
    gateway.remove()
