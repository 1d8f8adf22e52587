"""The genuine backend runs the model: on made-up cards on disk, and on simulated ones."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cards.builder import Cards
from linux.plain_model import FAST, Watcher
from plugin_gateway.core.devices import PhysicalId
from plugin_gateway.core.health.faults import Moment
from plugin_gateway.core.health.observations import DevicesChecked, EventsAwaited, InventorySeen, PortsSeen
from plugin_gateway.core.health.policy import NOT_ANSWERING
from plugin_gateway.core.health.state import State
from plugin_gateway.core.health.state_function import advance
from plugin_gateway.linux.card_backend import CardBackend
from plugin_gateway.linux.watching import LinkSource
from plugin_gateway.rdma.evidence import HEALTH_POLICY, NO_RDMA_DEVICE, PARENT_DOWN, PORT_DOWN
from plugin_gateway.rdma.memory import Memory
from plugin_gateway.rdma.model import RdmaModel
from plugin_gateway.rdma.simulated import parse_spec

LIMIT = 10.0
PF, OTHER_PF, VF, GIVEN = "0000:3b:00.0", "0000:3b:00.1", "0000:3b:00.2", "0000:3b:00.4"


def watching(root: Path, model: RdmaModel | None = None) -> Watcher:
    """Return a backend that looks often. The kernel tells it nothing, because these cards are not the kernel's."""
    backend = CardBackend(
        lambda: model or RdmaModel(),
        name="rdma",
        device_word="card",
        host_root=str(root),
        link_events=LinkSource.POLL,
        pace=FAST,
    )
    return Watcher(backend)


def kinds(watcher: Watcher, address: str) -> set[str]:
    checks = watcher.of(DevicesChecked)
    checkup = checks[-1].checkups.get(PhysicalId(address)) if checks else None
    return {"not checked"} if checkup is None else set(map(str, checkup.problems))


def addresses(watcher: Watcher) -> set[str]:
    seen = watcher.of(InventorySeen)
    return {str(each.id) for each in seen[-1].inventory.devices} if seen else set()


def until(watcher: Watcher, condition: Callable[[], bool]) -> None:
    with watcher._more:
        assert watcher._more.wait_for(condition, LIMIT), watcher.seen


def test_the_cards_come_with_their_health_and_their_ports(tmp_path: Path) -> None:
    cards = Cards(tmp_path).connectx6()
    cards.port_down(PF)
    with watching(tmp_path) as watcher:
        watcher.next(EventsAwaited)
        assert len(addresses(watcher)) == 6
        assert (kinds(watcher, PF), kinds(watcher, VF)) == ({PORT_DOWN}, {PARENT_DOWN})
        assert len(watcher.of(PortsSeen)[-1].ports) == 6


def test_a_card_without_a_link_is_out_as_soon_as_it_is_known(tmp_path: Path) -> None:
    """The gateway can read each observation by itself, and offers what it knows at that moment."""
    cards = Cards(tmp_path).connectx6()
    cards.port_down(PF)
    with watching(tmp_path) as watcher:
        watcher.next(EventsAwaited)
    state, was_known = State(), False
    for observation in watcher.seen:
        state, _ = advance(state, observation, Moment(uptime=1.0, epoch=1.0), HEALTH_POLICY)
        known = [device for device in state.devices if device.id == PF]
        was_known = was_known or bool(known)
        assert all(state.is_out(device) for device in known)
    assert was_known


def test_what_befalls_the_cards_is_followed(tmp_path: Path) -> None:
    cards = Cards(tmp_path).connectx6()
    saved: list[Memory] = []
    with watching(tmp_path, RdmaModel(save=saved.append)) as watcher:
        until(watcher, lambda: len(addresses(watcher)) == 6)
        cards.unload_mlx5_ib()
        watcher.backend.look_again()  # stands for the kernel's word that something came or went
        until(watcher, lambda: kinds(watcher, PF) == {NO_RDMA_DEVICE})
        cards.load_mlx5_ib()
        watcher.backend.look_again()
        until(watcher, lambda: kinds(watcher, PF) == set())
        cards.unplug(VF)
        watcher.backend.look_again()
        until(watcher, lambda: len(addresses(watcher)) == 5)
        cards.give_away(GIVEN)
        cards.plug(VF)
        watcher.backend.look_again()
        until(watcher, lambda: len(addresses(watcher)) == 6 and kinds(watcher, VF) == set())
        assert kinds(watcher, GIVEN) == set()
        assert saved[-1][GIVEN].interfaces == ("ens1f0v2",)


def test_a_port_that_hangs_takes_out_its_device_and_blinds_no_other(tmp_path: Path) -> None:
    cards = Cards(tmp_path).connectx6().infiniband()
    path = f"{cards.port_folder('0000:d8:00.0')}/state"
    cards.hang(path)
    with watching(tmp_path) as watcher:
        until(watcher, lambda: kinds(watcher, "0000:d8:00.0") == {NOT_ANSWERING})
        cards.port_down(PF)
        until(watcher, lambda: kinds(watcher, PF) == {PORT_DOWN} and kinds(watcher, VF) == {PARENT_DOWN})
        assert kinds(watcher, "0000:d8:00.0") == {NOT_ANSWERING}
        cards.answer(path, "4: ACTIVE")
        until(watcher, lambda: kinds(watcher, "0000:d8:00.0") <= {PORT_DOWN})


def test_simulated_cards_follow_each_change_of_their_files() -> None:
    tree = parse_spec("1xCX6+2")
    made = CardBackend(lambda: RdmaModel(is_simulated=True), name="rdma", device_word="card", pace=FAST, made_up=tree)
    with Watcher(made) as watcher:
        until(watcher, lambda: len(addresses(watcher)) == 4)
        tree.write("/sys/class/infiniband/mlx5_0/ports/1/state", "1: DOWN")
        until(watcher, lambda: kinds(watcher, "0000:02:10.0") == {PORT_DOWN})
        tree.remove("/sys/bus/pci/devices/0000:02:10.3")
        until(watcher, lambda: len(addresses(watcher)) == 3)
        assert "rdma" in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("name", ["class", "numa_node", "infiniband/mlx5_1/node_guid"])
def test_a_file_of_a_scan_that_hangs_is_evidence_against_that_card_alone(tmp_path: Path, name: str) -> None:
    cards = Cards(tmp_path).connectx6()
    with watching(tmp_path) as watcher:
        until(watcher, lambda: len(addresses(watcher)) == 6)
        file = f"{cards.functions[OTHER_PF].folder}/{name}"
        text = cards.files.text(file)
        cards.hang(file)
        cards.unplug(VF)
        watcher.backend.look_again()
        until(watcher, lambda: not {VF, OTHER_PF} & addresses(watcher))
        assert len(addresses(watcher)) == 4
        cards.port_down(PF)
        until(watcher, lambda: kinds(watcher, PF) == {PORT_DOWN})
        cards.answer(file, text)
        until(watcher, lambda: OTHER_PF in addresses(watcher))
