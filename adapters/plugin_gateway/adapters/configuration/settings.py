"""The settings of `plugin-gateway run`: the options, and what is made of several of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from plugin_gateway.adapters.configuration.chosen_backends import ChosenBackend
from plugin_gateway.adapters.configuration.extra_options import CHANNEL
from plugin_gateway.adapters.configuration.file_version import FileVersion
from plugin_gateway.adapters.configuration.health_options import XID
from plugin_gateway.adapters.configuration.label_options import LabelsWay, has_effect
from plugin_gateway.adapters.configuration.options import DEFAULT_KUBELET_DIR, NVIDIA, Options
from plugin_gateway.adapters.configuration.reading import Decisions
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.policy import Action, Decision, EvidenceKind, HealthPolicy, family_of, numbered
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.policy import AllocationPolicy
from plugin_gateway.core.resources.rules import ResourceRule

if TYPE_CHECKING:
    from plugin_gateway.adapters.configuration.health_section import FileHealth

ROOTS = ("driver_root", "container_driver_root", "dev_root")
"""The two others follow the first one unless they are given."""
MIXED = "mixed"
"""The value of `--mig-strategy` with which each MIG device has the name of its profile."""
KUBELET_SOCKET_NAME = "kubelet.sock"
IMEX_CHANNEL = "imex-channel"
PATHS = ("kubelet_dir", *ROOTS, "host_root")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Options):
    """All settings. Each option of the table is an attribute."""

    values: Mapping[str, object]
    resources: tuple[ResourceRule, ...]
    """Which GPUs are offered under which name, and how they are shared. The first rule that matches decides."""
    chosen: tuple[ChosenBackend, ...]
    """The backends in their order, those with network cards last."""
    remarks: tuple[str, ...] = field(compare=False, default=())
    """What the file says to no effect, for people."""
    unlike_nvidia: tuple[str, ...] = field(compare=False, default=())
    """What the file says to an effect, and NVIDIA's device plugin ignores, for people."""
    health: HealthPolicy
    """Which action follows from which evidence, and when an unhealthy GPU is given out again."""
    card_health: Mapping[str, HealthPolicy] = field(default_factory=dict)
    """The same for network cards, by the name of the backend that has them."""
    file_version: FileVersion | None = field(compare=False, default=None)
    """Which version of the configuration file was read. None without one."""
    sources: Mapping[str, str] = field(compare=False)
    """The source of each value, for the log: ``flag --x``, ``environment X``, ``file F:LINE`` or ``default``."""

    @property
    def backends(self) -> tuple[str, ...]:
        """The names of the backends, if there are several."""
        return tuple(each.name for each in self.chosen) if len(self.chosen) > 1 else ()

    def health_of(self, backend: str) -> HealthPolicy:
        """Return the decisions about the health of the devices of this backend."""
        return self.card_health.get(backend, self.health)

    @property
    def card_resources(self) -> frozenset[ResourceName]:
        """The resources of network cards. Their device nodes are those of the host's own /dev."""
        return frozenset(rule.name for rule in self.resources if rule.is_always_there and rule.name is not None)

    @property
    def onload_paths(self) -> tuple[str, ...]:
        """The folders of the host with the user space of Onload that containers get."""
        from plugin_gateway.adapters.configuration.card_rules import onload_paths  # noqa: PLC0415 - only with cards

        return onload_paths(self.resources)

    @property
    def registers(self) -> bool:
        """Whether the gateway registers with the kubelet."""
        return self.kubelet_socket != ""

    @property
    def needs_daemons(self) -> bool:
        """Whether containers share GPUs through a daemon."""
        return any(rule.sharing.through for rule in self.resources)

    @property
    def daemon_root(self) -> str:
        """The folder of the host below which each daemon has its own through which containers share GPUs."""
        return self.mps_root

    @property
    def extras(self) -> tuple[str, ...]:
        """What containers get besides GPUs, in the words of the backend."""
        asked = {
            "gdrcopy": self.gdrcopy_enabled,
            "gds": self.gds_enabled,
            "mofed": self.mofed_enabled,
            IMEX_CHANNEL: self.imex_channel_ids == CHANNEL,
        }
        return tuple(word for word, is_asked_for in asked.items() if is_asked_for)

    @property
    def required_extras(self) -> tuple[str, ...]:
        """Those of `extras` without which no GPU is given out."""
        return (IMEX_CHANNEL,) if self.imex_required and IMEX_CHANNEL in self.extras else ()

    @property
    def policy(self) -> AllocationPolicy:
        """What every container with GPUs gets."""
        return AllocationPolicy(
            pass_device_specs=self.pass_device_specs,
            device_id_strategy=self.device_id_strategy,
            dev_root=self.dev_root,
            daemon_root=self.daemon_root,
            list_strategies=self.device_list_strategy,
            annotation_prefix=self.cdi_annotation_prefix,
            extras=self.extras,
            required_extras=self.required_extras,
        )

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
    options, sources = decisions.options, dict(decisions.sources)
    source = sources.pop("resource_name")
    by_profile = _by_profile(options.mig_strategy)
    chosen = tuple(decisions.chosen)
    of_cards, remarks = _for_cards(decisions, chosen)
    if decisions.file_resources is None and len(chosen) == 1 and not of_cards:
        rules = (*by_profile, ResourceRule(name=options.resource_name or chosen[0].default_resource))
    else:
        from plugin_gateway.adapters.configuration.rules_by_backend import decide_rules  # noqa: PLC0415 - only where asked for

        rules, more = decide_rules(chosen, decisions.file_resources, options.resource_name, by_profile, of_cards)
        remarks = (*more, *remarks)
    if (file := decisions.file_resources) is not None and options.resource_name is None:
        source = f"file {file.place.line}"
    ignored, as_nvidia = tuple(decisions.file_ignored), options.config_compatibility == NVIDIA
    if file is not None and not options.mps_root and any(rule.sharing.through for rule in rules):
        raise InvalidValueError(
            f"{file.place}: GPUs are shared through MPS, so --mps-root is needed, such as /run/nvidia/mps [MPS_ROOT]"
        )
    _check_kubelet_socket(options)
    if (options.kubernetes_events or options.node_condition) and not options.node_name:
        raise InvalidValueError("--node-name is needed with --kubernetes-events and --node-condition [NODE_NAME]")
    if options.config_name and options.config_dir is None:
        raise InvalidValueError("--config-dir is needed with --config-name [CONFIG_DIR]")
    if options.missing_in_condition and not options.node_condition:
        raise InvalidValueError("--node-condition is needed with --missing-in-condition [NODE_CONDITION]")
    _check_labels(options)
    return Settings(
        values=options.values,
        resources=rules,
        chosen=chosen,
        remarks=(*remarks, *ignored) if as_nvidia else remarks,
        unlike_nvidia=() if as_nvidia else ignored,
        health=_health(options, sources, decisions.file_health, decisions.default_health()),
        card_health=_card_health(decisions, chosen) if any(each.has_cards for each in chosen) else {},
        file_version=decisions.file_version,
        sources=sources | {"resources": source},
    )


