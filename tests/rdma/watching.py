"""Looks at made-up cards with the genuine model, one scan and one look at the signs after the other."""

from collections.abc import Mapping
from typing import NamedTuple

from cards.builder import Cards
from harness.card_signs import signs_of
from plugin_gateway.core.devices import Device, FaultId, Inventory, PhysicalId, PortOfDevice
from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.core.health.policy import EvidenceKind
from plugin_gateway.linux.facts import PciFunctions
from plugin_gateway.linux.pci_scan import scan
from plugin_gateway.linux.sysfs import HostTree
from plugin_gateway.rdma.evidence import HEALTH_POLICY
from plugin_gateway.rdma.memory import NOTHING, Memory
from plugin_gateway.rdma.model import RdmaModel


class Look(NamedTuple):
    """What the model makes of everything at one moment."""

    bus: PciFunctions
    inventory: Inventory
    checkups: Mapping[FaultId, Checkup]
    ports: tuple[PortOfDevice, ...]

    @property
    def addresses(self) -> list[str]:
        return sorted(device.id for device in self.inventory.devices)

    def device(self, address: str) -> Device:
        return next(device for device in self.inventory.devices if device.id == address)

    def attribute(self, address: str, word: str) -> tuple[str, ...]:
        return self.device(address).physical.attributes[word]

    def problems(self, address: str) -> Mapping[EvidenceKind, str]:
        return self.checkups[PhysicalId(address)].problems

    def unhealthy(self) -> list[str]:
        """Return the devices that the default policy takes out."""
        return sorted(
            address
            for address, checkup in self.checkups.items()
            if any(HEALTH_POLICY.about(kind).action.needs is not None for kind in checkup.problems)
        )

    def with_attribute(self, word: str, value: str) -> list[str]:
        return [each for each in self.addresses if value in self.attribute(each, word)]


class Watched:
    """Made-up cards with a model that sees them."""

    def __init__(self, cards: Cards, memory: Memory = NOTHING) -> None:
        self.cards = cards
        self.now = 0.0
        self.saved = [memory]
        self.restart()

    def restart(self) -> None:
        """Begin again with what was kept."""
        self.model = RdmaModel(self.saved[-1], self.saved.append, clock=lambda: self.now)

    def look(self) -> Look:
        tree = HostTree(str(self.cards.root))
        bus = scan(tree)
        seen = self.model.see(bus, tree)
        judged = self.model.judge(signs_of(tree, bus, seen.ports))
        assert judged.checkups.keys() == {each.id for each in seen.inventory.physical}
        return Look(bus, seen.inventory, judged.checkups, judged.ports)
