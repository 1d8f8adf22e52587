"""The settings of `plugin-gateway run`, with their final types."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plugin_gateway.adapters.configuration.file_version import FileVersion
from plugin_gateway.adapters.configuration.options import DEFAULT_RESOURCE, KERNEL_LOG
from plugin_gateway.adapters.configuration.parsers import XID, ListenAddress
from plugin_gateway.adapters.configuration.reading import Decisions
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.policy import Action, Decision, HealthPolicy, Probation, family_of, numbered
from plugin_gateway.core.resources.assignment import ResourceRule
from plugin_gateway.core.resources.policy import DeviceIdStrategy, UnhealthyFirst

if TYPE_CHECKING:
    from plugin_gateway.adapters.configuration.health_section import FileHealth

EVERY_PRODUCT = "*"
"""The pattern of a rule that matches each product."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings. Their defaults are in the table of `options`."""

    kubelet_dir: Path
    """The kubelet's device plugin directory. All other paths of the kubelet derive from it. Decided at start."""
    backend: str
    """``nvml``, or ``simulated:`` with the GPUs to simulate. Decided at start."""
    api_version: str
    """The dialects that may be tried. With ``auto`` all are, because the kubelet can have another release after a
    restart."""
    unhealthy_first: UnhealthyFirst
    """In which cases the first list of a stream has every device unhealthy. Some kubelets lose healthy devices
    otherwise."""
    driver_root: str
    """The folder in which the driver is installed, as a path of the host."""
    dev_root: str
    """The folder that contains ``dev`` with the device nodes, as a path of the host. By default the driver root."""
    container_driver_root: str
    """The path at which this process sees the driver root. By default the same path as on the host."""
    fail_on_init_error: bool
    """Whether the process ends with an error on a node without driver or device.

    NVIDIA's plugin does so by default. This one waits instead, because the driver can be installed later.
    """
    pass_device_specs: bool
    """Whether containers get the device nodes. They do by default, unlike with NVIDIA's plugin. They then work without
    NVIDIA's container runtime, and keep their devices when the kubelet's CPU manager writes the cgroup again."""
    device_id_strategy: DeviceIdStrategy
    """How the container runtime identifies the GPUs of a container. By default by UUID; an index can change at a
    reboot."""
    numa_hints: bool
    """Whether the kubelet is told the NUMA nodes of the GPUs. Kubelets up to 1.35 stand still with it on a machine with
    many NUMA nodes, if their Topology Manager has a policy."""
    resources: tuple[ResourceRule, ...]
    """Which GPUs are offered under which name. The first rule that matches decides."""
    health: HealthPolicy
    """Which action follows from which evidence, and when an unhealthy GPU is given out again."""
    expected_gpus: int | None
    """How many GPUs the node should have. None if it should have as many as it had before."""
    state_dir: Path
    """The folder for the state that must survive a restart of the gateway, and for the control socket. Decided at
    start."""
    listen: ListenAddress
    """The address at which metrics, probes and the status are served over HTTP. Decided at start."""
    record: str
    """The file for a recording of the conversation with the kubelet; empty for none. Decided at start."""
    kernel_log: bool
    """Whether the kernel's log is read, which has the sub-codes of NVLink errors. Decided at start."""
    kubernetes_events: bool
    """Whether an Event is made for each change of health. Decided at start."""
    node_condition: str
    """The type of the node condition to keep; empty for none. Decided at start."""
    missing_in_condition: bool
    """Whether the condition is also True while a GPU is missing. Decided at start."""
    node_name: str
    """The name of the node that gets the Events and the condition; empty where neither is wanted."""
    log_level: str
    """The lowest level that is logged: debug, info, warning or error."""
    log_format: str
    """``json``, ``text``, or ``auto``: text on a terminal, JSON elsewhere."""
    config_file: Path | None
    """The configuration file, which is read again at SIGHUP; None without one."""
    watch_config: bool
    """Whether the configuration file is read again when it changes. Decided at start."""
    file_version: FileVersion | None = field(compare=False, default=None)
    """Which version of the configuration file was read. None without one."""
    sources: Mapping[str, str] = field(compare=False)
    """The source of each value, for the log: ``flag --x``, ``environment X``, ``file F:LINE`` or ``default``."""

    @property
    def kernel_log_path(self) -> str:
        """Return the path of the kernel's log. Empty if it is not to be read."""
        return KERNEL_LOG if self.kernel_log else ""

    @property
    def in_force(self) -> Mapping[str, object]:
        """Return what other commands need to look at the node as this process does, as JSON values."""
        return {
            "kubelet_dir": str(self.kubelet_dir),
            **{name: getattr(self, name) for name in ("driver_root", "container_driver_root", "dev_root")},
            **{name: getattr(self, name) for name in ("backend", "pass_device_specs", "numa_hints", "kernel_log")},
            "resources": [{"pattern": rule.pattern, "name": rule.name} for rule in self.resources],
        }

    @property
    def visible_dev_root(self) -> str:
        """Return the folder that contains ``dev``, as a path of this process.

        Where the device nodes are in the driver root, it is the path at which this process sees that one.
        """
        return self.container_driver_root if self.dev_root == self.driver_root else self.dev_root


