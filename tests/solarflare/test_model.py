"""Solarflare's cards as devices: what they are, what befalls them, and what is said of them."""

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from cards.builder import Cards
from cards.facts import SOLARFLARE, Function
from plugin_gateway.core.devices import PhysicalId, PortOfDevice, Recipe
from plugin_gateway.core.health.policy import NOT_ANSWERING
from plugin_gateway.linux.card_model import Signs, Unread
from plugin_gateway.linux.facts import Interface
from plugin_gateway.linux.made_up_tree import MadeUpTree
from plugin_gateway.solarflare.evidence import LINK_DOWN, NO_DRIVER, ONLOAD_MISSING, PCIE_DEGRADED, SWITCHED_OFF
from plugin_gateway.solarflare.model import ONLOAD, RECIPE, OnloadModel
from plugin_gateway.solarflare.simulated import parse_spec

from .looking import DOWN, FIRST, SECOND, UP, Look, Looker, at, host

VF = "0000:5e:00.2"


@pytest.fixture
def cards(tmp_path: Path) -> Cards:
    return host(tmp_path)


def virtual(number: int = 0) -> Function:
    """Return a virtual function of the first port."""
    net = SOLARFLARE[0].net
    assert net is not None
    return replace(
        SOLARFLARE[0],
        address=f"0000:5e:00.{2 + number}",
        device="1b03",
        parent=FIRST,
        vf_number=number,
        net=replace(net, name=f"enp94s0f0v{number}", ifindex=20 + number),
    )


def attributes(look: Look, address: str) -> dict[str, tuple[str, ...]]:
    return dict(look.inventory.physical_by_id[PhysicalId(address)].attributes)


def test_each_function_is_a_device_with_what_selectors_ask_of_it(cards: Cards) -> None:
    inventory = at(cards).look().inventory
    first = inventory.physical[0]
    assert (first.id, first.index, first.minor, first.pci_address) == (FIRST, 0, None, FIRST)
    assert (first.numa_node, first.memory_bytes, first.pci_path) == (0, 0, ("pci0000:5d", "0000:5d:00.0"))
    assert "X2522" in first.product
    assert first.attributes == {
        "vendor": ("1924",),
        "device": ("0b03",),
        "driver": ("sfc",),
        "interface": (UP,),
        "linkType": ("ethernet",),
        "function": ("pf",),
        "parent": (),
    }
    assert [(device.kind, device.nodes, device.place) for device in inventory.devices] == [
        (ONLOAD, (), (0,)),
        (ONLOAD, (), (1,)),
    ]
    assert inventory.devices[0].details == {"generic": {"deviceID": FIRST}}
    assert (inventory.rejected, inventory.set_aside) == ((), ())


def test_a_container_needs_the_nodes_of_onload_and_none_of_the_card(cards: Cards) -> None:
    assert at(cards).look().inventory.recipes == {ONLOAD: RECIPE}
    assert Recipe(shared_nodes=("/dev/onload", "/dev/onload_epoll", "/dev/sfc_char"), is_complete=True) == RECIPE


def test_a_virtual_function_names_its_parent_alone_and_with_its_number(cards: Cards) -> None:
    cards.add([virtual(2)])
    cards.files.link(f"{cards.functions[FIRST].folder}/virtfn2", cards.functions["0000:5e:00.4"].folder)
    found = attributes(at(cards).look(), "0000:5e:00.4")
    assert found["function"] == ("vf",)
    assert found["parent"] == (UP, FIRST, f"{UP}#2", f"{FIRST}#2")


def test_a_virtual_function_names_its_parent_as_before_while_a_pod_has_that(cards: Cards) -> None:
    cards.add([virtual()])
    looker = at(cards)
    before = attributes(looker.look(), VF)["parent"]
    cards.give_away(FIRST)
    assert attributes(looker.look(), VF)["parent"] == before == (UP, FIRST, f"{UP}#0", f"{FIRST}#0")


