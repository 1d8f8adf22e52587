"""Simulated Solarflare cards are judged by the genuine model, and need no node."""

import pytest

from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.linux.pci_scan import scan
from plugin_gateway.solarflare.evidence import LINK_DOWN, ONLOAD_MISSING
from plugin_gateway.solarflare.model import ONLOAD
from plugin_gateway.solarflare.simulated import MAX_CARDS, MODELS, parse_spec, simulated_model

from .looking import Looker

PORT = "0001:5e:00.0"


def test_a_card_has_its_ports_with_a_link_and_onload_is_there() -> None:
    look = Looker(parse_spec("1xX2522"), simulated_model()).look()
    assert look.ids == [PORT, "0001:5e:00.1"]
    assert look.problems == {PORT: {}, "0001:5e:00.1": {}}
    assert [(port.is_up, port.rate_gbps) for port in look.ports] == [(True, 25.0)] * 2
    assert look.inventory.physical[0].pci_path == ("pci0001:5d", "0001:5d:00.0")
    assert look.inventory.physical[0].attributes["interface"] == ("enP1p94s0f0np0",)


def test_no_node_is_needed_and_those_that_are_there_are_given() -> None:
    recipe = Looker(parse_spec("1xX2522"), simulated_model()).look().inventory.recipes[ONLOAD]
    assert (recipe.shared_nodes, recipe.is_complete) == ((), False)
    assert recipe.optional_nodes == ("/dev/onload", "/dev/onload_epoll", "/dev/sfc_char")


def test_everything_that_a_scan_asks_for_can_be_read() -> None:
    bus = scan(parse_spec(f"{MAX_CARDS}xX2522"))
    assert len(bus.functions) == 2 * MAX_CARDS
    assert (bus.unreadable, [each.unread for each in bus.functions if each.unread]) == ({}, [])
    names = [interface.name for each in bus.functions for interface in each.interfaces]
    assert max(map(len, names)) <= 15  # IFNAMSIZ
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("model", MODELS)
def test_each_model_can_be_simulated(model: str) -> None:
    look = Looker(parse_spec(f"2x{model}+1xX2522"), simulated_model()).look()
    assert len(look.ids) == 2 * MODELS[model].ports + 2
    assert [problems for problems in look.problems.values() if problems] == []
    assert {each.numa_node for each in look.inventory.physical} == {0, 1}


def test_a_change_of_the_files_is_seen() -> None:
    tree = parse_spec("1xX2522")
    looker = Looker(tree, simulated_model())
    looker.look()
    tree.write(f"/sys/bus/pci/devices/{PORT}/net/enP1p94s0f0np0/carrier", "0")
    assert looker.look().problems[PORT].keys() == {LINK_DOWN}
    tree.remove("/sys/module/onload")
    assert ONLOAD_MISSING in looker.look().problems[PORT]


@pytest.mark.parametrize(
    "spec",
    ["", "X2522", "x", "0xX2522", "-1xX2522", "65xX2522", "40xX2522+40xX4", "1xX9", "1xX2522+", "1xx2522", "²xX4"],
)
def test_a_specification_that_is_not_allowed_is_refused_with_what_is(spec: str) -> None:
    with pytest.raises(
        InvalidValueError, match=r"expected COUNTxMODEL such as 1xX2522.* with 1 to 64 of SFN8522, X2522"
    ):
        parse_spec(spec)


def test_a_long_specification_is_shown_in_part() -> None:
    with pytest.raises(InvalidValueError) as raised:
        parse_spec("9" * 5000 + "xX2522")
    assert len(str(raised.value)) < 400
