"""`--backend` with several backends, and the resources that their devices get."""

from pathlib import Path

import pytest

from harness.several import FIRST, OTHER, TWO, settings_of
from plugin_gateway.__main__ import PARTS, parse_backend
from plugin_gateway.adapters.configuration.chosen_backends import resolved, split
from plugin_gateway.core.errors import InvalidValueError

MIG = "simulated:2xH100/mig=0:3g.40gb,1g.10gb;1:7g.80gb"
NAMED = "simulated:1xA100/name=other/mig=0:1g.10gb,1g.10gb"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("nvml", ["nvml"]),
        (MIG, ["simulated"]),
        (f"nvml,{NAMED}", ["nvml", "other"]),
        (f"{MIG},{NAMED},nvml", ["simulated", "other", "nvml"]),
        ("simulated,nvml", ["simulated", "nvml"]),
    ],
)
def test_a_list_is_split_where_a_backend_begins(text: str, names: list[str]) -> None:
    assert parse_backend(text) == text
    chosen = PARTS.backends(text)
    assert [each.name for each in chosen] == names
    assert ",".join(each.text for each in chosen) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nvml,nvml", "backend 'nvml' occurs twice; expected each one once"),
        ("simulated:1xH100,simulated:2xA100", "simulated:8xH100/name=other"),
        (f"{NAMED},{NAMED}", "backend 'other' occurs twice"),
        ("simulated:1xH100,simulated:2xA100/name=nvml,nvml", "backend 'nvml' occurs twice"),
        ("nvml,cuda", "invalid value 'nvml,cuda'; expected auto, nvml, rdma, onload, simulated:COUNTxMODEL, "),
        ("nvml,", "invalid value 'nvml,'; expected auto"),
        ("", "invalid value ''; expected auto"),
        ("nvml,simulated:2xK80/name=a", "expected COUNTxMODEL such as 8xH100"),
        ("simulated:1xH100/name=", "expected a name of 1 to 20 small letters"),
        ("simulated:1xH100/name=a/b", "expected a name of 1 to 20 small letters"),
        ("simulated:1xH100/name=A", "expected a name of 1 to 20 small letters"),
        (f"simulated:1xH100/name={'a' * 21}", "expected a name of 1 to 20 small letters"),
    ],
)
def test_a_mistake_in_a_list_is_told(text: str, said: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        parse_backend(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sections", "stands_for"),
    [
        ("auto", (), "nvml"),
        ("auto", ("onload", "rdma"), "nvml,rdma,onload"),
        (f"{MIG},auto", ("rdma",), f"{MIG},rdma"),
        ("auto,simulated-rdma:1xCX6", ("rdma", "onload"), "nvml,simulated-rdma:1xCX6,onload"),
        ("rdma,auto", ("rdma",), "nvml,rdma"),
        ("nvml,auto", (), "nvml"),
        ("nvml", ("rdma",), "nvml"),
    ],
)
def test_auto_stands_for_gpus_and_for_the_cards_with_a_section(
    text: str, sections: tuple[str, ...], stands_for: str
) -> None:
    assert resolved(text, sections) == stands_for


def test_a_simulated_gpu_is_no_network_card() -> None:
    with pytest.raises(InvalidValueError, match="backend 'rdma' has network cards; expected another name for GPUs"):
        parse_backend("simulated:1xH100/name=rdma")


def test_a_list_of_parts_is_not_split() -> None:
    assert split("a:1,2,b,a,3", ("a", "b")) == ["a:1,2", "b", "a,3"]


def words(**given: str) -> list[str]:
    return [rule.words for rule in settings_of(**given).resources]


def test_each_backend_has_a_resource_of_its_own() -> None:
    assert words(backend=TWO) == [f"backend {FIRST}=nvidia.com/gpu", f"backend {OTHER}=nvidia.com/other"]
    assert settings_of(backend=TWO).backends == (FIRST, OTHER)
    assert words(backend="simulated:1xH100") == ["*=nvidia.com/gpu"]
    assert settings_of(backend="simulated:1xH100").backends == ()
    assert words(backend="simulated:1xH100/name=other") == ["*=nvidia.com/other"]


def test_the_name_of_a_flag_is_that_of_the_first() -> None:
    assert words(backend=TWO, resource_name="example.com/x") == [
        f"backend {FIRST}=example.com/x",
        f"backend {OTHER}=nvidia.com/other",
    ]


def test_two_backends_with_one_name_are_refused() -> None:
    with pytest.raises(
        InvalidValueError, match=r"resource nvidia\.com/gpu is given to .* nvml and of backend simulated"
    ):
        settings_of(backend="nvml,simulated:2xH100")
    with pytest.raises(InvalidValueError, match=r"resource nvidia\.com/other is given to .* simulated and .* other"):
        settings_of(backend=TWO, resource_name="nvidia.com/other")


FILE = """\
version: v1
resources:
  gpus:
    - {pattern: "*H100*", name: big}
    - {pattern: "*", name: gpu}
  rules:
    - {backend: other, product: "*A100*", name: example.com/old}
"""


def test_the_file_is_about_the_first_backend_but_for_rules_that_name_another(config_file: Path) -> None:
    path = str(config_file)
    config_file.write_text(FILE)
    assert words(backend=TWO, config_file=path) == [
        "*A100* and backend other=example.com/old",
        f"*H100* and backend {FIRST}=nvidia.com/big",
        f"* and backend {FIRST}=nvidia.com/gpu",
        "backend other=nvidia.com/other",
    ]
    assert words(backend="simulated:1xH100/name=other", config_file=path)[0] == "*A100*=example.com/old"
    assert words(backend="simulated:1xH100", config_file=path)[0] == "*A100* and backend other=example.com/old"


def test_a_rule_can_take_all_of_a_backend_before_its_own_name(config_file: Path) -> None:
    path = str(config_file)
    config_file.write_text("version: v1\nresources: {rules: [{backend: simulated, name: example.com/simulated}]}\n")
    assert words(backend="nvml,simulated:2xH100", config_file=path) == [
        "backend simulated=example.com/simulated",
        "backend nvml=nvidia.com/gpu",
        "backend simulated=nvidia.com/gpu",
    ]


def test_what_is_shared_by_name_can_be_of_a_further_backend(config_file: Path) -> None:
    path = str(config_file)
    config_file.write_text("version: v1\nsharing: {timeSlicing: {resources: [{name: other, replicas: 4}]}}\n")
    assert words(backend=TWO, config_file=path)[-1] == f"backend {OTHER}=nvidia.com/other x4"
