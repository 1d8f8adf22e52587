"""The thread of a backend for cards: what it reports when, and that no error ends it."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.limits import no_descriptor_left
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverUnavailable,
    EventsAwaited,
    FactsSeen,
    InventorySeen,
    PortsSeen,
)
from plugin_gateway.core.ports import want_facts
from plugin_gateway.linux import kernel_events
from plugin_gateway.linux.card_backend import CardBackend
from plugin_gateway.linux.made_up_tree import MadeUpTree
from plugin_gateway.linux.watching import LinkSource

from .made_up import BUS, DEVICES, Files, function, many, write
from .plain_model import FAST, LIMIT, PlainModel, Watcher

PF, SECOND = "0000:3b:00.0", "0000:3b:00.1"
STATE = f"{DEVICES}/{PF}/infiniband/mlx5_0/ports/1/state"
CARRIER = f"{DEVICES}/{PF}/net/ens1f0np0/carrier"
HUNG = f"{DEVICES}/{SECOND}/infiniband/mlx5_1/ports/1/state"
SHORT = 0.2
"""Seconds in which something would have happened."""


@pytest.fixture
def cards() -> Files:
    return function(PF, number=0, interface="ens1f0np0") | function(SECOND, number=1, interface="ens1f1np1")


@pytest.fixture
def root(tmp_path: Path, cards: Files) -> Path:
    write(tmp_path, cards)
    return tmp_path


def watching(root: Path, model: PlainModel | None = None, **options: object) -> Watcher:
    backend = CardBackend(
        lambda: model or PlainModel(),
        name="cards",
        device_word="card",
        host_root=str(root),
        pace=FAST._replace(**options),  # type: ignore[arg-type]
    )
    return Watcher(backend)


def test_without_a_descriptor_left_the_cards_are_as_they_were(root: Path) -> None:
    with watching(root, scan=0.02, retry=0.02) as watcher:
        watcher.next(EventsAwaited)
        with no_descriptor_left():
            time.sleep(SHORT)
        time.sleep(SHORT)
        assert not watcher.of(DriverUnavailable)
        assert len(watcher.of(InventorySeen)) == 1
        assert not [words for each in watcher.of(DevicesChecked) for words in each.checkups.values() if words.problems]
        (root / STATE[1:]).write_text("1: DOWN\n")
        watcher.until(PF, "port 1 is DOWN (LinkUp)")


def simulated(files: Files, model: PlainModel | None = None) -> tuple[MadeUpTree, Watcher]:
    tree = MadeUpTree(files.texts, files.links)
    return tree, Watcher(CardBackend(lambda: model or PlainModel(), name="cards", device_word="card", made_up=tree))


def test_the_cards_come_with_their_health_before_anything_else(root: Path) -> None:
    (root / STATE[1:]).write_text("1: DOWN\n")
    (root / STATE[1:]).with_name("phys_state").write_text("2: Polling\n")
    with watching(root) as watcher:
        assert watcher.next(EventsAwaited).problem is None
        first, *others = [type(each) for each in watcher.seen[:5]]
        assert first is DevicesChecked, "nobody who sees the cards takes one for healthy"
        assert others == [InventorySeen, PortsSeen, DevicesChecked, EventsAwaited]
        assert watcher.addresses() == [PF, SECOND]
        assert watcher.problem(PF) == "port 1 is DOWN (Polling)"
        assert watcher.problem(SECOND) == ""


def test_a_port_or_a_link_that_is_lost_is_reported_and_its_return_too(root: Path) -> None:
    with watching(root) as watcher:
        watcher.until(PF, "")
        (root / STATE[1:]).write_text("2: INIT\n")
        watcher.until(PF, "port 1 is INIT (LinkUp)")
        assert not watcher.of(PortsSeen)[-1].ports[0].is_up
        (root / STATE[1:]).write_text("4: ACTIVE\n")
        watcher.until(PF, "")
        (root / CARRIER[1:]).write_text("0\n")
        watcher.until(PF, "ens1f0np0 has no link")
        (root / CARRIER[1:]).write_text("1\n")
        watcher.until(PF, "")


def test_what_stays_as_it_is_is_reported_once_but_for_checks(root: Path) -> None:
    with watching(root, check=0.05) as watcher:
        watcher.next(DevicesChecked, 4)
        assert len(watcher.of(InventorySeen)) == len(watcher.of(PortsSeen)) == len(watcher.of(EventsAwaited)) == 1
        assert all(0 <= check.age < 1 for check in watcher.of(DevicesChecked))


def test_one_thread_asks_the_model(root: Path) -> None:
    model = PlainModel()
    with watching(root, model) as watcher:
        watcher.next(DevicesChecked)
        (owner,) = [thread for thread in threading.enumerate() if thread.name == "cards"]
        assert model.threads == {owner.ident}
        assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("cards"))


def test_a_port_that_hangs_is_evidence_against_its_device_alone(root: Path) -> None:
    hang(root, HUNG)
    with watching(root) as watcher:
        assert watcher.until(SECOND, "no answer yet") < watcher.times[0] + 1
        watcher.until(SECOND, "no answer for 3 s")
        assert watcher.problem(PF) == ""
        (root / STATE[1:]).write_text("1: DOWN\n")
        watcher.until(PF, "port 1 is DOWN (LinkUp)")
        assert watcher.backend.silent_for() < 1, "its own thread does not wait"
        unhang(root, HUNG, "4: ACTIVE\n")
        watcher.until(SECOND, "")


def test_a_port_that_hangs_holds_up_neither_stop_nor_join(root: Path) -> None:
    hang(root, HUNG)
    with watching(root) as watcher:
        watcher.until(SECOND, "no answer yet")
        began = time.monotonic()
        watcher.backend.stop()
        assert watcher.backend.join(LIMIT)
        assert time.monotonic() - began < 1
    unhang(root, HUNG, "4: ACTIVE\n")


def test_a_scan_that_hangs_is_a_silence(root: Path) -> None:
    hang(root, f"{DEVICES}/{PF}/vendor")
    with watching(root) as watcher:
        time.sleep(SHORT)
        assert not watcher.seen
        assert watcher.backend.silent_for() >= SHORT / 2
        assert watcher.backend.is_watching()
        began = time.monotonic()
        watcher.backend.stop()
        assert not watcher.backend.join(0.05)
        assert time.monotonic() - began < 1
        unhang(root, f"{DEVICES}/{PF}/vendor", "0x15b3\n")
    assert not watcher.seen, "nothing is reported after stop"
    assert watcher.backend.silent_for() == 0


def test_while_it_waits_it_is_not_silent(root: Path) -> None:
    with watching(root, poll=60.0) as watcher:
        watcher.next(EventsAwaited)
        time.sleep(SHORT)
        assert watcher.backend.silent_for() < SHORT / 2


def test_a_bus_that_cannot_be_read_is_told_once_and_tried_again(root: Path) -> None:
    (root / BUS[1:]).rename(root / "away")
    with watching(root) as watcher:
        told = watcher.next(DriverUnavailable)
        assert f"{root}/sys/bus/pci/devices: ENOENT" in told.problem
        assert "--host-root" in told.todo
        time.sleep(SHORT)
        assert len(watcher.seen) == 1
        (root / "away").rename(root / BUS[1:])
        watcher.until_there([PF, SECOND])
        watcher.until(PF, "")


def test_an_error_of_the_model_is_told_and_does_not_end_the_thread(root: Path) -> None:
    model = PlainModel()
    with watching(root, model) as watcher:
        watcher.until(PF, "")
        model.error = ValueError("what is this?")
        assert watcher.next(DriverUnavailable).problem == "ValueError: what is this?"
        model.error = None
        watcher.next(InventorySeen, 2)
        watcher.next(PortsSeen, 2)
        model.error = KeyError("another")
        assert "KeyError" in watcher.next(DriverUnavailable, 2).problem


def test_without_a_descriptor_to_wait_with_it_tries_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> int:
        raise OSError(24, "Too many open files")

    genuine = os.eventfd
    monkeypatch.setattr(os, "eventfd", refuse)
    with watching(root) as watcher:
        assert "Too many open files" in watcher.next(DriverUnavailable).problem
        monkeypatch.setattr(os, "eventfd", genuine)
        watcher.until_there([PF, SECOND])


def test_nothing_is_reported_after_stop_and_another_stop_does_nothing(root: Path) -> None:
    with watching(root) as watcher:
        watcher.next(EventsAwaited)
        watcher.backend.stop()
        count = len(watcher.seen)
        (root / STATE[1:]).write_text("1: DOWN\n")
        watcher.backend.look_again()
        assert watcher.backend.join(LIMIT)
        assert len(watcher.seen) == count
        watcher.backend.stop()
        assert not watcher.backend.is_watching()


def test_a_backend_that_was_never_started_stops_and_joins(root: Path) -> None:
    backend = CardBackend(PlainModel, name="cards", device_word="card", host_root=str(root))
    backend.look_again()
    backend.want_files(None)
    assert backend.silent_for() == 0
    backend.stop()
    assert backend.join(0)
    assert backend.device_word == "card"


def test_it_waits_for_what_has_to_be_over_first(root: Path) -> None:
    gate, backend = (
        threading.Event(),
        CardBackend(PlainModel, name="cards", device_word="card", host_root=str(root), pace=FAST),
    )
    watcher = Watcher(backend)
    backend.start(watcher.report, lambda: gate.wait(LIMIT))
    time.sleep(SHORT)
    assert not watcher.seen
    gate.set()
    watcher.next(EventsAwaited)
    backend.stop()
    assert backend.join(LIMIT)


@pytest.mark.parametrize("source", list(LinkSource))
def test_without_netlink_changes_are_found_by_looking(
    root: Path, source: LinkSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_events, "Uevents", _refuse)
    monkeypatch.setattr(kernel_events, "LinkEvents", _refuse)
    backend = CardBackend(
        PlainModel, name="cards", device_word="card", host_root=str(root), link_events=source, pace=FAST
    )
    with Watcher(backend) as watcher:
        problem = watcher.next(EventsAwaited).problem
        assert problem == ("netlink: Operation not permitted" if source is LinkSource.NETLINK else None)
        (root / CARRIER[1:]).write_text("0\n")
        watcher.until(PF, "ens1f0np0 has no link")
        time.sleep(3 * FAST.poll)
        (root / BUS[1:] / SECOND).unlink()
        watcher.until_there([PF])


def test_without_netlink_a_virtual_interface_leads_to_no_scan_and_a_genuine_one_does(
    cards: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container in a user namespace of its own is told nothing."""
    monkeypatch.setattr(kernel_events, "Uevents", _refuse)
    model, net = PlainModel(), tmp_path / "sys/class/net"
    write(tmp_path, cards)
    net.mkdir(parents=True)
    with watching(tmp_path, model) as watcher:
        watcher.next(EventsAwaited)
        time.sleep(3 * FAST.poll)
        (net / "veth0").symlink_to("../../devices/virtual/net/veth0")
        time.sleep(SHORT)
        assert model.scans == 1
        (net / "ens9").symlink_to("../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.3/net/ens9")
        end = time.monotonic() + LIMIT
        while model.scans == 1:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_links_in_another_network_namespace_are_a_problem_where_netlink_is_asked_for(root: Path) -> None:
    for source in LinkSource:
        backend = CardBackend(
            PlainModel, name="cards", device_word="card", host_root=str(root), link_events=source, pace=FAST
        )
        with Watcher(backend) as watcher:
            problem = watcher.next(EventsAwaited).problem
            assert (problem is None) is (source is not LinkSource.NETLINK)
            assert problem is None or "another network namespace" in problem


