"""The gateway in the cluster, deployed as the guide says, with the stand-in driver."""

import configparser
import os
import re
import shlex
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from cluster.build import BUILT
from cluster.cluster import LIMIT, RESOURCE, SYSTEM, Cluster
from cluster.configuration import KUBECONFIG
from cluster.machine import MachineError, Service, run, wait_until
from cluster.nvidia_runtime import DRIVER_ROOT
from cluster.stand_in import render
from image.build import PROJECT

RELEASED = PROJECT / "deploy" / "manifests" / "plugin-gateway.yaml"
CHART = PROJECT / "deploy" / "helm" / "plugin-gateway"
UNIT = PROJECT / "deploy" / "systemd" / "plugin-gateway.service"
HELM = PROJECT / "build" / "helm" / "helm"
MANIFEST = BUILT / "plugin-gateway.yaml"
CONDITION = "GpuProblem"
"""The node condition, in tests in which the gateway reports one."""
SPECS = "/var/run/cdi"
"""The folder of the node with the CDI specs."""
_OURS = "--selector=app.kubernetes.io/name=plugin-gateway"


def write_manifest() -> None:
    """Write the released manifest with a driver root, as a node without NVIDIA's container runtime needs it."""
    MANIFEST.write_text(render(RELEASED.read_text(), mounts_driver=True))


