"""A file with several manifests, as plugins are deployed with: the one that configures a plugin is translated."""

import pytest

from plugin_gateway.adapters.configuration.chart_translation import translate_any
from plugin_gateway.adapters.configuration.translation import Translation
from plugin_gateway.core.errors import InvalidValueError

ACCOUNT = """\
# of the sample of the operator
apiVersion: v1
kind: ServiceAccount
metadata:
  name: onload-operator-sa
---
"""
ONLOAD = """\
apiVersion: onload.amd.com/v1alpha1
kind: Onload
spec:
  devicePlugin:
    maxPodsPerNode: 7
"""
SHARED = """\
apiVersion: v1
kind: ConfigMap
data:
  config.json: |
    {"configList": [{"resourceName": "a", "rdmaHcaMax": 8, "devices": ["ib0"]}]}
"""


def translated(text: str) -> Translation:
    def refuse(name: str, _: bytes) -> Translation:
        raise InvalidValueError(f"{name}: not recognised")

    return translate_any("f.yaml", text.encode(), refuse)


@pytest.mark.parametrize(
    "text",
    [ACCOUNT + ONLOAD, f"---\n{ACCOUNT}{ONLOAD}", f"{ACCOUNT}{ONLOAD}---\n", f"{ONLOAD}--- # more\r\n{ACCOUNT}"],
)
def test_the_only_manifest_that_configures_a_plugin_is_translated_and_the_others_are_named(text: str) -> None:
    found = translated(text)
    assert found.document["resources"]["onload"][0]["replicas"] == 7
    assert found.left_out == ("f.yaml: left out, because they configure no device plugin: ServiceAccount",)


def test_a_config_map_among_others_is_translated_too() -> None:
    assert "hca" not in translated(ACCOUNT + SHARED).document["data"]["config.json"]
    assert "rdma/a" in translated(ACCOUNT + SHARED).document["data"]["config.json"]


def test_the_place_of_a_mistake_is_that_in_the_whole_file() -> None:
    with pytest.raises(InvalidValueError, match=r"f\.yaml:11:21: spec\.devicePlugin\.maxPodsPerNode"):
        translated(ACCOUNT + ONLOAD.replace("7", "0"))


def test_of_two_that_could_be_meant_none_is() -> None:
    with pytest.raises(InvalidValueError, match="another document"):
        translated(f"{SHARED}---\n{ONLOAD}")


def test_a_single_manifest_is_translated_as_ever() -> None:
    assert translated(ONLOAD) == translated(f"---\n{ONLOAD}")
    assert translated(ONLOAD).left_out == ()
