"""What a look at a host finds that matters for every network card."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cards.builder import Cards
from plugin_gateway.core.devices import Device, Inventory, Kind, PhysicalDevice, PhysicalId, Recipe, whole
from plugin_gateway.core.findings import Finding, Verdict
from plugin_gateway.linux.card_findings import (
    HostView,
    check_bus,
    check_interfaces,
    check_nodes,
    listed,
    view_of,
)
from plugin_gateway.linux.facts import PciFunctions
from plugin_gateway.linux.sysfs import HostTree

PF, VF = "0000:3b:00.0", "0000:3b:00.2"
KIND = Kind("card")


@pytest.fixture
def cards(tmp_path: Path) -> Cards:
    return Cards(tmp_path).connectx6()


def seen(cards: Cards, *own: str, link_events: str = "auto") -> HostView:
    return HostView(HostTree(str(cards.root)), str(cards.root), own, link_events, 1.0)


def bus_of(view: HostView) -> tuple[list[Finding], PciFunctions | None]:
    findings: list[Finding] = []
    checks = check_bus(view)
    while True:
        try:
            findings.append(next(checks))
        except StopIteration as end:
            return findings, end.value


def interfaces(view: HostView, *addresses: str) -> list[Finding]:
    _, bus = bus_of(view)
    assert bus is not None
    return list(check_interfaces(view, bus, addresses or (PF,)))


def inventory(*, node_folder: str = "", is_complete: bool = True) -> Inventory:
    physical = PhysicalDevice(
        id=PhysicalId(PF), index=0, minor=None, pci_address=PF, product="", memory_bytes=0, numa_node=None
    )
    known = whole(physical, KIND, ("/dev/infiniband/uverbs0",))
    device = Device(
        id=known.id,
        physical=physical,
        kind=KIND,
        place=(0,),
        nodes=known.nodes,
        memory_bytes=0,
        node_folder=node_folder,
    )
    recipe = Recipe(shared_nodes=("/dev/infiniband/rdma_cm",), is_complete=is_complete)
    return Inventory(physical=(physical,), devices=(device,), recipes={KIND: recipe})


def words(findings: Iterator[Finding]) -> list[tuple[Verdict, str]]:
    return [(each.verdict, each.what) for each in findings]


def test_a_host_whose_bus_is_not_seen_is_to_be_mended(tmp_path: Path) -> None:
    (finding,), bus = bus_of(HostView(HostTree(str(tmp_path))))
    assert bus is None
    assert finding.verdict is Verdict.MEND
    assert finding.what.startswith(f"network cards are not seen: the PCI bus cannot be read: {tmp_path}/sys/bus/pci")
    assert "--host-root" in finding.todo


def test_a_host_whose_bus_is_seen_is_no_finding(cards: Cards) -> None:
    findings, bus = bus_of(seen(cards))
    assert (findings, len(bus.functions) if bus else 0) == ([], 6)


def test_without_the_interfaces_of_cards_the_folder_is_that_of_another_namespace(cards: Cards) -> None:
    for name in ("ens1f0np0", "ens1f1np1"):
        cards.files.remove(cards.net_folder(name))
    (finding,) = interfaces(seen(cards), PF, "0000:3b:00.1")
    assert finding.verdict is Verdict.MEND
    assert f"{cards.root}/sys belongs to another network namespace" in finding.what


def test_a_virtual_function_in_a_pod_says_nothing_about_the_namespace(cards: Cards) -> None:
    cards.give_away(VF)
    assert interfaces(seen(cards, "ens1f0np0"), PF, VF) == []
    assert interfaces(seen(cards), VF) == []


def test_a_gateway_that_gets_no_events_of_links_is_told_what_follows(cards: Cards) -> None:
    (finding,) = interfaces(seen(cards, "lo", "eth0"))
    assert finding.verdict is Verdict.HINT
    assert "it looks at the links every 1 s instead" in finding.what
    assert "hostNetwork" in finding.todo


def test_where_events_reach_it_or_nobody_wants_them_there_is_nothing_to_say(cards: Cards) -> None:
    assert interfaces(seen(cards, "lo", "ens1f0np0")) == []
    assert interfaces(seen(cards, "lo", link_events="poll")) == []


def test_the_interfaces_of_this_process_are_those_of_its_own_namespace() -> None:
    assert set(view_of("/", "auto", 1.0).own_interfaces) == {name for _, name in socket.if_nameindex()}


def test_every_node_that_is_there_is_well(cards: Cards) -> None:
    assert words(check_nodes(seen(cards), inventory())) == [
        (Verdict.WELL, "every device node of a network card is there: 2")
    ]


def test_a_node_is_looked_for_under_the_name_that_it_has_now(cards: Cards) -> None:
    folder = f"/sys/bus/pci/devices/{PF}/infiniband_verbs"
    cards.files.remove("/dev/infiniband/uverbs0")
    cards.files.touch("/dev/infiniband/uverbs9")
    functions = cards.files.at(f"/sys/bus/pci/devices/{PF}").resolve()
    (functions / "infiniband_verbs" / "uverbs0").rename(functions / "infiniband_verbs" / "uverbs9")
    assert words(check_nodes(seen(cards), inventory(node_folder=folder)))[0][0] is Verdict.WELL
    missing = f"device nodes are missing in {cards.root}/dev: /dev/infiniband/uverbs0; "
    assert words(check_nodes(seen(cards), inventory())) == [
        (Verdict.MEND, f"{missing}containers that need them are refused")
    ]


def test_nodes_of_a_device_in_a_pod_are_not_missed(cards: Cards) -> None:
    cards.give_away(PF)
    cards.files.remove("/dev/infiniband/uverbs0")
    folder = f"/sys/bus/pci/devices/{PF}/infiniband_verbs"
    assert words(check_nodes(seen(cards), inventory(node_folder=folder)))[0][0] is Verdict.WELL


def test_a_container_without_the_nodes_of_the_host_is_told_to_mount_them(cards: Cards) -> None:
    cards.files.remove("/dev")
    ((verdict, what),) = words(check_nodes(seen(cards), inventory()))
    assert verdict is Verdict.MEND
    assert what.startswith(f"the device nodes of the host are not seen: {cards.root}/dev is missing or empty")


def test_simulated_cards_need_no_node(cards: Cards) -> None:
    cards.files.remove("/dev")
    assert words(check_nodes(seen(cards), inventory(is_complete=False))) == []


def test_very_many_names_are_counted() -> None:
    assert listed([str(number) for number in range(10)]) == "0, 1, 2, 3, 4, 5, 6, 7, and 2 more"
