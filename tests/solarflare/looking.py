"""Looks at a host as a backend does: a scan of the bus, then the signs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cards.builder import Cards
from harness.card_signs import signs_of
from plugin_gateway.core.devices import FaultId, Inventory, PortOfDevice
from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.core.health.policy import EvidenceKind
from plugin_gateway.linux.pci_scan import scan
from plugin_gateway.linux.signs import KeepingTree
from plugin_gateway.linux.sysfs import HostTree
from plugin_gateway.solarflare.library import LibraryCheck
from plugin_gateway.solarflare.model import OnloadModel

FIRST, SECOND = "0000:5e:00.0", "0000:5e:00.1"
UP, DOWN = "enp94s0f0np0", "enp94s0f1np1"


@dataclass(frozen=True, slots=True)
class Look:
    """What a model makes of a host at one moment."""

    inventory: Inventory
    checkups: Mapping[FaultId, Checkup]
    ports: tuple[PortOfDevice, ...]
    facts: Mapping[str, str]

    @property
    def problems(self) -> Mapping[str, Mapping[EvidenceKind, str]]:
        """What is wrong with each device."""
        return {str(device): dict(checkup.problems) for device, checkup in self.checkups.items()}

    @property
    def ids(self) -> list[str]:
        """The ids of the devices."""
        return [str(device.id) for device in self.inventory.devices]


class Looker:
    """Looks at a host again and again, with the same model."""

    def __init__(self, tree: KeepingTree, model: OnloadModel) -> None:
        self.tree = tree
        self.model = model

    def look(self) -> Look:
        """Scan, and judge the signs."""
        bus = scan(self.tree)
        seen = self.model.see(bus, self.tree)
        judged = self.model.judge(signs_of(self.tree, bus, seen.ports))
        assert [str(each) for each in judged.checkups] == [str(each.id) for each in seen.inventory.physical]
        assert all(checkup.asks_for_recovery is None for checkup in judged.checkups.values())
        return Look(seen.inventory, judged.checkups, judged.ports, judged.facts)


def at(cards: Cards) -> Looker:
    """Return what looks at made-up cards on disk, with all that a genuine host has."""
    root = str(cards.root)
    return Looker(HostTree(root), OnloadModel(mismatch=LibraryCheck(root).mismatch))


def host(root: Path, *, loaded: bool = True) -> Cards:
    """Return a host with an X2522."""
    return Cards(root).solarflare(loaded=loaded)
