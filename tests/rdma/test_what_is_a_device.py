"""Which functions are RDMA devices, on cards and kernels that are not among the made-up ones."""

from dataclasses import replace

import pytest

from cards.builder import Cards
from plugin_gateway.core.devices import Inventory, PhysicalId
from plugin_gateway.core.health.policy import NOT_ANSWERING
from plugin_gateway.linux.card_model import Signs
from plugin_gateway.linux.facts import PciFunction, RdmaDevice
from plugin_gateway.linux.made_up_tree import MadeUpTree
from plugin_gateway.rdma.evidence import NO_DRIVER, NO_NODE, NO_RDMA_DEVICE
from plugin_gateway.rdma.model import RdmaModel
from rdma.functions import ADDRESS, BARE, FUNCTION, LOADED, OTHER, bus, loaded, rdma_device, seen
from rdma.watching import Watched

VF = replace(
    FUNCTION, address=OTHER, device="101e", parent=ADDRESS, vf_number=0, rdma_devices=(rdma_device("mlx5_1", 1),)
)
INTEL = replace(FUNCTION, vendor="8086", device="1592", driver="ice", rdma_drivers=("ice.roce.0",))


def ids(inventory: Inventory) -> list[str]:
    return [each.id for each in inventory.devices]


def problems(function: PciFunction, tree: MadeUpTree, *others: PciFunction) -> dict[str, str]:
    model = RdmaModel()
    model.see(bus(function, *others), tree)
    return {
        str(kind): words
        for kind, words in model.judge(Signs({}, {})).checkups[PhysicalId(function.address)].problems.items()
    }


def test_a_card_of_another_vendor_is_one_if_it_has_rdma() -> None:
    assert ids(seen(INTEL)) == [ADDRESS]
    assert not ids(seen(replace(INTEL, rdma_devices=(), rdma_drivers=())))
    assert not ids(seen(replace(INTEL, driver=None, rdma_devices=(), rdma_drivers=())))


def test_a_card_of_mellanox_without_a_driver_is_listed() -> None:
    function = replace(BARE, driver=None)
    assert ids(seen(function)) == [ADDRESS]
    assert problems(function, LOADED) == {NO_DRIVER: "no kernel driver has it"}
    assert not ids(seen(replace(function, class_code="060400")))


def test_a_function_for_a_virtual_machine_is_set_aside_even_if_it_was_a_device_before() -> None:
    model = RdmaModel()
    assert ids(seen(FUNCTION, model=model)) == [ADDRESS]
    inventory = seen(replace(BARE, driver="vfio-pci"), model=model)
    assert not inventory.devices
    assert [(each.place, each.problem) for each in inventory.set_aside] == [
        (f"card at {ADDRESS}", "the kernel driver vfio-pci has it")
    ]
    assert ids(seen(FUNCTION, model=model)) == [ADDRESS]


def test_a_bridge_that_manages_nvlink_is_set_aside_with_the_reason() -> None:
    inventory = seen(replace(FUNCTION, class_code="020700", manages_nvlink=True), VF)
    assert ids(inventory) == [OTHER]
    assert "manages the links between GPUs" in inventory.set_aside[0].problem


def test_a_bridge_that_manages_nvlink_is_told_from_its_vital_product_data(watched: Watched, cards: Cards) -> None:
    folder = cards.infiniband().functions["0000:d8:00.0"].folder
    assert watched.look().addresses == ["0000:d8:00.0"]
    cards.files.write(f"{folder}/vpd", "\x82 NVIDIA SW_MNG \x78")
    watched.restart()
    assert watched.look().addresses == []


def test_a_device_for_management_beside_the_one_for_data_is_not_given_out() -> None:
    smi = RdmaDevice("smi1", (), (), tuple(f"umad{number}" for number in range(1, 5)), ("issm1",))
    (device,) = seen(replace(FUNCTION, rdma_devices=(rdma_device(), smi))).devices
    assert device.nodes == ("/dev/infiniband/uverbs0",)
    assert device.requested_nodes == {"umad": ("/dev/infiniband/umad0",)}
    assert device.values == {"nccl": "mlx5_0:1", "ucx": "mlx5_0:1"}
    assert not ids(seen(replace(FUNCTION, rdma_devices=(smi,), rdma_drivers=())))