def test_an_idle_virtual_function_is_one_even_if_its_parent_cannot_be_read(cards: Cards) -> None:
    cards.add([virtual()])
    cards.switch_off("enp94s0f0v0")
    cards.files.link(f"{cards.functions[VF].folder}/physfn", "../../somewhere")
    look = at(cards).look()
    assert attributes(look, VF)["function"] == ("vf",)
    assert look.problems[VF] == {}


def test_cards_of_others_are_not_offered(cards: Cards) -> None:
    cards.connectx6().infiniband()
    assert at(cards).look().ids == [FIRST, SECOND]


def test_a_card_whose_product_name_lacks_sfc_is_found(cards: Cards) -> None:
    cards.add([replace(SOLARFLARE[0], address="0000:60:00.0", vendor="10ee", device="5084", driver="xilinx_efct")])
    look = at(cards).look()
    assert look.ids == [FIRST, SECOND, "0000:60:00.0"]
    assert look.inventory.physical[2].product == "Solarflare X3522"


@pytest.mark.parametrize("name", ["data_0", "enp94-left", "eth.100", "onload"])
def test_an_interface_can_have_any_name(cards: Cards, name: str) -> None:
    looker = at(cards)
    looker.look()
    cards.rename_interface(UP, name)
    look = looker.look()
    assert attributes(look, FIRST)["interface"] == (name,)
    assert look.problems[FIRST] == {}


def test_a_card_that_was_given_to_others_is_set_aside(cards: Cards) -> None:
    cards.no_driver(FIRST)
    cards.files.link(f"{cards.functions[FIRST].folder}/driver", "/sys/bus/pci/drivers/vfio-pci")
    look = at(cards).look()
    assert look.ids == [SECOND]
    assert [each[:2] for each in look.inventory.set_aside] == [(FIRST, "the driver vfio-pci has it")]
    assert look.inventory.rejected == ()


def test_a_card_that_onload_gave_up_is_rejected_with_the_reason(cards: Cards) -> None:
    cards.add([replace(SOLARFLARE[0], address="0000:60:00.0", device="0803")])
    look = at(cards).look()
    assert look.ids == [FIRST, SECOND]
    [rejected] = look.inventory.rejected
    assert rejected[:2] == ("0000:60:00.0", "Onload does not support Solarflare 0803 any more")
    assert look.inventory.set_aside == ()


def test_a_card_keeps_its_number_while_others_come_and_go(cards: Cards) -> None:
    looker = at(cards)
    looker.look()
    cards.unplug(FIRST)
    look = looker.look()
    assert [(each.id, each.index) for each in look.inventory.physical] == [(SECOND, 1)]
    cards.add([replace(SOLARFLARE[0], address="0000:10:00.0")])
    cards.plug(FIRST)
    look = looker.look()
    assert [(each.id, each.index) for each in look.inventory.physical] == [
        (FIRST, 0),
        (SECOND, 1),
        ("0000:10:00.0", 2),
    ]


def test_a_card_without_a_driver_is_listed_and_says_so(cards: Cards) -> None:
    cards.no_driver(FIRST)
    look = at(cards).look()
    assert look.ids == [FIRST, SECOND]
    assert look.problems[FIRST] == {NO_DRIVER: "no kernel driver has it"}
    cards.files.remove("/sys/module/sfc")
    assert at(cards).look().problems[FIRST] == {NO_DRIVER: "no kernel driver has it: the module sfc is not loaded"}


def test_a_driver_that_is_reloaded_takes_a_card_out_of_no_resource(cards: Cards) -> None:
    looker = at(cards)
    before = looker.look()
    cards.no_driver(FIRST)
    without = looker.look()
    assert attributes(without, FIRST) == attributes(before, FIRST)
    assert NO_DRIVER in without.problems[FIRST]
    cards.bind(FIRST)
    cards.take_back(FIRST)
    after = looker.look()
    assert (after.inventory, after.problems) == (before.inventory, before.problems)


