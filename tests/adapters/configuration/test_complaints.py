"""One run tells every mistake of a file, where it begins and what it is; what is no configuration file is named."""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugin_gateway.adapters.configuration.document import MAX_COMPLAINTS
from plugin_gateway.core.errors import InvalidValueError, InvalidValuesError

from .conftest import Read

MANIFEST = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: time-slicing-config-all
  namespace: nvidia-device-plugin
data:
  any: |-
     version: v1
     flags:
       migStrategy: "none"
       failOnInitError: false
"""
MANY = """\
version: v1
flags:
  logLevel: loud
  logLevle: info
  failOnInitError: maybe
  <<: {logFormat: json}
  plugin: [a]
resources:
  gpus:
  - {pattern: a, nmae: b}
  - {pattern: "", name: c}
  - 5
health:
  quietTime: long
  flapCount: 010
  xids: {0: ignore, 13: what, 010: ignore}
  evidence: {nothing: ignore}
"""

EACH_KIND = """\
version: v1
extra: 1
flags:
  failOnInitError: "true"
  failOnInitError: false
  plugin: {apiVersion: v9, passDeviceSpecs: [true]}
resources:
  gpus:
  - {pattern: "", name: kubernetes.io/gpu}
  mig: []
health:
  decisionTime: 601
  xids:
    0: what
    94: {action: never, count: 1, window: soon, often: 2}
    79: {action: ignore, count: 101}
  evidence: {fabric: {count: 2}, driver-gone: 5}
