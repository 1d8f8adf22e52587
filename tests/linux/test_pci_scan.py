"""What a scan of the PCI bus makes of sysfs, also of one that lies."""

import errno
import random
from dataclasses import replace
from pathlib import Path

import pytest

from plugin_gateway.linux.card_model import Unread
from plugin_gateway.linux.facts import Interface, PciFunction, Port, RdmaDevice
from plugin_gateway.linux.made_up_tree import MadeUpTree
from plugin_gateway.linux.pci_scan import NoBusError, scan
from plugin_gateway.linux.sysfs import HostTree

from .made_up import BUS, DEVICES, Files, function, many, rdma, virtual, write

PF, VF = "0000:3b:00.0", "0000:3b:00.2"
FOLDER = f"{DEVICES}/{PF}"


def tree_of(*parts: Files) -> MadeUpTree:
    files = Files({}, {})
    for part in parts:
        files |= part
    return MadeUpTree(files.texts, files.links)


def one(tree: MadeUpTree) -> PciFunction:
    (found,) = scan(tree).functions
    return found


@pytest.fixture
def card() -> MadeUpTree:
    """A physical function with an interface and an RDMA device."""
    return tree_of(function(PF, number=0, interface="ens1f0np0"))


def test_a_function_is_what_its_files_say(card: MadeUpTree) -> None:
    assert one(card) == PciFunction(
        address=PF,
        vendor="15b3",
        device="101b",
        class_code="020000",
        driver="mlx5_core",
        numa_node=0,
        pci_path=("pci0000:3a", "0000:3a:00.0"),
        interfaces=(Interface("ens1f0np0", 1, is_switched_on=True, carrier=None, carrier_changes=2),),
        rdma_devices=(
            RdmaDevice(
                name="mlx5_0",
                ports=(Port(1, "Ethernet"),),
                uverbs=("uverbs0",),
                umad=("umad0",),
                node_guid="0200:5eff:fe10:0000",
                hca_type="MT4123",
                board_id="XX_0000000001",
                firmware="20.39.1002",
            ),
        ),
        rdma_drivers=("mlx5_core.rdma.0",),
    )


def test_the_same_is_found_on_disk(tmp_path: Path) -> None:
    files = many(2, 3)
    write(tmp_path, files)
    found = scan(HostTree(str(tmp_path)))
    assert found == scan(MadeUpTree(files.texts, files.links))
    assert len(found.functions) == 8
    assert not found.unreadable


def test_virtual_functions_know_their_parent_and_number() -> None:
    found = scan(tree_of(function(PF), virtual(PF, VF, 0), virtual(PF, "0000:3b:00.3", 1))).functions
    assert [(each.parent, each.vf_number, each.vf_count) for each in found] == [(None, None, 2), (PF, 0, 0), (PF, 1, 0)]


def test_a_virtual_function_that_another_one_claims_has_no_number() -> None:
    tree = tree_of(function(PF), virtual(PF, VF, 0), function("0000:3b:00.1"))
    tree.link_to(f"{DEVICES}/0000:3b:00.1/virtfn0", f"../{VF}")
    tree.remove(f"{FOLDER}/virtfn0")
    assert scan(tree).functions[2].vf_number is None


def test_a_function_without_a_driver_is_found(card: MadeUpTree) -> None:
    card.remove(f"{FOLDER}/driver")
    assert one(card).driver is None
    assert not one(card).unread


def test_a_function_in_a_pod_shows_empty_folders_and_that_it_can_do_rdma(card: MadeUpTree) -> None:
    for name in ("net", "infiniband", "infiniband_verbs", "infiniband_mad"):
        card.make_folder(f"{FOLDER}/{name}")
    found = one(card)
    assert (found.interfaces, found.rdma_devices, found.rdma_drivers) == ((), (), ("mlx5_core.rdma.0",))
    assert not found.unread


