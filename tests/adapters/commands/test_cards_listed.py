"""`plugin-gateway devices` of a node with network cards: their own columns, and why one is not offered."""

import json
from dataclasses import replace

import pytest

from harness.network_cards import CARDS, OTHER_PF, PF, POOL, VF, VFS, CardDriver, rule, seen, vf
from harness.several import settings_of
from plugin_gateway.adapters.commands import device_tables
from plugin_gateway.adapters.commands.devices import show_devices
from plugin_gateway.adapters.commands.gateway_settings import View
from plugin_gateway.core.devices import Device, RejectedDevice
from plugin_gateway.core.ports import Backend
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule, Selector
from plugin_gateway.core.resources.sharing import Sharing
from plugin_gateway.nvidia.simulated import SimulatedBackend

GPUS = ResourceRule(selector=Selector(backends=("simulated",)), name=ResourceName("nvidia.com/gpu"))
VIRTUAL = rule(VFS, function=("vf",))
MANAGER = RejectedDevice("0000:c1:00.0", "it manages the links between GPUs and is no port for data")


class Shown:
    """What the command prints of GPUs and cards side by side."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def text(self, *rules: ResourceRule, cards: tuple[Device, ...] = CARDS, explain: bool = False) -> str:
        return self._shown(rules, cards, explain=explain)

    def json(self, *rules: ResourceRule) -> dict[str, list[dict[str, object]]]:
        found: dict[str, list[dict[str, object]]] = json.loads(self._shown(rules, CARDS, as_json=True, explain=True))
        return found

    def _shown(
        self,
        rules: tuple[ResourceRule, ...],
        cards: tuple[Device, ...],
        *,
        as_json: bool = False,
        explain: bool = False,
    ) -> str:
        backends: dict[str, Backend] = {
            "simulated": SimulatedBackend("1xH100"),
            "rdma": CardDriver(seen(*cards, set_aside=(MANAGER,))),
        }
        settings = replace(settings_of(backend="simulated:1xH100"), resources=(GPUS, *rules))
        status = show_devices(backends, View(settings, ()), as_json=as_json, with_reasons=explain, with_links=True)
        assert status == 0
        return self._capsys.readouterr().out


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Shown:
    return Shown(capsys)


def cells(output: str, device: str) -> list[str]:
    (line,) = [line for line in output.splitlines() if line.strip().startswith(f"{device} ")]
    return line.split()


def test_cards_have_columns_of_their_own(shown: Shown) -> None:
    output = shown.text(VIRTUAL, rule(POOL, Sharing(replicas=63, is_pool=True), function=("pf",)))
    assert cells(output, VF) == [VF, "ConnectX-6", "vf", "ens1f0np0#0", "ens1f0v0", "ethernet", "mlx5_core", "0"]
    assert cells(output, PF) == [PF, "ConnectX-6", "pf", "ens1f0np0", "ethernet", "mlx5_core", "0"]
    assert f"{VFS}: 2 devices" in output
    assert f"{POOL}: 2 devices as a pool of 63" in output
    assert "nvidia.com/gpu: 1 device" in output
    assert "replicas" not in output


def test_a_shared_card_has_its_replicas(shown: Shown) -> None:
    output = shown.text(rule(VFS, Sharing(replicas=100), function=("pf",)))
    assert f"{VFS}: 2 devices, 200 with their replicas" in output
    assert cells(output, PF)[-1] == "100"


def test_cards_that_no_rule_matches_are_one_line(shown: Shown) -> None:
    output = shown.text(VIRTUAL)
    assert (
        f"not offered: {PF}, {OTHER_PF}: no rule under resources matches these network cards, --explain tells why"
        in output.splitlines()
    )


def test_of_very_many_cards_some_are_named(shown: Shown) -> None:
    output = shown.text(cards=tuple(vf(number, number) for number in range(20)))
    (line,) = [line for line in output.splitlines() if "no rule under resources" in line]
    assert " and 12 more: no rule" in line


def test_what_is_left_to_others_is_said_with_the_reason(shown: Shown) -> None:
    assert f"not offered: {MANAGER.place}: {MANAGER.problem}" in shown.text(VIRTUAL).splitlines()


def test_why_a_card_is_not_offered_is_explained_by_rule_and_condition(shown: Shown) -> None:
    few = rule(ResourceName("example.com/few"), parent=tuple(f"ens1f0np0#{number}" for number in range(1, 32)))
    infiniband = rule(POOL, linkType=("infiniband",))
    output = shown.text(few, infiniband, explain=True)
    lines = output.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith(f"{VF}, ConnectX-6, vendor 15b3"))
    assert "function vf" in lines[at]
    assert lines[at + 1] == "  taken by no rule"
    named = " or ".join(f"'ens1f0np0#{number}'" for number in range(1, 9))
    assert lines[at + 2].endswith(f"its parent is 'ens1f0np0, ens1f0np0#0, {PF}, {PF}#0', and not {named} or 23 more")
    assert lines[at + 3].endswith("its linkType is 'ethernet', and not 'infiniband'")
    assert not [line for line in lines[at:] if "by rule 1: backend simulated" in line], "it says nothing of cards"


def test_a_card_that_an_earlier_rule_took_is_explained_too(shown: Shown) -> None:
    output = shown.text(VIRTUAL, rule(POOL, function=("vf",)), explain=True)
    assert output.count("it comes later") == 2


def test_json_has_what_rules_can_ask_of_a_card(shown: Shown) -> None:
    told = shown.json(VIRTUAL, rule(POOL, Sharing(replicas=63, is_pool=True), function=("pf",)))
    by_id = {each["id"]: each for each in told["devices"]}
    assert by_id[VF]["attributes"]["interface"] == ["ens1f0v0"]  # type: ignore[index]
    assert (by_id[PF]["is_pooled"], by_id[PF]["replicas"]) == (True, 63)
    assert [each["attributes"] for each in told["devices"] if each["kind"] == "gpu"] == [{}]
    why = {each["id"]: each["others"] for each in told["explained"]}
    assert {"rule": 0, "why_not": "its backend is 'rdma', and not 'simulated'"}.items() <= why[VF][0].items()  # type: ignore[index]


def test_links_are_asked_of_gpus_alone(shown: Shown) -> None:
    output = shown.text(VIRTUAL)
    assert "backend simulated:" in output
    assert "backend rdma:" not in output


@pytest.mark.parametrize("columns", [40, 60])
def test_on_a_narrow_terminal_no_word_of_a_card_is_cut(
    columns: int, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_tables, "terminal_width", lambda: columns)
    output = shown.text(VIRTUAL).partition("not offered")[0]
    for word in ("function", "interface", VF, "ens1f0np0#0", "mlx5_core", "ConnectX-6"):
        assert word in output
    assert all(len(line) <= max(columns, 50) for line in output.splitlines())
