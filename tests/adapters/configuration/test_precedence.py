"""Flag before environment before file before default, for every option."""

import re
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from plugin_gateway.adapters.configuration.health_options import PolicyOptions
from plugin_gateway.adapters.configuration.kinds import ListenAddress, word_of
from plugin_gateway.adapters.configuration.option import Option, options_of
from plugin_gateway.adapters.configuration.options import Options, run_options
from plugin_gateway.adapters.configuration.reading import decide
from plugin_gateway.adapters.configuration.settings import Settings
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.policy import HealthPolicy
from plugin_gateway.core.resources.names import parse_resource_name
from plugin_gateway.core.resources.policy import DeviceIdStrategy, UnhealthyFirst
from plugin_gateway.core.resources.rules import ResourceRule, Selector
from plugin_gateway.nvidia.evidence import HEALTH_POLICY

from .conftest import OPTIONS, Read

ODD = {
    "backend": ("simulated:8xH100", "nvml", "nvml"),
    "listen": ("1.1.1.1:1", "1.1.1.1:2", "1.1.1.1:3"),
    "record": ("/a", "/b", "/c"),
    "resource_name": ("a.b/c", "a.b/d", "a.b/e"),
    "disabled_healthchecks": ("1", "2", "3"),
    "enabled_healthchecks": ("1,2", "2,3", "3,4"),
    "node_condition": ("A", "B", "C"),
    "log_level": ("debug", "error", "warning"),
    "node_name": ("a", "b", "c"),
    "cdi_annotation_prefix": ("a/", "b/", "c/"),
    "cdi_disable_hooks": ("all", "update-ldcache,chmod", "chmod"),
    "kubelet_socket": ("", "/var/lib/kubelet/device-plugins/kubelet.sock", ""),
    "kubelet_version": ("1.9", "1.36", "1.37"),
    "config_name": ("a", "b", "c"),
    "config_label": ("a/a", "b/b", "c/c"),
    "config_default": ("a", "b", "c"),
    "config_fallback_strategies": ("single", "named", "empty"),
    "device_list_strategy": ("volume-mounts", "envvar", "envvar,volume-mounts"),
    "imex_channel_ids": ("0", "[]", "0"),
    "node_labels_own": ("gpu.healthy", "rdma.link-layer,onload.version", "gpu.healthy"),
    "node_labels_by_product": ("*=a/b", "*H100*=a/b=c:NoSchedule,*=d/e", "*=a/b"),
    "node_taint_by_cause": ("xid-79=NoSchedule", "a=NoSchedule,*=PreferNoSchedule", "*=NoSchedule"),
    "sleep_interval": ("90s", "5s", "infinite"),
    "node_labels_grace": ("90s", "5m", "infinite"),
    "pod_name": ("a", "b", "c"),
}
"""What the schema of an option does not show."""


def samples(option: Option[object]) -> tuple[str, str, str]:
    """Return one value by flag, one by environment and one in the file. Two that follow each other differ."""
    schema: dict[str, Any] = dict(option.kind.schema)
    if option.name in ODD:
        return ODD[option.name]
    if "enum" in schema:
        words = [str(word) for word in schema["enum"] if word != option.default]
        return words[0], words[-1] if len(words) > 1 else str(option.default), words[0]
    if schema["type"] == "boolean":
        other = "false" if option.default == "true" else "true"
        return other, str(option.default), other
    if schema["type"] == "string":
        return "/a", "/b", "/c"
    first = schema["minimum"] + (1 if schema["type"] == "integer" else 1.5)
    return str(first), str(first + 4), str(first + 8)


NEEDED = {"NODE_NAME": "n", "NODE_CONDITION": "N", "NODE_LABELS": "patch"}
"""What some options need beside them."""
ORDINARY = [
    option for option in OPTIONS if option.name not in {"config_file", "config_dir", "config_name", "resource_name"}
]
IN_FILE = [option for option in OPTIONS if option.key]


