"""The sections `resources` and `sharing` of the file, and the rules that they make."""

import re
from pathlib import Path

import pytest
import yaml

from harness.devices import device, inventory, part
from plugin_gateway.adapters.configuration.document import Place
from plugin_gateway.adapters.configuration.resource_rules import (
    ALL,
    BY_PROFILE,
    Chosen,
    FileResources,
    SharedResource,
    SharedResources,
)
from plugin_gateway.core.devices import DeviceId, Kind
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rule_reasons import doubtful
from plugin_gateway.core.resources.rules import ResourceRule, Selector, takers
from plugin_gateway.core.resources.sharing import ALONE, Sharing

from .conftest import Read

GPU, H100 = ResourceName("nvidia.com/gpu"), Selector(products=("*H100*",))
MIG = Kind("mig")
MIG_ENTRY = "{name: mig-1g.10gb, replicas: 2}"


def rules(read: Read, text: str) -> tuple[ResourceRule, ...]:
    return read((), {}, f"version: v1\n{text}").resources


def own(read: Read, text: str) -> ResourceRule:
    """The one rule of `resources.rules`. The one for all other GPUs follows it."""
    first, rest = rules(read, f"resources: {{rules: [{text}]}}\n")
    assert rest == ResourceRule(name=GPU)
    return first


def sliced(read: Read, entries: str, others: str = "", resources: str = "") -> tuple[ResourceRule, ...]:
    return rules(read, f"{resources}sharing: {{timeSlicing: {{resources: [{entries}]{others}}}}}\n")


@pytest.mark.parametrize(
    ("text", "selector"),
    [
        ("", Selector()),
        ("uuid: GPU-1", Selector(ids=(DeviceId("GPU-1"),))),
        ("uuid: [GPU-1, MIG-2, GPU-1]", Selector(ids=(DeviceId("GPU-1"), DeviceId("MIG-2")))),
        ("index: 0", Selector(places=((0,),))),
        ("index: [3, '0:1', 1:30]", Selector(places=((3,), (0, 1), (1, 30)))),
        ("pci: 0000:3b:00.0", Selector(addresses=("0000:3b:00.0",))),
        ("pci: [00000000:3B:00.0, 3b:00.1, 10000:af:1f.7]",
         Selector(addresses=("0000:3b:00.0", "0000:3b:00.1", "10000:af:1f.7"))),
        ("product: '*H100*'", H100),
        ("product: ['NVIDIA [AH]100*', a]", Selector(products=("NVIDIA [AH]100*", "a"))),
        ("profile: 1g.*, kind: mig", Selector(profiles=("1g.*",), kinds=(MIG,))),
        ("kind: [gpu, mig]", Selector(kinds=(Kind("gpu"), MIG))),
    ],
)  # fmt: skip
def test_a_rule_of_ours_has_these_selectors(text: str, selector: Selector, read: Read) -> None:
    rule = own(read, f"{{{text + ', ' if text else ''}name: a}}")
    assert rule == ResourceRule(selector=selector, name=ResourceName("nvidia.com/a"))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("name: example.com/b, replicas: 4",
         ResourceRule(name=ResourceName("example.com/b"), sharing=Sharing(replicas=4))),
        ("name: gpu, replicas: 1", ResourceRule(name=GPU, sharing=ALONE)),
        ("name: gpu, replicas: 2, failRequestsGreaterThanOne: true",
         ResourceRule(name=GPU, sharing=Sharing(replicas=2, one_per_request=True))),
        ("index: 7, never: true", ResourceRule(selector=Selector(places=((7,),)), name=None)),
    ],
)  # fmt: skip
def test_a_rule_of_ours_names_shares_or_excludes(text: str, rule: ResourceRule, read: Read) -> None:
    assert own(read, f"{{{text}}}") == rule


