"""The table of options. The flags, their help, and the readers of environment and file are made from it."""

from collections.abc import Sequence

from plugin_gateway.adapters.configuration.health_options import health_options
from plugin_gateway.adapters.configuration.option import Option
from plugin_gateway.adapters.configuration.parsers import (
    Parse,
    one_of,
    parse_condition,
    parse_listen,
    parse_new_file,
    parse_node_name,
    parse_path,
    parse_strategy,
    parse_switch,
    parse_unhealthy_first,
)
from plugin_gateway.core.resources.names import ResourceName, parse_resource_name

DEFAULT_RESOURCE = ResourceName("nvidia.com/gpu")
DEFAULT_KUBELET_DIR = "/var/lib/kubelet/device-plugins"
KERNEL_LOG = "/dev/kmsg"


def run_options(api_versions: Sequence[str], parse_backend: Parse) -> tuple[Option, ...]:
    """Return the options of ``run``. The API versions and the parser of the backend come from the composition root."""
    return (
        *_kubelet_options(api_versions),
        *_gpu_options(parse_backend),
        *_container_options(),
        *health_options(),
        *_look_inside_options(),
        *_cluster_options(),
        *_other_options(),
    )


def _kubelet_options(api_versions: Sequence[str]) -> tuple[Option, ...]:
    group = "kubelet"
    return (
        Option(
            name="kubelet_dir",
            flags=("--kubelet-dir",),
            variables=("KUBELET_DIR",),
            parse=parse_path,
            default=DEFAULT_KUBELET_DIR,
            metavar="DIR",
            group=group,
            help="the kubelet's device plugin directory, from which every path derives",
        ),
        Option(
            name="api_version",
            flags=("--api-version",),
            variables=("API_VERSION",),
            file_key="flags.plugin.apiVersion",
            parse=one_of(api_versions),
            default="auto",
            metavar="VERSION",
            group=group,
            help=f"the dialects to try, of {', '.join(api_versions)}; auto finds out which one the kubelet speaks",
        ),
        Option(
            name="unhealthy_first",
            flags=("--unhealthy-first",),
            variables=("UNHEALTHY_FIRST",),
            file_key="flags.plugin.unhealthyFirst",
            parse=parse_unhealthy_first,
            default="auto",
            metavar="auto|always|never",
            group=group,
            help="list every GPU as unhealthy for a moment when registering again: the kubelets 1.9.7 and 1.10.0 to "
            "1.10.2 lose them without; auto does so where the kubelet can be one of these",
        ),
        Option(
            name="numa_hints",
            flags=("--numa-hints",),
            variables=("NUMA_HINTS",),
            file_key="flags.plugin.numaHints",
            parse=parse_switch,
            default="true",
            is_switch=True,
            group=group,
            help="tell the kubelet the NUMA nodes of the GPUs; kubelets up to 1.35 with a Topology Manager policy "
            "stand still with it where the machine has many NUMA nodes",
        ),
        Option(
            name="resource_name",
            flags=("--resource-name",),
            variables=("RESOURCE_NAME",),
            parse=parse_resource_name,
            default=None,
            metavar="NAME",
            group=group,
            help="the resource under which every GPU is offered; default: resources.gpus of the configuration file, "
            f"or {DEFAULT_RESOURCE}",
            example="example.com/gpu",
        ),
    )


def _gpu_options(parse_backend: Parse) -> tuple[Option, ...]:
    group = "GPUs and driver"
    return (
        Option(
            name="backend",
            flags=("--backend",),
            variables=("BACKEND",),
            parse=parse_backend,
            default="nvml",
            metavar="BACKEND",
            group=group,
            help="where the GPUs come from: nvml, or simulated:COUNTxMODEL such as simulated:8xH100",
            example="simulated:8xH100",
        ),
        Option(
            name="driver_root",
            flags=("--driver-root", "--nvidia-driver-root"),
            variables=("NVIDIA_DRIVER_ROOT",),
            file_key="flags.nvidiaDriverRoot",
            parse=parse_path,
            default="/",
            metavar="DIR",
            group=group,
            help="where the driver is installed on the host",
        ),
        Option(
            name="container_driver_root",
            flags=("--driver-root-ctr-path", "--container-driver-root"),
            variables=("DRIVER_ROOT_CTR_PATH", "CONTAINER_DRIVER_ROOT"),
            file_key="flags.plugin.containerDriverRoot",
            parse=parse_path,
            default=None,
            metavar="DIR",
            group=group,
            help="where this process sees the driver root; default: the same path as on the host",
        ),
        Option(
            name="fail_on_init_error",
            flags=("--fail-on-init-error",),
            variables=("FAIL_ON_INIT_ERROR",),
            file_key="flags.failOnInitError",
            parse=parse_switch,
            default="false",
            is_switch=True,
            group=group,
            help="end with an error where there is no driver or no GPU, instead of waiting for them",
        ),
    )


