"""The sections `resources.rdma` and `resources.onload`: what each entry becomes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from plugin_gateway.__main__ import PARTS
from plugin_gateway.adapters.commands.flags import decide_all
from plugin_gateway.adapters.commands.run.settings_in_words import differences
from plugin_gateway.adapters.configuration.option import GivenFlag
from plugin_gateway.adapters.configuration.settings import Settings, make_settings
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.policy import NOT_ANSWERING, Action, Decision, EvidenceKind, HealthPolicy
from plugin_gateway.core.resources.container_options import ContainerOptions, DeviceVariable, FileMounts
from plugin_gateway.core.resources.rules import ResourceRule, Selector
from plugin_gateway.core.resources.sharing import ALONE, Sharing

Cards = Callable[..., Settings]
DOWN, HANGS, SLOW = EvidenceKind("port-down"), NOT_ANSWERING, EvidenceKind("pcie-degraded")
OF_CARDS = HealthPolicy(
    kinds={
        DOWN: Decision(Action.UNHEALTHY, "default"),
        HANGS: Decision(Action.UNHEALTHY, "default"),
        SLOW: Decision(Action.REPORT, "default"),
    }
)
VENDORS = PARTS._replace(card_health=lambda _: OF_CARDS)


def settings_of(**given: str) -> Settings:
    return make_settings(decide_all({name: GivenFlag(f"--{name}", text) for name, text in given.items()}, VENDORS))


@pytest.fixture
def cards(config_file: Path) -> Cards:
    """Reads settings with these sections in the file, as `run` does."""

    def read(resources: str, more: str = "", **given: str) -> Settings:
        config_file.write_text(f"version: v1\nresources: {{{resources}}}\n{more}")
        return settings_of(config_file=str(config_file), **given)

    return read


def rules_of(settings: Settings, backend: str = "rdma") -> list[ResourceRule]:
    return [rule for rule in settings.resources if backend in rule.selector.backends]


def names(settings: Settings) -> list[str]:
    return [each.name for each in settings.chosen]


FULL = """\
rdma: [{name: example.com/roce-vf, sharing: exclusive, select: {vendors: ["15b3"], devices: [0x101C, 0703],
        drivers: [mlx5_core], pciAddresses: [], functions: vf, parents: ["ens1f0np0#0-2,7", "3B:00.1#4"],
        interfaces: ["ens1f0v*"], linkTypes: [ether]}}]"""


def test_an_exclusive_entry_is_a_rule_with_the_variables_of_the_sriov_plugin(cards: Cards, config_file: Path) -> None:
    settings = cards(FULL)
    (rule,) = rules_of(settings)
    assert rule == ResourceRule(
        selector=Selector(
            backends=("rdma",),
            attributes={
                "vendor": ("15b3",),
                "device": ("101c", "0703"),
                "driver": ("mlx5_core",),
                "interface": ("ens1f0v*",),
                "linkType": ("ethernet",),
                "parent": ("ens1f0np0#0", "ens1f0np0#1", "ens1f0np0#2", "ens1f0np0#7", "0000:3b:00.1#4"),
                "function": ("vf",),
            },
        ),
        name=rule.name,
        sharing=ALONE,
        options=ContainerOptions(
            variables=(DeviceVariable("PCIDEVICE_EXAMPLE_COM_ROCE-VF"),),
            details_variable="PCIDEVICE_EXAMPLE_COM_ROCE-VF_INFO",
        ),
        is_always_there=True,
    )
    assert (rule.name, rule.origin) == ("example.com/roce-vf", f"file {config_file}:2")
    assert settings.card_resources == {"example.com/roce-vf"}
    assert len(settings.remarks) == 1
    assert settings.remarks[0].endswith("resources.rdma.select.pciAddresses is an empty list, so it is no condition")


def test_a_pool_has_ids_of_its_own_and_only_the_variables_asked_for(cards: Cards) -> None:
    (rule,) = rules_of(
        cards(
            "rdma: [{name: rdma/all, sharing: pool, replicas: 63, select: {interfaces: [ib0, ib1]}, "
            "nodes: {umad: true, subnetManager: true}, variables: [nccl, ucx, pcidevice]}]"
        )
    )
    assert rule.sharing == Sharing(replicas=63, is_pool=True)
    assert rule.options == ContainerOptions(
        requested_nodes=("umad", "issm"),
        variables=(
            DeviceVariable("PCIDEVICE_RDMA_ALL"),
            DeviceVariable("NCCL_IB_HCA", "nccl", "="),
            DeviceVariable("UCX_NET_DEVICES", "ucx"),
        ),
        details_variable="PCIDEVICE_RDMA_ALL_INFO",
    )


def test_what_an_entry_leaves_open_has_a_default(cards: Cards) -> None:
    shared, pool, alone = rules_of(
        cards("rdma: [{name: a/s, sharing: shared}, {name: a/p, sharing: pool}, {name: a/a, variables: []}]")
    )
    assert shared.sharing == Sharing(replicas=100)
    assert pool.sharing == Sharing(replicas=100, is_pool=True)
    assert alone.sharing == ALONE
    assert {each.options for each in (shared, pool, alone)} == {ContainerOptions()}
    assert shared.selector == Selector(backends=("rdma",))


def test_an_empty_section_offers_the_physical_functions_under_the_names_of_others(cards: Cards) -> None:
    settings = cards("rdma: {}, onload: {}")
    (rdma,), (onload,) = rules_of(settings), rules_of(settings, "onload")
    assert rdma.words == "backend rdma and function pf=rdma/hca x100"
    assert rdma.options == ContainerOptions()
    assert (onload.name, onload.sharing) == ("amd.com/onload", Sharing(replicas=100, is_pool=True))
    assert onload.options == ContainerOptions(
        environment={"LD_PRELOAD": "/opt/onload/usr/lib64/libonload.so"},
        files=(FileMounts("/opt/onload/usr/lib64", ("libonload.so*", "libonload_ext.so*"), "/opt/onload/usr/lib64"),),
    )


LIBRARIES = ("libonload.so*", "libonload_ext.so*")


@pytest.mark.parametrize(
    ("keys", "given", "preloaded", "files"),
    [
        (
            "hostPath: /a/, containerPath: /b",
            {},
            "/b/usr/lib64/libonload.so",
            [("/a/usr/lib64", LIBRARIES, "/b/usr/lib64")],
        ),
        (
            "sharing: shared",
            {"onload_host_path": "/h"},
            "/h/usr/lib64/libonload.so",
            [("/h/usr/lib64", LIBRARIES, "/h/usr/lib64")],
        ),
        (
            "preload: false",
            {},
            None,
            [("/opt/onload/usr/lib64", LIBRARIES, "/opt/onload/usr/lib64")],
        ),
        (
            "containerPath: /b",
            {"onload_preload": "false"},
            None,
            [("/opt/onload/usr/lib64", LIBRARIES, "/b/usr/lib64")],
        ),
        (
            "preload: true",
            {"onload_preload": "false"},
            "/opt/onload/usr/lib64/libonload.so",
            [("/opt/onload/usr/lib64", LIBRARIES, "/opt/onload/usr/lib64")],
        ),
        (
            "script: true",
            {},
            None,
            [
                ("/opt/onload/usr/lib64", LIBRARIES, "/opt/onload/usr/lib64"),
                ("/opt/onload/usr/bin", ("onload",), "/opt/onload/usr/bin"),
            ],
        ),
    ],
)
def test_containers_get_the_user_space_of_onload(
    keys: str, given: dict[str, str], preloaded: str | None, files: list[tuple[object, ...]], cards: Cards
) -> None:
    (rule,) = rules_of(cards(f"onload: [{{name: a/o, {keys}}}]", **given), "onload")
    assert rule.options is not None
    assert rule.options.environment == ({"LD_PRELOAD": preloaded} if preloaded else {})
    assert [tuple(each) for each in rule.options.files] == files


def test_auto_takes_in_what_has_a_section_and_gpus_always(cards: Cards) -> None:
    assert names(settings_of()) == ["nvml"]
    assert names(cards("rdma: {}")) == ["nvml", "rdma"]
    assert names(cards("onload: {}, rdma: {}")) == ["nvml", "rdma", "onload"]
    assert names(cards("gpus: [{pattern: '*', name: a}]")) == ["nvml"]


def test_without_a_section_nothing_is_said_of_backends() -> None:
    settings = settings_of()
    assert settings.resources == (ResourceRule(name=settings.resources[0].name),)
    assert (settings.backends, settings.card_health, settings.card_resources) == ((), {}, frozenset())


def test_a_backend_without_its_section_has_the_default_one() -> None:
    assert [each.words for each in settings_of(backend="nvml,rdma").resources] == [
        "backend nvml=nvidia.com/gpu",
        "backend rdma and function pf=rdma/hca x100",
    ]
    alone = settings_of(backend="rdma")
    assert [each.words for each in alone.resources] == ["function pf=rdma/hca x100"]
    assert alone.backends == ()


def test_a_section_without_its_backend_has_no_effect_and_that_is_said(cards: Cards) -> None:
    settings = cards("rdma: {}", backend="nvml")
    assert [each.words for each in settings.resources] == ["*=nvidia.com/gpu"]
    assert settings.remarks == ("resources.rdma is there, and --backend is nvml; auto takes it in",)
    assert not settings.card_resources


def test_network_cards_come_after_gpus_whatever_the_order(cards: Cards) -> None:
    assert names(cards("rdma: {}", backend="onload,rdma,nvml")) == ["nvml", "onload", "rdma"]


RULES = "rules: [{product: '*A100*', name: example.com/old}, {backend: rdma, pci: 0000:3b:00.0, never: true}]"


def test_a_rule_that_names_no_backend_takes_no_network_card(cards: Cards) -> None:
    assert [each.words for each in cards(f"{RULES}, rdma: {{}}").resources] == [
        "*A100* and backend nvml=example.com/old",
        "PCI address 0000:3b:00.0 and backend rdma=never offered",
        "backend nvml=nvidia.com/gpu",
        "backend rdma and function pf=rdma/hca x100",
    ]
    assert [each.words for each in cards(f"{RULES}, rdma: {{}}", backend="rdma").resources] == [
        "PCI address 0000:3b:00.0=never offered",
        "function pf=rdma/hca x100",
    ]


def test_what_is_shared_and_renamed_by_nvidias_keys_is_never_a_card(cards: Cards) -> None:
    sharing = "sharing: {timeSlicing: {renameByDefault: true, resources: [{name: rdma/hca, replicas: 4}]}}\n"
    settings = cards("rdma: {}", sharing, resource_name="example.com/gpu", mig_strategy="mixed")
    assert [each.words for each in settings.resources] == [
        "kind mig and backend nvml=nvidia.com/mig-PROFILE",
        "backend nvml=example.com/gpu",
        "backend rdma and function pf=rdma/hca x100",
    ]
    assert "shares rdma/hca, and no rule gives a device this name" in settings.remarks[0]


def test_a_name_for_gpus_says_nothing_where_there_are_none() -> None:
    settings = settings_of(backend="rdma", resource_name="example.com/gpu")
    assert settings.remarks == ("--resource-name is example.com/gpu, and no backend has GPUs",)
    assert [each.words for each in settings.resources] == ["function pf=rdma/hca x100"]


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ("rdma: [{name: nvidia.com/gpu}]", "resource nvidia.com/gpu (file {}:2) is given to devices of backend nvml"),
        ("rdma: [{name: a/b}], onload: [{name: a/b}]", "to devices of backend rdma and of backend onload"),
    ],
)
def test_devices_of_two_backends_have_other_names(resources: str, said: str, cards: Cards, config_file: Path) -> None:
    with pytest.raises(InvalidValueError) as caught:
        cards(resources)
    assert said.format(config_file) in str(caught.value)


def test_mofed_for_all_and_a_device_for_one_are_refused_together(cards: Cards, config_file: Path) -> None:
    with pytest.raises(InvalidValueError) as caught:
        cards("rdma: [{name: a/b}]", mofed_enabled="true")
    assert str(caught.value) == (
        f"{config_file}:2: a/b is exclusive, and --mofed-enabled gives every container with a GPU all InfiniBand "
        "devices of the node; expected one of them [MOFED_ENABLED]"
    )
    cards("rdma: [{name: a/b, sharing: shared}]", mofed_enabled="true")
    cards("rdma: [{name: a/b}]", mofed_enabled="true", backend="rdma")


def test_entries_with_one_name_add_up_what_they_select(cards: Cards) -> None:
    both = cards("rdma: [{name: a/b, select: {functions: vf}}, {name: a/b, select: {interfaces: [eth1]}}]")
    assert [each.words for each in rules_of(both)] == [
        "backend rdma and function vf=a/b",
        "backend rdma and interface eth1=a/b",
    ]


def test_an_empty_select_takes_all_and_that_is_said(cards: Cards, config_file: Path) -> None:
    settings = cards("rdma: [{name: a/b, select: {}}]")
    assert settings.remarks == (
        f"{config_file}:2:40: resources.rdma.select is empty, so it takes every card that is left",
    )


def test_each_backend_has_a_health_policy_of_its_own(cards: Cards, config_file: Path) -> None:
    health = """\