class Gateway:
    """Deploys the gateway, looks at its DaemonSet and pod, and removes it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._service: Service | None = None

    def apply(self) -> None:
        """Apply the manifest."""
        write_manifest()
        self._cluster.kubectl("apply", f"--filename={MANIFEST}")

    def apply_released(self, change: Callable[[Any], None]) -> None:
        """Apply the manifest as it is released, but for what ``change`` does to the template's pod."""
        manifest = yaml.safe_load(RELEASED.read_text())
        change(manifest["spec"]["template"]["spec"])
        self._cluster.kubectl("apply", "--filename=-", stdin=yaml.safe_dump(manifest))

    def deploy(self) -> None:
        """Apply the manifest, and wait until the node has eight GPUs."""
        if self._is_of_helm():
            self.remove()
        self.apply()
        self.wait_ready()
        self.wait_offered()

    def wait_offered(self) -> None:
        """Wait until eight GPUs of the node are allocatable."""
        wait_until(lambda: self.allocatable() == 8, lambda: f"8 allocatable, not {self.allocatable()}", LIMIT)

    def wait_offered_as(self, wanted: Mapping[str, int]) -> None:
        """Wait until these are the allocatable devices of the node, by resource without its domain."""
        wait_until(lambda: self.offered() == wanted, lambda: f"{wanted} allocatable, not {self.offered()}", LIMIT)

    def wait_ready(self) -> None:
        """Wait until the rollout of the DaemonSet is complete."""
        self._cluster.kubectl("rollout", "status", "daemonset/plugin-gateway", SYSTEM, f"--timeout={LIMIT:.0f}s")

    def allocatable(self) -> int:
        """Return the number of allocatable GPUs of the node."""
        return int(self._cluster.node()["status"]["allocatable"].get(RESOURCE, 0))

    def offered(self) -> Mapping[str, int]:
        """Return the number of allocatable devices of each resource that has any, by its name without the domain."""
        told = self._cluster.node()["status"]["allocatable"]
        domain = f"{RESOURCE.partition('/')[0]}/"
        return {
            name.removeprefix(domain): int(told[name]) for name in told if name.startswith(domain) and told[name] != "0"
        }

    def pods(self) -> list[Any]:
        """Return all pods of the gateway. There is one, except for moments."""
        found: list[Any] = self._cluster.get("pods", SYSTEM, _OURS)["items"]
        return found

    def pod(self) -> Any:
        """Return the pod of the gateway."""
        (pod,) = self.pods()
        return pod

    def log(self) -> str:
        """Wait until its pod runs, and return the log."""
        wait_until(lambda: [each["status"]["phase"] for each in self.pods()] == ["Running"], "its pod runs", LIMIT)
        return self._cluster.kubectl("logs", SYSTEM, self.pod()["metadata"]["name"])

    def container(self) -> str:
        """Return the id of its container, as containerd knows it."""
        (status,) = self.pod()["status"]["containerStatuses"]
        return str(status["containerID"]).removeprefix("containerd://")

    def run(self, *arguments: str) -> str:
        """Run a sub-command in its pod, and return the output."""
        name = self.pod()["metadata"]["name"]
        return self._cluster.kubectl("exec", SYSTEM, name, "--", "plugin-gateway", *arguments)

    def capabilities(self) -> int:
        """Return the effective capabilities of its process, as a bit for each."""
        return int(self._process("CapEff"), 16)

    def _process(self, what: str) -> str:
        """Return what the kernel says of its process, by the word of /proc/PID/status."""
        pid = self._cluster.ctr("tasks", "list").split(self.container())[1].split()[0]
        status = self._cluster.machine.run("cat", f"/proc/{pid}/status")
        (found,) = re.findall(rf"^{what}:\t(.*)$", status, re.MULTILINE)
        return str(found)

    def complaints(self) -> str:
        """Return what doctor says in its pod. It must find something to mend.

        Raises:
            MachineError: doctor did not end with the status that says so.
        """
        try:
            said = self.run("doctor")
        except MachineError as found:
            if "terminated with exit code 1" in str(found):
                return str(found)
            raise
        raise MachineError(f"doctor finds nothing to mend: {said}")

    def kill(self) -> None:
        """Kill its process with -9."""
        self._cluster.ctr("tasks", "kill", "--signal=SIGKILL", self.container())

    def hang(self) -> None:
        """Stop its process, so that it does nothing more, and ends by SIGKILL alone."""
        self._cluster.ctr("tasks", "kill", "--signal=SIGSTOP", self.container())
        wait_until(lambda: self._process("State").startswith("T"), "its process is stopped", LIMIT)

    def start_service(self) -> None:
        """Start the gateway as systemd does with the unit, and wait until it reports that it is ready.

        The program is that of this test's environment. It has no capabilities and cannot get any, but sees the whole
        disk.
        """
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        parser.read(UNIT)
        unit = parser["Service"]
        assert (unit["Type"], unit["CapabilityBoundingSet"], unit["NoNewPrivileges"]) == ("notify", "", "yes")
        limits = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
        _, *arguments = shlex.split(unit["ExecStart"])
        program = str(Path(sys.executable).with_name("plugin-gateway"))
        machine, told = self._cluster.machine, "/run/notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(machine.inside(told)))
            manager.settimeout(LIMIT)
            self._service = machine.start(
                "plugin-gateway", *limits, "env", f"NOTIFY_SOCKET={told}",
                program, *arguments, f"--driver-root={DRIVER_ROOT}",
            )  # fmt: skip
            assert manager.recv(100) == b"READY=1"
        machine.inside(told).unlink()

    def end_service(self) -> None:
        """End the service if it runs."""
        if self._service is not None:
            self._service.end(signal.SIGTERM)

    def remove(self) -> None:
        """Remove the gateway, whether it was deployed with the manifest or the chart, and wait until it is gone."""
        if self._is_of_helm():
            self.uninstall()
        else:
            self._cluster.kubectl("delete", "daemonset", "plugin-gateway", SYSTEM, "--ignore-not-found")
        wait_until(lambda: not self.pods(), "the gateway's pods are gone", LIMIT)
        # Otherwise a test could take an older report of the kubelet for the work of its own gateway.
        wait_until(lambda: not self.offered(), lambda: f"the node has no GPU without it: {self.offered()}", LIMIT)

    def _is_of_helm(self) -> bool:
        return "plugin-gateway" in self._helm("list", "--short")

    def install(self, **values: Any) -> None:
        """Install the chart, or upgrade it to other values, and wait until it is ready."""
        mounted = {"nvidiaDriverRoot": DRIVER_ROOT, "mountDriverRoot": True}
        self._install({**mounted, **values}, f"--post-renderer={post_renderer()}")

    def install_released(self, **values: Any) -> None:
        """Install the chart as it is, without the driver root and the stand-in, and wait until it is ready."""
        self._install(values)

    def _install(self, values: Mapping[str, Any], *flags: str) -> None:
        told = BUILT / "values.yaml"
        told.write_text(yaml.safe_dump(values))
        self._helm("upgrade", "--install", "plugin-gateway", str(CHART), f"--values={told}", *flags)
        self.wait_ready()
        wait_until(lambda: len(self.pods()) == 1, "the pod that was replaced is gone", LIMIT)

    def uninstall(self) -> None:
        """Uninstall the chart."""
        self._helm("uninstall", "plugin-gateway", "--wait")

    def _helm(self, *arguments: str) -> str:
        return run(str(HELM), f"--kubeconfig={KUBECONFIG}", SYSTEM, *arguments, limit=2 * LIMIT)


def post_renderer() -> Path:
    """Write the program through which Helm passes its manifests, and return its path."""
    script = BUILT / "with-stand-in"
    tests = shlex.quote(os.fspath(PROJECT / "tests"))
    script.write_text(f"#!/bin/sh\nPYTHONPATH={tests} exec {shlex.quote(sys.executable)} -m cluster.stand_in\n")
    script.chmod(0o755)
    return script
