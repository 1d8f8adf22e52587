"""The configuration of all parts of the cluster: files on the machine's disk, and keys that survive its reboot."""

import json
import secrets
import shlex
import shutil
import sys
from pathlib import Path

import trustme
import yaml

from cluster import nvidia_runtime
from cluster.build import BUILT
from cluster.images import PAUSE
from cluster.machine import ADDRESS, CGROUP, NAME, Machine, MachineError, run

NODE = NAME
API = f"https://{ADDRESS}:6443"
PODS, SERVICES, FIRST_SERVICE = "198.18.1.0/24", "198.18.2.0/24", "198.18.2.1"
CONF = "/var/lib/cluster"
"""The folder of the configuration, as a path of the machine."""
CONTAINERD_CONF = f"{CONF}/containerd.toml"
VOLUME_PLUGINS = "/var/lib/kubelet/volume-plugins"
"""The default is below /usr, which belongs to the real machine."""
RUNTIME = "nvidia"
"""What NVIDIA's container runtime is called in containerd's configuration, and its RuntimeClass in the cluster."""
_RUNTIME_PROGRAM = f"{CONF}/nvidia-container-runtime"
KUBECONFIG = BUILT / "kubeconfig"
"""The administrator's kubeconfig, as a path of the real machine."""
_USERS = {
    "admin": "system:masters",
    "system:kube-controller-manager": "",
    "system:kube-scheduler": "",
    "system:kube-proxy": "",
    f"system:node:{NODE}": "system:nodes",
}
"""Users and their groups."""


class Configuration:
    """The files of one machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def write(self, name: str, text: str) -> None:
        """Write a file that only root can read."""
        path = self._machine.disk(f"{CONF}/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)

    def write_all(self) -> None:
        """Write all files that do not change while the cluster runs. Keys are kept if there are any."""
        if not self._machine.disk(f"{CONF}/tokens.csv").exists():
            self._make_keys()
        self._write_runtime()
        self.write("net/10-bridge.conflist", json.dumps(_NETWORK))
        self.write("audit.yaml", yaml.safe_dump(_AUDIT))
        self.write("kubelet.yaml", yaml.safe_dump(_KUBELET))

    def write_containerd(self, *, reads_cdi: bool) -> None:
        """Write the configuration of containerd."""
        told = {"snapshotter": self._snapshotter(), "reads_cdi": "true" if reads_cdi else "false"}
        self.write(Path(CONTAINERD_CONF).name, _CONTAINERD.format(**told))

    def _write_runtime(self) -> None:
        """Write the program that is NVIDIA's container runtime for containerd."""
        program = (sys.executable, "-IS", nvidia_runtime.__file__)
        self.write("nvidia-container-runtime", f'#!/bin/sh\nexec {shlex.join(program)} "$@"\n')
        self._machine.disk(_RUNTIME_PROGRAM).chmod(0o755)

    def _make_keys(self) -> None:
        authority = trustme.CA()
        served = authority.issue_cert(ADDRESS, FIRST_SERVICE, "127.0.0.1", "kubernetes.default.svc", common_name="api")
        ca = authority.cert_pem.bytes().decode()
        self.write("ca.pem", ca)
        self.write("api.pem", "".join(pem.bytes().decode() for pem in served.cert_chain_pems))
        self.write("api.key", served.private_key_pem.bytes().decode())
        tokens = {user: secrets.token_hex(16) for user in _USERS}
        lines = [f'{token},{user},{user},"{_USERS[user]}"' for user, token in tokens.items()]
        self.write("tokens.csv", "\n".join(lines) + "\n")
        for user, token in tokens.items():
            self.write(f"{user}.conf", _kubeconfig(f"{CONF}/ca.pem", token))
        shutil.copyfile(self._machine.disk(f"{CONF}/ca.pem"), KUBECONFIG.with_name("ca.pem"))
        KUBECONFIG.write_text(_kubeconfig(str(KUBECONFIG.with_name("ca.pem")), tokens["admin"]))
        KUBECONFIG.chmod(0o600)

    def _snapshotter(self) -> str:
        """Return the snapshotter of containerd: overlayfs if the disk supports it, otherwise copies."""
        folders = [self._machine.disk(f"{CONF}/try/{name}") for name in ("lower", "upper", "work", "merged")]
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


_SHIM = BUILT / "containerd" / "containerd-shim-runc-v2"
"""Which one is said: another containerd on this machine can have one of its own."""
_CONTAINERD = f"""\
version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "/var/lib/containerd/opt"
[plugins."io.containerd.cri.v1.images"]
snapshotter = "{{snapshotter}}"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE}"
[plugins."io.containerd.cri.v1.runtime"]
enable_cdi = {{reads_cdi}}
# A container may not have CAP_SYS_RESOURCE, which it takes to lower the score.
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "{CONF}/net"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
runtime_path = "{_SHIM}"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.{RUNTIME}]
runtime_type = "io.containerd.runc.v2"
runtime_path = "{_SHIM}"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.{RUNTIME}.options]
BinaryName = "{_RUNTIME_PROGRAM}"
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
    # The API server may do everything. Pods can reach the port too, and may do nothing.
    "authentication": {
        "anonymous": {"enabled": False},
        "webhook": {"enabled": False},
        "x509": {"clientCAFile": f"{CONF}/ca.pem"},
    },
    "authorization": {"mode": "AlwaysAllow"},
    "cgroupDriver": "cgroupfs",
    "cgroupRoot": f"/{CGROUP}",
    "failCgroupV1": False,
    "failSwapOn": False,
    "enforceNodeAllocatable": [],
    "evictionHard": {},
    "localStorageCapacityIsolation": False,
    "resolvConf": "",
    "volumePluginDir": VOLUME_PLUGINS,
    # Ten times as often as by default, so that tests need not wait long.
    "nodeStatusUpdateFrequency": "1s",
    "nodeStatusReportFrequency": "1s",
}
