"""The options about labels and taints of the node, and what only they take. They are part of the table of options.

`label_policy` makes values of the rules among them.
"""

import math
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

from plugin_gateway.adapters.configuration.kinds import (
    MAX_TIME,
    NEW_FILE,
    NODE_NAME,
    ROOT,
    SWITCH,
    Kind,
    Words,
    kind,
    list_of,
    member_of,
    parse_time,
)
from plugin_gateway.adapters.configuration.option import Option, Values
from plugin_gateway.core.errors import InvalidValueError

if TYPE_CHECKING:
    from plugin_gateway.core.labels.policy import CauseRule, ProductRule

DEFAULT_FILE = "/etc/kubernetes/node-feature-discovery/features.d/gfd"
"""The feature file of NVIDIA's GPU feature discovery, in the folder of node-feature-discovery."""
DEFAULT_INTERVAL = "60s"
MACHINE_FILE = "/sys/class/dmi/id/product_name"
OWN_LABELS = ("gpu.healthy", "rdma.link-layer", "onload.version")
"""The labels of the gateway's own that have to be asked for, without what stands before the slash."""
_ENDLESS = "infinite"
_EFFECTS = ("NoSchedule", "PreferNoSchedule")


class LabelsWay(Enum):
    """How labels get to the node."""

    OFF = "off"
    FILE = "file"
    NODE_FEATURE = "nodefeature"
    PATCH = "patch"

    @property
    def asks_cluster(self) -> bool:
        """Whether it is by way of the API server."""
        return self in {LabelsWay.NODE_FEATURE, LabelsWay.PATCH}


class Duration(float):
    """Seconds. As a text they are as a flag has them."""

    __slots__ = ()

    def __str__(self) -> str:
        return _ENDLESS if self == math.inf else f"{float(self):g}s"


def parse_duration(text: str) -> Duration:
    """Return the seconds of a time such as ``60s`` or ``1m30s``. Infinite for ``infinite``."""
    if text == DEFAULT_INTERVAL:
        return Duration(60)
    if text == _ENDLESS:
        return Duration(math.inf)
    found = parse_time(text)
    if found is None or not 1 <= found <= MAX_TIME:
        raise InvalidValueError(
            f"invalid value {text[:80]!r}; expected a time from 1 second on, such as 60s or 5m, or {_ENDLESS}"
        )
    return Duration(found)


def parse_product_rule(text: str) -> "ProductRule":
    """Return a rule such as ``*H100*=example.com/fast=yes:NoSchedule``. Value and effect can be missing."""
    from plugin_gateway.core.labels.names import is_value, parse_label_name  # noqa: PLC0415 - only where asked for
    from plugin_gateway.core.labels.policy import Effect, ProductRule  # noqa: PLC0415 - the same

    pattern, first, label = text.partition("=")
    label, _, effect = label.partition(":")
    name, second, value = label.partition("=")
    if not pattern or not first or (effect and effect not in _EFFECTS) or text.endswith(":"):
        raise InvalidValueError(
            f"invalid value {text[:80]!r}; expected PATTERN=NAME or PATTERN=NAME=VALUE, also with "
            f":{' or :'.join(_EFFECTS)}"
        )
    if not is_value(value):
        raise InvalidValueError(f"{text[:80]!r}: a label cannot have the value {value[:80]!r}")
    return ProductRule(pattern, parse_label_name(name), value if second else "true", Effect(effect) if effect else None)


def has_effect(rule: str) -> bool:
    """Return whether a rule that `parse_product_rule` takes has an effect, and so makes a taint."""
    return rule.rpartition(":")[2] in _EFFECTS


def parse_cause_rule(text: str) -> "CauseRule":
    """Return a rule such as ``xid-79=NoSchedule``."""
    from plugin_gateway.core.labels.policy import CauseRule, Effect  # noqa: PLC0415 - only where asked for

    pattern, _, effect = text.partition("=")
    if not pattern or effect not in _EFFECTS:
        allowed = " and ".join(f"CAUSE={each}" for each in _EFFECTS)
        raise InvalidValueError(f"invalid value {text[:80]!r}; expected {allowed}")
    return CauseRule(pattern, Effect(effect))


def _rules(parse: Callable[[str], object], metavar: str) -> Kind[Words]:
    """Return a kind of rules with commas between them, or as a list in YAML. They are kept as texts."""

    def parse_all(text: str) -> Words:
        rules = Words(filter(None, map(str.strip, text.split(","))))
        for rule in rules:
            parse(rule)
        return rules

    return kind(parse_all, metavar, {"type": ["string", "array"], "items": {"type": "string"}})


