"""The table of options: all that is written about an option, except in the place that uses its value.

Flags, help, the readers of environment and file, the types of the settings, the tables on the pages, and the values,
schema and flags of the chart are made from it.
"""

from collections.abc import Sequence

from plugin_gateway.adapters.configuration.card_options import CardOptions
from plugin_gateway.adapters.configuration.cdi_options import CdiOptions
from plugin_gateway.adapters.configuration.extra_options import ExtraOptions
from plugin_gateway.adapters.configuration.folder_options import FolderOptions
from plugin_gateway.adapters.configuration.health_options import KERNEL_LOG, HealthOptions, PolicyOptions
from plugin_gateway.adapters.configuration.kinds import (
    CONDITION,
    FILE,
    FOLDER,
    KUBELET_SOCKET,
    KUBELET_VERSION,
    LISTEN,
    NEW_FILE,
    NODE_NAME,
    RESOURCE,
    ROOT,
    ROOT_OR_NONE,
    SWITCH,
    Parse,
    kind,
    member_of,
    one_of,
    several_of,
)
from plugin_gateway.adapters.configuration.label_options import LabelOptions, LabelsWay
from plugin_gateway.adapters.configuration.option import Option, Values, nothing, options_of, same_as
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.policy import (
    AllocationPreference,
    DeviceIdStrategy,
    ListStrategy,
    SharedPolicy,
    UnhealthyFirst,
)

DEFAULT_RESOURCE = ResourceName("nvidia.com/gpu")
DEFAULT_KUBELET_DIR = "/var/lib/kubelet/device-plugins"
AUTO = "auto"
"""The value of ``--backend`` that is `chosen_backends.auto`."""
STRICT, NVIDIA = "strict", "nvidia"
"""The values of ``--config-compatibility``."""
NVIDIAS_PROGRAM = "nvidia-device-plugin"
"""The name of NVIDIA's executable."""
DISCOVERY = "gpu-feature-discovery"
"""The name of NVIDIA's executable that writes labels."""


class KubeletOptions(Values, heading="kubelet"):
    """How the kubelet is reached, and what it is told."""

    __slots__ = ()

    kubelet_dir = Option(
        FOLDER, DEFAULT_KUBELET_DIR, "the kubelet's device plugin directory, from which every path derives"
    )
    kubelet_socket = Option(
        KUBELET_SOCKET,
        nothing("kubelet.sock in the kubelet's directory"),
        "the path of kubelet.sock in the kubelet's directory, or an empty one: then the gateway registers with nobody",
        empty_counts=True,
    )
    """NVIDIA's plugin has this setting. The directory is another one for us: the kubelet looks for sockets in it."""
    api_version = Option(
        one_of((), "VERSION"),
        "auto",
        "the dialects to try; auto finds out which one the kubelet speaks",
        key="flags.plugin.apiVersion",
    )
    """With ``auto`` all dialects may be tried, because the kubelet can have another release after a restart."""
    unhealthy_first = Option(
        member_of(UnhealthyFirst),
        "auto",
        "list every device as unhealthy for a moment when registering again: the kubelets 1.9.7 and 1.10.0 to 1.10.2 "
        "lose them without; auto does so where the kubelet can be one of these",
        key="flags.plugin.unhealthyFirst",
    )
    numa_hints = Option(
        SWITCH,
        "true",
        "tell the kubelet the NUMA nodes of the devices; kubelets up to 1.35 with a Topology Manager policy stand "
        "still with it where the machine has many NUMA nodes",
        key="flags.plugin.numaHints",
    )
    kubelet_version = Option(
        KUBELET_VERSION,
        nothing("not known"),
        "the oldest release that the kubelet can have, such as 1.37; from 1.37 on an update of the gateway leaves no "
        "gap, in a way in which older kubelets would lose every device",
        example="1.37",
    )
    resource_name = Option(
        RESOURCE,
        nothing(f"resources of the configuration file, or {DEFAULT_RESOURCE}"),
        "the resource under which every GPU is offered",
        example="example.com/gpu",
    )


