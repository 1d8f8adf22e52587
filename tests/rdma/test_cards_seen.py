"""The made-up cards as the model sees them, and everything that befalls them."""

import pytest

from cards.facts import IB_ACTIVE, IB_INIT
from plugin_gateway.core.health.policy import NOT_ANSWERING
from plugin_gateway.rdma.evidence import (
    LINK_DOWN,
    NO_DRIVER,
    NO_NODE,
    NO_RDMA_DEVICE,
    PARENT_DOWN,
    PORT_DOWN,
    SWITCHED_OFF,
)
from rdma.watching import Look, Watched

PF, OTHER_PF, VF, GIVEN, IDLE = (f"0000:3b:00.{function}" for function in (0, 1, 2, 4, 5))
VFS = [f"0000:3b:00.{function}" for function in range(2, 6)]
IB = "0000:d8:00.0"


@pytest.fixture
def roce(watched: Watched) -> Watched:
    watched.cards.connectx6()
    return watched


@pytest.fixture
def hca(watched: Watched) -> Watched:
    watched.cards.infiniband()
    return watched


def vfs_and_pfs(look: Look) -> tuple[list[str], list[str]]:
    return look.with_attribute("function", "vf"), look.with_attribute("function", "pf")


def test_four_virtual_functions_and_two_physical_ones_are_all_healthy(roce: Watched) -> None:
    look = roce.look()
    assert vfs_and_pfs(look) == (VFS, [PF, OTHER_PF])
    assert [checkup.problems for checkup in look.checkups.values()] == [{}] * 6
    assert [each.is_up for each in look.ports] == [True] * 5 + [False]
    assert look.ports[0].rate_gbps == 100.0
    assert (look.ports[5].words, look.ports[5].rate_gbps) == ("DOWN (Disabled)", None)


def test_a_function_in_a_pod_is_healthy_and_still_selected_by_what_was_seen(roce: Watched) -> None:
    before = roce.look()
    roce.cards.give_away(GIVEN)
    look = roce.look()
    assert look.addresses == before.addresses
    assert look.unhealthy() == []
    for word in ("interface", "linkType", "rdmaDevice", "parent", "driver"):
        assert look.attribute(GIVEN, word) == before.attribute(GIVEN, word)
    assert look.device(GIVEN).nodes == ("/dev/infiniband/uverbs4",)
    assert look.device(GIVEN).details == before.device(GIVEN).details
    assert look.attribute(GIVEN, "holder") == ("elsewhere",)
    assert before.attribute(GIVEN, "holder") == ("host",)
    assert GIVEN not in [each.device for each in look.ports]


def test_a_function_in_a_pod_survives_a_restart_of_the_gateway(roce: Watched) -> None:
    roce.look()
    roce.cards.give_away(GIVEN)
    expected = roce.look()
    roce.restart()
    look = roce.look()
    assert look.inventory == expected.inventory
    assert look.unhealthy() == []


def test_a_function_that_was_in_a_pod_from_the_first_look_on_is_listed_too(roce: Watched) -> None:
    roce.cards.give_away(GIVEN)
    look = roce.look()
    assert GIVEN in look.addresses
    assert look.unhealthy() == []
    assert look.attribute(GIVEN, "interface") == ()
    assert look.attribute(GIVEN, "linkType") == ("ethernet",)


def test_a_function_comes_back_from_a_pod_with_other_nodes(roce: Watched) -> None:
    roce.look()
    roce.cards.give_away(GIVEN)
    roce.look()
    roce.cards.take_back(GIVEN, 9)
    look = roce.look()
    assert look.device(GIVEN).nodes == ("/dev/infiniband/uverbs9",)
    assert look.device(GIVEN).details["rdma"]["umad"] == "/dev/infiniband/umad9"
    assert look.unhealthy() == []


def test_where_rdma_devices_are_shared_a_pod_has_the_interface_alone(roce: Watched) -> None:
    roce.look()
    roce.cards.give_away(VF, with_rdma=False)
    look = roce.look()
    assert look.attribute(VF, "interface") == ("ens1f0v0",)
    assert look.attribute(VF, "holder") == ("elsewhere",)
    assert look.unhealthy() == []
    assert VF in [each.device for each in look.ports]


