"""A node with GPUs and network cards, whose backends say what the test puts. No such card is needed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from harness.node import RESOURCE, Node, device, until
from plugin_gateway.adapters.gateway.gateway import Gateway
from plugin_gateway.adapters.gateway.observation_queue import ObservationQueue
from plugin_gateway.adapters.gateway.watched_backend import WatchedBackend
from plugin_gateway.core.cdi import FilesWanted
from plugin_gateway.core.devices import (
    Device,
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
from plugin_gateway.core.health.observations import DevicesChecked, InventorySeen, PortsSeen
from plugin_gateway.core.health.policy import Action, Decision, EvidenceKind, HealthPolicy
from plugin_gateway.core.ports import Report
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule, Selector
from plugin_gateway.core.resources.sharing import Sharing

RDMA = Kind("rdma")
WORD = "RDMA device"
VFS, HCAS, POOL = ResourceName("example.com/vf"), ResourceName("rdma/hca"), ResourceName("rdma/pool")
PORT_DOWN = EvidenceKind("port-down")
POLICY = HealthPolicy(kinds={PORT_DOWN: Decision(Action.UNHEALTHY, "default")}, quiet_time=10.0)
PF, VF, OTHER_PF = "0000:3b:00.0", "0000:3b:00.2", "0000:3b:00.1"
GPUS = ResourceRule(selector=Selector(backends=("nvml",)), name=RESOURCE)


def card(index: int, address: str, interface: str, **more: tuple[str, ...]) -> Device:
    """A physical function, unless ``more`` says something else."""
    attributes = {
        "vendor": ("15b3",),
        "device": ("101b",),
        "driver": ("mlx5_core",),
        "interface": (interface,),
        "linkType": ("ethernet",),
        "function": ("pf",),
        **more,
    }
    physical = PhysicalDevice(
        id=PhysicalId(address),
        index=index,
        minor=None,
        pci_address=address,
        product="ConnectX-6",
        memory_bytes=0,
        numa_node=0,
        pci_path=("pci0000:3a", "0000:3a:00.0"),
        attributes=attributes,
    )
    return whole(physical, RDMA, (f"/dev/infiniband/uverbs{index}",))


def vf(index: int, number: int) -> Device:
    names = ("ens1f0np0", f"ens1f0np0#{number}", PF, f"{PF}#{number}")
    return card(index, f"0000:3b:00.{2 + number}", f"ens1f0v{number}", function=("vf",), device=("101c",), parent=names)


CARDS = (card(0, PF, "ens1f0np0"), card(1, OTHER_PF, "ens1f1np1"), vf(2, 0), vf(3, 1))


def seen(*cards: Device, set_aside: tuple[RejectedDevice, ...] = ()) -> Inventory:
    physical = tuple(each.physical for each in cards)
    return Inventory(physical=physical, devices=cards, set_aside=set_aside, recipes={RDMA: Recipe(is_complete=True)})


def port(address: str, words: str = "ACTIVE", rate: float | None = 100.0, changes: int = 0) -> PortOfDevice:
    return PortOfDevice(PhysicalId(address), 1, "Ethernet", words == "ACTIVE", words, rate, changes)


PORTS = (port(PF), port(OTHER_PF, "DOWN (Polling)", None, changes=3), port(VF, changes=1))


def rule(name: ResourceName, sharing: Sharing | None = None, **attributes: tuple[str, ...]) -> ResourceRule:
    return ResourceRule(
        selector=Selector(backends=("rdma",), attributes=attributes), name=name, sharing=sharing or Sharing()
    )


class CardNode(Node):
    """A gateway with one GPU, and with cards in a backend of their own."""

    def __init__(self, directory: Path, *rules: ResourceRule, cards: Sequence[Device] = CARDS) -> None:
        super().__init__(directory, rules=(GPUS, *rules))
        self.cards = cards
        self.told = ObservationQueue()
        self.watch(is_alone=False)
        self.card_backend = WatchedBackend(
            name="rdma",
            observations=self.told,
            silent_for=lambda: 0.0,
            health=POLICY,
            is_alone=False,
            device_word=WORD,
        )
        self.gateway = Gateway(
            backends=[self.backend, self.card_backend], registrar=self.registrar, serving_policy=self.serving_policy
        )

    def lose_port(self, address: str) -> None:
        checkup = Checkup({PORT_DOWN: "port 1 is DOWN (Polling)"}, asks_for_recovery=False)
        self.told.put(DevicesChecked({PhysicalId(address): checkup}))


@asynccontextmanager
async def with_cards(node: CardNode) -> AsyncIterator[CardNode]:
    """Run the gateway inside the block, when it knows all devices and ports."""
    node.see([device(0)])
    node.told.put(InventorySeen(seen(*node.cards)))
    node.told.put(PortsSeen(PORTS))
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(node.gateway.run())
        try:
            known = [each for each in PORTS if any(each.device == card.physical.id for card in node.cards)]
            await until(lambda: len(node.card_backend.state.ports) == len(known), "the ports of the cards")
            await until(lambda: bool(node.backend.state.devices), "the GPU")
            yield node
        finally:
            task.cancel()


class CardDriver:
    """A backend that shows these cards, and says nothing more."""

    device_word = WORD
    decision_time = 0.0

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory

    def start(self, report: Report, after: Callable[[], object] = lambda: None) -> None:
        after()
        report(InventorySeen(self._inventory))

    def want_files(self, wanted: FilesWanted | None) -> None:
        """Cards have no files."""

    def look_again(self) -> None:
        """Nothing changes."""

    def stop(self) -> None:
        """Nothing runs."""

    def silent_for(self) -> float:
        return 0.0

    def is_watching(self) -> bool:
        return True

    def join(self, timeout: float | None = None) -> bool:  # noqa: ARG002 - as the protocol has it
        return True
