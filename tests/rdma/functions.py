"""Facts about functions by hand, for cards that are not among the made-up ones."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from plugin_gateway.core.devices import Inventory, PhysicalId
from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.linux.card_model import Judged, PortId, Signs, Tree, Unread
from plugin_gateway.linux.facts import Interface, PciFunction, PciFunctions, Port, PortState, RdmaDevice
from plugin_gateway.linux.made_up_tree import MadeUpTree
from plugin_gateway.rdma.model import RdmaModel

ADDRESS, OTHER = "0000:17:00.0", "0000:17:00.1"
UP, DOWN = PortState("ACTIVE", "LinkUp", 100.0), PortState("DOWN", "Polling", 10.0)
NOTHING_LOADED = MadeUpTree()


def loaded(*modules: str) -> MadeUpTree:
    """Return a tree with these modules, and rdma_cm."""
    files = {f"/sys/module/{module}/initstate": "live" for module in ("ib_uverbs", *modules)}
    return MadeUpTree({**files, "/sys/class/misc/rdma_cm/dev": "10:122"})


LOADED = loaded("mlx5_ib", "mlx4_ib", "irdma")


def rdma_device(name: str = "mlx5_0", number: int = 0, *, ports: int = 1, layer: str = "Ethernet") -> RdmaDevice:
    return RdmaDevice(
        name, tuple(Port(port, layer) for port in range(1, ports + 1)), (f"uverbs{number}",), (f"umad{number}",)
    )


FUNCTION = PciFunction(
    address=ADDRESS,
    vendor="15b3",
    device="1021",
    class_code="020000",
    driver="mlx5_core",
    numa_node=0,
    pci_path=("pci0000:16", "0000:16:00.0"),
    interfaces=(Interface("ens1np0", 1, is_switched_on=True, carrier=None),),
    rdma_devices=(rdma_device(),),
    rdma_drivers=("mlx5_core.rdma.0",),
)
BARE = replace(FUNCTION, interfaces=(), rdma_devices=(), rdma_drivers=())
"""A function of a network card of Mellanox whose driver has made nothing for RDMA."""


def bus(*functions: PciFunction, unreadable: Mapping[str, str] | None = None) -> PciFunctions:
    return PciFunctions(tuple(sorted(functions, key=lambda each: each.address)), unreadable or {})


def seen(*functions: PciFunction, tree: Tree = LOADED, model: RdmaModel | None = None) -> Inventory:
    """Return what a model makes of these functions."""
    return (model or RdmaModel()).see(bus(*functions), tree).inventory


def interface(name: str = "ens1np0", *, is_on: bool = True, carrier: bool | None = True, changes: int = 2) -> Interface:
    return Interface(name, 1, is_on, carrier, carrier_changes=changes)


def signs(
    function: PciFunction,
    states: Iterable[PortState | Unread],
    interfaces: tuple[Interface, ...] = (interface(),),
) -> Signs:
    """Return signs of a function, with one state for each of its ports."""
    ports = [
        PortId(function.address, device.name, port.number) for device in function.rdma_devices for port in device.ports
    ]
    return Signs(dict(zip(ports, states, strict=True)), {function.address: interfaces} if interfaces else {})


def judged(
    function: PciFunction, *states: PortState | Unread, interfaces: tuple[Interface, ...] = (interface(),)
) -> Judged:
    """Return what a new model makes of a function with these states of its ports."""
    model = RdmaModel()
    model.see(bus(function), LOADED)
    return model.judge(signs(function, states, interfaces))


def checkup(
    function: PciFunction, *states: PortState | Unread, interfaces: tuple[Interface, ...] = (interface(),)
) -> Checkup:
    return judged(function, *states, interfaces=interfaces).checkups[PhysicalId(function.address)]
