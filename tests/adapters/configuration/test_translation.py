"""What `translate-config` makes of files of NVIDIA's plugin and of values of its chart."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugin_gateway.adapters.configuration.chart_translation import text_of, translate_any
from plugin_gateway.adapters.configuration.nvidia_names import CHART_VALUES
from plugin_gateway.adapters.configuration.translation import Translation, translator
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.nvidia.evidence import HEALTH_POLICY

from .conftest import OPTIONS, Read
from .test_compatibility import AS_NVIDIA, FILES, STRICT

SCHEMA = json.loads((Path(__file__).parents[3] / "deploy/helm/plugin-gateway/values.schema.json").read_text())
DEFAULTS = """\
config: {map: {}, default: "", name: "", fallbackStrategies: ["named", "single"]}
compatWithCPUManager: null
migStrategy: null
failOnInitError: null
deviceListStrategy: null
deviceIDStrategy: null
nvidiaDriverRoot: null
gdrcopyEnabled: null
gdsEnabled: null
mofedEnabled: null
deviceDiscoveryStrategy: null
nameOverride: ""
fullnameOverride: ""
namespaceOverride: ""
selectorLabelsOverride: {}
allowDefaultNamespace: false
imagePullSecrets: []
image: {repository: nvcr.io/nvidia/k8s-device-plugin, pullPolicy: IfNotPresent, tag: ""}
updateStrategy: {type: RollingUpdate}
podAnnotations: {}
runtimeClassName: null
gfd: {enabled: false, nameOverride: gpu-feature-discovery, noTimestamp: null, securityContext: {privileged: true}}
nfd: {nameOverride: node-feature-discovery, enableNodeFeatureApi: false, worker: {tolerations: [{operator: Exists}]}}
mps: {root: /run/nvidia/mps, enableHostPID: true}
cdi: {nvidiaHookPath: null, featureFlags: ""}
devicePlugin: {enabled: true, enableHostNetwork: false}
"""
"""NVIDIA's values as they are by default, in own words."""
BOMB = "a0: &a0 [x]\n" + "".join(f"a{each + 1}: &a{each + 1} [{', '.join([f'*a{each}'] * 9)}]\n" for each in range(9))
"""A few words with which a list is a hundred million lists long, if somebody writes it out."""


def translated(text: str) -> Translation:
    return translate_any("f", text.encode(), translator(OPTIONS, HEALTH_POLICY))


def complaint(text: str) -> str:
    with pytest.raises(InvalidValueError) as caught:
        translated(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "document", "left_out"),
    [
        ("", {}, ()),
        ("version: v1\nflags: {migStrategy: mixed, plugin: {passDeviceSpecs: true, deviceListStrategy: [envvar]}}",
         {"flags": {"migStrategy": "mixed", "plugin": {"passDeviceSpecs": True, "deviceListStrategy": "envvar"}}},
         ()),
        ("Flags: {migstrategy: single}", {"flags": {"migStrategy": "single"}}, ()),
        ("sharing: {timeSlicing: {renameByDefault: yes, resources: [{name: gpu, replicas: 4, rename: a, devices: 1}]}}",
         {"sharing": {"timeSlicing": {"renameByDefault": True,
                                      "resources": [{"name": "nvidia.com/gpu", "replicas": 4}]}}},
         ("f:1:59: sharing.timeSlicing.resources.rename", "f:1:59: sharing.timeSlicing.resources.devices")),
        ("sharing: {mps: {resources: [{name: gpu, replicas: 4}], failRequestsGreaterThanOne: false}}",
         {"sharing": {"mps": {"failRequestsGreaterThanOne": False,
                              "resources": [{"name": "nvidia.com/gpu", "replicas": 4}]}}}, ()),
        ("resources: {gpus: [{pattern: '*', name: fast}]}", {}, ("f:1:13: resources.gpus",)),
        ("unknown: 1\nflags: {failOnInitError: true}", {"flags": {"failOnInitError": True}}, ("f:1:1: unknown",)),
    ],
)  # fmt: skip
def test_a_file_becomes_what_it_means_there(text: str, document: dict[str, Any], left_out: tuple[str, ...]) -> None:
    found = translated(text)
    assert found.document == {"version": "v1", **document}
    assert tuple(each.removesuffix(" is ignored, as by NVIDIA's device plugin") for each in found.left_out) == left_out
    assert not found.lost


def test_what_asks_for_something_else_is_lost_and_named_and_the_rest_is_translated() -> None:
    found = translated("flags: {deviceDiscoveryStrategy: tegra, migStrategy: mixed}")
    assert found.document == {"version": "v1", "flags": {"migStrategy": "mixed"}}
    (lost,) = found.lost
    assert lost.startswith("f:1:9: flags.deviceDiscoveryStrategy: 'tegra' is not supported by plugin-gateway")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=FILES)