def _container_options() -> tuple[Option, ...]:
    group = "what containers get"
    return (
        Option(
            name="pass_device_specs",
            flags=("--pass-device-specs",),
            variables=("PASS_DEVICE_SPECS",),
            file_key="flags.plugin.passDeviceSpecs",
            parse=parse_switch,
            default="true",
            is_switch=True,
            group=group,
            help="give containers the device nodes, so that they work without NVIDIA's container runtime",
        ),
        Option(
            name="device_id_strategy",
            flags=("--device-id-strategy",),
            variables=("DEVICE_ID_STRATEGY",),
            file_key="flags.plugin.deviceIDStrategy",
            parse=parse_strategy,
            default="uuid",
            metavar="uuid|index",
            group=group,
            help="how NVIDIA_VISIBLE_DEVICES names the GPUs of a container",
        ),
        Option(
            name="dev_root",
            flags=("--dev-root", "--nvidia-dev-root"),
            variables=("NVIDIA_DEV_ROOT",),
            file_key="flags.nvidiaDevRoot",
            parse=parse_path,
            default=None,
            metavar="DIR",
            group=group,
            help="below which folder of the host the device nodes lie; default: the driver root",
        ),
    )


def _look_inside_options() -> tuple[Option, ...]:
    return (
        Option(
            name="listen",
            flags=("--listen",),
            variables=("LISTEN",),
            parse=parse_listen,
            default="",
            metavar="[HOST:]PORT",
            group="looking inside",
            help="serve /metrics, /health, /healthz, /readyz, /status and a page for people over HTTP; the host is "
            "localhost unless it is told",
            example="0.0.0.0:9400",
        ),
        Option(
            name="record",
            flags=("--record",),
            variables=("RECORD",),
            parse=parse_new_file,
            default="",
            metavar="FILE",
            group="looking inside",
            help="write the conversation with the kubelet into this new file, for plugin-gateway replay, or into "
            "FILE.1, FILE.2 and so on where it is there already; it has device ids, product names and paths, "
            "no secrets",
        ),
    )


def _cluster_options() -> tuple[Option, ...]:
    group = "telling the cluster (needs API access)"
    return (
        Option(
            name="kubernetes_events",
            flags=("--kubernetes-events",),
            variables=("KUBERNETES_EVENTS",),
            parse=parse_switch,
            default="false",
            is_switch=True,
            group=group,
            help="make an Event of the node whenever the health of a GPU changes",
        ),
        Option(
            name="node_condition",
            flags=("--node-condition",),
            variables=("NODE_CONDITION",),
            parse=parse_condition,
            default="",
            metavar="TYPE",
            group=group,
            help="keep a condition of this type on the node, which is True while a GPU is not healthy",
            example="GpuProblem",
        ),
        Option(
            name="missing_in_condition",
            flags=("--missing-in-condition",),
            variables=("MISSING_IN_CONDITION",),
            parse=parse_switch,
            default="false",
            is_switch=True,
            group=group,
            help="have --node-condition be True also while a GPU is missing, see --expected-gpus",
        ),
        Option(
            name="node_name",
            flags=("--node-name",),
            variables=("NODE_NAME",),
            parse=parse_node_name,
            default="",
            metavar="NAME",
            group=group,
            help="the name of this node, which Events and the condition need",
        ),
    )


def _other_options() -> tuple[Option, ...]:
    group = "logs and configuration file"
    return (
        Option(
            name="log_level",
            flags=("--log-level",),
            variables=("LOG_LEVEL",),
            file_key="flags.logLevel",
            parse=one_of(("debug", "info", "warning", "error")),
            default="info",
            metavar="LEVEL",
            group=group,
            help="the least that is logged: debug, info, warning or error",
        ),
        Option(
            name="log_format",
            flags=("--log-format",),
            variables=("LOG_FORMAT",),
            file_key="flags.logFormat",
            parse=one_of(("auto", "json", "json-gcp", "text")),
            default="auto",
            metavar="FORMAT",
            group=group,
            help="json, json-gcp (with a severity), text, or auto: text on a terminal and json elsewhere",
        ),
        Option(
            name="config_file",
            flags=("--config-file",),
            variables=("CONFIG_FILE",),
            parse=parse_path,
            default=None,
            metavar="FILE",
            group=group,
            help="a YAML file with the keys of NVIDIA's device plugin, read again at SIGHUP; default: none",
            example="/etc/plugin-gateway/config.yaml",
        ),
        Option(
            name="watch_config",
            flags=("--watch-config",),
            variables=("WATCH_CONFIG",),
            parse=parse_switch,
            default="false",
            is_switch=True,
            group=group,
            help="read the configuration file again whenever it changes",
        ),
    )