def test_another_card_in_the_same_slot_has_nothing_of_the_one_before(cards: Cards) -> None:
    looker = at(cards)
    looker.look()
    cards.unplug(FIRST)
    cards.add([replace(SOLARFLARE[0], vendor="10ee", device="5084", driver=None, net=None)])
    look = looker.look()
    assert look.inventory.physical[0].product == "Solarflare X3522"
    found = attributes(look, FIRST)
    assert (found["interface"], found["driver"]) == ((), ())


def test_a_card_whose_interface_a_pod_has_is_healthy_and_stays_what_it_was(cards: Cards) -> None:
    looker = at(cards)
    before = looker.look()
    cards.give_away(FIRST)
    given = looker.look()
    assert given.inventory == before.inventory
    assert given.problems[FIRST] == {}
    assert [port.device for port in given.ports] == [SECOND]
    cards.take_back(FIRST)
    assert looker.look().inventory == before.inventory


def test_a_link_that_is_lost_and_comes_back_is_told(cards: Cards) -> None:
    looker = at(cards)
    cards.carrier(UP, is_up=False)
    assert looker.look().problems[FIRST] == {LINK_DOWN: f"{UP} has no link"}
    cards.carrier(UP, is_up=True)
    cards.carrier(DOWN, is_up=True)
    assert looker.look().problems == {FIRST: {}, SECOND: {}}


def test_an_interface_that_is_switched_off_is_told_as_that(cards: Cards) -> None:
    looker = at(cards)
    cards.switch_off(UP)
    assert looker.look().problems[FIRST] == {SWITCHED_OFF: f"{UP} is switched off"}
    cards.switch_on(UP)
    assert looker.look().problems[FIRST] == {}


def test_an_idle_virtual_function_is_healthy_and_one_in_use_needs_a_link(cards: Cards) -> None:
    cards.add([virtual()])
    cards.accelerate(VF, is_on=True)
    looker = at(cards)
    cards.switch_off("enp94s0f0v0")
    assert looker.look().problems[VF] == {}
    cards.switch_on("enp94s0f0v0")
    assert looker.look().problems[VF] == {}
    cards.carrier("enp94s0f0v0", is_up=False)
    assert looker.look().problems[VF] == {LINK_DOWN: "enp94s0f0v0 has no link"}


def test_a_carrier_that_nobody_tells_is_no_evidence(cards: Cards) -> None:
    looker = at(cards)
    looker.look()
    signs = Signs({}, {FIRST: (Interface(UP, 1, is_switched_on=True, carrier=None),)})
    judged = looker.model.judge(signs)
    assert judged.checkups[PhysicalId(FIRST)].problems == {}
    assert judged.ports[0][2:] == ("ethernet", False, "unknown", None, 0)


def test_the_ports_are_told_with_rate_and_changes(cards: Cards) -> None:
    cards.carrier(UP, is_up=False)
    cards.carrier(UP, is_up=True)
    first, second = at(cards).look().ports
    assert first[:6] == (FIRST, 1, "ethernet", True, "up", 25.0)
    assert second == PortOfDevice(PhysicalId(SECOND), 1, "ethernet", False, "no link", None, second.changes)
    assert first.changes - second.changes == 2
    cards.switch_off(UP)
    assert at(cards).look().ports[0].words == "switched off"


def test_a_pcie_link_that_is_slower_or_narrower_is_told(cards: Cards) -> None:
    folder = cards.functions[FIRST].folder
    cards.files.write(f"{folder}/current_link_speed", "8.0 GT/s PCIe")
    words = "its PCIe link has 16 lanes of 8 GT/s, it could have 16 lanes of 16 GT/s"
    assert at(cards).look().problems[FIRST] == {PCIE_DEGRADED: words}
    cards.files.write(f"{folder}/current_link_speed", "16.0 GT/s PCIe")
    cards.files.write(f"{folder}/current_link_width", "4")
    words = "its PCIe link has 4 lanes of 16 GT/s, it could have 16 lanes of 16 GT/s"
    assert at(cards).look().problems[FIRST] == {PCIE_DEGRADED: words}