"""
"""Wrong in twenty places; an entry can be wrong in several."""


def complaints(read: Read, text: str, config_file: Path) -> list[str]:
    with pytest.raises(InvalidValueError) as caught:
        read((), {}, text)
    return [each.replace(f"{config_file}:", "") for each in caught.value.problems]


def test_every_mistake_is_told_at_once(read: Read, config_file: Path) -> None:
    told = complaints(read, MANY, config_file)
    assert [each.split(": ")[0] for each in told] == [
        "3:13",
        "4:3",
        "5:20",
        "6:3",
        "7:11",
        "10:18",
        "11:15",
        "12:5",
        "14:14",
        "15:14",
        "16:10",
        "16:25",
        "16:31",
        "17:14",
    ]
    assert told[0] == "3:13: flags.logLevel: invalid value 'loud'; expected debug, info, warning, error"
    assert told[3] == "6:3: flags.<<: keys cannot be merged in this file; write them out"
    assert told[9].startswith("15:14: health.flapCount: '010' is 8 to YAML, because it begins with 0; write 8 or 10")


def test_no_mistake_hides_another_one_in_the_same_entry(read: Read, config_file: Path) -> None:
    assert [re.split(", |; expected", each)[0] for each in complaints(read, EACH_KIND, config_file)] == [
        "2:1: unknown key extra",
        "4:20: flags.failOnInitError is the text 'true'",
        "5:3: flags.failOnInitError occurs twice",
        "6:24: flags.plugin.apiVersion: invalid value 'v9'",
        "6:45: flags.plugin.passDeviceSpecs is a list",
        "9:15: resources.gpus.pattern is empty; '*' matches every one",
        "9:25: resource name 'kubernetes.io/gpu': kubelets refuse every name that contains kubernetes.io/",
        "10:8: resources.mig is an empty list",
        "12:17: health.decisionTime: invalid value '601'",
        "14:5: health.xids: '0' is no XID",
        "14:8: health.xids.0: invalid value 'what'",
        "15:18: health.xids.94.action: invalid value 'never'",
        "15:32: health.xids.94.count: invalid value '1'",
        "15:43: health.xids.94.window: invalid value 'soon'",
        "15:49: unknown key health.xids.94.often",
        "16:18: health.xids.79.action: invalid value 'ignore'",
        "16:33: health.xids.79.count: invalid value '101'",
        "16:9: window missing in health.xids.79",
        "17:22: health.evidence.fabric is a mapping",
        "17:47: health.evidence.driver-gone: invalid value '5'",
    ]


def test_a_file_of_mistakes_is_not_repeated_whole(read: Read, config_file: Path) -> None:
    text = "version: v1\n" + "".join(f"x{number}: 1\n" for number in range(1000))
    told = complaints(read, text, config_file)
    assert len(told) == MAX_COMPLAINTS + 1
    assert told[-1] == f"and {1000 - MAX_COMPLAINTS} more"


def test_the_text_of_all_complaints_has_each(read: Read) -> None:
    with pytest.raises(InvalidValuesError) as caught:
        read((), {}, MANY)
    assert str(caught.value) == "; ".join(caught.value.problems)


def test_a_value_of_the_file_is_checked_although_a_flag_decides(read: Read, config_file: Path) -> None:
    config_file.write_text("version: v1\nflags: {logLevel: loud}\n")
    with pytest.raises(InvalidValueError, match=r"2:19: flags.logLevel: invalid value 'loud'"):
        read([f"--config-file={config_file}", "--log-level=info"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            MANIFEST,
            "2:7: this is a Kubernetes manifest (ConfigMap) and no configuration file: give the text below data.any",
        ),
        (
            "kind: DaemonSet\napiVersion: apps/v1\n",
            "1:7: this is a Kubernetes manifest (DaemonSet) and no configuration file, which begins with version: v1",
        ),
        ("apiVersion: v1\nflags: {logLevel: info}\n", "1:1: apiVersion is called version in this file: version: v1"),
        (
            "image: {tag: x}\nconfig:\n  map:\n    default: |-\n      version: v1\n",
            (
                "1:1: these are values of a Helm chart (image, config) and no configuration file: "
                "give the text below config.map.default"
            ),
        ),
        (
            "nodeSelector: {a: b}\nconfig:\n  file:\n    version: v1\n",
            (
                "1:1: these are values of a Helm chart (nodeSelector, config) and no configuration file: "
                "give the text below config.file"
            ),
        ),
        (
            "tolerations: []\nlogLevel: info\n",
            (
                "1:1: these are values of a Helm chart (tolerations) and no configuration file, "
                "which begins with version: v1"
            ),
        ),
    ],
)
def test_something_else_than_a_configuration_file_is_named(text: str, said: str, read: Read, config_file: Path) -> None:
    assert complaints(read, text, config_file) == [said]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('version: v1\nflags:\n  logLevel: "info\n', '3:13: not YAML: the " that begins here is not closed'),
        ("version: v1\nflags:\n  logLevel: 'info\n", "3:13: not YAML: the ' that begins here is not closed"),
        (
            'version: v1\nresources: {gpus: [{pattern: "*", name: nvidia.com/gpu}\n',
            "2:19: not YAML: the [ that begins here is not closed, nor is the { at 2:12",
        ),
        (
            'version: v1\nresources: {gpus: [{pattern: "*", name: nvidia.com/gpu}}\nflags:\n  logLevel: info\n',
            "2:19: not YAML: the [ that begins here is not closed",
        ),
        (
            "version: v1\nresources:\n  gpus: [{pattern: a, name: b}\nflags:\n  logLevel: info\n",
            "3:9: not YAML: the [ that begins here is not closed",
        ),
        ("version: v1\nflags: {\n", "2:8: not YAML: the { that begins here is not closed"),
        (
            'version: v1\nflags:\n  logLevel: "info\n  logFormat: "json"\n',
            (
                "4:15: not YAML: while parsing a block mapping: expected <block end>, but found '<scalar>'; "
                'is the " at 3:13 not closed?'
            ),
        ),
    ],
)
def test_what_is_not_closed_is_told_where_it_begins(text: str, said: str, read: Read, config_file: Path) -> None:
    (told,) = complaints(read, text, config_file)
    assert told == said


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        (
            "deviceDiscoveryStrateg",
            (
                "it looks like flags.deviceDiscoveryStrategy, which is not supported by plugin-gateway; expected "
                "auto or nvml: GPUs are found through NVML"
            ),
        ),
        ("useNodeFeaturAPI", "did you mean flags.useNodeFeatureAPI?"),
        ("gdsEnable", "did you mean flags.gdsEnabled?"),
        ("migStrateg", "did you mean flags.migStrategy?"),
        ("logLevle", "did you mean flags.logLevel?"),
    ],
)
def test_no_hint_proposes_what_is_refused(key: str, hint: str, read: Read, config_file: Path) -> None:
    assert complaints(read, f"version: v1\nflags: {{{key}: x}}\n", config_file) == [
        f"2:9: unknown key flags.{key}, {hint}"
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "sharing: {renameByDefault: true}",
            "sharing.renameByDefault, did you mean sharing.timeSlicing.renameByDefault?",
        ),
        ("sharing: {resources: []}", "sharing.resources, did you mean sharing.timeSlicing.resources?"),
        (
            "failRequestsGreaterThanOne: true",
            "failRequestsGreaterThanOne, did you mean sharing.timeSlicing.failRequestsGreaterThanOne?",
        ),
        ("flags: {resources: {}}", "flags.resources, did you mean resources?"),
    ],
)
def test_a_key_of_time_slicing_in_another_place_is_told_where_it_belongs(
    text: str, said: str, read: Read, config_file: Path
) -> None:
    (told,) = complaints(read, f"version: v1\n{text}\n", config_file)
    assert told.endswith(f": unknown key {said}")


@pytest.mark.parametrize("written", ["010", "+010", "0_10", "00"])
def test_a_number_that_yaml_reads_otherwise_than_people_is_refused(written: str, read: Read, config_file: Path) -> None:
    (told,) = complaints(read, f"version: v1\nhealth: {{quietTime: {written}}}\n", config_file)
    assert "because it begins with 0" in told
    quoted = read((), {}, "version: v1\nhealth: {quietTime: '10', flapCount: 0o10}\n".replace("0o10", "10"))
    assert quoted.health.quiet_time == 10


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(text=st.text(alphabet="[]{}\"'ab:,- \n&*<!#|", max_size=60))
def test_whatever_the_text_is_the_complaint_names_a_place(text: str, read: Read, config_file: Path) -> None:
    for told in complaints(read, f"version: v1\nnothing: {text}", config_file):
        assert re.match(r"\d+:\d+: |and \d+ more$", told), told