def test_the_order_of_rules_is_ours_then_profiles_then_products(read: Read, config_file: Path) -> None:
    text = """\
resources:
  gpus: [{pattern: "*H100*", name: h100}]
  mig:
  - {pattern: "1g.*", name: small}
  rules:
  - {index: 0, never: true}
"""
    found = rules(read, text)
    assert found == (
        ResourceRule(selector=Selector(places=((0,),)), name=None),
        ResourceRule(selector=Selector(profiles=("1g.*",), kinds=(MIG,)), name=ResourceName("nvidia.com/small")),
        ResourceRule(selector=H100, name=ResourceName("nvidia.com/h100")),
    )
    assert [rule.origin for rule in found] == [f"file {config_file}:{line}" for line in (7, 5, 3)]


@pytest.mark.parametrize(
    ("entry", "others", "expected"),
    [
        ("name: gpu, replicas: 2", "", ResourceRule(name=GPU, sharing=Sharing(replicas=2))),
        ("name: nvidia.com/gpu, replicas: 1024, devices: all", "",
         ResourceRule(name=GPU, sharing=Sharing(replicas=1024))),
        ("name: gpu, replicas: 4", ", renameByDefault: true",
         ResourceRule(name=ResourceName("nvidia.com/gpu.shared"), sharing=Sharing(replicas=4))),
        ("name: gpu, replicas: 4, rename: shiny", ", renameByDefault: true",
         ResourceRule(name=ResourceName("nvidia.com/shiny"), sharing=Sharing(replicas=4))),
        ("name: gpu, replicas: 4, rename: gpu", ", renameByDefault: true",
         ResourceRule(name=GPU, sharing=Sharing(replicas=4))),
        ("name: gpu, replicas: 4", ", failRequestsGreaterThanOne: true",
         ResourceRule(name=GPU, sharing=Sharing(replicas=4, one_per_request=True))),
    ],
)  # fmt: skip
def test_time_slicing_shares_every_device_of_a_name(
    entry: str, others: str, expected: ResourceRule, read: Read
) -> None:
    assert sliced(read, f"{{{entry}}}", others) == (expected,)


def test_time_slicing_of_chosen_devices_leaves_the_others_alone(read: Read, config_file: Path) -> None:
    found = sliced(read, "{name: gpu, replicas: 2, devices: [1, '0:1', GPU-5, 1], rename: shared}")
    shared = ResourceRule(name=ResourceName("nvidia.com/shared"), sharing=Sharing(replicas=2))
    assert found == (
        ResourceRule(selector=Selector(ids=(DeviceId("GPU-5"),)), name=shared.name, sharing=shared.sharing),
        ResourceRule(selector=Selector(places=((1,), (0, 1))), name=shared.name, sharing=shared.sharing),
        ResourceRule(name=GPU),
    )
    assert [rule.origin for rule in found] == [f"file {config_file}:2", f"file {config_file}:2", ""]
    assert sliced(read, "{name: gpu, replicas: 2, devices: 3}") == (
        ResourceRule(name=GPU, sharing=Sharing(replicas=2), at_most=3),
        ResourceRule(name=GPU),
    )


def test_time_slicing_follows_the_names_that_rules_give(read: Read) -> None:
    resources = """\
resources:
  rules:
  - {index: 0, name: h100, replicas: 1}
  - {index: 1, name: h100}
  - {index: 2, never: true}
  gpus: [{pattern: "*H100*", name: h100}, {pattern: "*", name: gpu}]
  mig: [{pattern: "*", name: part}]
"""
    found = sliced(read, "{name: h100, replicas: 2}, {name: part, replicas: 3}", resources=resources)
    assert [rule.words for rule in found] == [
        "index 0=nvidia.com/h100",
        "index 1=nvidia.com/h100 x2",
        "index 2=never offered",
        "profile * and kind mig=nvidia.com/part x3",
        "*H100*=nvidia.com/h100 x2",
        "*=nvidia.com/gpu",
    ]


