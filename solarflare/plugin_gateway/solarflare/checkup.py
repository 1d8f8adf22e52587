"""What a node needs so that containers can use Onload, and whether it has it. For the doctor."""

from collections.abc import Iterator, Sequence

from plugin_gateway.core.devices import Inventory
from plugin_gateway.core.findings import Finding, hint, mend, well
from plugin_gateway.core.health.faults import Evidence, Source
from plugin_gateway.core.health.policy import EvidenceKind
from plugin_gateway.linux.card_findings import HostView, check_bus, check_interfaces, listed
from plugin_gateway.linux.card_model import Tree
from plugin_gateway.linux.facts import PciFunctions
from plugin_gateway.linux.sysfs import HostTree
from plugin_gateway.solarflare.cards import is_card, is_too_old
from plugin_gateway.solarflare.control_plane import control_plane_problem
from plugin_gateway.solarflare.evidence import ACCELERATION_OFF, NO_DRIVER, ONLOAD_MISMATCH, ONLOAD_MISSING
from plugin_gateway.solarflare.library import LibraryCheck, Mismatch
from plugin_gateway.solarflare.onload import acceleration_off, missing, version_of_kernel
from plugin_gateway.solarflare.remedies import remedy_for


def check_host(view: HostView, inventory: Inventory, host_paths: Sequence[str]) -> Iterator[Finding]:
    """Check a genuine host. ``host_paths`` are the folders with Onload's files for containers."""
    proc = view.tree if view.tree.exists("/proc/devices") else HostTree()
    return check(view, proc, inventory, host_paths, LibraryCheck(view.root).mismatch)


def check(
    view: HostView, proc: Tree, inventory: Inventory, host_paths: Sequence[str], mismatch: Mismatch
) -> Iterator[Finding]:
    """Check the host and the cards.

    ``proc`` is the tree whose /proc is read, ``host_paths`` are the folders of the host with Onload's files for
    containers, and ``mismatch`` compares a library there with the kernel module.
    """
    bus = yield from check_bus(view)
    if bus is None:
        return
    if not inventory.physical:
        return  # such a node needs no Onload
    yield from check_interfaces(view, bus, [each.id for each in inventory.physical])
    yield from _check_onload(view, proc, host_paths, mismatch)
    if problem := control_plane_problem(view.tree):
        yield mend(
            problem,
            "install Onload's programs on the host, or let the file that is named say where the operator of Onload has "
            "them",
        )
    yield from _check_cards(view, bus)


def _check_onload(view: HostView, proc: Tree, host_paths: Sequence[str], mismatch: Mismatch) -> Iterator[Finding]:
    lacking = list(missing(view.tree, proc, host_paths))
    if lacking:
        yield mend(f"Onload cannot be used: {'; '.join(lacking)}", _todo(ONLOAD_MISSING))
        return
    kernel = version_of_kernel(proc)
    wrong = [words for path in host_paths if kernel is not None and (words := mismatch(path, kernel))]
    for words in wrong:
        yield mend(words, _todo(ONLOAD_MISMATCH))
    if kernel is not None and not wrong:
        yield well(f"Onload {kernel.version} is loaded, with its device nodes and its library")


def _check_cards(view: HostView, bus: PciFunctions) -> Iterator[Finding]:
    cards = [each for each in bus.functions if is_card(each) and not is_too_old(each)]
    if without := [each.address for each in cards if each.driver is None]:
        yield mend(f"no kernel driver has {listed(without)}", _todo(NO_DRIVER))
    if off := [each.address for each in cards if each.driver and acceleration_off(view.tree, each.address)]:
        yield hint(f"Onload may not use {listed(off)}", _todo(ACCELERATION_OFF))


def _todo(kind: EvidenceKind) -> str:
    return remedy_for(Evidence("", 0.0, kind, Source.CHECK)).todo
