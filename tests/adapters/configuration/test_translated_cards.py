"""What is translated from other plugins for network cards is a configuration that the gateway reads strictly."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugin_gateway.__main__ import PARTS
from plugin_gateway.adapters.commands.flags import decide_all
from plugin_gateway.adapters.configuration.chart_translation import text_of, translate_any
from plugin_gateway.adapters.configuration.option import GivenFlag
from plugin_gateway.adapters.configuration.settings import make_settings
from plugin_gateway.adapters.configuration.translation import Translation
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.policy import HealthPolicy
from plugin_gateway.core.resources.rules import ResourceRule

VENDORS = PARTS._replace(card_health=lambda _: HealthPolicy())
Rules = Callable[..., list[ResourceRule]]


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Rules:
    """Returns the rules of a backend that `run` makes from the translation of a document."""
    file = tmp_path_factory.mktemp("translated") / "config.yaml"

    def refuse(name: str, _: bytes) -> Translation:
        raise InvalidValueError(f"{name}: not recognised")

    def made(document: object, backend: str = "rdma") -> list[ResourceRule]:
        file.write_text(text_of(translate_any("f", json.dumps(document).encode(), refuse).document))
        decisions = decide_all({"config_file": GivenFlag("--config-file", str(file))}, VENDORS)
        return [rule for rule in make_settings(decisions).resources if backend in rule.selector.backends]

    return made


NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,9}[a-z0-9]", fullmatch=True)
IDS = st.lists(st.from_regex(r"[0-9a-f]{4}", fullmatch=True), max_size=3)
WORDS = st.lists(st.text("ab01*?[]-_", min_size=1, max_size=8), max_size=3)
LINKS = st.lists(st.sampled_from(["ether", "infiniband", "ethernet"]), max_size=2)
ADDRESSES = st.lists(st.from_regex(r"0000:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]", fullmatch=True), max_size=3)
VFS = st.from_regex(r"[a-z][a-z0-9]{1,8}(#[0-9]{1,2}(,[0-9]{1,2})?)?", fullmatch=True)
SELECTORS = st.fixed_dictionaries(
    {"isRdma": st.booleans()},
    optional={"vendors": IDS, "devices": IDS, "drivers": WORDS, "pciAddresses": ADDRESSES, "linkTypes": LINKS,
              "pfNames": st.lists(VFS, max_size=3)},
)  # fmt: skip
SHARED = st.fixed_dictionaries(
    {}, optional={"vendors": IDS, "deviceIDs": IDS, "drivers": WORDS, "ifNames": WORDS, "linkTypes": LINKS}
).filter(lambda selectors: any(selectors.values()))


@settings(max_examples=60, deadline=None)
@given(resources=st.dictionaries(NAMES, st.lists(SELECTORS, min_size=1, max_size=3), min_size=1, max_size=4))
def test_every_configuration_of_the_sriov_plugin_is_read(resources: dict[str, list[Any]], rules: Rules) -> None:
    document = {"resourceList": [{"resourceName": name, "selectors": each} for name, each in resources.items()]}
    found = rules(document)
    assert [rule.name for rule in found] == [f"intel.com/{name}" for name, each in resources.items() for _ in each]
    assert all(rule.sharing.replicas == 1 and not rule.sharing.is_pool for rule in found)


@settings(max_examples=60, deadline=None)
@given(resources=st.dictionaries(NAMES, st.tuples(st.integers(1, 1024), SHARED), min_size=1, max_size=4))
def test_every_configuration_of_the_shared_plugin_is_read(resources: dict[str, tuple[int, Any]], rules: Rules) -> None:
    document = {
        "configList": [
            {"resourceName": name, "rdmaHcaMax": count, "selectors": selectors}
            for name, (count, selectors) in resources.items()
        ]
    }
    found = rules(document)
    assert [(rule.name, rule.sharing.replicas) for rule in found] == [
        (f"rdma/{name}", count) for name, (count, _) in resources.items()
    ]
    assert all(rule.sharing.is_pool for rule in found)


@pytest.mark.parametrize("document", [{"mode": "hca"}, {"mode": "sriov", "pfNetdevices": ["ib0"]}])
def test_both_modes_of_the_old_plugin_are_read(document: object, rules: Rules) -> None:
    assert len(rules(document)) == 1


@pytest.mark.parametrize(
    "plugin", [{}, {"setPreload": False, "mountOnload": True}, {"maxPodsPerNode": 1, "baseMountPath": "/b"}]
)
def test_the_device_plugin_of_an_onload_is_read(plugin: object, rules: Rules) -> None:
    document = {"apiVersion": "onload.amd.com/v1alpha1", "kind": "Onload", "spec": {"devicePlugin": plugin}}
    (rule,) = rules(document, "onload")
    assert (rule.name, rule.sharing.is_pool) == ("amd.com/onload", True)
    assert rule.options is not None
    assert bool(rule.options.environment) == (plugin != {"setPreload": False, "mountOnload": True})