def test_a_device_for_management_that_stays_does_not_hide_that_a_pod_has_the_other() -> None:
    smi = RdmaDevice("smi1", (), (), ("umad1",))
    model = RdmaModel()
    tree = loaded("mlx5_ib")
    tree.make_folder(f"/sys/bus/pci/devices/{ADDRESS}/infiniband/smi1")
    seen(replace(FUNCTION, rdma_devices=(rdma_device(), smi)), tree=tree, model=model)
    (device,) = seen(replace(FUNCTION, rdma_devices=(smi,)), tree=tree, model=model).devices
    assert device.nodes == ("/dev/infiniband/uverbs0",)
    assert not model.judge(Signs({}, {})).checkups[device.physical.id].problems


def test_all_nodes_of_a_device_with_two_ports_are_collected() -> None:
    two = RdmaDevice("mlx4_0", rdma_device(ports=2).ports, ("uverbs0",), ("umad0", "umad1"))
    (device,) = seen(replace(FUNCTION, driver="mlx4_core", rdma_devices=(two,))).devices
    assert device.requested_nodes == {"umad": ("/dev/infiniband/umad0", "/dev/infiniband/umad1")}
    assert device.values["nccl"] == "mlx4_0:1,mlx4_0:2"
    assert device.details["rdma"]["umad1"] == "/dev/infiniband/umad1"


@pytest.mark.parametrize(
    ("driver", "module"),
    [("mlx5_core", "mlx5_ib"), ("mlx4_core", "mlx4_ib"), ("ice", "irdma"), ("bnxt_en", "bnxt_re"), ("mana", "mana_ib")],
)
def test_the_module_that_makes_rdma_devices_of_each_driver_is_named(driver: str, module: str) -> None:
    function = replace(BARE, driver=driver, rdma_drivers=(f"{driver}.rdma.0",))
    assert problems(function, loaded()) == {NO_RDMA_DEVICE: f"the module {module} is not loaded"}
    assert problems(function, loaded(module)) == {NO_RDMA_DEVICE: f"its driver {driver} has made no RDMA device"}


def test_a_module_that_is_built_into_the_kernel_is_not_missing() -> None:
    function = replace(BARE, rdma_drivers=("mlx5_core.rdma.0",))
    assert problems(function, loaded(), VF) == {NO_RDMA_DEVICE: "its driver mlx5_core has made no RDMA device"}


def test_a_kernel_that_does_not_say_which_functions_can_do_rdma_is_understood() -> None:
    assert problems(BARE, loaded()) == {NO_RDMA_DEVICE: "the module mlx5_ib is not loaded"}
    assert not ids(seen(BARE, tree=loaded("mlx5_ib")))
    assert not ids(seen(BARE, VF, tree=loaded()))[1:]
    without_uverbs = replace(BARE, rdma_devices=(RdmaDevice("mlx5_0", (), (), ("umad0",)),))
    assert problems(without_uverbs, MadeUpTree()) == {NO_NODE: "the module ib_uverbs is not loaded"}


def test_on_such_a_kernel_a_function_in_a_pod_is_known_by_what_was_seen_of_it() -> None:
    model, tree = RdmaModel(), loaded("mlx5_ib")
    seen(replace(FUNCTION, rdma_drivers=()), tree=tree, model=model)
    tree.make_folder(f"/sys/bus/pci/devices/{ADDRESS}/infiniband")
    (device,) = seen(BARE, tree=tree, model=model).devices
    assert model.judge(Signs({}, {})).checkups[device.physical.id].problems == {}
    assert device.physical.attributes["rdmaDevice"] == ("mlx5_0",)


def test_rdma_that_an_administrator_switched_off_is_not_taken_for_a_pod() -> None:
    model, tree = RdmaModel(), loaded("mlx5_ib")
    seen(FUNCTION, tree=tree, model=model)
    (device,) = seen(BARE, tree=tree, model=model).devices
    found = model.judge(Signs({}, {})).checkups[device.physical.id].problems
    assert found == {NO_RDMA_DEVICE: "its driver mlx5_core has made no RDMA device"}


def test_a_folder_that_cannot_be_read_is_evidence_and_no_pod() -> None:
    tree = loaded("mlx5_ib")
    tree.make_folder(f"/sys/bus/pci/devices/{ADDRESS}/infiniband")
    function = replace(FUNCTION, rdma_devices=(), unread={"infiniband": "EIO"})
    assert problems(function, tree) == {NOT_ANSWERING: "its RDMA device cannot be read: infiniband: EIO"}


def test_another_card_in_the_same_slot_has_nothing_of_the_one_before() -> None:
    model = RdmaModel()
    seen(FUNCTION, model=model)
    (device,) = seen(replace(BARE, device="101b", rdma_drivers=("mlx5_core.rdma.0",)), model=model).devices
    assert device.physical.attributes["rdmaDevice"] == ()
    assert device.physical.product == "ConnectX-6"