def nested(key: str, value: str) -> str:
    lines = [f"{'  ' * depth}{word}:" for depth, word in enumerate(key.split("."))]
    return "\n".join(("version: v1", *lines)) + f" {value}\n"


def decided(settings: Settings, name: str) -> str:
    value = getattr(settings, name)
    if isinstance(value, bool):
        return str(value).lower()
    return str(value.value if isinstance(value, Enum) else value)


def test_every_option_is_an_attribute_and_an_ordinary_one_needs_no_word_here() -> None:
    assert [option.name for option in OPTIONS] == [option.name for option in options_of(Options)]
    assert all(getattr(Options, option.name).name == option.name for option in OPTIONS)
    assert ODD.keys() <= {option.name for option in OPTIONS}
    assert {option.name for option in options_of(PolicyOptions)} - {
        "disabled_healthchecks",
        "enabled_healthchecks",
    } == {field.name for field in fields(HealthPolicy)} - {
        "kinds",
        "families",
        "others",
        "by_generation",
        "events",
        "longest_quiet_time",
    }


@pytest.mark.parametrize("option", ORDINARY, ids=lambda option: option.name)
def test_a_flag_beats_the_environment(option: Option[object], read: Read) -> None:
    flag, variable, _ = samples(option)
    for name in option.flags:
        settings = read([f"{name}={flag}"], {**NEEDED, **dict.fromkeys(option.variables, variable)})
        assert decided(settings, option.name) == flag
        assert settings.sources[option.name] == f"flag {name}"


@pytest.mark.parametrize("option", IN_FILE, ids=lambda option: option.name)
def test_the_environment_beats_the_file_and_the_file_the_default(
    option: Option[object], read: Read, config_file: Path
) -> None:
    _, variable, written = samples(option)
    text = nested(option.key or "", written)
    for name in option.variables:
        settings = read((), {name: variable}, text)
        assert decided(settings, option.name) == variable
        assert settings.sources[option.name] == f"environment {name}"
    settings = read((), {}, text)
    assert decided(settings, option.name) == written
    line = len(text.splitlines())
    assert settings.sources[option.name] == f"file {config_file}:{line}"


def test_without_anything_given_the_defaults_hold(read: Read) -> None:
    settings = read()
    assert set(settings.sources.values()) == {"default"}
    assert settings.health == HEALTH_POLICY
    assert settings.resources == (ResourceRule(name=parse_resource_name("nvidia.com/gpu")),)
    assert (settings.kubelet_dir, settings.config_file) == (Path("/var/lib/kubelet/device-plugins"), None)
    assert (settings.driver_root, settings.container_driver_root, settings.dev_root) == ("/", "/", "/")
    assert (settings.listen, settings.expected_gpus) == (ListenAddress("", 0), None)
    assert (settings.unhealthy_first, settings.device_id_strategy) == (UnhealthyFirst.AUTO, DeviceIdStrategy.UUID)
    assert (settings.pass_device_specs, settings.fail_on_init_error) == (True, False)


def test_an_empty_variable_counts_as_not_set(read: Read) -> None:
    empty = {variable: "" for option in OPTIONS for variable in option.variables if not option.empty_counts}
    assert read((), empty) == read()


def test_of_two_variables_the_first_counts(read: Read) -> None:
    both = {"DRIVER_ROOT_CTR_PATH": "/first", "CONTAINER_DRIVER_ROOT": "/second"}
    assert read((), both).container_driver_root == "/first"
    assert read((), both | {"DRIVER_ROOT_CTR_PATH": ""}).container_driver_root == "/second"


def test_the_other_roots_follow_the_driver_root(read: Read) -> None:
    settings = read(["--driver-root=/run/nvidia/driver"])
    assert (settings.dev_root, settings.container_driver_root) == ("/run/nvidia/driver", "/run/nvidia/driver")
    settings = read(["--driver-root=/run/nvidia/driver", "--dev-root=/"])
    assert (settings.dev_root, settings.container_driver_root) == ("/", "/run/nvidia/driver")


