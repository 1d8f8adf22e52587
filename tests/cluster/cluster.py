"""A whole Kubernetes with one node, in a machine of its own."""

import http.client
import json
import shutil
import signal
from collections.abc import Callable, Mapping
from typing import Any

import grpc
import yaml

from cluster import images
from cluster.build import BUILT, RELEASE
from cluster.configuration import (
    CONF,
    CONTAINERD_CONF,
    KUBECONFIG,
    NODE,
    PODS,
    SERVICES,
    VOLUME_PLUGINS,
    Configuration,
)
from cluster.machine import ADDRESS, TIMEOUT, Machine, MachineError, Service, run, wait_until
from cluster.nvidia_runtime import CAPS, DRIVER_ROOT
from cluster.stand_in import StandIn

KUBECTL = BUILT / RELEASE / "kubectl"
AUDIT_LOG = "/var/log/audit.log"
LOGS = BUILT / "logs"
"""Where the logs of a cluster are kept in which a test failed."""
START_LIMIT = 60.0
"""Seconds for the start of a part on a busy machine."""
LIMIT = 30.0
"""Seconds for a pod to reach its state on a busy machine."""
RESOURCE = "nvidia.com/gpu"
SYSTEM = "--namespace=kube-system"
"""The namespace of the gateway, as a flag of kubectl and Helm."""