def test_a_card_that_cannot_be_read_any_more_is_said_and_remembered() -> None:
    model, tree = RdmaModel(), loaded("mlx5_ib")
    before = seen(FUNCTION, tree=tree, model=model)
    found = model.see(bus(VF, unreadable={ADDRESS: "vendor: EIO", "0000:01:00.0": "class: EIO"}), tree)
    assert [(each.place, each.problem) for each in found.inventory.rejected] == [(f"card at {ADDRESS}", "vendor: EIO")]
    tree.make_folder(f"/sys/bus/pci/devices/{ADDRESS}/infiniband")
    hidden = replace(FUNCTION, interfaces=(), rdma_devices=())
    again = next(each for each in seen(hidden, VF, tree=tree, model=model).devices if each.id == ADDRESS)
    assert again.nodes == before.devices[0].nodes
    assert again.physical.attributes["interface"] == ("ens1np0",)


def test_a_bus_without_any_card_lets_nothing_be_forgotten() -> None:
    model, tree = RdmaModel(), loaded("mlx5_ib")
    before = seen(FUNCTION, tree=tree, model=model)
    assert not seen(tree=tree, model=model).devices
    tree.make_folder(f"/sys/bus/pci/devices/{ADDRESS}/infiniband")
    (device,) = seen(replace(FUNCTION, interfaces=(), rdma_devices=()), tree=tree, model=model).devices
    assert device.nodes == before.devices[0].nodes


@pytest.mark.parametrize(
    ("vendor", "device", "hca_type", "product"),
    [
        ("15b3", "1021", "MT4129", "ConnectX-7"),
        ("15b3", "a2dc", "", "BlueField-3"),
        ("15b3", "9999", "MT9999", "MT9999"),
        ("14e4", "1750", "", ""),
        ("8086", "1021", "", ""),
    ],
)
def test_the_product_is_named_by_its_pci_ids_or_by_its_driver(
    vendor: str, device: str, hca_type: str, product: str
) -> None:
    named = replace(FUNCTION, vendor=vendor, device=device, rdma_devices=(rdma_device()._replace(hca_type=hca_type),))
    assert seen(named).physical[0].product == product


def test_a_port_without_a_known_layer_has_that_of_its_interface_or_of_its_class() -> None:
    unknown = replace(FUNCTION, rdma_devices=(rdma_device(layer="Unknown"),))
    assert seen(unknown).physical[0].attributes["linkType"] == ("ethernet",)
    ipoib = replace(unknown, interfaces=(unknown.interfaces[0]._replace(type=32),))
    assert seen(ipoib).physical[0].attributes["linkType"] == ("infiniband",)
    assert seen(replace(unknown, interfaces=(), class_code="020700")).physical[0].attributes["linkType"] == (
        "infiniband",
    )


def test_everything_of_a_virtual_function_is_there_to_be_selected() -> None:
    device = seen(FUNCTION, VF).devices[1]
    assert device.physical.attributes == {
        "vendor": ("15b3",),
        "device": ("101e",),
        "driver": ("mlx5_core",),
        "interface": ("ens1np0",),
        "linkType": ("ethernet",),
        "function": ("vf",),
        "parent": ("ens1np0", ADDRESS, "ens1np0#0", f"{ADDRESS}#0"),
        "rdmaDevice": ("mlx5_1",),
        "holder": ("host",),
    }
    assert (device.physical.numa_node, device.physical.pci_path) == (0, ("pci0000:16", "0000:16:00.0"))


def test_a_virtual_function_whose_parent_is_not_seen_is_named_by_the_address_of_it() -> None:
    (device,) = seen(replace(VF, vf_number=None)).devices
    assert device.physical.attributes["parent"] == (ADDRESS,)


def test_a_container_is_told_what_the_sriov_plugin_tells_it() -> None:
    """The SR-IOV network device plugin 3.11 writes it so."""
    (device,) = seen(FUNCTION).devices
    assert device.details == {
        "generic": {"deviceID": ADDRESS},
        "rdma": {
            "rdma_cm": "/dev/infiniband/rdma_cm",
            "rdma_dev": "mlx5_0",
            "umad": "/dev/infiniband/umad0",
            "uverbs": "/dev/infiniband/uverbs0",
        },
    }
    assert device.node_folder == f"/sys/bus/pci/devices/{ADDRESS}/infiniband_verbs"
