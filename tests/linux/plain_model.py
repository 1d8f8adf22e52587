"""A model of cards for tests: each function is a device, and whatever is not up is a problem."""

import threading

from harness.watching import Watching
from plugin_gateway.core.devices import Inventory, Kind, PhysicalDevice, PhysicalId, PortOfDevice, Recipe, whole
from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    InventorySeen,
)
from plugin_gateway.core.health.policy import NOT_ANSWERING, EvidenceKind
from plugin_gateway.linux.card_backend import CardBackend
from plugin_gateway.linux.card_model import Judged, PortId, Seen, Signs, Tree, Unread
from plugin_gateway.linux.facts import PciFunctions
from plugin_gateway.linux.watching import CardPace

LIMIT = 10.0
FAST = CardPace(poll=0.02, scan=30.0, check=5.0, retry=0.05)
DOWN = EvidenceKind("down")


class PlainModel:
    """Each function of the bus is a device. It notes how often it was asked, and by which threads."""

    def __init__(self) -> None:
        self.scans = 0
        self.threads: set[int] = set()
        self.error: Exception | None = None
        """Raised by each call while it is set."""
        self._seen: Inventory | None = None

    def see(self, bus: PciFunctions, tree: Tree) -> Seen:
        assert not isinstance(tree.names("/sys"), Unread)
        self.scans += 1
        self._note()
        physical = tuple(
            PhysicalDevice(
                id=PhysicalId(each.address),
                index=index,
                minor=None,
                pci_address=each.address,
                product="card",
                memory_bytes=0,
                numa_node=each.numa_node,
                pci_path=each.pci_path,
            )
            for index, each in enumerate(bus.functions)
        )
        devices = tuple(whole(each, Kind("card")) for each in physical)
        self._seen = Inventory(physical=physical, devices=devices, recipes={Kind("card"): Recipe()})
        ports = [
            (each, device, port) for each in bus.functions for device in each.rdma_devices for port in device.ports
        ]
        return Seen(self._seen, tuple(PortId(each.address, device.name, port.number) for each, device, port in ports))

    def judge(self, signs: Signs) -> Judged:
        self._note()
        assert self._seen is not None
        ports = tuple(
            PortOfDevice(
                device=PhysicalId(port.function),
                number=port.number,
                layer="",
                is_up=not isinstance(state, Unread) and state.state == "ACTIVE",
                words=state.words if isinstance(state, Unread) else state.state,
                rate_gbps=None if isinstance(state, Unread) else state.rate_gbps,
                changes=0,
            )
            for port, state in signs.ports.items()
        )
        return Judged({each.id: Checkup(_problems(str(each.id), signs)) for each in self._seen.physical}, ports)

    def _note(self) -> None:
        self.threads.add(threading.get_ident())
        if self.error is not None:
            raise self.error


def _problems(address: str, signs: Signs) -> dict[EvidenceKind, str]:
    problems = {}
    for port, state in signs.ports.items():
        if port.function != address:
            continue
        if isinstance(state, Unread):
            problems[NOT_ANSWERING] = state.words
        elif (state.state, state.phys_state) != ("ACTIVE", "LinkUp"):
            problems[DOWN] = f"port {port.number} is {state.state} ({state.phys_state})"
    if address in signs.unanswered:
        problems[NOT_ANSWERING] = signs.unanswered[address].words
    for each in signs.interfaces.get(address, ()):
        if not each.carrier:
            problems[DOWN] = f"{each.name} has no link"
    return problems


class Watcher(Watching[CardBackend]):
    """Runs a backend of cards, and waits for what becomes of them."""

    limit = LIMIT

    def problem(self, address: str) -> str:
        """Tell the problem of a device in the latest check. Empty if it has none."""
        checks = self.of(DevicesChecked)
        problems = checks[-1].checkups[PhysicalId(address)].problems if checks else {}
        return "; ".join(problems.values())

    def until(self, address: str, problem: str) -> float:
        """Wait until a device has this problem, or none; tells when that was reported."""
        with self._more:
            is_told = self._more.wait_for(
                lambda: bool(self.of(DevicesChecked)) and self.problem(address) == problem, LIMIT
            )
            assert is_told, (self.problem(address), problem)
            return max(
                moment for moment, each in zip(self.times, self.seen, strict=True) if isinstance(each, DevicesChecked)
            )

    def addresses(self) -> list[str]:
        """Tell the devices of the latest inventory."""
        inventories = self.of(InventorySeen)
        return [str(each.id) for each in inventories[-1].inventory.physical] if inventories else []

    def until_there(self, addresses: list[str]) -> float:
        """Wait until these are the devices; tells when that was reported."""
        with self._more:
            assert self._more.wait_for(lambda: self.addresses() == addresses, LIMIT), self.addresses()
            return max(
                moment for moment, each in zip(self.times, self.seen, strict=True) if isinstance(each, InventorySeen)
            )
