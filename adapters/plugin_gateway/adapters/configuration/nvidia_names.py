"""The names of all settings of NVIDIA's device plugin 0.20, and of all values of its chart.

`docs/nvidia.md` and `plugin-gateway translate-config` are made from it. What becomes of a flag, a variable or a key is
not written here: an `Option` with the same name does it, and a row of `UNSUPPORTED` refuses it.
"""

from collections.abc import Sequence
from typing import NamedTuple

from plugin_gateway.adapters.configuration.option import Option
from plugin_gateway.adapters.configuration.unsupported import CDI_FEATURES, UNSUPPORTED, Unsupported


class NvidiaSetting(NamedTuple):
    """A setting of NVIDIA's plugin, with all its names."""

    flags: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    key: str = ""
    """The path in the configuration file."""
    default: str = ""
    """What NVIDIA's plugin does without it."""

    @property
    def names(self) -> tuple[str, ...]:
        """All names in the process: flags, variables and the key."""
        return (*self.flags, *self.variables, *([self.key] if self.key else []))


SETTINGS = (
    NvidiaSetting(("--mig-strategy",), ("MIG_STRATEGY",), "flags.migStrategy", "none"),
    NvidiaSetting(("--fail-on-init-error",), ("FAIL_ON_INIT_ERROR",), "flags.failOnInitError", "true"),
    NvidiaSetting(("--driver-root", "--nvidia-driver-root"), ("NVIDIA_DRIVER_ROOT",), "flags.nvidiaDriverRoot", "/"),
    NvidiaSetting(
        ("--driver-root-ctr-path", "--container-driver-root"),
        ("DRIVER_ROOT_CTR_PATH", "CONTAINER_DRIVER_ROOT"),
        "flags.plugin.containerDriverRoot",
        "/driver-root",
    ),
    NvidiaSetting(("--dev-root", "--nvidia-dev-root"), ("NVIDIA_DEV_ROOT",), "flags.nvidiaDevRoot", "the driver root"),
    NvidiaSetting(("--pass-device-specs",), ("PASS_DEVICE_SPECS",), "flags.plugin.passDeviceSpecs", "false"),
    NvidiaSetting(("--device-list-strategy",), ("DEVICE_LIST_STRATEGY",), "flags.plugin.deviceListStrategy", "envvar"),
    NvidiaSetting(("--device-id-strategy",), ("DEVICE_ID_STRATEGY",), "flags.plugin.deviceIDStrategy", "uuid"),
    NvidiaSetting(
        ("--device-discovery-strategy",), ("DEVICE_DISCOVERY_STRATEGY",), "flags.deviceDiscoveryStrategy", "auto"
    ),
    NvidiaSetting(
        ("--shared-devices-allocation-policy",),
        ("SHARED_DEVICES_ALLOCATION_POLICY",),
        "flags.plugin.sharedDevicesAllocationPolicy",
        "distributed",
    ),
    NvidiaSetting(("--mps-root",), ("MPS_ROOT",), "flags.mpsRoot", "none"),
    NvidiaSetting(("--gdrcopy-enabled",), ("GDRCOPY_ENABLED",), "flags.gdrcopyEnabled", "false"),
    NvidiaSetting(("--gds-enabled",), ("GDS_ENABLED",), "flags.gdsEnabled", "false"),
    NvidiaSetting(("--mofed-enabled",), ("MOFED_ENABLED",), "flags.mofedEnabled", "false"),
    NvidiaSetting(
        ("--cdi-annotation-prefix",), ("CDI_ANNOTATION_PREFIX",), "flags.plugin.cdiAnnotationPrefix", "cdi.k8s.io/"
    ),
    NvidiaSetting(
        ("--nvidia-cdi-hook-path", "--nvidia-ctk-path"),
        ("NVIDIA_CDI_HOOK_PATH", "NVIDIA_CTK_PATH"),
        "flags.plugin.nvidiaCTKPath",
        "/usr/bin/nvidia-ctk",
    ),
    NvidiaSetting(("--cdi-feature-flags",), ("CDI_FEATURE_FLAGS",), default="none"),
    NvidiaSetting(("--cdi-disable-hooks",), ("CDI_DISABLE_HOOKS",), default="none"),
    NvidiaSetting(("--imex-channel-ids",), ("IMEX_CHANNEL_IDS",), "imex.channelIDs", "[]"),
    NvidiaSetting(("--imex-required",), ("IMEX_REQUIRED",), "imex.required", "false"),
    NvidiaSetting(("--kubelet-socket",), ("KUBELET_SOCKET",), default="kubelet.sock in the kubelet's directory"),
    NvidiaSetting(("--config-file",), ("CONFIG_FILE",), default="none"),
    NvidiaSetting(variables=("DP_DISABLE_HEALTHCHECKS",), default="none"),
    NvidiaSetting(variables=("DP_ENABLE_HEALTHCHECKS",), default="none"),
    NvidiaSetting(("--oneshot",), ("GFD_ONESHOT",), "flags.gfd.oneshot", "false"),
    NvidiaSetting(("--no-timestamp",), ("GFD_NO_TIMESTAMP",), "flags.gfd.noTimestamp", "false"),
    NvidiaSetting(("--sleep-interval",), ("GFD_SLEEP_INTERVAL",), "flags.gfd.sleepInterval", "60s"),
    NvidiaSetting(
        ("--output-file", "--output", "-o"),
        ("GFD_OUTPUT_FILE",),
        "flags.gfd.outputFile",
        "/etc/kubernetes/node-feature-discovery/features.d/gfd",
    ),
    NvidiaSetting(
        ("--machine-type-file",),
        ("GFD_MACHINE_TYPE_FILE",),
        "flags.gfd.machineTypeFile",
        "/sys/class/dmi/id/product_name",
    ),
    NvidiaSetting(
        ("--use-node-feature-api",),
        ("GFD_USE_NODE_FEATURE_API", "USE_NODE_FEATURE_API"),
        "flags.useNodeFeatureAPI",
        "false",
    ),
)
"""The settings of the plugin, and of its GPU feature discovery, which reads the same file.

Whatever only the file has about resources is in `FILE_KEYS`."""


