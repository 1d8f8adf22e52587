"""What the facts about Solarflare's cards and Onload mean: devices, their health, and their ports."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from plugin_gateway.core.devices import (
    FaultId,
    Inventory,
    Kind,
    PhysicalDevice,
    PhysicalId,
    PortOfDevice,
    Recipe,
    RejectedDevice,
    whole,
)
from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.core.health.policy import NOT_ANSWERING, EvidenceKind
from plugin_gateway.linux.card_devices import physical_card
from plugin_gateway.linux.card_model import Judged, Seen, Signs, Tree
from plugin_gateway.linux.facts import Interface, PciFunction, PciFunctions
from plugin_gateway.linux.pcie import degraded_link
from plugin_gateway.linux.sysfs import HostTree
from plugin_gateway.solarflare.cards import driver_for, is_card, is_held, is_too_old, product_of
from plugin_gateway.solarflare.evidence import (
    ACCELERATION_OFF,
    LINK_DOWN,
    NO_DRIVER,
    ONLOAD_MISMATCH,
    ONLOAD_MISSING,
    PCIE_DEGRADED,
    SWITCHED_OFF,
)
from plugin_gateway.solarflare.library import LibraryCheck, Mismatch
from plugin_gateway.solarflare.onload import (
    HOST_PATH,
    NODES,
    VERSION_FACT,
    KernelOnload,
    acceleration_off,
    missing,
    version_of_kernel,
)

ONLOAD = Kind("onload")
RECIPE = Recipe(shared_nodes=NODES, is_complete=True)
"""A container gets the nodes of Onload. None of them belongs to a card."""
LINK_TYPE = "ethernet"
_MBIT = 1000
"""Mbit/s in a Gbit/s."""
_FAILED = "EIO"
"""How the kernel says that a device does not answer. Other errors say that something has no value, or is just going."""
_MAX_NAMED = 3
"""Files that are named in words."""
_Problems = Mapping[EvidenceKind, str]


def _unknown(host_path: str, kernel: object) -> str:  # noqa: ARG001 - as Mismatch
    return ""


class OnloadModel:
    """The opinion about Solarflare's cards. A card is listed whether Onload is there or not, and is unhealthy if not.

    What can change without an event, such as a module or a file, is read at each look.
    """

    def __init__(
        self,
        host_paths: Sequence[str] = (HOST_PATH,),
        *,
        proc: Tree | None = None,
        mismatch: Mismatch = _unknown,
        recipe: Recipe = RECIPE,
    ) -> None:
        """Create a model.

        ``host_paths`` are the folders of the host with Onload's files for containers; with none, no library is needed.
        ``proc`` is the tree whose /proc is read; None is the tree of the scan. A pod sees these files of /proc as the
        host does. ``mismatch`` compares a library with the kernel module.
        """
        self.host_paths = tuple(host_paths)
        self._proc = proc
        self._mismatch = mismatch
        self._recipe = recipe
        self._tree: Tree | None = None
        self._kernel: KernelOnload | None = None
        """What the kernel module said of itself at the last look. None if the node lacks something of Onload."""
        self._indexes: dict[str, int] = {}
        self._functions: dict[str, PciFunction] = {}
        """Each card of the last scan, in the order of the indexes. What it has no more is as it was seen last."""
        self._drivers: dict[str, str] = {}
        """The driver that each function has, or had."""
        self._lasting: dict[str, _Problems] = {}
        """What the last scan says against each card."""

    def see(self, bus: PciFunctions, tree: Tree) -> Seen:
        """Return the cards that can be given out. One that is unreadable for the moment stays as it was."""
        self._tree = tree
        cards = [function for function in bus.functions if is_card(function)]
        aside = [function for function in cards if is_too_old(function) or is_held(function)]
        unreadable = {address: words for address, words in bus.unreadable.items() if address in self._functions}
        here = [self._remembering(function) for function in cards if function not in aside]
        here += [self._functions[address] for address in unreadable]
        for function in sorted(here, key=lambda each: each.address):
            self._indexes.setdefault(function.address, len(self._indexes))
        self._functions = {each.address: each for each in sorted(here, key=lambda each: self._indexes[each.address])}
        self._lasting = {
            address: {NOT_ANSWERING: f"it cannot be read: {unreadable[address]}"}
            if address in unreadable
            else _lasting(function, tree)
            for address, function in self._functions.items()
        }
        return Seen(self._inventory(bus, aside), ())

    def judge(self, signs: Signs) -> Judged:
        """Return what these signs mean, with what the node has of Onload now."""
        if self._tree is None:
            return Judged({}, ())
        onload = self._onload_problems(self._tree)
        checkups: dict[FaultId, Checkup] = {}
        for address, function in self._functions.items():
            problems = {**self._lasting[address], **_of_link(function, signs), **onload}
            if ONLOAD_MISSING not in onload and (path := acceleration_off(self._tree, address)):
                problems[ACCELERATION_OFF] = f"Onload may not use it: {path} is 0"
            checkups[PhysicalId(address)] = Checkup(problems)
        facts = {VERSION_FACT: self._kernel.version} if self._kernel is not None else {}
        return Judged(checkups, tuple(self._ports(signs)), facts)

    def _remembering(self, function: PciFunction) -> PciFunction:
        """Return a function with the interfaces that it had, while a pod has them, or no driver."""
        known = self._functions.get(function.address)
        is_same = known is not None and (known.vendor, known.device) == (function.vendor, function.device)
        if function.driver is not None:
            self._drivers[function.address] = function.driver
        elif not is_same:
            self._drivers.pop(function.address, None)
        if function.interfaces or known is None or not is_same:
            return function
        return replace(function, interfaces=known.interfaces)

    def _inventory(self, bus: PciFunctions, aside: Iterable[PciFunction]) -> Inventory:
        known = {**{each.address: each for each in bus.functions}, **self._functions}
        physical = tuple(
            physical_card(
                function,
                index=self._indexes[address],
                product=product_of(function),
                driver=self._drivers.get(address),
                interfaces=_names(function),
                link_type=LINK_TYPE,
                parent_interfaces=_names(known.get(function.parent or "")),
            )
            for address, function in self._functions.items()
        )
        return Inventory(
            physical=physical,
            devices=tuple(replace(whole(each, ONLOAD), details=_details(each)) for each in physical),
            rejected=tuple(
                RejectedDevice(each.address, f"Onload does not support {product_of(each)} {each.device} any more")
                for each in aside
                if is_too_old(each)
            ),
            set_aside=tuple(
                RejectedDevice(each.address, f"the driver {each.driver} has it")
                for each in aside
                if not is_too_old(each)
            ),
            recipes={ONLOAD: self._recipe},
        )

    def _onload_problems(self, tree: Tree) -> _Problems:
        """Return what is wrong with Onload on the node: the first thing that is missing, or else what does not fit."""
        proc = self._proc if self._proc is not None else tree
        self._kernel = None
        if lacking := next(missing(tree, proc, self.host_paths), ""):
            return {ONLOAD_MISSING: lacking}
        self._kernel = kernel = version_of_kernel(proc)
        found = [self._mismatch(each, kernel) for each in self.host_paths] if kernel is not None else []
        words = "; ".join(filter(None, found))
        return {ONLOAD_MISMATCH: words} if words else {}

    def _ports(self, signs: Signs) -> Iterable[PortOfDevice]:
        for address in self._functions:
            for number, interface in enumerate(signs.interfaces.get(address, ()), 1):
                is_up = interface.is_switched_on and bool(interface.carrier)
                yield PortOfDevice(
                    PhysicalId(address),
                    number,
                    LINK_TYPE,
                    is_up,
                    _state_of(interface),
                    interface.speed / _MBIT if is_up and interface.speed is not None else None,
                    interface.carrier_changes,
                )


def onload_model(host_root: str = "/", host_paths: Sequence[str] = (HOST_PATH,)) -> OnloadModel:
    """Return the model for genuine cards. ``host_root`` is where the host's files are seen.

    /proc is read there if it is there. A pod has what is read of it in its own /proc.
    """
    host = HostTree(host_root)
    proc = host if host.exists("/proc/devices") else HostTree()
    return OnloadModel(host_paths, proc=proc, mismatch=LibraryCheck(host_root).mismatch)


def _lasting(function: PciFunction, tree: Tree) -> _Problems:
    """Return what a scan says against a function that could be read."""
    if function.driver is None:
        driver = driver_for(function)
        reason = "" if tree.exists(f"/sys/module/{driver}") else f": the module {driver} is not loaded"
        return {NO_DRIVER: f"no kernel driver has it{reason}"}
    problems: dict[EvidenceKind, str] = {}
    if failed := [path for path, words in function.unread.items() if words == _FAILED]:
        problems[NOT_ANSWERING] = f"it answers with an error: {_FAILED} from {' and '.join(failed[:_MAX_NAMED])}"
    if degraded := degraded_link(tree, function.address):
        problems[PCIE_DEGRADED] = degraded
    return problems


def _of_link(function: PciFunction, signs: Signs) -> _Problems:
    """Return what is wrong with all interfaces of a function. Without any, a pod has them, and nothing is known.

    An idle virtual function is switched off. That is no problem.
    """
    unanswered = signs.unanswered.get(function.address)
    if unanswered is not None:
        return {NOT_ANSWERING: f"its interface does not answer: {unanswered.words}"}
    interfaces = signs.interfaces.get(function.address, ())
    if not interfaces or any(each.is_switched_on and each.carrier is not False for each in interfaces):
        return {}
    unlinked = [each.name for each in interfaces if each.is_switched_on]
    if unlinked:
        return {LINK_DOWN: f"{' and '.join(unlinked)} has no link"}
    if function.is_virtual:
        return {}
    return {SWITCHED_OFF: f"{' and '.join(each.name for each in interfaces)} is switched off"}


def _state_of(interface: Interface) -> str:
    if not interface.is_switched_on:
        return "switched off"
    return "no link" if interface.carrier is False else "up" if interface.carrier else "unknown"


def _names(function: PciFunction | None) -> tuple[str, ...]:
    """Return the names of the interfaces of a function."""
    return tuple(each.name for each in function.interfaces) if function is not None else ()


def _details(physical: PhysicalDevice) -> Mapping[str, Mapping[str, str]]:
    """Return what a program in a container is told of a device, in the words of the SR-IOV device plugin."""
    return {"generic": {"deviceID": physical.id}}