def test_an_unplugged_function_is_gone_and_the_numbers_of_the_others_stay(roce: Watched) -> None:
    before = {each.id: each.index for each in roce.look().inventory.physical}
    roce.cards.unplug(VF)
    look = roce.look()
    assert vfs_and_pfs(look) == ([each for each in VFS if each != VF], [PF, OTHER_PF])
    assert {each.id: each.index for each in look.inventory.physical}.items() <= before.items()
    roce.cards.plug(VF)
    assert {each.id: each.index for each in roce.look().inventory.physical} == before


def test_a_physical_function_without_carrier_is_out_and_its_virtual_ones_are_reported(roce: Watched) -> None:
    roce.look()
    roce.cards.carrier("ens1f0np0", is_up=False)
    roce.cards.port_down(PF)
    look = roce.look()
    assert look.unhealthy() == [PF]
    assert look.problems(PF) == {LINK_DOWN: "ens1f0np0 has no link", PORT_DOWN: "port 1 is DOWN (Disabled)"}
    words = "its physical function 0000:3b:00.0 has no link: ens1f0np0 has no link, port 1 is DOWN (Disabled)"
    assert [look.problems(each) for each in VFS] == [{PARENT_DOWN: words}] * 4
    assert not look.problems(OTHER_PF)
    roce.cards.carrier("ens1f0np0", is_up=True)
    roce.cards.port_up(PF)
    look = roce.look()
    assert look.unhealthy() == []
    assert next(each for each in look.ports if each.device == PF).changes == 2


def test_an_interface_that_is_switched_off_takes_out_a_physical_function_and_no_virtual_one(roce: Watched) -> None:
    roce.cards.switch_off("ens1f0np0")
    roce.cards.switch_off("ens1f0v0")
    roce.cards.port_down(VF)
    look = roce.look()
    assert look.unhealthy() == [PF]
    assert look.problems(PF) == {SWITCHED_OFF: "ens1f0np0 is switched off"}
    assert PARENT_DOWN in look.problems(VF)


def test_virtual_functions_go_and_come_with_other_nodes(roce: Watched) -> None:
    before = roce.look()
    roce.cards.numvfs(PF, 0)
    assert vfs_and_pfs(roce.look()) == ([], [PF, OTHER_PF])
    roce.cards.numvfs(PF, 4, first_uverbs=6)
    look = roce.look()
    assert look.addresses == before.addresses
    assert [look.device(each).nodes for each in VFS] == [(f"/dev/infiniband/uverbs{n}",) for n in range(6, 10)]
    assert [each.index for each in look.inventory.physical] == [each.index for each in before.inventory.physical]
    assert look.unhealthy() == []


def test_the_module_that_is_missing_is_named_and_all_devices_stay_listed(roce: Watched) -> None:
    before = roce.look()
    roce.cards.unload_mlx5_ib()
    look = roce.look()
    assert look.addresses == look.unhealthy() == before.addresses
    assert {str(each.problems) for each in look.checkups.values()} == {
        str({NO_RDMA_DEVICE: "the module mlx5_ib is not loaded"})
    }
    assert [look.attribute(each, "interface") for each in VFS] == [(f"ens1f0v{vf}",) for vf in range(4)]
    roce.cards.load_mlx5_ib()
    assert roce.look().inventory == before.inventory


def test_a_device_without_its_node_says_which_module_is_missing(roce: Watched) -> None:
    roce.cards.unload_ib_uverbs()
    look = roce.look()
    assert len(look.unhealthy()) == 6
    assert look.problems(VF) == {NO_NODE: "the module ib_uverbs is not loaded"}


def test_without_the_connection_manager_no_device_can_be_given_out(roce: Watched) -> None:
    roce.look()
    roce.cards.give_away(GIVEN)
    roce.cards.unload_rdma_ucm()
    look = roce.look()
    assert look.unhealthy() == [each for each in look.addresses if each != GIVEN]
    assert look.problems(VF) == {NO_NODE: "the module rdma_ucm is not loaded: /dev/infiniband/rdma_cm is not there"}
    roce.cards.load_rdma_ucm()
    assert roce.look().unhealthy() == []


def test_a_single_uverbs_that_is_gone_takes_out_its_device_alone(roce: Watched) -> None:
    roce.look()
    roce.cards.remove_node(VF)
    look = roce.look()
    assert look.unhealthy() == [VF]
    assert look.problems(VF) == {NO_NODE: "mlx5_2 has no uverbs"}
    roce.cards.add_node(VF)
    roce.cards.files.remove("/dev/infiniband/uverbs2")
    assert roce.look().problems(VF) == {NO_NODE: "/dev/infiniband/uverbs2 is not there"}


