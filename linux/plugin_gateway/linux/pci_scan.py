"""Finds the functions of the PCI bus that are network cards, and what sysfs says of them.

Everything that is read here comes from the kernel's memory. What asks a driver or its firmware can hang for a minute
(the state of a port, the carrier and the speed of an interface): `signs` reads that.
"""

import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import replace
from posixpath import normpath
from types import MappingProxyType

from plugin_gateway.linux.card_model import Tree, Unread
from plugin_gateway.linux.facts import Interface, PciFunction, PciFunctions, Port, RdmaDevice
from plugin_gateway.linux.folder import Folder, printable

BUS = "/sys/bus/pci/devices"
NETWORK_CLASS = "02"
"""How the class of a network controller begins."""
_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", re.ASCII)
_HOST_BRIDGE = re.compile(r"pci[0-9a-f]{4,8}:[0-9a-f]{2}", re.ASCII)
_RDMA_DRIVER = re.compile(r".+\.(rdma|roce|iwarp)\.[0-9]+", re.ASCII)
"""The name of the auxiliary device that a driver makes for RDMA."""
_VIRTUAL = re.compile(r"virtfn([0-9]{1,5})", re.ASCII)
_FOUR_DIGITS = re.compile(r"0x([0-9a-f]{4})", re.ASCII)
_SIX_DIGITS = re.compile(r"0x([0-9a-f]{6})", re.ASCII)
_MAX_NUMA_NODE = 4095
_MAX_PORTS = 255
_MANAGES_NVLINK = ("15b3", "0207")
"""The vendor, and how the class begins, of functions that can be there only to manage the links between GPUs."""
_MANAGER_MARK = "SW_MNG"
"""What their vital product data have in them."""

Managers = MutableMapping[tuple[str, str, str], bool]
"""Whether functions manage NVLink, by address, vendor and device. To read it takes milliseconds. It never changes."""


BUS_TODO = "mount the /sys of the host read-only, and give the folder above it with --host-root"
"""What to do where the PCI bus cannot be read."""


class NoBusError(Exception):
    """The PCI bus cannot be read."""


def scan(
    tree: Tree,
    *,
    at: Callable[[str], object] = lambda _name: None,
    managers: Managers | None = None,
    left_out: Mapping[str, str] = MappingProxyType({}),
) -> PciFunctions:
    """Return the network cards on the bus, and every other function with RDMA.

    ``at`` is called with the name of each function before it is read. ``managers`` is what earlier scans of this tree
    found; it is updated. ``left_out`` are functions that are not read, each with the reason.

    Raises:
        NoBusError: the bus cannot be read.
    """
    names = tree.names(BUS)
    if isinstance(names, Unread):
        raise NoBusError(f"the PCI bus cannot be read: {tree.seen_at(BUS)}: {names.words}")
    known = managers if managers is not None else {}
    found, unreadable, numbers = [], {}, {}
    with_rdma = _owners(tree, "/sys/class/infiniband") | _owners(tree, "/sys/bus/auxiliary/devices")
    for name in names:
        if name in left_out:
            unreadable[name] = left_out[name]
            continue
        at(name)
        if not _ADDRESS.fullmatch(name):
            unreadable[printable(name)] = "it has no PCI address"
            continue
        function = _read(tree, name, known, has_rdma=name in with_rdma)
        if isinstance(function, str):
            unreadable[name] = function
        elif function is not None:
            found.append(function[0])
            numbers.update(function[1])
    for key in [key for key in known if key[0] not in names]:
        del known[key]
    return PciFunctions(tuple(_numbered(found, numbers)), unreadable)


def folder_of(tree: Tree, address: str) -> str:
    """Return the folder of a function among the devices of the kernel, with its bridges in the path."""
    target = tree.link(f"{BUS}/{address}")
    folder = normpath(f"{BUS}/{target}") if isinstance(target, str) else ""
    return folder if folder.startswith("/sys/devices/") else f"{BUS}/{address}"


def _owners(tree: Tree, folder: str) -> set[str]:
    """Return the addresses of functions to which something in a folder of links belongs that has to do with RDMA."""
    names = tree.names(folder)
    if isinstance(names, Unread):
        return set()
    is_class = folder.startswith("/sys/class/")
    links = [tree.link(f"{folder}/{name}") for name in names if is_class or _RDMA_DRIVER.fullmatch(name)]
    return {owner for link in links if isinstance(link, str) and (owner := _last_address(link.split("/")))}


def _last_address(parts: Iterable[str]) -> str | None:
    return next((part for part in reversed(list(parts)) if _ADDRESS.fullmatch(part)), None)


def _numbered(functions: Iterable[PciFunction], numbers: dict[str, tuple[str, int]]) -> Iterable[PciFunction]:
    """Give virtual functions their numbers. ``numbers`` has the parent and the number of each."""
    for each in functions:
        parent, number = numbers.get(each.address, (None, None))
        if parent is None or parent != each.parent:
            yield each
        else:
            yield replace(each, vf_number=number)