class Cluster:
    """etcd, API server, controllers, scheduler, kube-proxy, containerd and a kubelet."""

    def __init__(self) -> None:
        self.machine = Machine(BUILT / "node")
        self.gpus = StandIn(BUILT / "driver")
        self._configuration = Configuration(self.machine)
        self._services: dict[str, Service] = {}

    def up(self) -> None:
        """Start a new cluster with the images that its pods need. If a part does not start, end all.

        Raises:
            MachineError: there is a cluster already, or a part does not start.
        """
        self.machine.require_off()
        try:
            self._up()
        except BaseException:
            self.down()
            raise

    def _up(self) -> None:
        self.machine.wipe()
        archives = images.archives(BUILT / "images")
        self.power_on()
        for archive in archives:
            self.ctr("images", "import", str(archive))
        for part in (self.start_etcd, self.start_api, self.start_controllers, self.start_kubelet):
            part()
        self.wait_ready()

    def power_on(self) -> None:
        """Boot the machine with its GPUs and containerd. The parts of Kubernetes are started separately."""
        self.machine.boot()
        self._mount_gpus()
        self._configuration.write_all()
        self.start_containerd()

    def down(self) -> None:
        """End everything, and remove everything but what was built."""
        self.machine.power_off()
        self.machine.wipe()
        self.gpus.close()

    # --- parts of the cluster ---

    def start_containerd(self, *, reads_cdi: bool = True) -> None:
        """Start containerd, or restart it with another answer to the question whether it reads CDI specs.

        Containers run on. It returns when containerd answers kubelets.
        """
        self.stop("containerd")
        self._configuration.write_containerd(reads_cdi=reads_cdi)
        self._start("containerd", str(BUILT / "containerd" / "containerd"), "--config", CONTAINERD_CONF)
        self._wait_for("containerd", self._answers_kubelets)

    def _answers_kubelets(self) -> bool:
        """Make the first call of a kubelet, and return whether it succeeds.

        A kubelet that gets "not initialized yet" as answer ends, and systemd would have to start it again.
        """
        address = self.machine.inside("/run/containerd/containerd.sock")
        with grpc.insecure_channel(f"unix:{address}", options=(("grpc.default_authority", "localhost"),)) as channel:
            version: grpc.UnaryUnaryMultiCallable[bytes, bytes]
            version = channel.unary_unary("/runtime.v1.RuntimeService/Version")
            try:
                version(b"", timeout=TIMEOUT)
            except grpc.RpcError:
                return False
        return True

    def start_etcd(self) -> None:
        """Start etcd."""
        self._start(
            "etcd", str(BUILT / "etcd" / "server"),
            "--data-dir=/var/lib/etcd", "--unsafe-no-fsync",
            "--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
        )  # fmt: skip

    def start_api(self) -> None:
        """Start the API server, and wait until it is ready."""
        self._start(
            "kube-apiserver", str(BUILT / RELEASE / "kube-apiserver"),
            "--etcd-servers=http://127.0.0.1:2379",
            f"--advertise-address={ADDRESS}", "--secure-port=6443",
            f"--tls-cert-file={CONF}/api.pem", f"--tls-private-key-file={CONF}/api.key",
            f"--token-auth-file={CONF}/tokens.csv", "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=ExtendedResourceToleration,NodeRestriction",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={CONF}/api.key", f"--service-account-signing-key-file={CONF}/api.key",
            f"--service-cluster-ip-range={SERVICES}", "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-client-certificate={CONF}/api.pem", f"--kubelet-client-key={CONF}/api.key",
            f"--audit-policy-file={CONF}/audit.yaml", f"--audit-log-path={AUDIT_LOG}",
        )  # fmt: skip
        self._wait_for("kube-apiserver", lambda: self.kubectl("get", "--raw=/readyz") == "ok")

    def start_controllers(self) -> None:
        """Start the controllers, the scheduler and kube-proxy."""
        self._start(
            "kube-controller-manager", str(BUILT / RELEASE / "kube-controller-manager"),
            f"--kubeconfig={CONF}/system:kube-controller-manager.conf", "--leader-elect=false",
            f"--service-account-private-key-file={CONF}/api.key", f"--root-ca-file={CONF}/ca.pem",
            "--use-service-account-credentials", f"--flex-volume-plugin-dir={VOLUME_PLUGINS}",
        )  # fmt: skip
        self.start_scheduler()
        self._start(
            "kube-proxy", str(BUILT / RELEASE / "kube-proxy"),
            f"--kubeconfig={CONF}/system:kube-proxy.conf", f"--hostname-override={NODE}", f"--cluster-cidr={PODS}",
            "--proxy-mode=iptables",
            # 0 leaves these kernel settings alone; they are those of the real machine.
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
        )  # fmt: skip

    def start_scheduler(self, configuration: Mapping[str, Any] | None = None) -> None:
        """Start the scheduler, or restart it with another configuration."""
        kubeconfig = f"{CONF}/system:kube-scheduler.conf"
        told = {
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            **(configuration or {}),
            "clientConnection": {"kubeconfig": kubeconfig},
            "leaderElection": {"leaderElect": False},
        }
        self._configuration.write("scheduler.yaml", yaml.safe_dump(told))
        self.stop("kube-scheduler")
        self._start("kube-scheduler", str(BUILT / RELEASE / "kube-scheduler"), f"--config={CONF}/scheduler.yaml")

    def start_kubelet(self, release: str = RELEASE) -> None:
        """Start the kubelet of a release that was built."""
        self._start(
            "kubelet", str(BUILT / release / "kubelet"),
            f"--config={CONF}/kubelet.yaml", f"--kubeconfig={CONF}/system:node:{NODE}.conf",
            f"--hostname-override={NODE}", f"--node-ip={ADDRESS}",
        )  # fmt: skip

    def stop(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End a part if it runs."""
        if service := self._services.pop(name, None):
            service.end(number)

    def wait_ready(self) -> None:
        """Wait until the node is ready and accepts pods."""
        self._wait_for("kubelet", lambda: self._is_ready() and not self.node()["spec"].get("taints"))
        wait = ("get", "serviceaccount", "default", "--ignore-not-found", "--output=name")
        self._wait_for("kube-controller-manager", lambda: self.kubectl(*wait))

    def _is_ready(self) -> bool:
        try:
            return self.conditions().get("Ready") == "True"
        except (MachineError, KeyError):
            return False

    # --- access to the cluster ---

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """Run kubectl as administrator, and return its output.

        Raises:
            MachineError: it failed; with its error output.
        """
        return run(str(KUBECTL), f"--kubeconfig={KUBECONFIG}", *arguments, stdin=stdin, limit=START_LIMIT)

    def run_script(self, script: str) -> str:
        """Run a script in which kubectl is that of the administrator, and return its output.

        Raises:
            MachineError: it failed; with its error output.
        """
        kubectl = f'kubectl() {{ "{KUBECTL}" --kubeconfig="{KUBECONFIG}" "$@"; }}\n'
        return run("sh", "-e", "-c", kubectl + script, limit=START_LIMIT)

    def get(self, *arguments: str) -> Any:
        """Return an object of the API server, or a list of objects."""
        return json.loads(self.kubectl("get", "--output=json", *arguments))

    def node(self) -> Any:
        """Return the node."""
        return self.get("node", NODE)

    def conditions(self) -> Mapping[str, str]:
        """Return the status of each condition of the node, by type."""
        return {condition["type"]: condition["status"] for condition in self.node()["status"]["conditions"]}

    def binders(self) -> Mapping[str, str]:
        """Return who bound each pod to a node, since the cluster was started."""
        events = map(json.loads, self.machine.disk(AUDIT_LOG).read_text().splitlines())
        return {
            event["objectRef"]["name"]: event["user"]["username"]
            for event in events
            if event["responseStatus"]["code"] == http.client.CREATED
        }

    def ctr(self, *arguments: str) -> str:
        """Run containerd's client on the images and containers of Kubernetes, and return its output."""
        return self.machine.run(str(BUILT / "containerd" / "ctr"), "--namespace=k8s.io", *arguments)

    def _start(self, name: str, *command: str) -> None:
        self._services[name] = self.machine.start(name, *command)

    def _wait_for(self, name: str, works: Callable[[], object]) -> None:
        """Wait until a part works. If it ends instead, raise an error with the end of its log."""

        def ended_or_works() -> bool:
            if not self._services[name].is_running:
                raise MachineError(f"{name} ended: {self.log(name)[-2000:]}")
            try:
                return bool(works())
            except MachineError:
                return False

        wait_until(ended_or_works, f"{name} works; its log is {self.machine.disk(f'/var/log/{name}.log')}", START_LIMIT)

    def ended(self) -> Mapping[str, str]:
        """Return the end of the log of each part that ended by itself."""
        return {name: self.log(name)[-2000:] for name, part in self._services.items() if not part.is_running}

    def keep_logs(self) -> None:
        """Copy the logs of all parts to where people can read them after a failure."""
        shutil.rmtree(LOGS, ignore_errors=True)
        LOGS.mkdir()
        for log in self.machine.disk("/var/log").glob("*.log"):
            shutil.copy(log, LOGS)

    def log(self, name: str) -> str:
        """Return the log of a part."""
        return self.machine.disk(f"/var/log/{name}.log").read_text(errors="replace")

    def _mount_gpus(self) -> None:
        """Mount the driver where a container that installs drivers puts it, with device nodes in `/dev` as well."""
        self.gpus.install()
        for inside, outside in self.gpus.mounts.items():
            self.machine.run("mkdir", "-p", inside)
            self.machine.run("mount", "--bind", str(outside), inside)
        self.machine.run("cp", "--archive", f"{DRIVER_ROOT}/dev/.", "/dev")
        self.machine.run("mount", "--bind", f"{DRIVER_ROOT}/{CAPS}", f"/{CAPS}")  # these nodes come and go