def test_the_translation_of_any_file_means_here_what_the_file_means_there(document: object, read: Read) -> None:
    text = yaml.safe_dump(document)
    ours = text_of(translated(text).document)
    theirs, found = read(AS_NVIDIA, {}, text), read(STRICT, {}, ours)
    assert [(each.name, each.selector, each.sharing) for each in found.resources] == [
        (each.name, each.selector, each.sharing) for each in theirs.resources
    ]
    assert not found.unlike_nvidia
    assert translated(ours).document == translated(text).document


def test_the_defaults_of_nvidias_chart_ask_for_nothing() -> None:
    found = translated(DEFAULTS)
    assert found == Translation({"image": {"pullPolicy": "IfNotPresent"}, **empty_ones(found.document)})


def empty_ones(document: Any) -> dict[str, Any]:
    return {key: value for key, value in document.items() if value in ("", [], {})}


VALUES = """\
USER-SUPPLIED VALUES:
migStrategy: mixed
compatWithCPUManager: true
deviceListStrategy: volume-mounts
deviceDiscoveryStrategy: tegra
nodeSelector: {gpu: "yes"}
devicePlugin: {enableHostNetwork: true}
gfd: {enabled: true, noTimestamp: true}
image: {tag: v0.14.5}
config:
  default: shared
  map:
    shared: |
      version: v1
      sharing: {mps: {resources: [{name: gpu, replicas: 4, rename: a}]}}
      flags: {deviceDiscoveryStrategy: tegra}
    other: "version: v1"
surprise: 1
"""


def test_values_of_nvidias_chart_become_values_of_this_one_or_are_named() -> None:
    found = translated(VALUES)
    assert found.document == {
        "migStrategy": "mixed",
        "compatWithCPUManager": True,
        "deviceListStrategy": "volume-mounts",
        "nodeSelector": {"gpu": "yes"},
        "hostNetwork": True,
        "gfd": {"enabled": True},
        "noTimestamp": True,
        "config": {
            "default": "shared",
            "map": {
                "shared": {
                    "version": "v1",
                    "sharing": {"mps": {"resources": [{"name": "nvidia.com/gpu", "replicas": 4}]}},
                },
                "other": {"version": "v1"},
            },
        },
        "mpsRoot": "/run/nvidia/mps",
    }
    jsonschema.validate(found.document, SCHEMA)
    assert [each.partition(": ")[0] + ": " + each.split(": ")[1].split(" ")[0] for each in found.left_out] == [
        "f:18:1: surprise",
        "f, config.map.shared:2:29: sharing.mps.resources.rename",
    ]
    *lost, mps = [each.partition(" is ")[0] for each in found.lost]
    assert mps.startswith(
        "f, config.map.shared: sharing.mps needs more: the chart runs no MPS control daemon, and removes"
    )
    assert lost == [
        "f:5:1: deviceDiscoveryStrategy: 'tegra'",
        "f:9:9: image.tag: 'v0.14.5'",
        "f, config.map.shared:3:9: flags.deviceDiscoveryStrategy: 'tegra'",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("failOnInitError: 'false'", "f:1:1: failOnInitError is the text 'false' and ignored"),
        ("deviceListStrategy: [envvar, cdi-cri]", "f:1:1: deviceListStrategy is a list and ignored"),
        ("migStrategy: 1", "f:1:1: migStrategy is '1' and ignored"),
    ],
)
def test_what_nvidias_chart_does_not_hand_over_is_left_out_and_named(text: str, said: str) -> None:
    found = translated(text)
    assert (found.document, found.lost) == ({}, ())
    assert found.left_out[0].startswith(f"{said}, as by NVIDIA's chart, which takes")


def test_values_that_nvidias_chart_got_later_are_taken_too() -> None:
    main = {"env": [{"name": "LOG_LEVEL", "value": "debug"}]}
    later = {
        "nvidiaDriverCapabilities": "all",
        "devicePlugin": {"resources": {"limits": {"cpu": "1"}}, "containers": {"main": main}},
    }
    found = translated(yaml.safe_dump(later))
    assert found == Translation(later)
    jsonschema.validate(found.document, SCHEMA)


def test_features_of_cdi_specs_are_lost_unless_they_ask_for_nothing() -> None:
    assert translated("cdi: {featureFlags: 'disable-nvsandboxutils, disable-multiple-csv-devices'}") == Translation({})
    found = translated("cdi: {featureFlags: 'disable-nvsandboxutils,enable-x'}")
    assert (found.document, len(found.lost)) == ({}, 1)
    assert "is lost: the gateway does not do it" in found.lost[0]