def test_a_card_that_answers_with_an_error_is_unhealthy_alone() -> None:
    tree = parse_spec("1xX2522")
    looker = Looker(tree, OnloadModel(()))
    tree.fail("/sys/bus/pci/devices/0001:5e:00.0/numa_node", errno.EIO)
    look = looker.look()
    assert look.problems["0001:5e:00.0"] == {NOT_ANSWERING: "it answers with an error: EIO from numa_node"}
    assert look.problems["0001:5e:00.1"] == {}


def test_an_interface_that_does_not_answer_is_told_alone(cards: Cards) -> None:
    looker = at(cards)
    looker.look()
    interface = Interface(UP, 1, is_switched_on=True, carrier=True)
    no_answer = Unread(None, "no answer for 3 s")
    judged = looker.model.judge(Signs({}, {FIRST: (interface,), SECOND: (interface,)}, {FIRST: no_answer}))
    assert judged.checkups[PhysicalId(FIRST)].problems == {
        NOT_ANSWERING: "its interface does not answer: no answer for 3 s"
    }
    assert judged.checkups[PhysicalId(SECOND)].problems == {}


def test_an_interface_that_fails_to_answer_is_told_until_it_answers() -> None:
    tree = parse_spec("1xX2522")
    looker = Looker(tree, OnloadModel(()))
    carrier = "/sys/bus/pci/devices/0001:5e:00.0/net/enP1p94s0f0np0/carrier"
    tree.fail(carrier, errno.EIO)
    assert looker.look().problems["0001:5e:00.0"] == {NOT_ANSWERING: "its interface does not answer: EIO"}
    tree.write(carrier, "1")
    assert looker.look().problems["0001:5e:00.0"] == {}


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENODEV, errno.EINVAL])
def test_a_value_that_is_not_there_is_no_error_of_the_card(number: int) -> None:
    tree = parse_spec("1xX2522")
    tree.fail("/sys/bus/pci/devices/0001:5e:00.0/numa_node", number)
    assert Looker(tree, OnloadModel(())).look().problems["0001:5e:00.0"] == {}


def test_a_card_of_which_nothing_can_be_read_any_more_stays_and_does_not_answer() -> None:
    tree = parse_spec("1xX2522")
    looker = Looker(tree, OnloadModel(()))
    before = looker.look()
    tree.fail("/sys/bus/pci/devices/0001:5e:00.0/vendor", errno.EIO)
    look = looker.look()
    assert look.inventory == before.inventory
    assert look.problems["0001:5e:00.0"][NOT_ANSWERING].startswith("it cannot be read: vendor: EIO")
    assert look.problems["0001:5e:00.1"] == {}
    tree.write("/sys/bus/pci/devices/0001:5e:00.0/vendor", "0x1924")
    assert looker.look().problems == before.problems


def test_a_card_of_which_nothing_could_be_read_yet_is_not_guessed() -> None:
    tree = parse_spec("1xX2522")
    tree.fail("/sys/bus/pci/devices/0001:5e:00.0/vendor", errno.EIO)
    assert Looker(tree, OnloadModel(())).look().ids == ["0001:5e:00.1"]


def test_signs_before_any_scan_say_nothing() -> None:
    judged = OnloadModel().judge(Signs({}, {}))
    assert (judged.checkups, judged.ports) == ({}, ())


def test_a_machine_without_cards_has_none_and_that_is_no_problem() -> None:
    tree = MadeUpTree()
    tree.make_folder("/sys/bus/pci/devices")
    look = Looker(tree, OnloadModel()).look()
    assert (look.ids, look.problems, look.ports) == ([], {}, ())


def test_a_tree_that_fails_everywhere_is_survived(cards: Cards) -> None:
    looker = at(cards)
    looker.look()

    class Dead:
        def text(self, path: str) -> Unread:
            return Unread(errno.EIO, f"EIO {path}"[:3])

        names = link = text

        def exists(self, path: str) -> bool:
            return not path

        def seen_at(self, path: str) -> str:
            return path

    looker.model._tree = Dead()
    judged = looker.model.judge(Signs({}, {}))
    assert [set(each.problems) for each in judged.checkups.values()] == [{ONLOAD_MISSING}] * 2
