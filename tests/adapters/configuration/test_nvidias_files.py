"""Files that were written for NVIDIA's device plugin, as they are: what asks for nothing is no mistake."""

import pytest

from harness.gpu_operator import ENVIRONMENT
from plugin_gateway.core.errors import InvalidValueError

from .conftest import Read

NO_STRATEGY = "is not supported by plugin-gateway; expected auto or nvml: GPUs are found through NVML"
RUNNING_WITH = """\
{
  "version": "v1",
  "flags": {
    "migStrategy": "mixed",
    "failOnInitError": false,
    "nvidiaDriverRoot": "/",
    "nvidiaDevRoot": "/",
    "gdrcopyEnabled": false,
    "gdsEnabled": false,
    "mofedEnabled": false,
    "useNodeFeatureAPI": null,
    "deviceDiscoveryStrategy": "auto",
    "plugin": {
      "passDeviceSpecs": false,
      "deviceListStrategy": ["envvar"],
      "deviceIDStrategy": "uuid",
      "cdiAnnotationPrefix": "cdi.k8s.io/",
      "nvidiaCTKPath": "/usr/bin/nvidia-ctk",
      "containerDriverRoot": "/driver-root"
    }
  },
  "resources": {"gpus": [{"pattern": "*", "name": "nvidia.com/gpu"}]},
  "sharing": {"timeSlicing": {"resources": [{"name": "nvidia.com/gpu", "devices": "all", "replicas": 4}]}},
  "imex": {}
}
"""
"""What NVIDIA's plugin logs as the configuration that it runs with."""
SHARING = '"sharing": {"timeSlicing": {"resources": [{"name": "nvidia.com/gpu", "devices": "all", "replicas": 4}]}}'


def test_what_nvidias_plugin_says_that_it_runs_with_can_be_given_as_a_file(read: Read) -> None:
    assert read((), {}, RUNNING_WITH).mig_strategy == "mixed"
    without = RUNNING_WITH.replace(SHARING, '"sharing": {"timeSlicing": {}}')
    assert not any(rule.sharing.replicas > 1 for rule in read((), {}, without).resources)


@pytest.mark.parametrize(
    "text",
    [
        "flags: {gdsEnabled: , gdrcopyEnabled: no, mofedEnabled: off, useNodeFeatureAPI: null}",
        "flags: {gfd: }",
        "flags: {gfd: {}}",
        "flags: {plugin: {deviceListStrategy: , cdiAnnotationPrefix: '', nvidiaCTKPath: ''}}",
        "imex:",
        "imex: {channelIDs: [], required: false}",
    ],
)
def test_a_setting_without_a_value_asks_for_nothing(text: str, read: Read) -> None:
    read((), {}, f"version: v1\n{text}\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("flags: {deviceDiscoveryStrategy: &all [*all]}", f"flags.deviceDiscoveryStrategy {NO_STRATEGY}"),
        ("flags: {deviceDiscoveryStrategy: &all {a: *all}}", f"flags.deviceDiscoveryStrategy {NO_STRATEGY}"),
        ("flags: {deviceDiscoveryStrategy: yes}", f"flags.deviceDiscoveryStrategy: 'yes' {NO_STRATEGY}"),
    ],
)
def test_a_setting_that_asks_for_something_is_still_refused(text: str, said: str, read: Read) -> None:
    with pytest.raises(InvalidValueError) as caught:
        read((), {}, f"version: v1\n{text}\n")
    assert str(caught.value).endswith(said)


def test_the_folder_of_mps_that_nvidias_chart_always_names_changes_nothing_without_mps(read: Read) -> None:
    found = read((), {"MPS_ROOT": "/run/nvidia/mps"})
    assert (found.resources, found.needs_daemons) == (read().resources, False)


def test_a_variable_with_the_default_of_nvidias_plugin_asks_for_nothing(read: Read) -> None:
    read(("--nvidia-ctk-path=/usr/bin/nvidia-ctk",), {"CDI_ANNOTATION_PREFIX": "cdi.k8s.io/"})


def test_what_the_operator_always_gives_is_taken_and_changes_no_name(read: Read) -> None:
    found = read((), ENVIRONMENT)
    assert [rule.name for rule in found.resources] == ["nvidia.com/gpu"]
    assert (found.fail_on_init_error, found.needs_daemons) == (True, False)
