"""The model as a backend runs it: what the kernel tells nobody is followed as well, and nothing needs a restart."""

import queue
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from plugin_gateway.core.devices import Inventory, PortOfDevice
from plugin_gateway.core.health.observations import DevicesChecked, InventorySeen, Observation, PortsSeen
from plugin_gateway.core.health.policy import EvidenceKind
from plugin_gateway.linux.card_backend import CardBackend
from plugin_gateway.linux.watching import CardPace, LinkSource
from plugin_gateway.solarflare.evidence import ACCELERATION_OFF, LINK_DOWN, ONLOAD_MISSING
from plugin_gateway.solarflare.model import onload_model
from plugin_gateway.solarflare.simulated import parse_spec, simulated_model

from .looking import FIRST, UP, host

LIMIT = 5.0
PACE = CardPace(poll=0.02)
PORT = "0001:5e:00.0"
Problems = Mapping[EvidenceKind, str]


class Reports:
    """What a backend reports."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Observation] = queue.SimpleQueue()
        self.report = self._queue.put

    def wait_for(self, device: str, kinds: set[EvidenceKind]) -> Problems:
        """Wait until exactly these kinds of problems of a device are reported, and return them."""
        ends = time.monotonic() + LIMIT
        while True:
            seen = self._queue.get(timeout=max(ends - time.monotonic(), 0.001))
            checkups = seen.checkups if isinstance(seen, DevicesChecked) else {}
            found = {str(each): checkup.problems for each, checkup in checkups.items()}
            if device in found and found[device].keys() == kinds:
                return found[device]

    def inventory(self) -> Inventory:
        """Return the first inventory."""
        while not isinstance(seen := self._queue.get(timeout=LIMIT), InventorySeen):
            pass
        return seen.inventory

    def ports(self) -> tuple[PortOfDevice, ...]:
        """Return the next ports."""
        while not isinstance(seen := self._queue.get(timeout=LIMIT), PortsSeen):
            pass
        return seen.ports


@contextmanager
def running(backend: CardBackend) -> Iterator[Reports]:
    """Run a backend for the length of a block."""
    reports = Reports()
    backend.start(reports.report)
    try:
        yield reports
    finally:
        backend.stop()
        assert backend.join(LIMIT)


def test_simulated_cards_are_listed_with_ports_and_each_change_is_followed() -> None:
    tree = parse_spec("1xX2522")
    backend = CardBackend(simulated_model, name="onload", device_word="card", pace=PACE, made_up=tree)
    with running(backend) as reports:
        assert [each.id for each in reports.inventory().devices] == [PORT, "0001:5e:00.1"]
        assert [port.is_up for port in reports.ports()] == [True, True]
        tree.write(f"/sys/bus/pci/devices/{PORT}/net/enP1p94s0f0np0/carrier", "0")
        reports.wait_for(PORT, {LINK_DOWN})
        tree.write(f"/sys/bus/pci/devices/{PORT}/net/enP1p94s0f0np0/carrier", "1")
        reports.wait_for(PORT, set())
        tree.remove("/sys/module/onload")
        assert reports.wait_for(PORT, {ONLOAD_MISSING}) == {ONLOAD_MISSING: "the module onload is not loaded"}


def test_what_the_kernel_tells_nobody_is_seen_at_the_next_look(tmp_path: Path) -> None:
    cards = host(tmp_path, loaded=False)
    root = str(cards.root)
    backend = CardBackend(
        lambda: onload_model(root),
        name="onload",
        device_word="card",
        host_root=root,
        link_events=LinkSource.POLL,
        pace=PACE,
    )
    with running(backend) as reports:
        reports.wait_for(FIRST, {ONLOAD_MISSING})
        cards.load_onload()
        reports.wait_for(FIRST, set())
        cards.accelerate(FIRST, is_on=False)
        reports.wait_for(FIRST, {ACCELERATION_OFF})
        cards.accelerate(FIRST, is_on=True)
        reports.wait_for(FIRST, set())
        cards.files.remove("/opt/onload/usr/lib64/libonload.so")
        assert "libonload.so" in reports.wait_for(FIRST, {ONLOAD_MISSING})[ONLOAD_MISSING]
        cards.install_onload()
        cards.carrier(UP, is_up=False)
        reports.wait_for(FIRST, {LINK_DOWN})
        cards.unload_onload()
        reports.wait_for(FIRST, {LINK_DOWN, ONLOAD_MISSING})