def test_where_the_hosts_dev_is_not_seen_only_an_allocation_can_say_that_a_node_is_missing(roce: Watched) -> None:
    roce.cards.files.remove("/dev/infiniband")
    assert roce.look().unhealthy() == []


def test_a_function_without_a_driver_is_listed_with_what_was_seen_of_it(roce: Watched) -> None:
    before = roce.look()
    roce.cards.no_driver(VF)
    look = roce.look()
    assert look.unhealthy() == [VF]
    assert look.problems(VF) == {NO_DRIVER: "no kernel driver has it"}
    assert look.device(VF).physical.attributes == before.device(VF).physical.attributes
    roce.cards.bind(VF)
    assert roce.look().inventory == before.inventory


def test_a_port_of_infiniband_that_is_down_takes_its_hca_out(hca: Watched) -> None:
    look = hca.look()
    assert look.addresses == look.unhealthy() == [IB]
    assert look.problems(IB) == {PORT_DOWN: "port 1 is DOWN (Polling)"}
    assert look.attribute(IB, "linkType") == ("infiniband",)
    assert look.device(IB).nodes == ("/dev/infiniband/uverbs0",)
    assert look.device(IB).requested_nodes == {
        "umad": ("/dev/infiniband/umad0",),
        "issm": ("/dev/infiniband/issm0",),
    }


def test_a_port_without_a_subnet_manager_says_so_and_is_well_when_there_is_one(hca: Watched) -> None:
    hca.cards.port_state(IB, IB_INIT.state, IB_INIT.phys_state)
    assert "no subnet manager" in hca.look().problems(IB)[PORT_DOWN]
    hca.cards.port_state(IB, IB_ACTIVE.state, IB_ACTIVE.phys_state, IB_ACTIVE.rate)
    hca.cards.carrier("ibp216s0", is_up=True)
    look = hca.look()
    assert look.unhealthy() == []
    assert look.ports[0][1:] == (1, "infiniband", True, "ACTIVE (LinkUp)", 100.0, 1)


def test_an_interface_of_infiniband_says_nothing_about_its_port(hca: Watched) -> None:
    hca.cards.port_up(IB)
    hca.cards.switch_off("ibp216s0")
    assert hca.look().unhealthy() == []


def test_a_renamed_interface_is_the_one_that_selectors_see(roce: Watched) -> None:
    roce.look()
    roce.cards.rename_interface("ens1f0np0", "eth_a.b-c")
    look = roce.look()
    assert look.attribute(PF, "interface") == ("eth_a.b-c",)
    assert look.attribute(VF, "parent") == ("eth_a.b-c", PF, "eth_a.b-c#0", f"{PF}#0")
    assert look.unhealthy() == []


def test_a_card_that_came_after_the_first_look_has_the_next_numbers(roce: Watched) -> None:
    before = roce.look()
    roce.cards.infiniband()
    look = roce.look()
    assert look.inventory.devices[:6] == before.inventory.devices
    assert [each.index for each in look.inventory.physical] == list(range(7))
    assert look.device(IB).nodes == ("/dev/infiniband/uverbs6",)


def test_other_network_cards_are_no_rdma_devices(roce: Watched) -> None:
    before = roce.look()
    roce.cards.solarflare()
    assert roce.look().inventory == before.inventory


def test_a_card_in_a_slot_that_is_too_slow_is_reported_and_stays_healthy(roce: Watched) -> None:
    roce.cards.files.write(f"/sys/bus/pci/devices/{PF}/current_link_width", 8)
    look = roce.look()
    assert look.unhealthy() == []
    assert list(look.problems(PF).values()) == [
        "its PCIe link has 8 lanes of 16 GT/s, it could have 16 lanes of 16 GT/s"
    ]


def test_a_port_that_cannot_be_read_takes_out_its_device_alone(roce: Watched) -> None:
    roce.look()
    path = f"{roce.cards.port_folder(VF)}/state"
    roce.cards.files.write(path, "9: \x01")
    look = roce.look()
    assert look.unhealthy() == [VF]
    assert look.problems(VF)[NOT_ANSWERING].startswith("port 1: its state cannot be")