class FileKey(NamedTuple):
    """A key about resources, or the version, and what becomes of it."""

    path: str
    there: str
    """What NVIDIA's plugin does with it."""
    here: str


_SAME = "the same"
_IGNORED = "ignored, with a warning"
_PATTERNS = "followed; ignored with `--config-compatibility=nvidia`"
_TOO = "refused; ignored with `--config-compatibility=nvidia`"
FILE_KEYS = (
    FileKey("version", "`v1`, also where it is missing", _SAME),
    FileKey("resources.gpus, resources.mig", _IGNORED, _PATTERNS),
    FileKey("sharing.timeSlicing, sharing.mps", "followed", "followed; an empty one is no mistake"),
    FileKey("sharing.timeSlicing beside sharing.mps", "ignored", _TOO),
    FileKey("sharing.*.renameByDefault", "followed", _SAME),
    FileKey("sharing.*.failRequestsGreaterThanOne", "followed", _SAME),
    FileKey("sharing.*.resources[].name", "followed; of two entries for a name the last one counts",
            "followed; two entries for a name are refused, with `--config-compatibility=nvidia` the last one counts"),
    FileKey("sharing.*.resources[].replicas", "2 and more", "2 to 1024, for MPS 2 to 48"),
    FileKey("sharing.*.resources[].rename", _IGNORED, _PATTERNS),
    FileKey("sharing.*.resources[].devices", _IGNORED, _PATTERNS),
    FileKey("a key that nobody knows", "ignored", _TOO),
    FileKey("a key that is given twice", "the last one counts",
            "refused; the last one counts with `--config-compatibility=nvidia`"),
    FileKey("a key in other letters, such as `migstrategy`", "followed", "refused; followed with "
            "`--config-compatibility=nvidia`"),
)  # fmt: skip


class ChartValue(NamedTuple):
    """A value of NVIDIA's chart 0.20, and what becomes of it in ours."""

    path: str
    becomes: str = ""
    """The path of the value in our chart. Empty if it has none."""
    neutral: tuple[object, ...] = ()
    """Values that ask for nothing: they are left out. A null is one always."""
    why: str = ""
    """Why it is refused if it asks for something, or what else has to be done."""
    in_chart: str = ""
    """What our chart does with any value of it, where it refuses none, or only a neutral one."""


def _same(*paths: str) -> tuple[ChartValue, ...]:
    return tuple(ChartValue(path, becomes=path) for path in paths)


