"""The RDMA cards that are not there."""

import pytest

from harness.card_signs import signs_of
from plugin_gateway.core.devices import Inventory
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.linux.made_up_tree import MadeUpTree
from plugin_gateway.linux.pci_scan import scan
from plugin_gateway.rdma.evidence import PORT_DOWN
from plugin_gateway.rdma.model import RdmaModel
from plugin_gateway.rdma.naming import RDMA
from plugin_gateway.rdma.simulated import MAX_FUNCTIONS, MAX_VFS, MODELS, parse_spec


def inventory(spec: str) -> Inventory:
    tree = parse_spec(spec)
    return RdmaModel(is_simulated=True).see(scan(tree), tree).inventory


def shown(spec: str, word: str) -> list[tuple[str, ...]]:
    return [each.attributes[word] for each in inventory(spec).physical]


def test_a_spec_makes_cards_with_two_ports_and_virtual_functions_of_the_first() -> None:
    found = inventory("2xCX6+4")
    assert [each.attributes["function"] for each in found.physical] == ([("pf",)] * 2 + [("vf",)] * 4) * 2
    assert found.physical[2].attributes["parent"] == ("ens1f0np0", "0000:02:10.0", "ens1f0np0#0", "0000:02:10.0#0")
    assert [each.product for each in found.physical[:3]] == ["ConnectX-6"] * 2 + ["ConnectX-6 Virtual Function"]
    assert len({each.id for each in found.physical}) == 12
    assert found == inventory("2xCX6+4")


def test_a_card_hangs_below_the_bridge_of_the_gpu_with_its_number() -> None:
    found = inventory("8xCX7+2")
    assert [each.pci_path for each in found.physical[::4]] == [
        (f"pci0000:{bus:02x}", f"0000:{bus:02x}:00.0") for bus in range(1, 17, 2)
    ]
    assert found.physical[4].pci_address == "0000:04:10.0"
    assert [each.numa_node for each in found.physical[::4]] == [0] * 4 + [1] * 4


def test_several_models_are_one_machine_and_infiniband_has_one_port() -> None:
    spec = "1xCX6+2+1xCX7IB+1xBF3"
    assert [each.product for each in inventory(spec).physical] == [
        "ConnectX-6",
        "ConnectX-6",
        *["ConnectX-6 Virtual Function"] * 2,
        "ConnectX-7",
        *["BlueField-3"] * 2,
    ]
    assert shown(spec, "linkType") == [("ethernet",)] * 4 + [("infiniband",)] + [("ethernet",)] * 2
    assert len(set(shown(spec, "interface"))) == len(set(shown(spec, "rdmaDevice"))) == 7


def test_no_device_node_is_needed() -> None:
    found = inventory("1xCX7IB")
    assert (found.nodes, found.shared_nodes) == ((), ())
    assert not found.recipes[RDMA].is_complete
    assert not found.devices[0].node_folder
    assert found.devices[0].values == {"nccl": "mlx5_0:1", "ucx": "mlx5_0:1"}


@pytest.mark.parametrize("model", [*MODELS, *(f"{model}IB" for model in MODELS)])
def test_each_model_is_healthy_and_has_a_rate(model: str) -> None:
    tree = parse_spec(f"1x{model}+1")
    known = RdmaModel(is_simulated=True)
    bus = scan(tree)
    judged = known.judge(signs_of(tree, bus, known.see(bus, tree).ports))
    assert not [each.problems for each in judged.checkups.values() if each.problems]
    assert all(each.is_up and each.rate_gbps and each.rate_gbps >= 100 for each in judged.ports)


def test_a_simulated_card_fails_when_its_files_say_so() -> None:
    tree = parse_spec("1xCX7IB")
    known = RdmaModel(is_simulated=True)
    tree.write("/sys/class/infiniband/mlx5_0/ports/1/state", "1: DOWN")
    bus = scan(tree)
    judged = known.judge(signs_of(tree, bus, known.see(bus, tree).ports))
    assert [list(each.problems) for each in judged.checkups.values()] == [[PORT_DOWN]]
    tree.remove("/sys/bus/pci/devices/0000:02:10.0")
    assert not known.see(scan(tree), tree).inventory.devices


def test_thousands_of_functions_are_distinct() -> None:
    found = inventory(f"{MAX_FUNCTIONS // (2 + MAX_VFS)}xCX7+{MAX_VFS}")
    assert len({each.pci_address for each in found.physical}) == len(found.physical) == 4092
    assert isinstance(parse_spec(f"{MAX_FUNCTIONS}xCX7IB"), MadeUpTree)


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "2",
        "x",
        "2x",
        "0xCX6",
        "-1xCX6",
        "2xcx6",
        "2 xCX6",
        "²xCX6",
        "2xCX9",
        "2xIB",
        "2xCX6IBIB",
        "2xCX6+",
        "+4",
        "2xCX6+0",
        f"2xCX6+{MAX_VFS + 1}",
        "2xCX6+4+4",
        "2xCX6++4",
        "2xCX6,1xCX7",
        f"{MAX_FUNCTIONS // 2 + 1}xCX6",
        "99999xCX6",
        pytest.param("+".join(["4096xCX7IB"] * 100), id="far too many"),
        pytest.param("9" * 10_000, id="far too long"),
    ],
)
def test_any_other_spec_is_refused_with_what_is_allowed(spec: str) -> None:
    with pytest.raises(InvalidValueError, match=r"2xCX6\+4") as refused:
        parse_spec(spec)
    assert repr(spec[:80]) in str(refused.value)
    assert len(str(refused.value)) < 500