def _for_cards(
    decisions: Decisions, chosen: Sequence[ChosenBackend]
) -> tuple[tuple[ResourceRule, ...], tuple[str, ...]]:
    """Return the rules for network cards, and what is said about them to no effect. Most nodes have none.

    Raises:
        InvalidValueError: containers with GPUs would get cards that are to be exclusive.
    """
    if decisions.file_cards is None and not any(each.has_cards for each in chosen):
        return (), ()
    from plugin_gateway.adapters.configuration.card_rules import exclusive_rdma, rules_for_cards  # noqa: PLC0415 - only with cards

    rules, remarks = rules_for_cards(decisions.file_cards, [each.name for each in chosen], decisions.options)
    has_gpus = any(not each.has_cards for each in chosen)
    if decisions.options.mofed_enabled and has_gpus and (rule := exclusive_rdma(rules)) is not None:
        raise InvalidValueError(
            f"{rule.origin.removeprefix('file ')}: {rule.name} is exclusive, and --mofed-enabled gives every container "
            "with a GPU all InfiniBand devices of the node; expected one of them [MOFED_ENABLED]"
        )
    return rules, remarks


def _card_health(decisions: Decisions, chosen: Sequence[ChosenBackend]) -> Mapping[str, HealthPolicy]:
    """Return the health policy of each backend with network cards: its defaults, then what was decided.

    Raises:
        InvalidValueError: the quiet time is longer than it may become.
    """
    options, file = decisions.options, decisions.file_health
    if options.longest_link_quiet_time < options.link_quiet_time:
        raise InvalidValueError(
            f"--longest-link-quiet-time: {options.longest_link_quiet_time:g}; expected {options.link_quiet_time:g} "
            "seconds and more, which is --link-quiet-time [LONGEST_LINK_QUIET_TIME]"
        )
    found: dict[str, HealthPolicy] = {}
    for name in [each.name for each in chosen if each.has_cards]:
        by_default = decisions.card_health(name) if decisions.card_health is not None else HealthPolicy()
        found[name] = replace(
            by_default.with_decisions(_about(file.kinds if file is not None else {}, by_default)),
            quiet_time=options.link_quiet_time,
            longest_quiet_time=options.longest_link_quiet_time,
            driver_timeout=options.driver_timeout,
            flap_count=options.flap_count,
            flap_window=options.flap_window,
        )
    return found


