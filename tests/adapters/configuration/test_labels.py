"""The options about labels and taints: what is allowed, what they need, and what the core is told."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_gateway.adapters.configuration.label_options import (
    LabelsWay,
    parse_cause_rule,
    parse_duration,
    parse_product_rule,
)
from plugin_gateway.adapters.configuration.label_policy import label_policy
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.labels.policy import CauseRule, Effect, LabelPolicy, ProductRule

from .conftest import Read

GFD = """\
version: v1
flags:
  migStrategy: single
  gfd: {oneshot: true, noTimestamp: true, sleepInterval: 5m, outputFile: /features/gfd, machineTypeFile: /sys/model}
"""


def test_without_a_word_no_label_is_written(read: Read) -> None:
    settings = read()
    assert settings.node_labels is LabelsWay.OFF
    assert not settings.needs_labels
    assert not settings.node_taint_by_cause


def test_the_file_of_nvidias_feature_discovery_is_followed(read: Read) -> None:
    settings = read((), {}, GFD)
    assert (settings.oneshot, settings.no_timestamp, settings.sleep_interval) == (True, True, 300.0)
    assert (settings.output_file, settings.machine_type_file) == ("/features/gfd", "/sys/model")


def test_the_variables_of_nvidias_feature_discovery_are_followed(read: Read) -> None:
    variables = {
        "GFD_ONESHOT": "true", "GFD_NO_TIMESTAMP": "true", "GFD_SLEEP_INTERVAL": "1m30s", "GFD_OUTPUT_FILE": "/o",
        "GFD_MACHINE_TYPE_FILE": "/m", "GFD_USE_NODE_FEATURE_API": "true",
    }  # fmt: skip
    settings = read((), variables, GFD)
    assert (settings.oneshot, settings.no_timestamp, settings.sleep_interval) == (True, True, 90.0)
    assert (settings.output_file, settings.machine_type_file) == ("/o", "/m")
    assert settings.use_node_feature_api


def test_the_core_is_told_what_was_decided(read: Read) -> None:
    flags = [
        "--mig-strategy=mixed", "--node-labels=patch", "--node-name=n", "--node-labels-own=gpu.healthy",
        "--node-labels-deprecated=false", "--node-labels-by-product=*H100*=a.b/fast:NoSchedule,*T4*=a.b/slow=yes",
        "--node-taint-by-cause=xid-79=PreferNoSchedule",
    ]  # fmt: skip
    assert label_policy(read(flags), "Model 1", 12.7) == LabelPolicy(
        has_deprecated=False,
        own=frozenset({"gpu.healthy"}),
        strategy="mixed",
        machine="Model 1",
        started_at=12,
        by_product=(
            ProductRule("*H100*", "a.b/fast", "true", Effect.NO_SCHEDULE),  # type: ignore[arg-type]
            ProductRule("*T4*", "a.b/slow", "yes"),  # type: ignore[arg-type]
        ),
        by_cause=(CauseRule("xid-79", Effect.PREFER_NO_SCHEDULE),),
    )
    assert label_policy(read(["--no-timestamp=true"]), None, 12.7).started_at is None


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--node-labels=patch"], "--node-name is needed with --node-labels=patch [NODE_NAME]"),
        (["--node-labels=nodefeature"], "--node-name is needed with --node-labels=nodefeature [NODE_NAME]"),
        (["--node-labels-adopt=true"], "--node-labels=patch is needed with --node-labels-adopt [NODE_LABELS]"),
        (
            ["--node-taint-by-cause=*=NoSchedule"],
            "--node-labels=patch is needed with --node-taint-by-cause [NODE_LABELS]",
        ),
        (
            ["--node-labels=file", "--node-labels-by-product=*=a/b:NoSchedule"],
            "--node-labels=patch is needed with --node-labels-by-product with an effect [NODE_LABELS]",
        ),
        (["--node-labels=all"], "--node-labels: invalid value 'all'; expected off, file, nodefeature, patch"),
        (
            ["--node-labels-own=gpu.count"],
            "--node-labels-own: invalid value 'gpu.count'; expected gpu.healthy, rdma.link-layer, ",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(flags: list[str], said: str, read: Read) -> None:
    with pytest.raises(InvalidValueError, match=re.escape(said)):
        read(flags)


def test_a_label_without_a_taint_needs_no_access_to_the_node(read: Read) -> None:
    assert read(["--node-labels=file", "--node-labels-by-product=*=a/b"]).needs_labels


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60s", 60), ("1m30s", 90), ("1h", 3600), ("1500ms", 1.5), ("1.5m", 90), ("infinite", math.inf)],
)
def test_a_time_is_read_as_go_writes_it(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "0s", "-5s", "1m x", "1m30", "999ms", "9" * 41 + "s", "10000001s"])
def test_another_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError, match=r"expected a time from 1 second on"):
        parse_duration(text)


@given(seconds=st.integers(1, 10_000_000))
def test_a_time_reads_back_as_it_is_shown(seconds: int) -> None:
    assert float(parse_duration(f"{seconds}s")) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "=a/b",
        "*=",
        "*=b",
        "*=a/b:Never",
        "*=a/b:NoExecute",
        "*=a/b:",
        "*=a/b=-",
        "*=kubernetes.io/x",
        "*=a/b c",
    ],
)
def test_a_rule_for_products_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError):
        parse_product_rule(text)


def test_the_value_of_a_rule_can_be_empty() -> None:
    assert parse_product_rule("*=a/b=").value == ""
    assert parse_product_rule("*=a/b").value == "true"


@pytest.mark.parametrize(
    "text", ["", "xid-79", "=NoSchedule", "xid-79=NoExecute", "xid-79=noschedule", "a=b=NoSchedule"]
)
def test_a_rule_for_causes_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError):
        parse_cause_rule(text)


def test_what_only_looks_like_a_blank_is_no_blank_of_a_list(read: Read) -> None:
    assert not read(["--node-labels-own= , "]).node_labels_own
    with pytest.raises(InvalidValueError, match=r"expected gpu\.healthy"):
        read(["--node-labels-own=\x1f"])