def test_time_slicing_of_a_name_that_nothing_has_is_a_remark(read: Read, config_file: Path) -> None:
    text = "version: v1\nsharing:\n  timeSlicing:\n    resources:\n    - {name: example.com/gpu, replicas: 2}\n"
    settings = read((), {}, text)
    assert settings.resources == (ResourceRule(name=GPU),)
    (remark,) = settings.remarks
    assert (
        remark == f"{config_file}:5:7: sharing.timeSlicing shares example.com/gpu, and no rule gives a device this name"
    )


def test_a_flag_names_every_device_and_time_slicing_follows_it(read: Read, config_file: Path) -> None:
    text = """\
version: v1
resources: {rules: [{index: 0, never: true}]}
sharing: {timeSlicing: {resources: [{name: example.com/a, replicas: 2, devices: [1]}, {name: gpu, replicas: 3}]}}
"""
    settings = read(("--resource-name=example.com/a",), {}, text)
    assert [rule.words for rule in settings.resources] == ["index 1=example.com/a x2", "*=example.com/a"]
    assert len(settings.remarks) == 1
    assert settings.sources["resources"] == "flag --resource-name"
    assert read((), {}, text.replace("example.com/a", "gpu.a")).sources["resources"] == f"file {config_file}:2"


def words(read: Read, flags: str, text: str | None = None) -> list[str]:
    return [rule.words for rule in read(flags.split(), {}, text).resources]


PROFILES = "kind mig=nvidia.com/mig-PROFILE"


def test_with_mixed_each_mig_device_has_the_name_of_its_profile_after_what_is_written_for_it(read: Read) -> None:
    assert words(read, "--mig-strategy=mixed") == [PROFILES, "*=nvidia.com/gpu"]
    named = "--mig-strategy=mixed --resource-name=example.com/a"
    assert words(read, named) == [PROFILES, "*=example.com/a"]
    text = """\
version: v1
flags: {migStrategy: mixed}
resources:
  rules: [{index: '0:1', never: true}]
  mig: [{pattern: 1g.*, name: small}]
  gpus: [{pattern: '*H100*', name: h100}]
"""
    written = ["index 0:1=never offered", "profile 1g.* and kind mig=nvidia.com/small"]
    assert words(read, "", text) == [*written, PROFILES, "*H100*=nvidia.com/h100"]
    assert words(read, "--resource-name=example.com/a", text) == [PROFILES, "*=example.com/a"]
    for strategy in ("none", "single"):
        assert words(read, f"--mig-strategy={strategy}", text) == [*written, "*H100*=nvidia.com/h100"]
        assert words(read, f"--mig-strategy={strategy}") == ["*=nvidia.com/gpu"]


@pytest.mark.parametrize(
    ("profile", "name"),
    [
        ("1g.10gb", "nvidia.com/mig-1g.10gb"),
        ("1g.10gb+me", "nvidia.com/mig-1g.10gb.me"),
        ("1g.24gb+me.all", "nvidia.com/mig-1g.24gb.me.all"),
        ("1g.24gb-me", "nvidia.com/mig-1g.24gb-me"),
        ("1c.3g.40gb", "nvidia.com/mig-1c.3g.40gb"),
        ("1c.2g.24gb+gfx", "nvidia.com/mig-1c.2g.24gb.gfx"),
        ("", "nvidia.com/gpu"),
    ],
)
def test_a_name_has_a_dot_for_each_plus_of_the_profile_and_nothing_else_changes(
    read: Read, profile: str, name: str
) -> None:
    rules = read(("--mig-strategy=mixed",)).resources
    offered = part(device(0), 0, profile) if profile else device(0)
    (taker,) = takers([offered], rules)
    assert taker is not None
    assert rules[taker].name_for(offered) == name