_MPS_DAEMON = "the chart runs no MPS control daemon, and removes NVIDIA's; see examples/mps-control-daemon"
_NO_DAEMON = "no effect: the chart runs no MPS control daemon"
CHART_VALUES = (
    *_same("migStrategy", "failOnInitError", "nvidiaDriverRoot", "nvidiaDevRoot", "compatWithCPUManager"),
    *_same("deviceIDStrategy", "deviceListStrategy", "gdrcopyEnabled", "gdsEnabled", "mofedEnabled"),
    ChartValue(
        "config.name",
        becomes="config.name",
        neutral=("",),
        why="give migStrategy, deviceListStrategy or mpsRoot too if one of its files has it",
    ),
    ChartValue("config.map", becomes="config.map", neutral=({},)),
    ChartValue("config.default", becomes="config.default", neutral=("",)),
    ChartValue("config.fallbackStrategies", becomes="config.fallbackStrategies", neutral=([], ["named", "single"])),
    ChartValue("deviceDiscoveryStrategy", neutral=("auto", "nvml"), why="GPUs are found through NVML"),
    ChartValue("updateStrategy", becomes="updateStrategy", neutral=({"type": "RollingUpdate"},)),
    *_same("nameOverride", "fullnameOverride", "imagePullSecrets", "podAnnotations"),
    *_same("podSecurityContext", "securityContext", "resources", "nodeSelector", "affinity", "tolerations"),
    *_same("priorityClassName", "runtimeClassName", "image.pullPolicy"),
    ChartValue(
        "image.repository",
        neutral=("nvcr.io/nvidia/k8s-device-plugin",),
        why="it is that of another image",
        in_chart="that of the gateway's image; NVIDIA's is refused",
    ),
    ChartValue("image.tag", neutral=("",), why="it is that of another image", in_chart="that of the gateway's image"),
    ChartValue("namespaceOverride", becomes="namespaceOverride", neutral=("",)),
    ChartValue("selectorLabelsOverride", becomes="selectorLabelsOverride", neutral=({},)),
    ChartValue("allowDefaultNamespace", becomes="allowDefaultNamespace", neutral=(False,)),
    ChartValue("componentSelectorLabels.enabled", neutral=(False,), why="there is one DaemonSet"),
    ChartValue(
        "legacyDaemonsetAPI", neutral=(False, True), in_chart="no effect: the version is that which the API server has"
    ),
    ChartValue(
        "configManager.resources",
        neutral=({},),
        why="there is no such container",
        in_chart="no effect: there is no such container",
    ),
    ChartValue("devicePlugin.enabled", neutral=(True,), why="it is what the chart installs"),
    ChartValue("devicePlugin.enableHostNetwork", becomes="hostNetwork", neutral=(False,)),
    ChartValue("devicePlugin.resources", becomes="devicePlugin.resources", neutral=({},)),
    ChartValue("devicePlugin.containers", becomes="devicePlugin.containers", neutral=({},)),
    *_same("nvidiaDriverCapabilities"),
    ChartValue("gfd.enabled", becomes="gfd.enabled", neutral=(False,)),
    ChartValue("gfd.noTimestamp", becomes="noTimestamp", neutral=(False,)),
    ChartValue("nfd.enabled", becomes="nfd.enabled"),
    ChartValue("mps.root", becomes="mpsRoot", neutral=("/run/nvidia/mps",), why=_MPS_DAEMON),
    ChartValue("mps.enableHostPID", neutral=(True, False), why=_MPS_DAEMON, in_chart=_NO_DAEMON),
    ChartValue("mps.enableHostNetwork", neutral=(False,), why=_MPS_DAEMON, in_chart=_NO_DAEMON),
    ChartValue("cdi.nvidiaHookPath", becomes="cdi.nvidiaHookPath", neutral=("",)),
    ChartValue("cdi.featureFlags", neutral=("", *CDI_FEATURES), why="the gateway does not do it"),
)
"""The values of the chart, also those that it got after release 0.20.

Whatever else is below `gfd` and `nfd` says something only where those are enabled."""
ONLY_IF_ENABLED = ("gfd", "nfd")
"""The sections of which everything else says nothing unless `enabled` is true."""


def option_of(setting: NvidiaSetting, options: Sequence[Option[object]]) -> Option[object] | None:
    """Return the option that is this setting. None if it is refused."""
    names = set(setting.names)
    return next((each for each in options if names & {*each.flags, *each.variables, each.key}), None)


def refusals_of(setting: NvidiaSetting) -> tuple[Unsupported, ...]:
    """Return the rows that refuse it: one setting of NVIDIA's plugin can have several."""
    names = {*setting.names, *([setting.key.partition(".")[0]] if setting.key else [])}
    return tuple(each for each in UNSUPPORTED if names & {each.flag, each.variable, each.file_key})
