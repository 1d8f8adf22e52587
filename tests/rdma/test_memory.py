"""What was seen of the cards is kept, and a file with something else in it is not used."""

import json
from dataclasses import replace
from typing import Any

import pytest

from cards.builder import Cards
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.linux.facts import Port, RdmaDevice
from plugin_gateway.rdma.memory import Known, Memory, as_text, parse
from plugin_gateway.rdma.model import RdmaModel
from rdma.functions import ADDRESS, FUNCTION, OTHER, bus, loaded
from rdma.watching import Watched

KNOWN = Known(
    "15b3",
    "101c",
    "mlx5_core",
    ("ens1f0v0", "odd \udcff name"),
    1,
    (RdmaDevice("mlx5_2", (Port(1, "Ethernet"),), ("uverbs2",), ("umad2",), (), hca_type="MT4124"),),
    has_rdma_driver=True,
)


def test_what_was_kept_comes_back_as_it_was() -> None:
    memory = {ADDRESS: KNOWN, OTHER: Known("8086", "1592")}
    assert parse(as_text(memory)) == memory
    assert as_text(parse(as_text(memory))) == as_text(memory)
    assert as_text(memory).isascii()


def test_it_is_kept_only_when_it_has_changed(watched: Watched, cards: Cards) -> None:
    cards.connectx6()
    for _ in range(3):
        watched.look()
    assert len(watched.saved) == 2
    cards.give_away("0000:3b:00.4")
    cards.port_down("0000:3b:00.0")
    watched.look()
    assert len(watched.saved) == 2
    cards.rename_interface("ens1f0v0", "other")
    watched.look()
    assert watched.saved[-1]["0000:3b:00.2"].interfaces == ("other",)
    cards.unplug("0000:3b:00.2")
    watched.look()
    assert "0000:3b:00.2" not in watched.saved[-1]


def test_what_could_not_be_kept_is_kept_after_the_next_scan() -> None:
    kept: list[Memory] = []
    is_kept = [False, True]
    model = RdmaModel(save=kept.append, is_kept=lambda: is_kept.pop(0))
    for _ in range(3):
        model.see(bus(FUNCTION), loaded("mlx5_ib"))
    assert [list(each) for each in kept] == [[ADDRESS], [ADDRESS]]


def test_a_model_goes_on_with_what_another_one_kept() -> None:
    kept: list[str] = []
    RdmaModel(save=lambda memory: kept.append(as_text(memory))).see(bus(FUNCTION), loaded("mlx5_ib"))
    model, tree = RdmaModel(parse(kept[-1])), loaded("mlx5_ib")
    tree.make_folder(f"/sys/bus/pci/devices/{ADDRESS}/infiniband")
    hidden = bus(replace(FUNCTION, rdma_devices=(), interfaces=()))
    (device,) = model.see(hidden, tree).inventory.devices
    assert device.nodes == ("/dev/infiniband/uverbs0",)
    assert device.physical.attributes["interface"] == ("ens1np0",)


def document() -> dict[str, Any]:
    text: dict[str, Any] = json.loads(as_text({ADDRESS: KNOWN}))
    return text


def changed(path: str, value: object) -> str:
    """Return the kept text with another value at a path such as ``cards.ADDRESS.driver``."""
    whole = document()
    *folders, name = path.split("/")
    inside: Any = whole
    for each in folders:
        inside = inside[int(each) if isinstance(inside, list) else each]
    inside[int(name) if isinstance(inside, list) else name] = value
    return json.dumps(whole)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "{}",
        '{"version": 1}',
        '{"version": 1, "cards": []}',
        "[" * 100_000,
        '{"version": 1, "cards": {"0000:3b:00.2": null}}',
        changed(f"cards/{ADDRESS}/vendor", 1),
        changed(f"cards/{ADDRESS}/driver", ["mlx5_core"]),
        changed(f"cards/{ADDRESS}/interfaces", "ens1f0v0"),
        changed(f"cards/{ADDRESS}/interfaces", [None]),
        changed(f"cards/{ADDRESS}/hardware_type", "1"),
        changed(f"cards/{ADDRESS}/hardware_type", True),
        changed(f"cards/{ADDRESS}/rdma_devices", {}),
        changed(f"cards/{ADDRESS}/rdma_devices/0/ports", [[1]]),
        changed(f"cards/{ADDRESS}/rdma_devices/0/uverbs", "uverbs2"),
        changed(f"cards/{ADDRESS}/rdma_devices/0/name", None),
    ],
)
def test_a_damaged_text_is_refused_with_the_reason(text: str) -> None:
    with pytest.raises(InvalidValueError, match="what was seen of the cards is damaged"):
        parse(text)


@pytest.mark.parametrize("version", [0, 2, "1", None, [1]])
def test_a_text_of_another_version_is_refused_with_both_versions(version: object) -> None:
    with pytest.raises(InvalidValueError, match=r"what was seen of the cards has version .*, this is 1"):
        parse(changed("version", version))
