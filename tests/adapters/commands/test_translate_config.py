"""`plugin-gateway translate-config` as a program: what it reads, prints and ends with."""

import subprocess
from pathlib import Path

import pytest
import yaml

from harness.process import PROGRAM

SHARED = "sharing: {timeSlicing: {resources: [{name: gpu, replicas: 4, rename: shiny}]}}\n"
TRANSLATED = """\
version: v1
sharing:
  timeSlicing:
    resources:
    - name: nvidia.com/gpu
      replicas: 4
"""


def translate(*arguments: str, given: bytes = b"") -> tuple[int, str, str]:
    done = subprocess.run(
        [PROGRAM, "translate-config", *arguments], input=given, capture_output=True, timeout=30, check=False
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_a_file_is_translated_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(SHARED)
    assert translate(str(file)) == (
        0,
        TRANSLATED,
        f"plugin-gateway: {file}:1:37: sharing.timeSlicing.resources.rename is ignored, as by NVIDIA's device plugin\n",
    )
    file.write_text(TRANSLATED)
    assert translate(str(file)) == (0, TRANSLATED, "")


def test_standard_input_is_read_and_what_is_lost_is_said_and_ends_with_1() -> None:
    status, output, errors = translate("-", given=b"image: {tag: v0.14.5}\nconfig: {map: {a: 'surprise: 1'}}\n")
    assert status == 1
    assert yaml.safe_load(output) == {"config": {"map": {"a": {"version": "v1"}}}}
    assert errors.splitlines() == [
        "plugin-gateway: standard input, config.map.a:1:1: surprise is ignored, as by NVIDIA's device plugin",
        ("plugin-gateway: standard input:1:9: image.tag: 'v0.14.5' is lost: it is that of another image"),
    ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"version: v2", "standard input:1:10: version: invalid value 'v2'; expected v1"),
        (b"flags: {a: [", "standard input:1:12: not YAML: the [ that begins here is not closed, nor is the { at 1:8"),
        (b"version: \xff", "standard input:1:10: not YAML: invalid start byte"),
        (b" " * (2**20 + 1), "standard input: larger than the 1048576 bytes allowed"),
    ],
)
def test_a_mistake_prints_nothing_and_ends_with_2(given: bytes, said: str) -> None:
    assert translate("-", given=given) == (2, "", f"plugin-gateway: {said}\n")


def test_a_file_that_is_not_there_and_none_at_all(tmp_path: Path) -> None:
    path = tmp_path / "none"
    assert translate(str(path)) == (
        2,
        "",
        f"plugin-gateway: configuration file {path}: No such file or directory\n",
    )
    assert translate()[0] == 2


def test_control_characters_of_the_file_reach_no_terminal() -> None:
    status, output, errors = translate("-", given=b'"a\\e[31mb": 1\npodAnnotations: {a: "\\e[31m"}\n')
    assert status == 0
    assert "\x1b" not in output + errors
    assert "is no value of NVIDIA's chart" in errors


def test_the_configuration_of_another_plugin_is_recognised_by_its_content() -> None:
    given = b'{"configList": [{"resourceName": "hca", "rdmaHcaMax": 63, "devices": ["ib0"], "rdmaHcaMx": 1}]}'
    status, output, errors = translate("-", given=given)
    assert status == 1
    assert yaml.safe_load(output)["resources"]["rdma"] == [
        {"name": "rdma/hca", "sharing": "pool", "replicas": 63, "select": {"interfaces": ["ib0"]}}
    ]
    assert errors.splitlines()[-1] == (
        "plugin-gateway: standard input:1:79: configList.rdmaHcaMx is ignored by the RDMA shared device plugin, and "
        "left out; did you mean rdmaHcaMax?"
    )
