"""Makes devices of the functions that are RDMA devices."""

from collections.abc import Mapping, Sequence

from plugin_gateway.core.devices import Device, DeviceId, PhysicalDevice
from plugin_gateway.linux.card_devices import physical_card
from plugin_gateway.linux.facts import Port, RdmaDevice
from plugin_gateway.linux.pci_scan import BUS
from plugin_gateway.rdma.discovery import Card
from plugin_gateway.rdma.memory import Memory
from plugin_gateway.rdma.naming import (
    CONNECTION_MANAGER,
    ELSEWHERE,
    ETHERNET,
    HARDWARE_TYPES,
    HOLDER,
    HOST,
    INFINIBAND,
    ISSM,
    LINK_LAYERS,
    NCCL,
    RDMA,
    RDMA_DEVICE,
    UCX,
    UMAD,
    node,
)
from plugin_gateway.rdma.products import product_of

_INFINIBAND_CLASS = "0207"
"""The first digits of the PCI class of network controllers for InfiniBand."""


def physical_device(card: Card, index: int, parents: Memory) -> PhysicalDevice:
    """Return a function as a device of the machine. ``parents`` has what is known of physical functions."""
    function = card.function
    hca_types = [each.hca_type for each in card.known.rdma_devices if each.hca_type]
    parent = parents.get(function.parent or "")
    return physical_card(
        function,
        index=index,
        product=product_of(function, next(iter(hca_types), "")),
        driver=card.known.driver,
        interfaces=card.known.interfaces,
        link_type=link_type(card),
        parent_interfaces=parent.interfaces if parent is not None else (),
        more={
            RDMA_DEVICE: tuple(each.name for each in card.known.rdma_devices),
            HOLDER: (ELSEWHERE if card.is_elsewhere else HOST,),
        },
    )


def link_type(card: Card) -> str:
    """Return what the ports of a card connect to."""
    layers = [LINK_LAYERS[each.link_layer] for each in _ports(card) if each.link_layer in LINK_LAYERS]
    if layers:
        return layers[0]
    by_class = INFINIBAND if card.function.class_code.startswith(_INFINIBAND_CLASS) else ETHERNET
    return HARDWARE_TYPES.get(card.known.hardware_type or 0, by_class)


def _ports(card: Card) -> list[Port]:
    return [port for device in card.known.rdma_devices for port in device.ports]


def device_of(card: Card, physical: PhysicalDevice, *, has_nodes: bool = True) -> Device:
    """Return what a container is given of a function. A simulated one has no device nodes."""
    devices = card.known.rdma_devices if has_nodes else ()
    uverbs, umad, issm = (_nodes(devices, kind) for kind in ("uverbs", UMAD, ISSM))
    return Device(
        id=DeviceId(physical.id),
        physical=physical,
        kind=RDMA,
        place=(physical.index,),
        nodes=uverbs,
        memory_bytes=0,
        node_folder=f"{BUS}/{card.address}/infiniband_verbs" if has_nodes else "",
        requested_nodes={kind: nodes for kind, nodes in ((UMAD, umad), (ISSM, issm)) if nodes},
        values=_values(card.known.rdma_devices),
        details=_details(card, uverbs, umad, issm),
    )


def _nodes(devices: Sequence[RdmaDevice], kind: str) -> tuple[str, ...]:
    return tuple(node(name) for device in devices for name in getattr(device, kind))


def _values(devices: Sequence[RdmaDevice]) -> Mapping[str, str]:
    """Return how NCCL (``NCCL_IB_HCA``) and UCX (``UCX_NET_DEVICES``) name the ports of a device."""
    ports = ",".join(f"{device.name}:{port.number}" for device in devices for port in device.ports)
    return {NCCL: ports, UCX: ports} if ports else {}


def _details(
    card: Card, uverbs: Sequence[str], umad: Sequence[str], issm: Sequence[str]
) -> Mapping[str, Mapping[str, str]]:
    """Return what a program reads of a device, in the form of the SR-IOV network device plugin 3.11.

    That plugin knows one node of each kind. A further one has a number behind its word.
    """
    nodes = (("uverbs", uverbs), (UMAD, umad), (ISSM, issm))
    names = ",".join(each.name for each in card.known.rdma_devices)
    return {
        "generic": {"deviceID": card.address},
        "rdma": {
            CONNECTION_MANAGER: node(CONNECTION_MANAGER),
            **({"rdma_dev": names} if names else {}),
            **{f"{kind}{number or ''}": path for kind, paths in nodes for number, path in enumerate(paths)},
        },
    }