def test_several_rdma_devices_of_a_function_have_their_own_nodes(card: MadeUpTree) -> None:
    """A card of the XDR generation has a second device with management nodes alone."""
    texts = rdma(FOLDER, 7)
    for path, text in texts.items():
        card.write(path, text)
    card.remove(f"{FOLDER}/infiniband_verbs/uverbs7")
    card.write(f"{FOLDER}/infiniband_mad/umad8/ibdev", "mlx5_7\n")
    card.write(f"{FOLDER}/infiniband_mad/issm8/ibdev", "mlx5_7\n")
    first, second = one(card).rdma_devices
    assert (first.uverbs, first.umad, first.issm) == (("uverbs0",), ("umad0",), ())
    assert (second.uverbs, second.umad, second.issm) == ((), ("umad7", "umad8"), ("issm8",))


def test_other_classes_are_left_out_unless_they_have_rdma() -> None:
    graphics, storage = function("0000:01:00.0"), function("0000:02:00.0", number=4)
    tree = tree_of(graphics, storage, function(PF))
    tree.write(f"{DEVICES}/0000:01:00.0/class", "0x030200\n")
    tree.write(f"{DEVICES}/0000:02:00.0/class", "0x0c0600\n")
    assert [each.address for each in scan(tree).functions] == ["0000:02:00.0", PF]
    tree.remove("/sys/class/infiniband")
    tree.link_to(
        "/sys/bus/auxiliary/devices/x.rdma.4", f"../../../{DEVICES.removeprefix('/sys/')}/0000:02:00.0/x.rdma.4"
    )
    assert [each.address for each in scan(tree).functions] == ["0000:02:00.0", PF], "its device is in a pod"


@pytest.mark.parametrize(
    ("folder", "path"),
    [
        ("/sys/devices/pci0000:3a", ("pci0000:3a",)),
        ("/sys/devices/pci0000:00/0000:00:0e.0/pci10000:00/10000:00:02.0", None),
        ("/sys/devices/platform/soc/pci0001:00/0001:00:00.0", ("pci0001:00", "0001:00:00.0")),
        ("/sys/devices/platform/soc", ()),
    ],
)
def test_the_path_begins_with_the_first_host_bridge(folder: str, path: tuple[str, ...] | None) -> None:
    expected = tuple(folder.split("/")[3:]) if path is None else path
    assert one(tree_of(function(PF, bridges=folder))).pci_path == expected


def test_domains_can_be_longer() -> None:
    assert one(tree_of(function("10000:e1:00.0"))).address == "10000:e1:00.0"


def test_a_function_that_manages_nvlink_is_known_by_its_vital_product_data(card: MadeUpTree) -> None:
    assert not one(card).manages_nvlink
    card.write(f"{FOLDER}/vpd", "\x82...SW_MNG...\n")
    assert not one(card).manages_nvlink, "one for Ethernet is not asked"
    card.write(f"{FOLDER}/class", "0x020700\n")
    assert one(card).manages_nvlink
    card.write(f"{FOLDER}/vpd", "\x82 nothing\n")
    assert not one(card).manages_nvlink
    card.fail(f"{FOLDER}/vpd", errno.EACCES)
    assert not one(card).manages_nvlink
    assert not one(card).unread


def test_vital_product_data_are_read_once_for_each_function(card: MadeUpTree) -> None:
    managers: dict[tuple[str, str, str], bool] = {}
    card.write(f"{FOLDER}/class", "0x020700\n")
    card.write(f"{FOLDER}/vpd", "SW_MNG\n")
    assert scan(card, managers=managers).functions[0].manages_nvlink
    card.remove(f"{FOLDER}/vpd")
    assert scan(card, managers=managers).functions[0].manages_nvlink
    card.remove(f"{BUS}/{PF}")
    assert not scan(card, managers=managers).functions
    assert not managers


