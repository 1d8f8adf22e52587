"""Simulated RDMA cards for demonstrations, benchmarks and tests on a machine without RDMA: the files that they have."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.linux.made_up_tree import MadeUpTree
from plugin_gateway.rdma.naming import CONNECTION_MANAGER
from plugin_gateway.rdma.products import MELLANOX

MAX_FUNCTIONS = 4096
"""Largest number of simulated functions."""
MAX_VFS = 64
"""Largest number of virtual functions of a card."""
_INFINIBAND_MARK = "IB"
"""Behind a model, for one with a single port of InfiniBand. Without it a card has two ports of Ethernet."""
_PART = re.compile(r"([0-9]{1,4})x([A-Z0-9]{3,6})|([0-9]{1,4})", re.ASCII)
_BRIDGES = 127
"""Each simulated GPU has a bridge and a bus of its own, this many in each PCI domain. A card is beside its GPU."""
_FIRST_SLOT = 0x10
"""The GPU has the first slots of the bus, a card those from here on."""
_NUMA_NODES, _CARDS_OF_NODE = 2, 4
"""A machine with eight GPUs has four on each NUMA node, and so many cards beside them."""
_DRIVER = "mlx5_core"
_MODULES = ("ib_core", "ib_uverbs", "ib_umad", "rdma_ucm", _DRIVER, "mlx5_ib")


class _Model(NamedTuple):
    device: str
    """The PCI device id of a physical function."""
    vf_device: str
    rate: str
    """As the kernel writes it."""


MODELS: dict[str, _Model] = {
    "CX4": _Model("1013", "1014", "100 Gb/sec (4X EDR)"),
    "CX5": _Model("1017", "1018", "100 Gb/sec (4X EDR)"),
    "CX6": _Model("101b", "101c", "200 Gb/sec (4X HDR)"),
    "CX7": _Model("1021", "101e", "400 Gb/sec (4X NDR)"),
    "CX8": _Model("1023", "101e", "800 Gb/sec (4X XDR)"),
    "BF3": _Model("a2dc", "101e", "400 Gb/sec (4X NDR)"),
}
"""The cards, ConnectX-4 to -8 and BlueField-3. Each can be had with `_INFINIBAND_MARK` too."""


class _Card(NamedTuple):
    number: int
    model: _Model
    is_infiniband: bool
    vfs: int

    @property
    def ports(self) -> int:
        return 1 if self.is_infiniband else 2

    @property
    def functions(self) -> int:
        return self.ports + self.vfs


class _Function(NamedTuple):
    """A function of a card: the physical one of a port, or a virtual one of the first port."""

    card: _Card
    place: int
    """Its number among the functions of the card."""
    number: int
    """That of its RDMA device, among those of the machine."""

    @property
    def vf(self) -> int | None:
        """Its number among the virtual functions. None if it is a physical one."""
        return self.place - self.card.ports if self.place >= self.card.ports else None

    @property
    def bridge(self) -> str:
        domain, place = divmod(self.card.number, _BRIDGES)
        return f"{domain:04x}:{2 * place + 1:02x}"

    @property
    def address(self) -> str:
        return self._address(self.place)

    @property
    def parent(self) -> str:
        return self._address(0)

    def _address(self, place: int) -> str:
        domain, bus = divmod(self.card.number, _BRIDGES)
        slot, function = divmod(place, 8)
        return f"{domain:04x}:{2 * bus + 2:02x}:{_FIRST_SLOT + slot:02x}.{function}"

    @property
    def folder(self) -> str:
        """The folder of the function, below /sys/devices."""
        return f"pci{self.bridge}/{self.bridge}:00.0/{self.address}"

    @property
    def interface(self) -> str:
        kind = "ib" if self.card.is_infiniband else "en"
        if self.vf is not None:
            return f"{kind}s{self.card.number + 1}f0v{self.vf}"
        suffix = "" if self.card.is_infiniband else f"np{self.place}"
        return f"{kind}s{self.card.number + 1}f{self.place}{suffix}"


def parse_spec(spec: str) -> MadeUpTree:
    """Return the files of a machine with cards such as ``2xCX6+4``: two cards, each with four virtual functions.

    ``4xCX7+8+1xCX7IB`` are five cards, of which the last has InfiniBand and no virtual functions.

    Raises:
        InvalidValueError: the message names the value and what is allowed.
    """
    cards = _cards(spec)
    if not cards or sum(each.functions for each in cards) > MAX_FUNCTIONS:
        raise InvalidValueError(
            f"cards to simulate {spec[:80]!r}; expected COUNTxMODEL such as 2xCX6, with the number of virtual "
            "functions of each such as 2xCX6+4, or several such as 2xCX6+4+1xCX7IB, with "
            f"{', '.join(MODELS)}, or one of these with {_INFINIBAND_MARK} behind it, 1 to {MAX_VFS} virtual functions"
            f", and {MAX_FUNCTIONS} functions in all"
        )
    tree = MadeUpTree()
    for module in _MODULES:
        tree.write(f"/sys/module/{module}/initstate", "live")
    tree.write("/sys/module/ib_core/parameters/netns_mode", "Y")
    tree.write(f"/sys/class/misc/{CONNECTION_MANAGER}/dev", "10:122")
    places = [(card, place) for card in cards for place in range(card.functions)]
    for number, (card, place) in enumerate(places):
        _write(tree, _Function(card, place, number))
    return tree


def _cards(spec: str) -> list[_Card]:
    """Return the cards of a specification. None of them if it is not allowed."""
    cards: list[_Card] = []
    group = 0
    for part in spec.split("+") if len(spec) <= MAX_FUNCTIONS else ():
        matched = _PART.fullmatch(part)
        if matched is None:
            return []
        count, name, vfs = matched.groups()
        if vfs is not None:
            if not group or not 1 <= int(vfs) <= MAX_VFS:
                return []
            cards[-group:] = [card._replace(vfs=int(vfs)) for card in cards[-group:]]
            group = 0
            continue
        model, is_infiniband = MODELS.get(name.removesuffix(_INFINIBAND_MARK)), name.endswith(_INFINIBAND_MARK)
        group = int(count)
        if model is None or group == 0 or len(cards) + group > MAX_FUNCTIONS:
            return []
        cards += [_Card(len(cards) + each, model, is_infiniband, 0) for each in range(group)]
    return cards


def _write(tree: MadeUpTree, function: _Function) -> None:
    """Write a function. Its link on the bus comes last."""
    folder = f"/sys/devices/{function.folder}"
    for path, text in _files(function):
        tree.write(f"{folder}/{path}", text)
    tree.make_folder(f"{folder}/{_DRIVER}.rdma.{function.number}")
    tree.link_to(f"{folder}/driver", f"/sys/bus/pci/drivers/{_DRIVER}")
    if function.vf is not None:
        tree.link_to(f"{folder}/physfn", f"../{function.parent}")
        tree.link_to(f"/sys/bus/pci/devices/{function.parent}/virtfn{function.vf}", f"../{function.address}")
    tree.link_to(f"/sys/class/infiniband/mlx5_{function.number}", f"{folder}/infiniband/mlx5_{function.number}")
    tree.link_to(f"/sys/class/net/{function.interface}", f"{folder}/net/{function.interface}")
    tree.link_to(f"/sys/bus/pci/devices/{function.address}", f"../../../devices/{function.folder}")


def _files(function: _Function) -> Iterator[tuple[str, str]]:
    """Return the files of a function, by the path below its folder."""
    card, number = function.card, function.number
    device = card.model.device if function.vf is None else card.model.vf_device
    yield "vendor", f"0x{MELLANOX}"
    yield "device", f"0x{device}"
    yield "class", "0x020700" if card.is_infiniband else "0x020000"
    yield "numa_node", f"{card.number // _CARDS_OF_NODE % _NUMA_NODES}"
    for when in ("current", "max"):
        yield f"{when}_link_speed", "32.0 GT/s PCIe"
        yield f"{when}_link_width", "16"
    net = f"net/{function.interface}"
    yield f"{net}/type", "32" if card.is_infiniband else "1"
    yield f"{net}/flags", "0x1003"
    yield f"{net}/operstate", "up"
    yield f"{net}/carrier", "1"
    yield f"{net}/carrier_changes", "2"
    yield f"{net}/speed", f"{card.model.rate.partition(' ')[0]}000"
    rdma = f"infiniband/mlx5_{number}"
    yield f"{rdma}/node_guid", f"0200:5eff:fe50:{number:04x}"
    yield f"{rdma}/hca_type", f"MT{int(device, 16)}"
    yield f"{rdma}/ports/1/link_layer", "InfiniBand" if card.is_infiniband else "Ethernet"
    yield f"{rdma}/ports/1/state", "4: ACTIVE"
    yield f"{rdma}/ports/1/phys_state", "5: LinkUp"
    yield f"{rdma}/ports/1/rate", card.model.rate
    yield f"infiniband_verbs/uverbs{number}/ibdev", f"mlx5_{number}"
    yield f"infiniband_mad/umad{number}/ibdev", f"mlx5_{number}"
    if card.is_infiniband:
        yield f"infiniband_mad/issm{number}/ibdev", f"mlx5_{number}"
