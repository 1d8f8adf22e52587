"""What users of other plugins complained about, where discovery and health decide it. Each issue is named."""

from collections.abc import Mapping

import pytest

from cards.builder import Cards
from plugin_gateway.core.resources.rules import Selector
from plugin_gateway.rdma.evidence import LINK_DOWN, NO_DRIVER, NO_RDMA_DEVICE, PARENT_DOWN
from rdma.watching import Look, Watched

PF, OTHER_PF, VF, IDLE = "0000:3b:00.0", "0000:3b:00.1", "0000:3b:00.2", "0000:3b:00.5"
VFS = [f"0000:3b:00.{number}" for number in range(2, 6)]


@pytest.fixture
def roce(watched: Watched) -> Watched:
    watched.cards.connectx6()
    return watched


def selected(look: Look, attributes: Mapping[str, tuple[str, ...]], *addresses: str) -> list[str]:
    """Return the devices that a rule takes."""
    selector = Selector(attributes=attributes, addresses=addresses)
    return sorted(device.id for device in look.inventory.devices if selector.unfulfilled(device) is None)


def test_link_health_is_in_the_program_and_not_only_in_the_readme(roce: Watched) -> None:
    """SR #362 and #363."""
    roce.look()
    roce.cards.carrier("ens1f1np1", is_up=False)
    assert roce.look().problems(OTHER_PF) == {LINK_DOWN: "ens1f1np1 has no link"}
    roce.cards.carrier("ens1f1np1", is_up=True)
    assert roce.look().problems(OTHER_PF) == {}


def test_the_carrier_of_the_physical_function_and_a_function_that_vanished_are_health(roce: Watched) -> None:
    """SR PR #640."""
    roce.look()
    roce.cards.carrier("ens1f0np0", is_up=False)
    roce.cards.unplug(VF)
    look = roce.look()
    assert VF not in look.addresses
    assert all(PARENT_DOWN in look.problems(each) for each in VFS[1:])


def test_virtual_functions_that_are_made_later_are_seen(roce: Watched) -> None:
    """SR #178 and #276."""
    roce.cards.numvfs(PF, 0)
    assert selected(roce.look(), {"function": ("vf",)}) == []
    roce.cards.numvfs(PF, 8)
    assert len(selected(roce.look(), {"function": ("vf",)})) == 8


def test_the_count_is_right_after_a_restart_while_pods_have_functions(roce: Watched) -> None:
    """SR #479 and #565."""
    wanted = {"interface": ("ens1f0v*",), "linkType": ("ethernet",)}
    assert selected(roce.look(), wanted) == VFS
    for address in VFS:
        roce.cards.give_away(address)
    roce.restart()
    look = roce.look()
    assert selected(look, wanted) == VFS
    assert look.unhealthy() == []


def test_a_function_without_a_driver_does_not_break_the_list(roce: Watched) -> None:
    """SR #310."""
    roce.cards.no_driver(VF)
    look = roce.look()
    assert len(look.addresses) == 6
    assert look.unhealthy() == [VF]
    assert NO_DRIVER in look.problems(VF)


def test_virtual_functions_of_one_port_can_be_chosen_by_their_numbers(roce: Watched) -> None:
    look = roce.look()
    assert selected(look, {"parent": ("ens1f0np0#0", "ens1f0np0#3")}) == [VF, IDLE]
    assert selected(look, {"parent": (PF,)}) == VFS
    assert selected(look, {"parent": ("ens1f1np1*",)}) == []
    assert selected(look, {"vendor": ("15b3",), "device": ("101c",), "driver": ("mlx5_*",)}, VF, PF) == [VF]


def test_a_gateway_that_starts_before_the_driver_container_waits_and_says_for_what(watched: Watched) -> None:
    """network-operator #31."""
    cards = watched.cards.connectx6()
    for address in (PF, OTHER_PF):
        cards.no_driver(address)
    cards.numvfs(PF, 0)
    cards.unload_mlx5_ib()
    look = watched.look()
    assert look.unhealthy() == [PF, OTHER_PF]
    assert look.problems(PF) == {NO_DRIVER: "no kernel driver has it"}
    cards.bind(PF)
    assert watched.look().problems(PF) == {NO_RDMA_DEVICE: "the module mlx5_ib is not loaded"}
    cards.load_mlx5_ib()
    look = watched.look()
    assert look.unhealthy() == [OTHER_PF]
    assert look.attribute(PF, "interface") == ("ens1f0np0",)