def test_each_file_that_fails_is_told_with_its_error(card: MadeUpTree) -> None:
    card.fail(f"{FOLDER}/numa_node", errno.EIO)
    card.fail(f"{FOLDER}/driver", errno.EACCES)
    card.fail(f"{FOLDER}/net/ens1f0np0/flags", errno.EINVAL)
    card.fail(f"{FOLDER}/infiniband/mlx5_0/node_guid", errno.ENODEV)
    card.fail(f"{FOLDER}/infiniband/mlx5_0/ports", errno.EIO)
    card.fail(f"{FOLDER}/infiniband_mad", errno.EACCES)
    card.remove(f"{FOLDER}/infiniband/mlx5_0/board_id")
    found = one(card)
    assert found.unread == {
        "numa_node": "EIO",
        "driver": "EACCES",
        "net/ens1f0np0/flags": "EINVAL",
        "infiniband/mlx5_0/node_guid": "ENODEV",
        "infiniband/mlx5_0/ports": "EIO",
        "infiniband_mad": "EACCES",
    }
    assert (found.numa_node, found.driver) == (None, None)
    (device,) = found.rdma_devices
    assert (device.ports, device.uverbs, device.umad, device.board_id) == ((), ("uverbs0",), (), "")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("numa_node", "-1", None),
        ("numa_node", "-2", None),
        ("numa_node", "99999999999999999999", None),
        ("numa_node", "\u0661", None),
        ("numa_node", "1_0", None),
        ("numa_node", "", None),
        ("numa_node", "1", 1),
    ],
)
def test_a_numa_node_is_a_number_within_limits(card: MadeUpTree, name: str, text: str, expected: int | None) -> None:
    card.write(f"{FOLDER}/{name}", f"{text}\n")
    assert one(card).numa_node == expected
    assert (name in one(card).unread) == (text not in {"-1", "1"})


def test_numbers_of_interfaces_and_ports_out_of_range_are_none(card: MadeUpTree) -> None:
    card.write(f"{FOLDER}/net/ens1f0np0/type", "-5\n")
    card.write(f"{FOLDER}/net/ens1f0np0/carrier_changes", "many\n")
    for number in ("0", "256", "x", "\u0662"):
        card.write(f"{FOLDER}/infiniband/mlx5_0/ports/{number}/link_layer", "Ethernet\n")
    card.write(f"{FOLDER}/infiniband/mlx5_0/ports/2/link_layer", "a" * 500)
    found = one(card)
    assert found.interfaces[0].type == -1
    assert found.interfaces[0].carrier_changes == 0
    assert found.rdma_devices[0].ports == (Port(1, "Ethernet"), Port(2, "Unknown"))


@pytest.mark.parametrize("text", ["", "0x", "0x15b", "15b3", "0x15b3 0x15b3", "0x15B3\0", "\ufffd\ufffd"])
def test_a_function_without_readable_ids_is_told_apart(card: MadeUpTree, text: str) -> None:
    card.write(f"{FOLDER}/vendor", f"{text}\n")
    found = scan(card)
    assert not found.functions
    assert found.unreadable[PF].startswith("vendor: it cannot be ")
    assert found.unreadable[PF].isascii()


def test_a_function_whose_files_fail_takes_no_other_one_with_it(card: MadeUpTree) -> None:
    for path, text in function("0000:3b:00.1").texts.items():
        card.write(path, text)
    card.link_to(f"{BUS}/0000:3b:00.1", f"../../../{DEVICES.removeprefix('/sys/')}/0000:3b:00.1")
    card.fail(f"{DEVICES}/0000:3b:00.1/class", errno.EIO)
    found = scan(card)
    assert [each.address for each in found.functions] == [PF]
    assert found.unreadable == {"0000:3b:00.1": "class: EIO"}


def test_a_link_into_nowhere_is_told(card: MadeUpTree) -> None:
    card.link_to(f"{BUS}/0000:3b:00.7", "../../../devices/pci0000:3a/0000:3b:00.7")
    card.write(f"{BUS}/no address/class", "0x020000\n")
    assert scan(card).unreadable == {
        "0000:3b:00.7": "class: ENOENT; vendor: ENOENT; device: ENOENT",
        "no address": "it has no PCI address",
    }


def test_a_parent_that_is_no_function_is_none(card: MadeUpTree) -> None:
    card.link_to(f"{FOLDER}/physfn", "../../somewhere")
    card.link_to(f"{FOLDER}/virtfn0", "../../else")
    found = one(card)
    assert found.parent is None
    assert found.unread == {"physfn": "it cannot be 'somewhere'"}
    assert found.vf_count == 1