def test_something_that_is_gone_unheard_leads_to_one_scan(root: Path) -> None:
    model = PlainModel()
    with watching(root, model) as watcher:
        watcher.next(EventsAwaited)
        (root / BUS[1:] / SECOND).unlink()
        (root / DEVICES[1:] / SECOND).rename(root / "away")
        watcher.until_there([PF])
        scans = model.scans
        time.sleep(SHORT)
        assert model.scans == scans


def test_a_change_of_simulated_cards_is_seen_at_once(cards: Files) -> None:
    tree, watcher = simulated(cards)
    with watcher:
        watcher.until(PF, "")
        began = time.monotonic()
        tree.write(STATE, "1: DOWN\n")
        assert watcher.until(PF, "port 1 is DOWN (LinkUp)") - began < 0.5
        tree.remove(f"{BUS}/{SECOND}")
        watcher.until_there([PF])
        tree.remove(BUS)
        assert "ENOENT" in watcher.next(DriverUnavailable).problem
        assert not [thread for thread in threading.enumerate() if "reader" in thread.name]
    tree.write(STATE, "4: ACTIVE\n")
    assert watcher.backend.join(0)


def test_several_changes_at_once_are_one_scan(cards: Files) -> None:
    model = PlainModel()
    tree, watcher = simulated(cards, model)
    with watcher:
        watcher.until_there([PF, SECOND])
        watcher.next(EventsAwaited)
        for place in range(50):
            tree.write(f"{DEVICES}/{PF}/numa_node", f"{place % 2}\n")
            time.sleep(0.005)
        time.sleep(SHORT)
        assert model.scans <= 3