class GpuOptions(Values, heading="GPUs and driver"):
    """Where the GPUs and the driver are."""

    __slots__ = ()

    backend = Option(
        one_of((), "BACKEND"),
        AUTO,
        "where the devices come from: auto for nvml, and for rdma and onload where the configuration file has "
        "resources.rdma or resources.onload; several with commas are side by side, each with its own resources, of "
        "nvml, rdma, onload, simulated:COUNTxMODEL, simulated-rdma:COUNTxMODEL+VFS and simulated-onload:COUNTxMODEL",
        example="simulated:8xH100",
    )
    driver_root = Option(
        ROOT,
        "/",
        "where the driver is installed on the host",
        key="flags.nvidiaDriverRoot",
        flags=("--driver-root", "--nvidia-driver-root"),
        variables=("NVIDIA_DRIVER_ROOT",),
    )
    container_driver_root = Option(
        ROOT,
        same_as(driver_root, "the same path as on the host"),
        "where this process sees the driver root",
        key="flags.plugin.containerDriverRoot",
        flags=("--driver-root-ctr-path", "--container-driver-root"),
        variables=("DRIVER_ROOT_CTR_PATH", "CONTAINER_DRIVER_ROOT"),
    )
    mig_strategy = Option(
        one_of(("none", "single", "mixed"), "none|single|mixed"),
        "none",
        "which MIG devices are offered: none; single offers those of one profile under the name of whole GPUs, mixed "
        "each under the name of its profile, such as nvidia.com/mig-3g.40gb",
        key="flags.migStrategy",
        example="mixed",
    )
    """With ``none``, a GPU in MIG mode is not offered, because CUDA refuses to use it as a whole."""
    fail_on_init_error = Option(
        SWITCH,
        "false",
        "end with an error where there is no driver or no GPU, instead of waiting for them",
        key="flags.failOnInitError",
    )
    """NVIDIA's plugin does so by default. This one waits instead, because the driver can be installed later. With
    several backends it is about the first one."""


class ContainerOptions(Values, heading="what containers get"):
    """What the kubelet gives to containers."""

    __slots__ = ()

    pass_device_specs = Option(
        SWITCH,
        "true",
        "give containers the device nodes, so that they work without NVIDIA's container runtime",
        key="flags.plugin.passDeviceSpecs",
    )
    """Unlike with NVIDIA's plugin, they do by default. They then also keep their devices when the kubelet's CPU manager
    writes the cgroup again."""
    device_id_strategy = Option(
        member_of(DeviceIdStrategy),
        "uuid",
        "how NVIDIA_VISIBLE_DEVICES names the GPUs of a container",
        key="flags.plugin.deviceIDStrategy",
    )
    """An index can change at a reboot."""
    device_list_strategy = Option(
        several_of(tuple(ListStrategy)),
        "envvar",
        "how containers are told their GPUs: for NVIDIA's container runtime envvar for NVIDIA_VISIBLE_DEVICES, and "
        "volume-mounts for a mount of each GPU, which a container cannot set by itself; for any runtime with CDI "
        "cdi-cri, from kubelet 1.29 on, and cdi-annotations; several with commas",
        key="flags.plugin.deviceListStrategy",
        example="cdi-annotations,cdi-cri",
    )
    preferred_allocation = Option(
        member_of(AllocationPreference),
        "best",
        "which whole GPUs a container should get: best for those with the best links, or partition, as with NVIDIA's "
        "device plugin, for good ones that leave good ones for the next containers; from kubelet 1.19 on",
        key="flags.plugin.preferredAllocation",
    )
    shared_devices_allocation_policy = Option(
        member_of(SharedPolicy),
        "distributed",
        "which replicas and MIG devices a container should get: distributed for those of the GPU with the fewest given "
        "away, packed for those of the one with the most, or spread for one of each GPU first; from kubelet 1.19 on",
        key="flags.plugin.sharedDevicesAllocationPolicy",
    )
    pair_devices = Option(
        SWITCH,
        "true",
        "prefer devices of different backends for a container that are near each other, such as a GPU and a network "
        "card on one PCIe switch; from kubelet 1.19 on",
        key="flags.plugin.pairDevices",
    )
    mps_root = Option(
        ROOT_OR_NONE,
        "",
        "the folder of the host in which NVIDIA's MPS control daemon runs, and at which this process sees it, such as "
        "/run/nvidia/mps; needed with sharing.mps",
        key="flags.mpsRoot",
        example="/run/nvidia/mps",
    )
    dev_root = Option(
        ROOT,
        same_as(GpuOptions.driver_root, "the driver root"),
        "below which folder of the host the device nodes lie",
        key="flags.nvidiaDevRoot",
        flags=("--dev-root", "--nvidia-dev-root"),
        variables=("NVIDIA_DEV_ROOT",),
    )