def test_a_bus_that_cannot_be_read_is_no_empty_bus() -> None:
    with pytest.raises(NoBusError, match=r"/sys/bus/pci/devices: ENOENT"):
        scan(MadeUpTree())
    empty = MadeUpTree()
    empty.make_folder(BUS)
    assert not scan(empty).functions


def test_a_function_that_goes_while_it_is_read_is_no_fault(card: MadeUpTree) -> None:
    def remove(_name: str) -> None:
        card.remove(f"{BUS}/{PF}")
        card.remove(FOLDER)

    found = scan(card, at=remove)
    assert found == ((), {})


def test_equal_guids_are_kept_apart() -> None:
    found = scan(tree_of(function(PF, number=0), function("0000:3b:00.1", number=1))).functions
    assert len({each.rdma_devices[0].node_guid for each in found}) == 1
    assert [each.rdma_devices[0].name for each in found] == ["mlx5_0", "mlx5_1"]


def test_a_renamed_interface_and_device_have_their_new_names(card: MadeUpTree) -> None:
    tree = tree_of(function(PF, interface="lan0"))
    for path, text in rdma(FOLDER, 0).items():
        tree.write(path.replace("mlx5_0", "rocep59s0f0"), text.replace("mlx5_0", "rocep59s0f0"))
    before, after = one(card), one(tree)
    assert after.interfaces == (before.interfaces[0]._replace(name="lan0"),)
    assert after.rdma_devices == (before.rdma_devices[0]._replace(name="rocep59s0f0"),)
    assert replace(after, interfaces=(), rdma_devices=()) == replace(before, interfaces=(), rdma_devices=())


def test_names_that_are_not_utf_8_can_be_written_down(tmp_path: Path) -> None:
    write(tmp_path, function(PF, number=0, interface="ens\udcff"))
    (found,) = scan(HostTree(str(tmp_path))).functions
    assert found.interfaces == (Interface("ens\ufffd", 1, is_switched_on=True, carrier=None, carrier_changes=2),)


def test_whatever_a_file_fails_with_a_scan_goes_on() -> None:
    """Every file and link of a card, in turn, fails with each error or has each odd text."""
    files = function(PF, number=0, interface="ens1f0np0") | virtual(PF, VF, 0, number=1, interface="ens1f0v0")
    odd = ["", "\0", "\ufffd", "9" * 300, "-", "4:", "0x", "a b\tc"]
    for path in (*files.texts, *files.links):
        for number in (errno.ENOENT, errno.EINVAL, errno.EIO, errno.EACCES, errno.ENODEV, errno.EOPNOTSUPP):
            tree = MadeUpTree(files.texts, files.links)
            tree.remove(path)
            tree.fail(path, number)
            found = scan(tree)
            assert len(found.functions) + len(found.unreadable) >= 1
        for text in odd:
            tree = MadeUpTree(files.texts, files.links)
            tree.remove(path)
            tree.write(path, text)
            assert len(scan(tree).functions) + len(scan(tree).unreadable) >= 1


def test_folders_that_vanish_at_any_read_are_survived() -> None:
    files = function(PF, number=0, interface="ens1f0np0") | virtual(PF, VF, 0, number=1, interface="ens1f0v0")
    chance = random.Random(24)
    paths = sorted({path.rpartition("/")[0] for path in files.texts} | set(files.texts))
    for left in range(70):
        tree = _Vanishing(files, chance.choice(paths), left)
        found = scan(tree)
        assert {each.address for each in found.functions} | set(found.unreadable) <= {PF, VF}


class _Vanishing(MadeUpTree):
    """A tree from which something is removed after so many reads."""

    def __init__(self, files: Files, path: str, left: int) -> None:
        super().__init__(files.texts, files.links)
        self.path, self.left = path, left

    def text(self, path: str) -> str | Unread:
        self.left -= 1
        if self.left == 0:
            self.remove(self.path)
        return super().text(path)


def test_4096_functions_are_found() -> None:
    files = many(16, 255)
    assert len(scan(MadeUpTree(files.texts, files.links)).functions) == 4096