@pytest.mark.parametrize("names", [(), ("a",), ("a", "default"), ("a.b", "c")])
def test_each_configuration_that_a_label_can_choose_is_translated(names: tuple[str, ...]) -> None:
    text = yaml.safe_dump({"config": {"map": {name: f"flags: {{nvidiaDriverRoot: /{name}}}" for name in names}}})
    found = translated(text)
    files = {name: {"version": "v1", "flags": {"nvidiaDriverRoot": f"/{name}"}} for name in names}
    assert found.document == ({"config": {"map": files}} if names else {})
    assert not found.lost


def test_every_configuration_of_a_config_map_is_translated() -> None:
    manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "n"},
        "data": {"a": "flags: {migStrategy: mixed, useNodeFeatureAPI: true}", "b": "surprise: 1"},
    }
    found = translated(yaml.safe_dump(manifest))
    written = yaml.safe_load(text_of(found.document))
    assert written["metadata"] == {"name": "n"}
    assert {key: yaml.safe_load(text) for key, text in written["data"].items()} == {
        "a": {"version": "v1", "flags": {"migStrategy": "mixed", "useNodeFeatureAPI": True}},
        "b": {"version": "v1"},
    }
    assert [each.split(": ")[0] for each in (*found.lost, *found.left_out)] == ["f, data.b:1:1"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "version: v1\nhealth: {quietTime: 1}\nresources: {rules: [{name: a}]}",
            "f: it has health, resources.rules, ",
        ),
        ("{apiVersion: v1, kind: Secret, data: {}}", "f: this is a Secret; expected a ConfigMap"),
        ("{apiVersion: v1, kind: ConfigMap}", "f: this is a ConfigMap; expected a ConfigMap whose data are texts"),
        ("{apiVersion: v1, kind: ConfigMap, data: {a: 1}}", "f: this is a ConfigMap; expected"),
        (
            "{apiVersion: v1, kind: ConfigMap, data: {a: 'version: v2'}}",
            "f, data.a:1:10: version: invalid value 'v2'; expected v1",
        ),
        ("image: [", "f:1:8: not YAML"),
        ("image: &a [*a]", "f:1: found unconstructable recursive node"),
        ("image: !secret x", "f:1: could not determine a constructor"),
        ("image: 2001-99-99", "f:1: month must be in 1..12"),
        ("image: !!bool x", "f:1: a value does not have the type it names"),
        ("image: !!int ''", "f:1: a value does not have the type it names"),
        ("image: !!timestamp x", "f:1: a value does not have the type it names"),
        (f"{BOMB}apiVersion: v1\nkind: *a9", "f: this is a list; expected a ConfigMap"),
        (
            "migStrategy: mixd\ncdi: {nvidiaHookPath: a}",
            "f:1:14: migStrategy: invalid value 'mixd'; expected none, single, mixed",
        ),
        ("deviceListStrategy: envvar,cdi", "f:1:21: deviceListStrategy: invalid value 'cdi'; expected envvar"),
        ("gfd: true", "f:1:6: gfd is 'true'; expected keys with values"),
        ("config: a", "f:1:9: config is 'a'; expected keys with values"),
        ("config: {map: [a]}", "f: config.map is no mapping of texts"),
        ("config: {map: {a: 1}}", "f: config.map is no mapping of texts"),
        ("config: {map: {a: 'flags: 1'}}", "f, config.map.a:1:8: flags is '1'"),
        ("- a", "f:1:1: the file is a list"),
        ("? [a]\n: 1", "f:1:3: a key is a list"),
    ],
)
def test_what_cannot_be_translated_is_named_with_its_place(text: str, said: str) -> None:
    assert complaint(text).startswith(said)


def test_a_number_that_cannot_be_written_is_no_traceback() -> None:
    with pytest.raises(InvalidValueError, match="too long to be written"):
        text_of(translated(f"tolerations: 1{':59' * 3000}").document)


WORDS: st.SearchStrategy[object] = (
    st.none() | st.booleans() | st.sampled_from(["", "mixed", "envvar", "uuid", "/run/a", "x"]) | st.just({})
)
NESTED = st.fixed_dictionaries({}, optional={each.path: WORDS for each in CHART_VALUES if "." not in each.path})


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values=NESTED, name=st.text(max_size=5), more=st.dictionaries(st.text(max_size=5), WORDS, max_size=2))
def test_any_values_are_translated_or_refused_and_text_is_written_in_ascii(
    values: dict[str, object], name: str, more: dict[str, object]
) -> None:
    values |= {
        "podAnnotations": {name: f"{name}\n{name}"},
        **{key: each for key, each in more.items() if key != "version"},
    }
    try:
        found = translated(yaml.safe_dump(values, allow_unicode=True))
    except InvalidValueError:
        return
    text = text_of(found.document)
    assert text.isascii()
    assert all(each.isprintable() or each == "\n" for each in text)
    assert yaml.safe_load(text) == found.document
