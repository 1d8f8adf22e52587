"""What an admin can decide about `plugin-gateway run`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plugin_gateway.adapters.configuration.options import DEFAULT_RESOURCE
from plugin_gateway.adapters.configuration.parsers import XID, ListenAddress
from plugin_gateway.adapters.configuration.reading import Decisions
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.policy import Action, Decision, HealthPolicy, family_of, numbered
from plugin_gateway.core.resources.assignment import ResourceRule
from plugin_gateway.core.resources.policy import DeviceIdStrategy, UnhealthyFirst

if TYPE_CHECKING:
    from plugin_gateway.adapters.configuration.health_section import FileHealth

EVERY_PRODUCT = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything decided, whatever it came from. The table in `options` has the defaults."""

    kubelet_dir: Path
    """The kubelet's device plugin directory, from which every path derives. Decided at start."""
    backend: str
    """``nvml``, or ``simulated`` with the GPUs to simulate. Decided at start."""
    api_version: str
    """Which dialects may be tried; ``auto`` by default, since a kubelet may be another release after its restart."""
    unhealthy_first: UnhealthyFirst
    """On which streams every device is unhealthy for a moment, for the sake of kubelets that forget healthy ones."""
    driver_root: str
    """Where the driver is installed, as the host sees it."""
    dev_root: str
    """Below which folder the device nodes lie, as the host sees it; by default where the driver is."""
    container_driver_root: str
    """Where this process sees the driver root; by default at the same path, as when it runs outside a container."""
    fail_on_init_error: bool
    """Whether a node without driver or device ends the process.

    NVIDIA's plugin does so by default; this one waits, because a driver that is installed later is no error.
    """
    pass_device_specs: bool
    """Whether containers get the device nodes. By default they do, unlike with NVIDIA's plugin, so that they work
    without NVIDIA's container runtime and keep their devices when the kubelet's CPU manager rewrites the cgroup."""
    device_id_strategy: DeviceIdStrategy
    """How the container runtime is told which GPUs to show; by UUID, since an index can change at a reboot."""
    resources: tuple[ResourceRule, ...]
    """Which GPUs are offered under which name; the first rule that matches decides."""
    health: HealthPolicy
    """What speaks against a GPU, and how it is given out again."""
    state_dir: Path
    """Where the gateway keeps what a restart must not forget, and its control socket. Decided at start."""
    listen: ListenAddress
    """Where metrics, probes and the status are served over HTTP. Decided at start."""
    record: str
    """The file into which the conversation with the kubelet is written; empty for none. Decided at start."""
    kubernetes_events: bool
    """Whether the node gets an Event for each change of health. Decided at start."""
    node_condition: str
    """The type of the node's condition; empty for none. Decided at start."""
    node_name: str
    """Whose Events and condition these are; empty where nobody asked for them."""
    log_level: str
    """The least that is logged: debug, info, warning or error."""
    log_format: str
    """``json``, ``text``, or ``auto``: what suits the place where the lines go."""
    config_file: Path | None
    """The file that was read, and is read again at SIGHUP; None without one."""
    sources: Mapping[str, str] = field(compare=False)
    """Where each value came from, for the log: ``flag --x``, ``environment X``, ``file F:LINE`` or ``default``."""

    @property
    def visible_dev_root(self) -> str:
        """Below which folder this process sees the device nodes: where it sees the driver, if they lie there."""
        return self.container_driver_root if self.dev_root == self.driver_root else self.dev_root


def make_settings(decisions: Decisions) -> Settings:
    """Make them of what was decided; a resource name for every GPU beats the rules of the file."""
    values, sources = dict(decisions.values), dict(decisions.sources)
    name, source = values.pop("resource_name"), sources.pop("resource_name")
    rules: tuple[ResourceRule, ...] = (ResourceRule(pattern=EVERY_PRODUCT, name=name or DEFAULT_RESOURCE),)
    if name is None and decisions.file_rules is not None:
        rules, source = decisions.file_rules.rules, f"file {decisions.file_rules.place.line}"
    config_file = values.pop("config_file")
    if (values["kubernetes_events"] or values["node_condition"]) and not values["node_name"]:
        raise InvalidValueError("--node-name is needed with --kubernetes-events and --node-condition [NODE_NAME]")
    health = _health(values, sources, decisions.file_health, decisions.default_health())
    return Settings(
        kubelet_dir=Path(values.pop("kubelet_dir")),
        resources=rules,
        health=health,
        state_dir=Path(values.pop("state_dir")),
        config_file=Path(config_file) if config_file is not None else None,
        sources=sources | {"resources": source},
        **values,
    )


def _health(
    values: dict[str, Any], sources: Mapping[str, str], file: "FileHealth | None", by_default: HealthPolicy
) -> HealthPolicy:
    """Take the decisions about health together: the defaults, then the file, then what is disabled, then enabled."""
    policy = replace(
        by_default,
        quiet_time=values.pop("quiet_time"),
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
