"""Flag before environment before file before default, for every option."""

import re
from dataclasses import fields
from enum import Enum
from pathlib import Path

import pytest

from plugin_gateway.adapters.configuration.option import Option
from plugin_gateway.adapters.configuration.options import run_options
from plugin_gateway.adapters.configuration.parsers import ListenAddress, one_of
from plugin_gateway.adapters.configuration.reading import decide
from plugin_gateway.adapters.configuration.settings import Settings
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.policy import HealthPolicy
from plugin_gateway.core.resources.assignment import ResourceRule
from plugin_gateway.core.resources.names import parse_resource_name
from plugin_gateway.core.resources.policy import DeviceIdStrategy, UnhealthyFirst
from plugin_gateway.nvidia.evidence import HEALTH_POLICY

from .conftest import OPTIONS, Read

VALUES = {
    "kubelet_dir": ("/a", "/b", "/c"),
    "api_version": ("v1beta1", "v1alpha", "0.1"),
    "backend": ("simulated:8xH100", "nvml", "nvml"),
    "driver_root": ("/a", "/b", "/c"),
    "dev_root": ("/a", "/b", "/c"),
    "container_driver_root": ("/a", "/b", "/c"),
    "unhealthy_first": ("always", "never", "always"),
    "numa_hints": ("false", "true", "false"),
    "fail_on_init_error": ("true", "false", "true"),
    "pass_device_specs": ("false", "true", "false"),
    "device_id_strategy": ("index", "uuid", "index"),
    "log_level": ("debug", "warning", "error"),
    "log_format": ("json", "text", "json"),
    "quiet_time": ("1.5", "2.5", "3.5"),
    "probation": ("external", "quiet-time", "external"),
    "decision_time": ("1.5", "2.5", "3.5"),
    "driver_timeout": ("10.5", "20.5", "30.5"),
    "flap_count": ("1", "2", "4"),
    "flap_window": ("1.5", "2.5", "3.5"),
    "state_dir": ("/a", "/b", "/c"),
    "record": ("/a", "/b", "/c"),
    "listen": ("1.1.1.1:1", "1.1.1.1:2", "1.1.1.1:3"),
    "expected_gpus": ("4", "8", "16"),
    "missing_in_condition": ("true", "false", "true"),
    "kernel_log": ("true", "false", "true"),
    "kubernetes_events": ("true", "false", "true"),
    "node_condition": ("A", "B", "C"),
    "node_name": ("a", "b", "c"),
    "watch_config": ("true", "false", "true"),
}
"""For each option one value by flag, one by environment and one in the file."""
NEEDED = {"NODE_NAME": "n", "NODE_CONDITION": "N"}
"""What some options need beside them."""
ORDINARY = [option for option in OPTIONS if option.name in VALUES]
IN_FILE = [option for option in OPTIONS if option.file_key]


def nested(key: str, value: str) -> str:
    lines = [f"{'  ' * depth}{word}:" for depth, word in enumerate(key.split("."))]
    return "\n".join(("version: v1", *lines)) + f" {value}\n"


def decided(settings: Settings, name: str) -> str:
    value = getattr(settings, name) if hasattr(settings, name) else getattr(settings.health, name)
    if isinstance(value, bool):
        return str(value).lower()
    return str(value.value if isinstance(value, Enum) else value)


def test_every_option_is_tried_here() -> None:
    special = {"resource_name", "config_file", "disabled_healthchecks", "enabled_healthchecks"}
    assert {option.name for option in OPTIONS} == VALUES.keys() | special
    made = {field.name for field in fields(Settings)} | {field.name for field in fields(HealthPolicy)}
    assert made >= VALUES.keys()
    assert made - VALUES.keys() == {"resources", "config_file", "sources", "file_version", "health"} | {
        "kinds",
        "families",
        "others",
        "by_generation",
        "events",
    }


@pytest.mark.parametrize("option", ORDINARY, ids=lambda option: option.name)
def test_a_flag_beats_the_environment(option: Option, read: Read) -> None:
    flag, variable, _ = VALUES[option.name]
    for name in option.flags:
        settings = read([f"{name}={flag}"], {**NEEDED, **dict.fromkeys(option.variables, variable)})
        assert decided(settings, option.name) == flag
        assert settings.sources[option.name] == f"flag {name}"


@pytest.mark.parametrize("option", IN_FILE, ids=lambda option: option.name)
def test_the_environment_beats_the_file_and_the_file_the_default(option: Option, read: Read, config_file: Path) -> None:
    _, variable, written = VALUES[option.name]
    text = nested(option.file_key or "", written)
    for name in option.variables:
        settings = read((), {name: variable}, text)
        assert decided(settings, option.name) == variable
        assert settings.sources[option.name] == f"environment {name}"
    settings = read((), {}, text)
    assert decided(settings, option.name) == written
    line = len(text.splitlines())
    assert settings.sources[option.name] == f"file {config_file}:{line}"