def test_136_functions_are_there_in_a_moment(tmp_path: Path) -> None:
    write(tmp_path, many(8, 16))
    began = time.monotonic()
    with watching(tmp_path) as watcher:
        watcher.next(DevicesChecked)
        assert time.monotonic() - began < 5, "a bench measures it; this says that it is no matter of its number"
        assert len(watcher.addresses()) == 136


def test_the_room_imports_nothing_slow() -> None:
    code = (
        "import sys; before = set(sys.modules);"
        "import plugin_gateway.linux.card_backend, plugin_gateway.linux.port_readers;"
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - before} & "
        "{'asyncio', 'ctypes', 'grpc', 'logging', 'pathlib', 'pynvml', 'subprocess'}))"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30)
    assert shown.stdout.strip() == "[]"


def _refuse() -> None:
    raise PermissionError(1, "Operation not permitted")


def hang(root: Path, path: str) -> None:
    """Let a read of a file wait for ever."""
    (root / path[1:]).unlink()
    os.mkfifo(root / path[1:])


def unhang(root: Path, path: str, text: str) -> None:
    """Let all who read it go on, who find what is in the file from now on."""
    place = root / path[1:]
    pipe = os.open(place, os.O_RDWR | os.O_NONBLOCK)
    place.unlink()
    place.write_text(text)
    os.write(pipe, text.encode())
    time.sleep(0.05)
    os.close(pipe)


def test_what_only_labels_tell_is_reported_where_somebody_wants_it(cards: Files) -> None:
    _, watcher = simulated(cards)
    with watcher:
        watcher.next(DevicesChecked)
        assert not watcher.of(FactsSeen)
    _, watcher = simulated(cards)
    assert want_facts(watcher.backend, wanted=True)
    with watcher:
        ids = [each.id for each in watcher.next(InventorySeen).inventory.physical]
        assert watcher.next(FactsSeen) == FactsSeen({}, {each: {} for each in ids})
        time.sleep(SHORT)
        assert len(watcher.of(FactsSeen)) == 1
        kinds = [type(each) for each in watcher.seen]
        assert kinds.index(PortsSeen) < kinds.index(FactsSeen)