def _about(decided: Mapping[EvidenceKind, Decision], by_default: HealthPolicy) -> Mapping[EvidenceKind, Decision]:
    """Return those decisions that are about evidence which a backend with this policy finds."""
    return {
        kind: decision
        for kind, decision in decided.items()
        if kind in by_default.kinds or family_of(kind) in by_default.families
    }


def _check_labels(options: Options) -> None:
    """Check that labels and taints can get to the node in the way that was chosen."""
    way = options.node_labels
    if way.asks_cluster and not options.node_name:
        raise InvalidValueError(f"--node-name is needed with --node-labels={way.value} [NODE_NAME]")
    asking = {
        "--node-labels-adopt": options.node_labels_adopt,
        "--node-taint-by-cause": options.node_taint_by_cause,
        "--node-labels-by-product with an effect": any(map(has_effect, options.node_labels_by_product)),
    }
    for flag, is_asked_for in asking.items():
        if is_asked_for and way is not LabelsWay.PATCH:
            raise InvalidValueError(f"--node-labels=patch is needed with {flag} [NODE_LABELS]")


def _check_kubelet_socket(options: Options) -> None:
    """Check that it is the socket that is looked at, or none. NVIDIA's default is accepted with every directory."""
    found = options.kubelet_socket
    if found and found not in {f"{each}/{KUBELET_SOCKET_NAME}" for each in (options.kubelet_dir, DEFAULT_KUBELET_DIR)}:
        raise InvalidValueError(
            f"--kubelet-socket: invalid value {found[:80]!r}; expected {options.kubelet_dir}/{KUBELET_SOCKET_NAME}, or "
            "an empty one to register with nobody; the kubelet looks for sockets in --kubelet-dir [KUBELET_SOCKET]"
        )


def _by_profile(mig_strategy: str) -> tuple[ResourceRule, ...]:
    """Return the rule that names parts by their profile, where the strategy asks for it."""
    if mig_strategy != MIXED:
        return ()
    from plugin_gateway.adapters.configuration.resource_rules import BY_PROFILE  # noqa: PLC0415 - only where asked for

    return (BY_PROFILE,)


def _health(
    options: Options, sources: Mapping[str, str], file: "FileHealth | None", by_default: HealthPolicy
) -> HealthPolicy:
    """Return the health policy: the defaults, then the file, then what is disabled, then what is enabled."""
    policy = replace(
        by_default,
        quiet_time=options.quiet_time,
        probation=options.probation,
        decision_time=options.decision_time,
        driver_timeout=options.driver_timeout,
        flap_count=options.flap_count,
        flap_window=options.flap_window,
    )
    if file is not None:
        kinds = _about(file.kinds, by_default)
        policy = replace(policy.with_decisions(kinds), families={**policy.families, **file.families})
    disabled, enabled = options.disabled_healthchecks, options.enabled_healthchecks
    if disabled.everything:
        policy = policy.without_checks(sources["disabled_healthchecks"])
    ignored = Decision(Action.IGNORE, sources["disabled_healthchecks"])
    policy = policy.with_decisions({numbered(XID, xid): ignored for xid in disabled.xids})
    every = [kind for kind in by_default.kinds if family_of(kind) == XID] if enabled.everything else []
    counting = [*every, *(numbered(XID, xid) for xid in enabled.xids)]
    return policy.enabling(counting, sources["enabled_healthchecks"], by_default)