health:
  quietTime: 7
  flapWindow: 100
  links: {quietTime: 3, longestQuietTime: 30, pollInterval: 2}
  evidence: {port-down: report, not-answering: ignore, nvlink-down: report}
"""
    settings = cards("rdma: {}", health)
    gpus, rdma = settings.health_of("nvml"), settings.health_of("rdma")
    assert gpus is settings.health
    assert (gpus.quiet_time, gpus.longest_quiet_time, gpus.flap_window) == (7, None, 100)
    assert (rdma.quiet_time, rdma.longest_quiet_time, rdma.flap_window) == (3, 30, 100)
    assert (settings.poll_interval, settings.values["link_quiet_time"]) == (2, 3)
    assert DOWN not in gpus.kinds
    assert rdma.kinds == {
        DOWN: Decision(Action.REPORT, f"file {config_file}:7"),
        HANGS: Decision(Action.IGNORE, f"file {config_file}:7"),
        SLOW: Decision(Action.REPORT, "default"),
    }
    assert gpus.about(HANGS).action is Action.IGNORE


def test_evidence_about_cards_may_stand_in_a_file_of_a_node_without_any(cards: Cards) -> None:
    settings = cards("gpus: [{pattern: '*', name: a}]", "health: {evidence: {port-down: ignore}}\n")
    assert settings.card_health == {}
    assert DOWN not in settings.health.kinds


@pytest.mark.parametrize(
    ("health", "said"),
    [
        ("evidence: {port-dwon: report}", "unknown key health.evidence.port-dwon, known are "),
        ("evidence: {port-down: {action: unhealthy, count: 2, window: 1m}}", "port-down is a mapping; expected an"),
        ("links: {quietTime: x}", "health.links.quietTime: invalid value 'x'; expected 0 to 10000000 seconds"),
        ("links: {pollInterval: 0.5}", "health.links.pollInterval: invalid value '0.5'; expected 1 to 60 seconds"),
        ("links: {quiet: 1}", "unknown key health.links.quiet, did you mean health.links.quietTime?"),
        ("links: {quietTime: 60, longestQuietTime: 30}", "--longest-link-quiet-time: 30; expected 60 seconds and"),
    ],
)
def test_a_mistake_about_the_health_of_cards_is_told(health: str, said: str, cards: Cards) -> None:
    with pytest.raises(InvalidValueError) as caught:
        cards("rdma: {}", f"health: {{{health}}}\n")
    assert said in str(caught.value)


def test_a_change_that_no_rule_shows_is_named_all_the_same(cards: Cards) -> None:
    before = cards("rdma: [{name: a/b}]")
    assert differences(before, cards("rdma: [{name: a/b, variables: [ucx]}]")) == ["what containers get with resources"]
    assert differences(before, cards("rdma: [{name: a/b}]", "health: {links: {quietTime: 5}}\n")) == [
        "link_quiet_time: 10.0 -> 5.0",
        "health",
    ]
    assert differences(before, cards("rdma: [{name: a/b}]")) == []