def test_the_defaults_are_those_of_the_help(read: Read) -> None:
    settings = read()
    assert settings == Settings(
        kubelet_dir=Path("/var/lib/kubelet/device-plugins"),
        backend="nvml",
        api_version="auto",
        unhealthy_first=UnhealthyFirst.AUTO,
        numa_hints=True,
        driver_root="/",
        dev_root="/",
        container_driver_root="/",
        fail_on_init_error=False,
        pass_device_specs=True,
        device_id_strategy=DeviceIdStrategy.UUID,
        resources=(ResourceRule(pattern="*", name=parse_resource_name("nvidia.com/gpu")),),
        health=HEALTH_POLICY,
        expected_gpus=None,
        state_dir=Path("/run/plugin-gateway"),
        listen=ListenAddress("", 0),
        record="",
        kernel_log=False,
        kubernetes_events=False,
        node_condition="",
        missing_in_condition=False,
        node_name="",
        log_level="info",
        log_format="auto",
        config_file=None,
        watch_config=False,
        sources={},
    )
    assert set(settings.sources.values()) == {"default"}


def test_an_empty_variable_counts_as_not_set(read: Read) -> None:
    empty = {variable: "" for option in OPTIONS for variable in option.variables}
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
    assert settings.resources == (ResourceRule(pattern="*H100*", name=parse_resource_name("nvidia.com/h100")),)
    assert settings.sources["resources"] == f"file {config_file}:3"


@pytest.mark.parametrize("by_flag", [True, False])
def test_a_resource_name_given_at_start_beats_those_of_the_file(by_flag: bool, read: Read) -> None:
    flags = ["--resource-name=example.com/gpu"] if by_flag else []
    settings = read(flags, {"RESOURCE_NAME": "example.com/other" if by_flag else "example.com/gpu"}, RESOURCES)
    assert settings.resources == (ResourceRule(pattern="*", name=parse_resource_name("example.com/gpu")),)
    assert settings.sources["resources"] == ("flag --resource-name" if by_flag else "environment RESOURCE_NAME")


def test_the_file_itself_can_be_given_by_the_environment(read: Read, config_file: Path) -> None:
    config_file.write_text("version: v1\nflags: {logLevel: debug}\n")
    settings = read((), {"CONFIG_FILE": str(config_file)})
    assert (settings.log_level, settings.config_file) == ("debug", config_file)
    assert settings.sources["config_file"] == "environment CONFIG_FILE"


def test_where_a_value_came_from_makes_no_settings_different(read: Read) -> None:
    assert read(["--log-level=debug"]) == read((), {"LOG_LEVEL": "debug"})


def test_a_default_that_is_not_allowed_is_refused_like_any_other_value() -> None:
    with pytest.raises(InvalidValueError, match="'auto', allowed are v9"):
        decide(run_options(("v9",), one_of(("nvml",))), {}, {}, HealthPolicy)


@pytest.mark.parametrize(
    ("flags", "environment", "message"),
    [
        (["--mig-strategy=mixed"], {}, "--mig-strategy: 'mixed' is not supported by plugin-gateway, allowed is none"),
        ([], {"MIG_STRATEGY": "single"}, "environment variable MIG_STRATEGY: 'single' is not supported"),
        ([], {"DEVICE_LIST_STRATEGY": "envvar,cdi-cri"}, "environment variable DEVICE_LIST_STRATEGY: 'envvar,cdi-cri'"),
        (["--gds-enabled=true"], {}, "--gds-enabled: 'true' is not supported by plugin-gateway, allowed is false"),
        ([], {"KUBELET_SOCKET": "/x/kubelet.sock"}, "allowed is /var/lib/kubelet/device-plugins/kubelet.sock"),
        (["--mps-root=/run/mps"], {}, "--mps-root: '/run/mps' is not supported by plugin-gateway; take it out"),
    ],
)
def test_what_only_nvidias_plugin_can_be_told_is_refused(
    flags: list[str], environment: dict[str, str], message: str, read: Read
) -> None:
    with pytest.raises(InvalidValueError, match=re.escape(message)):
        read(flags, environment)


def test_what_asks_nvidias_plugin_for_nothing_more_is_accepted(read: Read) -> None:
    asked = {"MIG_STRATEGY": "none", "DEVICE_LIST_STRATEGY": "envvar", "GDS_ENABLED": "False", "MPS_ROOT": ""}
    assert read(["--mig-strategy=none", "--device-discovery-strategy=auto"], asked) == read([], {})
