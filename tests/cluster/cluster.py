"""A whole Kubernetes of one node, in a machine of its own."""

import json
import secrets
import shutil
import signal
from collections.abc import Callable, Mapping
from typing import Any

import trustme
import yaml

from cluster import images
from cluster.build import BUILT, RELEASE
from cluster.machine import ADDRESS, CGROUP, NAME, Machine, MachineError, Service, run, wait_until
from cluster.stand_in import StandIn

NODE = NAME
API = f"https://{ADDRESS}:6443"
PODS, SERVICES, FIRST_SERVICE = "198.18.1.0/24", "198.18.2.0/24", "198.18.2.1"
KUBECONFIG = BUILT / "kubeconfig"
KUBECTL = BUILT / RELEASE / "kubectl"
_CONF = "/var/lib/cluster"
"""Where the machine's disk keeps what its programs are told."""
AUDIT_LOG = "/var/log/audit.log"
_USERS = {
    "admin": "system:masters",
    "system:kube-controller-manager": "",
    "system:kube-scheduler": "",
    "system:kube-proxy": "",
    f"system:node:{NODE}": "system:nodes",
}
START_LIMIT = 60.0
"""Seconds for a part to come up on a busy machine."""


class Cluster:
    """etcd, API server, controllers, scheduler, kube-proxy, containerd and a kubelet."""

    def __init__(self) -> None:
        self.machine = Machine(BUILT / "node")
        self.gpus = StandIn(BUILT / "driver")
        self._services: dict[str, Service] = {}

    def up(self) -> None:
        """Bring up a new one, with the images that its pods need.

        Raises:
            MachineError: there is one already, or a part does not come up.
        """
        if self.machine.is_on:
            raise MachineError("the cluster is up already; make cluster-down ends it")
        self.machine.wipe()
        archives = images.archives(BUILT / "images")
        self.power_on()
        for archive in archives:
            self.ctr("images", "import", str(archive))
        for part in (self.start_etcd, self.start_api, self.start_controllers, self.start_kubelet):
            part()
        self.wait_ready()

    def power_on(self) -> None:
        """Boot the machine with its GPUs and containerd; Kubernetes is started part by part."""
        self.machine.boot()
        self._mount_gpus()
        self._configure()
        self.start_containerd()

    def down(self) -> None:
        """End everything, and leave nothing but what is built."""
        self.machine.power_off()
        self.machine.wipe()
        self.gpus.close()

    # --- its parts ---

    def start_containerd(self) -> None:
        """Start containerd and wait until it answers."""
        self._start("containerd", "containerd", "--config", f"{_CONF}/containerd.toml")
        self._wait_for("containerd", lambda: bool(self.ctr("version")))

    def start_etcd(self) -> None:
        """Start the store."""
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
            f"--tls-cert-file={_CONF}/api.pem", f"--tls-private-key-file={_CONF}/api.key",
            f"--token-auth-file={_CONF}/tokens.csv", "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=ExtendedResourceToleration,NodeRestriction",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={_CONF}/api.key", f"--service-account-signing-key-file={_CONF}/api.key",
            f"--service-cluster-ip-range={SERVICES}", "--kubelet-preferred-address-types=InternalIP",
            f"--audit-policy-file={_CONF}/audit.yaml", f"--audit-log-path={AUDIT_LOG}",
        )  # fmt: skip
        self._wait_for("kube-apiserver", lambda: self.kubectl("get", "--raw=/readyz") == "ok")

    def start_controllers(self) -> None:
        """Start the controllers, the scheduler and kube-proxy."""
        self._start(
            "kube-controller-manager", str(BUILT / RELEASE / "kube-controller-manager"),
            f"--kubeconfig={_CONF}/system:kube-controller-manager.conf", "--leader-elect=false",
            f"--service-account-private-key-file={_CONF}/api.key", f"--root-ca-file={_CONF}/ca.pem",
            "--use-service-account-credentials",
        )  # fmt: skip
        self.start_scheduler()
        self._start(
            "kube-proxy", str(BUILT / RELEASE / "kube-proxy"),
            f"--kubeconfig={_CONF}/system:kube-proxy.conf", f"--hostname-override={NODE}", f"--cluster-cidr={PODS}",
            "--proxy-mode=iptables",
            # These are settings of the real machine.
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
        )  # fmt: skip

    def start_scheduler(self, configuration: Mapping[str, Any] | None = None) -> None:
        """Start the scheduler, or start it again with another configuration."""
        kubeconfig = f"{_CONF}/system:kube-scheduler.conf"
        told = {
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            **(configuration or {}),
            "clientConnection": {"kubeconfig": kubeconfig},
            "leaderElection": {"leaderElect": False},
        }
        self._write("scheduler.yaml", yaml.safe_dump(told))
        self.stop("kube-scheduler")
        self._start("kube-scheduler", str(BUILT / RELEASE / "kube-scheduler"), f"--config={_CONF}/scheduler.yaml")

    def start_kubelet(self, release: str = RELEASE) -> None:
        """Start a kubelet of one of the releases that are built."""
        self._start(
            "kubelet", str(BUILT / release / "kubelet"),
            f"--config={_CONF}/kubelet.yaml", f"--kubeconfig={_CONF}/system:node:{NODE}.conf",
            f"--hostname-override={NODE}", f"--node-ip={ADDRESS}",
        )  # fmt: skip

    def stop(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End a part, if it runs."""
        if service := self._services.pop(name, None):
            service.end(number)

    def wait_ready(self) -> None:
        """Wait until the node is ready and takes pods."""
        self._wait_for("kubelet", lambda: self._is_ready() and not self.node()["spec"].get("taints"))
        wait = ("get", "serviceaccount", "default", "--ignore-not-found", "--output=name")
        self._wait_for("kube-controller-manager", lambda: self.kubectl(*wait))

    def _is_ready(self) -> bool:
        try:
            conditions = self.node()["status"]["conditions"]
        except (MachineError, KeyError):
            return False
        return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)

    # --- hands on it ---

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """Run kubectl as the admin; tells what it wrote.

        Raises:
            MachineError: it failed; with what it said.
        """
        return run(str(KUBECTL), f"--kubeconfig={KUBECONFIG}", *arguments, stdin=stdin, limit=START_LIMIT)

    def get(self, *arguments: str) -> Any:
        """Ask the API server for an object, or for a list of them."""
        return json.loads(self.kubectl("get", "--output=json", *arguments))

    def node(self) -> Any:
        """Tell all of the node."""
        return self.get("node", NODE)

    def binders(self) -> Mapping[str, str]:
        """Tell who bound each pod to the node."""
        lines = self.machine.disk(AUDIT_LOG).read_text().splitlines()
        return {event["objectRef"]["name"]: event["user"]["username"] for event in map(json.loads, lines)}

    def ctr(self, *arguments: str) -> str:
        """Run containerd's own client on the images and containers of Kubernetes."""
        return self.machine.run("ctr", "--namespace=k8s.io", *arguments)

    # --- what it is made of ---

    def _start(self, name: str, *command: str) -> None:
        self._services[name] = self.machine.start(name, *command)

    def _wait_for(self, name: str, works: Callable[[], object]) -> None:
        """Wait until a part works; say why where it ended instead."""

        def ended_or_works() -> bool:
            if not self._services[name].is_running:
                raise MachineError(f"{name} ended: {self.log(name)[-2000:]}")
            try:
                return bool(works())
            except MachineError:
                return False

        wait_until(ended_or_works, f"{name} works; its log is {self.machine.disk(f'/var/log/{name}.log')}", START_LIMIT)

    def log(self, name: str) -> str:
        """Tell what a part has logged."""
        return self.machine.disk(f"/var/log/{name}.log").read_text(errors="replace")

    def _mount_gpus(self) -> None:
        """Have the driver where a container that installs drivers leaves it."""
        self.gpus.install()
        for inside, outside in self.gpus.mounts.items():
            self.machine.run("mkdir", "-p", inside)
            self.machine.run("mount", "--bind", str(outside), inside)

    def _write(self, name: str, text: str) -> None:
        path = self.machine.disk(f"{_CONF}/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)

    def _configure(self) -> None:
        """Write what each part is told, and keys; those of an earlier boot stay."""
        if not self.machine.disk(f"{_CONF}/tokens.csv").exists():
            self._make_keys()
        self._write("containerd.toml", _CONTAINERD.format(snapshotter=self._snapshotter()))
        self._write("net/10-bridge.conflist", json.dumps(_NETWORK))
        self._write("audit.yaml", yaml.safe_dump(_AUDIT))
        self._write("kubelet.yaml", yaml.safe_dump(_KUBELET))

    def _make_keys(self) -> None:
        authority = trustme.CA()
        served = authority.issue_cert(ADDRESS, FIRST_SERVICE, "127.0.0.1", "kubernetes.default.svc")
        ca = authority.cert_pem.bytes().decode()
        self._write("ca.pem", ca)
        self._write("api.pem", "".join(pem.bytes().decode() for pem in served.cert_chain_pems))
        self._write("api.key", served.private_key_pem.bytes().decode())
        tokens = {user: secrets.token_hex(16) for user in _USERS}
        lines = [f'{token},{user},{user},"{_USERS[user]}"' for user, token in tokens.items()]
        self._write("tokens.csv", "\n".join(lines) + "\n")
        for user, token in tokens.items():
            self._write(f"{user}.conf", _kubeconfig(f"{_CONF}/ca.pem", token))
        shutil.copyfile(self.machine.disk(f"{_CONF}/ca.pem"), KUBECONFIG.with_name("ca.pem"))
        KUBECONFIG.write_text(_kubeconfig(str(KUBECONFIG.with_name("ca.pem")), tokens["admin"]))
        KUBECONFIG.chmod(0o600)

    def _snapshotter(self) -> str:
        """Choose layers where the disk can have them, else copies."""
        folders = [self.machine.disk(f"{_CONF}/try/{name}") for name in ("lower", "upper", "work", "merged")]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        lower, upper, work, merged = folders
        try:
            run("mount", "-t", "overlay", f"-olowerdir={lower},upperdir={upper},workdir={work}", "overlay", str(merged))
        except MachineError:
            return "native"
        run("umount", str(merged))
        return "overlayfs"


def _kubeconfig(authority: str, token: str) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "gpu", "cluster": {"server": API, "certificate-authority": authority}}],
            "users": [{"name": "gpu", "user": {"token": token}}],
            "contexts": [{"name": "gpu", "context": {"cluster": "gpu", "user": "gpu"}}],
            "current-context": "gpu",
        }
    )


_CONTAINERD = f"""\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs"]
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{images.PAUSE}"
# A container may not have CAP_SYS_RESOURCE, which it takes to lower the score.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{_CONF}/net"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{{snapshotter}}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""
_NETWORK = {
    "cniVersion": "0.4.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "pods",
            "isGateway": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": PODS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": "/run/cni",
            },
        },
        {"type": "loopback"},
    ],
}
_AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "resources": [{"group": "", "resources": ["pods/binding"]}]}, {"level": "None"}],
}
_KUBELET = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
    # Its API is reached by this machine alone.
    "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
    "authorization": {"mode": "AlwaysAllow"},
    "cgroupDriver": "cgroupfs",
    "cgroupRoot": f"/{CGROUP}",
    "failCgroupV1": False,
    "failSwapOn": False,
    "enforceNodeAllocatable": [],
    "evictionHard": {},
    "localStorageCapacityIsolation": False,
    "resolvConf": "",
    # Ten times as often as by default, so that the tests need not wait for it.
    "nodeStatusUpdateFrequency": "1s",
    "nodeStatusReportFrequency": "1s",
}