RESOURCES = 'version: v1\nresources:\n  gpus:\n  - {pattern: "*H100*", name: h100}\n'


def test_the_file_names_resources_by_product(read: Read, config_file: Path) -> None:
    settings = read((), {}, RESOURCES)
    assert settings.resources == (
        ResourceRule(selector=Selector(products=("*H100*",)), name=parse_resource_name("nvidia.com/h100")),
    )
    assert settings.sources["resources"] == f"file {config_file}:3"


@pytest.mark.parametrize("by_flag", [True, False])
def test_a_resource_name_given_at_start_beats_those_of_the_file(by_flag: bool, read: Read) -> None:
    flags = ["--resource-name=example.com/gpu"] if by_flag else []
    settings = read(flags, {"RESOURCE_NAME": "example.com/other" if by_flag else "example.com/gpu"}, RESOURCES)
    assert settings.resources == (ResourceRule(name=parse_resource_name("example.com/gpu")),)
    assert settings.sources["resources"] == ("flag --resource-name" if by_flag else "environment RESOURCE_NAME")


def test_the_file_itself_can_be_given_by_the_environment(read: Read, config_file: Path) -> None:
    config_file.write_text("version: v1\nflags: {logLevel: debug}\n")
    settings = read((), {"CONFIG_FILE": str(config_file)})
    assert (settings.log_level, settings.config_file) == ("debug", config_file)
    assert settings.sources["config_file"] == "environment CONFIG_FILE"


def test_where_a_value_came_from_makes_no_settings_different(read: Read) -> None:
    assert read(["--log-level=debug"]) == read((), {"LOG_LEVEL": "debug"})


def test_a_default_that_is_not_allowed_is_refused_like_any_other_value() -> None:
    with pytest.raises(InvalidValueError, match="invalid value 'auto'; expected v9"):
        decide(run_options(("v9",), word_of(("auto", "nvml"))), {}, {}, HealthPolicy)


@pytest.mark.parametrize(
    ("flags", "environment", "message"),
    [
        ([], {"CDI_FEATURE_FLAGS": "x"}, "environment variable CDI_FEATURE_FLAGS: 'x' is not supported"),
        (["--cdi-feature-flags=x"], {}, "--cdi-feature-flags: 'x' is not supported by plugin-gateway; expected"),
        ([], {"KUBELET_SOCKET": "/x/kubelet.sock"}, "expected /var/lib/kubelet/device-plugins/kubelet.sock, "),
    ],
)
def test_what_only_nvidias_plugin_can_be_told_is_refused(
    flags: list[str], environment: dict[str, str], message: str, read: Read
) -> None:
    with pytest.raises(InvalidValueError, match=re.escape(message)):
        read(flags, environment)


def test_what_asks_nvidias_plugin_for_nothing_more_is_accepted(read: Read) -> None:
    asked = {"MOFED_ENABLED": "false", "DEVICE_LIST_STRATEGY": "envvar", "GDS_ENABLED": "False", "MPS_ROOT": ""}
    assert read(["--gdrcopy-enabled=false", "--device-discovery-strategy=auto"], asked) == read([], {})


@pytest.mark.parametrize(
    ("flags", "environment", "registers"),
    [
        ((), {}, True),
        ((), {"KUBELET_SOCKET": ""}, False),
        (("--kubelet-socket=",), {}, False),
        (("--kubelet-dir=/a", "--kubelet-socket=/a/kubelet.sock"), {"KUBELET_SOCKET": ""}, True),
        (("--kubelet-dir=/a",), {"KUBELET_SOCKET": "/var/lib/kubelet/device-plugins/kubelet.sock"}, True),
    ],
)
def test_an_empty_path_of_the_kubelets_socket_is_a_value(
    flags: tuple[str, ...], environment: dict[str, str], registers: bool, read: Read
) -> None:
    assert read(flags, environment).registers is registers