def make_settings(decisions: Decisions) -> Settings:
    """Make the settings from the decisions. `--resource-name` takes precedence over the rules of the file.

    Raises:
        InvalidValueError: two settings do not go together.
    """
    values, sources = dict(decisions.values), dict(decisions.sources)
    name, source = values.pop("resource_name"), sources.pop("resource_name")
    rules: tuple[ResourceRule, ...] = (ResourceRule(pattern=EVERY_PRODUCT, name=name or DEFAULT_RESOURCE),)
    if name is None and decisions.file_rules is not None:
        rules, source = decisions.file_rules.rules, f"file {decisions.file_rules.place.line}"
    config_file = values.pop("config_file")
    if (values["kubernetes_events"] or values["node_condition"]) and not values["node_name"]:
        raise InvalidValueError("--node-name is needed with --kubernetes-events and --node-condition [NODE_NAME]")
    if values["missing_in_condition"] and not values["node_condition"]:
        raise InvalidValueError("--node-condition is needed with --missing-in-condition [NODE_CONDITION]")
    health = _health(values, sources, decisions.file_health, decisions.default_health())
    return Settings(
        kubelet_dir=Path(values.pop("kubelet_dir")),
        resources=rules,
        health=health,
        state_dir=Path(values.pop("state_dir")),
        config_file=Path(config_file) if config_file is not None else None,
        file_version=decisions.file_version,
        sources=sources | {"resources": source},
        **values,
    )


def _health(
    values: dict[str, Any], sources: Mapping[str, str], file: "FileHealth | None", by_default: HealthPolicy
) -> HealthPolicy:
    """Return the health policy: the defaults, then the file, then what is disabled, then what is enabled."""
    policy = replace(
        by_default,
        quiet_time=values.pop("quiet_time"),
        probation=Probation(values.pop("probation")),
        decision_time=values.pop("decision_time"),
        driver_timeout=values.pop("driver_timeout"),
        flap_count=values.pop("flap_count"),
        flap_window=values.pop("flap_window"),
    )
    if file is not None:
        policy = replace(policy.with_decisions(file.kinds), families={**policy.families, **file.families})
    disabled, enabled = values.pop("disabled_healthchecks"), values.pop("enabled_healthchecks")
    if disabled.everything:
        policy = policy.without_checks(sources["disabled_healthchecks"])
    ignored = Decision(Action.IGNORE, sources["disabled_healthchecks"])
    policy = policy.with_decisions({numbered(XID, xid): ignored for xid in disabled.xids})
    every = [kind for kind in by_default.kinds if family_of(kind) == XID] if enabled.everything else []
    counting = [*every, *(numbered(XID, xid) for xid in enabled.xids)]
    return policy.enabling(counting, sources["enabled_healthchecks"], by_default)