class LookInsideOptions(Values, heading="looking inside"):
    """What others can see of the gateway."""

    __slots__ = ()

    listen = Option(
        LISTEN,
        "",
        "serve /metrics, /health, /healthz, /readyz, /status and a page for people over HTTP; the host is localhost "
        "unless it is told",
        example="0.0.0.0:9400",
    )
    record = Option(
        NEW_FILE,
        "",
        "write the conversation with the kubelet into this new file, for plugin-gateway replay, or into FILE.1, FILE.2 "
        "and so on where it is there already; it has device ids, product names and paths, no secrets",
    )


class ClusterOptions(Values, heading="telling the cluster (needs API access)"):
    """What the API server is told."""

    __slots__ = ()

    kubernetes_events = Option(SWITCH, "false", "make an Event of the node whenever the health of a device changes")
    node_condition = Option(
        CONDITION,
        "",
        "keep a condition of this type on the node, which is True while a device is not healthy",
        example="GpuProblem",
    )
    missing_in_condition = Option(
        SWITCH, "false", "have --node-condition be True also while a device is missing, see --expected-gpus"
    )
    node_name = Option(NODE_NAME, "", "the name of this node, which Events and the condition need")


class OtherOptions(Values, heading="logs and configuration file"):
    """Logs, and the configuration file."""

    __slots__ = ()

    log_level = Option(
        one_of(("debug", "info", "warning", "error"), "LEVEL", {"warn": "warning"}),
        "info",
        "the least that is logged: debug, info, warning or error",
        key="flags.logLevel",
    )
    log_format = Option(
        one_of(("auto", "json", "json-gcp", "text"), "FORMAT"),
        "auto",
        "json, json-gcp (with a severity), text, or auto: text on a terminal and json elsewhere",
        key="flags.logFormat",
    )
    config_file = Option(
        FILE,
        nothing("none"),
        "a YAML file with the keys of NVIDIA's device plugin, read again at SIGHUP",
        example="/etc/plugin-gateway/config.yaml",
    )
    watch_config = Option(SWITCH, "false", "read the configuration file again whenever it changes")
    config_compatibility = Option(
        one_of((STRICT, NVIDIA), f"{STRICT}|{NVIDIA}"),
        STRICT,
        "what happens to keys of the file that NVIDIA's device plugin ignores: strict follows or refuses them, nvidia "
        f"ignores them too; nvidia is the default where the program is called {NVIDIAS_PROGRAM} or {DISCOVERY}",
    )


class Options(
    KubeletOptions,
    GpuOptions,
    ContainerOptions,
    CdiOptions,
    ExtraOptions,
    CardOptions,
    PolicyOptions,
    HealthOptions,
    LookInsideOptions,
    ClusterOptions,
    LabelOptions,
    OtherOptions,
    FolderOptions,
):
    """All options of ``run``."""

    __slots__ = ()

    @property
    def needs_specs(self) -> bool:
        """Whether containers get what a CDI spec has for their GPUs."""
        return any(each.is_cdi for each in self.device_list_strategy)

    @property
    def needs_labels(self) -> bool:
        """Whether the node gets labels."""
        return self.node_labels is not LabelsWay.OFF

    @property
    def talks_to_cluster(self) -> bool:
        """Whether the API server is told of devices."""
        return self.node_labels.asks_cluster or self.kubernetes_events or bool(self.node_condition)

    @property
    def kernel_log_path(self) -> str:
        """Return the path of the kernel's log. Empty if it is not to be read."""
        return KERNEL_LOG if self.kernel_log else ""


def is_nvidias(program: str) -> bool:
    """Return whether a program with this name or path is called as NVIDIA's, whose defaults hold then."""
    return program.rpartition("/")[2] == NVIDIAS_PROGRAM


def is_discovery(program: str) -> bool:
    """Return whether a program with this name or path is called as NVIDIA's GPU feature discovery."""
    return program.rpartition("/")[2] == DISCOVERY


def run_options(
    api_versions: Sequence[str], parse_backend: Parse[str], program: str = ""
) -> tuple[Option[object], ...]:
    """Return the options of ``run``. The API versions and the parser of the backend come from the composition root.

    ``program`` is the name or the path with which the program was called.
    """
    dialects = f"the dialects to try, of {', '.join(api_versions)}; auto finds out which one the kubelet speaks"
    known: dict[str, Option[object]] = {
        "api_version": Options.api_version.narrowed(one_of(api_versions, "VERSION"), dialects),
        "backend": Options.backend.narrowed(
            kind(parse_backend, "BACKEND", {"type": "string"}), Options.backend.meaning
        ),
        "config_compatibility": Options.config_compatibility.with_default(
            NVIDIA if is_nvidias(program) or is_discovery(program) else STRICT
        ),
    }
    return tuple(known.get(option.name, option) for option in options_of(Options))