def test_a_missing_rdma_device_is_told_by_the_module_and_not_by_a_node(roce: Watched) -> None:
    """SH #192: "rdma_cm not found", and nobody knows what to do."""
    roce.cards.unload_mlx5_ib()
    assert set(roce.look().problems(PF).values()) == {"the module mlx5_ib is not loaded"}


def test_a_card_of_ethernet_needs_no_issm(roce: Watched) -> None:
    """SH #94, #98 and #159."""
    look = roce.look()
    assert look.device(PF).nodes == ("/dev/infiniband/uverbs0",)
    assert "issm" not in look.device(PF).requested_nodes
    assert look.unhealthy() == []


def test_a_container_gets_no_node_of_the_fabric_unasked(watched: Watched) -> None:
    """SH and SR give issm and umad to every container."""
    watched.cards.infiniband()
    device = watched.look().device("0000:d8:00.0")
    assert device.nodes == ("/dev/infiniband/uverbs0",)
    assert set(device.requested_nodes) == {"issm", "umad"}
    assert watched.look().inventory.shared_nodes == ("/dev/infiniband/rdma_cm",)


def test_no_file_of_pci_ids_is_needed(roce: Watched) -> None:
    """SH #151."""
    assert not roce.cards.files.at("/usr/share").exists()
    assert [each.product for each in roce.look().inventory.physical][:3] == [
        "ConnectX-6",
        "ConnectX-6",
        "ConnectX-6 Virtual Function",
    ]


def test_each_device_has_its_numa_node(roce: Watched) -> None:
    """SH #117."""
    roce.cards.infiniband()
    assert [each.numa_node for each in roce.look().inventory.physical] == [0] * 6 + [1]


def test_a_machine_that_tells_no_numa_node_has_none(roce: Watched) -> None:
    roce.cards.files.write(f"/sys/bus/pci/devices/{PF}/numa_node", -1)
    assert roce.look().device(PF).physical.numa_node is None


def test_there_are_as_many_devices_as_cards(watched: Watched, cards: Cards) -> None:
    """SH #44: rdmaHcaMax, however many cards there are."""
    assert watched.look().addresses == []
    cards.infiniband()
    assert len(watched.look().addresses) == 1
    cards.connectx6()
    assert len(watched.look().addresses) == 7


def test_a_gpu_and_a_virtual_function_of_one_switch_can_be_found(roce: Watched) -> None:
    """SR #574."""
    assert {each.pci_path for each in roce.look().inventory.physical} == {("pci0000:3a", "0000:3a:00.0")}


@pytest.mark.parametrize("interface", ["docker0", "vethab12", "rxe_eth0"])
def test_an_interface_without_a_card_does_not_break_the_list(roce: Watched, interface: str) -> None:
    """HC: any bridge, veth or soft-RoCE made its whole discovery fail; #19."""
    before = roce.look()
    files = roce.cards.files
    files.write(f"/sys/devices/virtual/net/{interface}/operstate", "up")
    files.link(f"/sys/class/net/{interface}", f"/sys/devices/virtual/net/{interface}")
    files.write("/sys/devices/virtual/infiniband/rxe0/node_type", "1: CA")
    files.link("/sys/class/infiniband/rxe0", "/sys/devices/virtual/infiniband/rxe0")
    assert roce.look() == before


def test_a_device_that_cannot_be_opened_here_since_a_pod_has_it_is_no_fault(roce: Watched) -> None:
    """HC #8: "Failed to open device" for the rest of the list."""
    roce.look()
    for address in VFS:
        roce.cards.give_away(address)
    assert roce.look().unhealthy() == []


def test_a_card_of_another_vendor_is_found_by_its_link_type(roce: Watched) -> None:
    """SH #113: no match for linkTypes ethernet on an Intel card, and no word."""
    folder = roce.cards.functions[OTHER_PF].folder
    for name, text in (("vendor", "0x8086"), ("device", "0x1592")):
        roce.cards.files.write(f"{folder}/{name}", text)
    assert selected(roce.look(), {"vendor": ("8086",), "linkType": ("ethernet",)}) == [OTHER_PF]