def _read(
    tree: Tree, address: str, managers: Managers, *, has_rdma: bool
) -> tuple[PciFunction, dict[str, tuple[str, int]]] | str | None:
    """Return a function, and the numbers of its virtual ones.

    None if it is no network card or has just gone, and why if it cannot be read.
    """
    files = Folder(tree, folder_of(tree, address))
    class_code = files.match("class", _SIX_DIGITS)
    if class_code is not None and not class_code.startswith(NETWORK_CLASS) and not has_rdma:
        return None
    vendor, device = files.match("vendor", _FOUR_DIGITS), files.match("device", _FOUR_DIGITS)
    if class_code is None or vendor is None or device is None:
        is_gone = isinstance(tree.link(f"{BUS}/{address}"), Unread) and not tree.exists(f"{BUS}/{address}")
        return None if is_gone else "; ".join(f"{name}: {words}" for name, words in files.unread.items())
    names = files.names("")
    virtual = {name: int(number[1]) for name in names if (number := _VIRTUAL.fullmatch(name))}
    parent = files.target("physfn") if "physfn" in names else None
    function = PciFunction(
        address=address,
        vendor=vendor,
        device=device,
        class_code=class_code,
        driver=files.target("driver") if "driver" in names else None,
        numa_node=_numa_node(files),
        pci_path=_pci_path(files.path),
        parent=files.checked("physfn", parent, _ADDRESS),
        vf_count=len(virtual),
        interfaces=_interfaces(files) if "net" in names else (),
        rdma_devices=_rdma_devices(files, names),
        rdma_drivers=tuple(printable(name) for name in names if _RDMA_DRIVER.fullmatch(name)),
        manages_nvlink=_manages_nvlink(files, managers, (address, vendor, device), class_code),
        unread=files.unread,
    )
    return function, _numbers_of(files, address, virtual)


def _numbers_of(files: Folder, address: str, virtual: dict[str, int]) -> dict[str, tuple[str, int]]:
    """Return this address and the number of each of its virtual functions, by the address of that."""
    targets = {files.target(name): number for name, number in virtual.items()}
    return {target: (address, number) for target, number in targets.items() if target is not None}


def _numa_node(files: Folder) -> int | None:
    node = files.number("numa_node", -1, _MAX_NUMA_NODE)
    return None if node == -1 else node


def _pci_path(folder: str) -> tuple[str, ...]:
    """Return the bridges above a function, from the first host bridge on. Empty if its path does not tell them."""
    parts = folder.split("/")[:-1]
    first = next((place for place, part in enumerate(parts) if _HOST_BRIDGE.fullmatch(part)), len(parts))
    return tuple(parts[first:])


def _manages_nvlink(files: Folder, managers: Managers, key: tuple[str, str, str], class_code: str) -> bool:
    vendor, class_begin = _MANAGES_NVLINK
    if key[1] != vendor or not class_code.startswith(class_begin):
        return False
    if key not in managers:
        data = files.tree.text(f"{files.path}/vpd")
        managers[key] = isinstance(data, str) and _MANAGER_MARK in data
    return managers[key]


def _interfaces(files: Folder) -> tuple[Interface, ...]:
    return tuple(
        Interface(
            name=printable(name),
            type=files.number(f"net/{name}/type", 0, 0xFFFF, otherwise=-1),
            is_switched_on=bool(files.number(f"net/{name}/flags", 0, 0xFFFFFFFF, otherwise=0) & 1),
            carrier=None,
            carrier_changes=files.number(f"net/{name}/carrier_changes", 0, 0xFFFFFFFF, otherwise=0),
        )
        for name in files.names("net")
    )


def _rdma_devices(files: Folder, names: Iterable[str]) -> tuple[RdmaDevice, ...]:
    folders = {name: files.names(name) if name in names else () for name in ("infiniband", "infiniband_verbs")}
    if not folders["infiniband"]:
        return ()
    management = files.names("infiniband_mad") if "infiniband_mad" in names else ()
    nodes = [(name, files.text(f"infiniband_verbs/{name}/ibdev")) for name in folders["infiniband_verbs"]]
    nodes += [(name, files.text(f"infiniband_mad/{name}/ibdev")) for name in management]
    return tuple(
        _rdma_device(files, name, tuple(node for node, owner in nodes if owner == printable(name)))
        for name in folders["infiniband"]
    )


def _rdma_device(files: Folder, name: str, nodes: tuple[str, ...]) -> RdmaDevice:
    folder = f"infiniband/{name}"
    numbers = [int(each) for each in files.names(f"{folder}/ports") if each.isascii() and each.isdigit()]
    return RdmaDevice(
        name=printable(name),
        ports=tuple(
            Port(number, files.text(f"{folder}/ports/{number}/link_layer") or "Unknown")
            for number in sorted(numbers)
            if 0 < number <= _MAX_PORTS
        ),
        uverbs=tuple(node for node in nodes if node.startswith("uverbs")),
        umad=tuple(node for node in nodes if node.startswith("umad")),
        issm=tuple(node for node in nodes if node.startswith("issm")),
        node_guid=files.text(f"{folder}/node_guid") or "",
        hca_type=files.text(f"{folder}/hca_type", is_optional=True) or "",
        board_id=files.text(f"{folder}/board_id", is_optional=True) or "",
        firmware=files.text(f"{folder}/fw_ver", is_optional=True) or "",
    )
