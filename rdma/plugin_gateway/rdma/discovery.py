"""Which PCI functions are RDMA devices, and what keeps one from being used whatever its cable does."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from plugin_gateway.core.devices import RejectedDevice
from plugin_gateway.core.health.policy import NOT_ANSWERING, EvidenceKind
from plugin_gateway.linux.card_model import Tree, Unread
from plugin_gateway.linux.facts import PciFunction, PciFunctions, RdmaDevice
from plugin_gateway.linux.pci_scan import BUS
from plugin_gateway.rdma.evidence import NO_DRIVER, NO_NODE, NO_RDMA_DEVICE
from plugin_gateway.rdma.memory import Known, Memory, is_of, latest, usable_devices
from plugin_gateway.rdma.naming import CONNECTION_MANAGER, NODES_FOLDER, node
from plugin_gateway.rdma.products import is_of_mellanox, rdma_module

_RDMA_FOLDERS = "infiniband"
"""The names of the folders of a function that have its RDMA devices and their nodes begin so."""
_NOT_FOR_THE_HOST = frozenset({"vfio-pci", "pci-stub", "xen-pciback"})
"""Drivers that hold a function for somebody else, such as a virtual machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A function that is an RDMA device."""

    function: PciFunction
    known: Known
    """What is seen of it now, and else what was seen last."""
    problems: Mapping[EvidenceKind, str]
    """What keeps it from being used, for people. Empty if nothing does, or if a pod has it."""
    is_elsewhere: bool
    """Whether its RDMA device or its interface is in another network namespace, such as that of a pod."""

    @property
    def address(self) -> str:
        """Its PCI address."""
        return self.function.address

    @property
    def is_virtual(self) -> bool:
        """Whether it is a virtual function, even if it cannot be read of which physical one."""
        return self.function.is_virtual

    @property
    def usable(self) -> tuple[RdmaDevice, ...]:
        """Its RDMA devices that programs can use, as they are seen now. None of them while a pod has it."""
        return usable_devices(self.function)


class Found(NamedTuple):
    """What a scan found."""

    cards: tuple[Card, ...]
    """In the order of their addresses."""
    rejected: tuple[RejectedDevice, ...]
    set_aside: tuple[RejectedDevice, ...]
    memory: Memory
    """What is known of each card from now on."""


class _Host:
    """What is the same for all functions of a scan."""

    def __init__(self, bus: PciFunctions, tree: Tree, *, needs_nodes: bool) -> None:
        self._tree = tree
        self.has_rdma_drivers = any(each.rdma_drivers for each in bus.functions)
        """Whether the kernel says which functions can do RDMA. One before 5.11 does not."""
        self._makers = {each.driver for each in bus.functions if each.rdma_devices}
        nodes = tree.names(NODES_FOLDER) if needs_nodes else ()
        self._nodes: tuple[str, ...] = () if isinstance(nodes, Unread) else nodes
        self.has_connection_manager = tree.exists(f"/sys/class/misc/{CONNECTION_MANAGER}")

    def has_module(self, name: str) -> bool:
        """Whether a kernel module is loaded. One that is built in need not have a folder."""
        return self._tree.exists(f"/sys/module/{name}")

    def missing_module(self, driver: str) -> str | None:
        """Return the module that makes RDMA devices for this driver, if it is not loaded."""
        module = rdma_module(driver)
        return module if module is not None and driver not in self._makers and not self.has_module(module) else None

    def has_emptied(self, function: PciFunction, folder: str) -> bool:
        """Whether the function has the folder for devices of this kind, of which none is seen.

        The folder goes with the last of them in any namespace.
        """
        return self._tree.exists(f"{BUS}/{function.address}/{folder}")

    def missing_nodes(self, devices: tuple[RdmaDevice, ...]) -> list[str]:
        """Return the nodes that the kernel has and /dev lacks, for as long as it takes to make them.

        Where the folder is not seen or is empty, only an allocation can say it.
        """
        here = self._nodes
        return [name for device in devices for name in device.uverbs if here and name not in here]


def find_cards(bus: PciFunctions, tree: Tree, memory: Memory, *, needs_nodes: bool = True) -> Found:
    """Return the RDMA devices of a scan. ``memory`` is what was known before it.

    With ``needs_nodes`` a device node that /dev lacks is a problem. A function that left the bus is forgotten.
    """
    host = _Host(bus, tree, needs_nodes=needs_nodes)
    known = {each.address: memory[each.address] for each in bus.functions if _is_known(each, memory)}
    cards = [_card(each, known.get(each.address), host) for each in bus.functions if _is_card(each, known, host)]
    unreadable = {address: problem for address, problem in bus.unreadable.items() if address in memory}
    kept = {address: memory[address] for address in unreadable} if bus.functions or unreadable else memory
    return Found(
        tuple(cards),
        tuple(RejectedDevice(f"card at {address}", problem) for address, problem in sorted(unreadable.items())),
        tuple(RejectedDevice(f"card at {each.address}", why) for each in bus.functions if (why := _why_not(each))),
        {**kept, **{card.address: card.known for card in cards}},
    )


def _is_known(function: PciFunction, memory: Memory) -> bool:
    known = memory.get(function.address)
    return known is not None and is_of(known, function)


def _why_not(function: PciFunction) -> str:
    """Return why somebody who looks for the function among the RDMA devices does not find it. Empty for others."""
    if function.manages_nvlink:
        return "it manages the links between GPUs and is no port for data: its vital product data have SW_MNG"
    if is_of_mellanox(function) and function.driver in _NOT_FOR_THE_HOST:
        return f"the kernel driver {function.driver} has it"
    return ""


def _is_card(function: PciFunction, known: Memory, host: _Host) -> bool:
    if _why_not(function):
        return False
    if usable_devices(function) or function.rdma_drivers or function.address in known:
        return True
    if function.rdma_devices:
        return not host.has_module("ib_uverbs")
    if not is_of_mellanox(function):
        return False
    if function.driver is None:
        return True
    return not host.has_rdma_drivers and host.missing_module(function.driver) is not None


def _card(function: PciFunction, before: Known | None, host: _Host) -> Card:
    is_given_away = _is_given_away(function, before, host)
    known = latest(function, before)
    has_lost_interface = bool(known.interfaces) and not function.interfaces and host.has_emptied(function, "net")
    return Card(
        function=function,
        known=known,
        problems={} if is_given_away else _problems(function, host),
        is_elsewhere=is_given_away or has_lost_interface,
    )


def _problems(function: PciFunction, host: _Host) -> Mapping[EvidenceKind, str]:
    """Return what keeps a function from being used that no pod has."""
    if function.driver is None:
        return {NO_DRIVER: "no kernel driver has it"}
    if usable := usable_devices(function):
        return _missing_nodes(usable, host)
    return _without_device(function, function.driver, host)


def _without_device(function: PciFunction, driver: str, host: _Host) -> Mapping[EvidenceKind, str]:
    """Return why a function that this driver has cannot be used: it has no RDMA device, or one without uverbs."""
    if unread := _unread(function):
        return {NOT_ANSWERING: f"its RDMA device cannot be read: {unread}"}
    if function.rdma_devices:
        return {NO_NODE: _no_uverbs(function, host)}
    module = host.missing_module(driver)
    if module is not None:
        return {NO_RDMA_DEVICE: f"the module {module} is not loaded"}
    return {NO_RDMA_DEVICE: f"its driver {driver} has made no RDMA device"}


def _unread(function: PciFunction) -> str:
    """Return what of its RDMA devices cannot be read first, and why. Empty if everything can."""
    return next((f"{path}: {why}" for path, why in function.unread.items() if path.startswith(_RDMA_FOLDERS)), "")


def _missing_nodes(usable: tuple[RdmaDevice, ...], host: _Host) -> Mapping[EvidenceKind, str]:
    missing = [f"{node(name)} is not there" for name in host.missing_nodes(usable)]
    if not host.has_connection_manager:
        missing.append(f"the module rdma_ucm is not loaded: {node(CONNECTION_MANAGER)} is not there")
    return {NO_NODE: "; ".join(missing)} if missing else {}


def _no_uverbs(function: PciFunction, host: _Host) -> str:
    if not host.has_module("ib_uverbs"):
        return "the module ib_uverbs is not loaded"
    return f"{function.rdma_devices[0].name} has no uverbs"


def _is_given_away(function: PciFunction, known: Known | None, host: _Host) -> bool:
    """Whether the RDMA device is in the network namespace of a pod.

    The kernel then still has the folder of it, which is empty here. Without the module there is no such folder.
    """
    names = {each.name for each in known.rdma_devices} if known is not None else set()
    seen = {each.name for each in function.rdma_devices}
    if usable_devices(function) or names & seen or (seen and not names):
        return False
    can_rdma = bool(function.rdma_drivers) or (bool(names) and known is not None and not known.has_rdma_driver)
    is_made = function.driver is not None and host.missing_module(function.driver) is None
    return can_rdma and is_made and not _unread(function) and host.has_emptied(function, _RDMA_FOLDERS)