class LabelOptions(Values, heading="labels and taints of the node"):
    """Which labels and taints the node gets, and how."""

    __slots__ = ()

    node_labels = Option(
        member_of(LabelsWay),
        "off",
        "write the labels of NVIDIA's GPU feature discovery: file into the feature file of node-feature-discovery, "
        "nodefeature into its NodeFeature object, patch onto the node itself; off writes none",
    )
    node_labels_adopt = Option(
        SWITCH,
        "false",
        "with --node-labels=patch, take over the labels of NVIDIA's GPU feature discovery that nobody renews",
    )
    node_labels_grace = Option(
        kind(parse_duration, "TIME", {"type": "string"}),
        _ENDLESS,
        "how long the labels of devices stay whose driver is gone; they are removed after this time, and never with "
        f"{_ENDLESS}",
        example="10m",
    )
    node_labels_remove = Option(
        SWITCH,
        "false",
        "remove the labels when the gateway is ended and no other one of the node goes on; taints are removed then in "
        "each case",
    )
    pod_name = Option(
        NODE_NAME,
        "",
        "the pod of the gateway, whose owner is made that of the NodeFeature object",
        example="plugin-gateway-x7k2p",
    )
    """In a pod, the downward API gives it. Without it the object has no owner, and stays without the gateway."""
    node_labels_deprecated = Option(
        SWITCH, "true", "write also the labels that NVIDIA has replaced by others, such as nvidia.com/cuda.driver.major"
    )
    node_labels_own = Option(
        list_of(OWN_LABELS, "LABELS"),
        "",
        "labels of the gateway's own to write besides, with plugin-gateway/ before them and commas between them, of "
        + ", ".join(OWN_LABELS),
        example="gpu.healthy",
    )
    node_labels_by_product = Option(
        _rules(parse_product_rule, "RULES"),
        "",
        "a label for a node with a device of some product, and a taint with the same name and value, as "
        "PATTERN=NAME=VALUE:EFFECT with commas between several; without an effect there is no taint, and taints need "
        "--node-labels=patch",
        example="*H100*=example.com/gpu=h100:NoSchedule",
    )
    node_taint_by_cause = Option(
        _rules(parse_cause_rule, "RULES"),
        "",
        "a taint plugin-gateway/unhealthy-device for a node with an unhealthy device, as CAUSE=EFFECT with commas "
        "between several; a cause is a kind of evidence or a pattern, and the effect NoSchedule or PreferNoSchedule; "
        "it needs --node-labels=patch",
        example="xid-79=PreferNoSchedule",
    )
    no_timestamp = Option(
        SWITCH,
        "false",
        "leave out the label nvidia.com/gfd.timestamp, the time of the start",
        key="flags.gfd.noTimestamp",
        variables=("GFD_NO_TIMESTAMP", "NO_TIMESTAMP"),
    )
    machine_type_file = Option(
        ROOT,
        MACHINE_FILE,
        "the file with the model of the machine, for nvidia.com/gpu.machine",
        key="flags.gfd.machineTypeFile",
        variables=("GFD_MACHINE_TYPE_FILE", "MACHINE_TYPE_FILE"),
    )
    output_file = Option(
        NEW_FILE,
        DEFAULT_FILE,
        "the feature file of --node-labels=file, and of plugin-gateway labels",
        key="flags.gfd.outputFile",
        flags=("--output-file", "--output", "-o"),
        variables=("GFD_OUTPUT_FILE", "OUTPUT_FILE"),
    )
    oneshot = Option(
        SWITCH,
        "false",
        "for plugin-gateway labels: write the file once, and end",
        key="flags.gfd.oneshot",
        variables=("GFD_ONESHOT",),
    )
    """Without a prefix, NVIDIA's config-manager has this variable."""
    sleep_interval = Option(
        kind(parse_duration, "TIME", {"type": "string"}),
        DEFAULT_INTERVAL,
        "for plugin-gateway labels: the time until the file is written again; the gateway writes it on each change",
        key="flags.gfd.sleepInterval",
        variables=("GFD_SLEEP_INTERVAL", "SLEEP_INTERVAL"),
    )
    use_node_feature_api = Option(
        SWITCH,
        "false",
        "for plugin-gateway labels: refused; the gateway itself does it with --node-labels=nodefeature",
        key="flags.useNodeFeatureAPI",
        variables=("GFD_USE_NODE_FEATURE_API", "USE_NODE_FEATURE_API"),
    )