def test_time_slicing_shares_the_devices_of_one_profile(read: Read) -> None:
    shared = "{name: nvidia.com/mig-1g.10gb, replicas: 2}, {name: mig-3g.40gb.me, replicas: 3, devices: ['0:1']}"
    text = f"version: v1\nsharing: {{timeSlicing: {{resources: [{shared}]}}}}\n"
    mixed = read(("--mig-strategy=mixed",), {}, text)
    assert [rule.words for rule in mixed.resources] == [
        "profile 1g[.+]10gb and kind mig=nvidia.com/mig-1g.10gb x2",
        "profile 3g[.+]40gb[.+]me and index 0:1 and kind mig=nvidia.com/mig-3g.40gb.me x3",
        PROFILES,
        "*=nvidia.com/gpu",
    ]
    assert not mixed.remarks
    assert len(read(("--mig-strategy=single",), {}, text).remarks) == 2, "no device has such a name"


@pytest.mark.parametrize("name", ["mig-1g.10gb", "mig-small"])
def test_a_name_that_a_rule_for_mig_devices_gives_is_shared_and_no_doubt_remains(name: str, read: Read) -> None:
    text = f"""\
version: v1
resources: {{mig: [{{pattern: 1g.10gb, name: {name}}}]}}
sharing: {{timeSlicing: {{resources: [{{name: {name}, replicas: 2}}]}}}}
"""
    rules = read(("--mig-strategy=mixed",), {}, text).resources
    first, second = part(device(0), 0), part(device(0), 1, "3g.40gb")
    assert [rules[taker].words for taker in takers((first, second), rules) if taker is not None] == [
        f"profile 1g.10gb and kind mig=nvidia.com/{name} x2",
        PROFILES,
    ]
    assert not doubtful(inventory(first, second), rules)


def test_the_name_of_a_profile_without_mixed_is_a_remark_that_names_the_strategy(read: Read) -> None:
    (remark,) = read((), {}, f"version: v1\nsharing: {{timeSlicing: {{resources: [{MIG_ENTRY}]}}}}\n").remarks
    assert remark.endswith("and no rule gives a device this name; --mig-strategy=mixed gives names like this")


def test_a_name_with_the_profile_is_shared_for_that_profile() -> None:
    place = Place(file=Path("f"), mark=yaml.Mark("f", 0, 3, 0, None, 0))
    entries = tuple(
        SharedResource(name=ResourceName(f"nvidia.com/mig-{name}"), replicas=2, devices=devices, place=place)
        for name, devices in (("1g.10gb.me", ALL), ("3g.40gb", Chosen(places=((0,),))))
    )
    slicing = SharedResources(resources=entries, rename_by_default=True)
    found, remarks = FileResources(shared=slicing, place=place).rules(None, [BY_PROFILE])
    assert not remarks
    assert [rule.words for rule in found] == [
        "profile 1g[.+]10gb[.+]me and kind mig=nvidia.com/mig-1g.10gb.me.shared x2",
        "profile 3g[.+]40gb and index 0 and kind mig=nvidia.com/mig-3g.40gb.shared x2",
        PROFILES,
        "*=nvidia.com/gpu",
    ]
    parent = device(0)
    parts = [part(parent, number, profile) for number, profile in enumerate(("1g.10gb+me", "1g.10gb", "3g.40gb"))]
    assert takers(parts, found) == (0, 2, 1)


def test_the_examples_of_the_documentation_are_read(read: Read) -> None:
    page = (Path(__file__).parents[3] / "docs/configure.md").read_text()
    examples = re.findall(r"```yaml\n(version: v1\n.*?)```", page, re.DOTALL)
    assert [
        "\n".join(rule.words for rule in read(("--mps-root=/run/nvidia/mps",), {}, each).resources) for each in examples
    ] == [
        "*H100*=nvidia.com/h100\n*=nvidia.com/gpu",
        "index 7=never offered\n*H100* and index 0 or 1=nvidia.com/gpu.shared x4\n*=nvidia.com/gpu",
        "index 0 or 1=nvidia.com/gpu.shared x4\n*=nvidia.com/gpu",
        "*=nvidia.com/gpu.shared x4 through mps",
        "backend other=example.com/simulated\n*=nvidia.com/gpu",
        "*=nvidia.com/gpu",
    ]
