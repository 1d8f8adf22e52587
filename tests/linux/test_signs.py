"""What ports and interfaces show, also where their files lie, and how readers go round what is stuck."""

import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.card_signs import signs_of
from plugin_gateway.linux.card_model import PortId, Unread
from plugin_gateway.linux.facts import Interface, PortState
from plugin_gateway.linux.made_up_tree import MadeUpTree
from plugin_gateway.linux.pci_scan import scan
from plugin_gateway.linux.port_readers import NO_ANSWER_YET, SELDOM, PortReaders
from plugin_gateway.linux.signs import FunctionFiles, FunctionPlan, plans_of
from plugin_gateway.linux.sysfs import HostTree

from .made_up import DEVICES, Files, function, many, virtual, write
from .test_card_backend import hang, unhang

PF, SECOND, VF = "0000:3b:00.0", "0000:3b:00.1", "0000:3b:00.2"
OTHER = "0000:d8:00.0"
PORT = PortId(PF, "mlx5_0", 1)
PORT_FOLDER = f"{DEVICES}/{PF}/infiniband/mlx5_0/ports/1"
NET = f"{DEVICES}/{PF}/net/ens1f0np0"
ACTIVE = PortState("ACTIVE", "LinkUp", 100.0)
LIMIT = 10.0


@pytest.fixture
def card() -> MadeUpTree:
    files = function(PF, number=0, interface="ens1f0np0")
    return MadeUpTree(files.texts, files.links)


def port(tree: MadeUpTree) -> PortState | Unread:
    return signs_of(tree, scan(tree), [PORT]).ports[PORT]


def interface(tree: MadeUpTree) -> Interface:
    ((found,),) = signs_of(tree, scan(tree), []).interfaces.values()
    return found


def test_a_port_is_what_its_driver_says(card: MadeUpTree) -> None:
    assert port(card) == ACTIVE


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("state", "2: INIT", ACTIVE._replace(state="INIT")),
        ("state", "5: ACTIVE_DEFER", ACTIVE._replace(state="ACTIVE_DEFER")),
        ("phys_state", "7: Phy Test", ACTIVE._replace(phys_state="Phy Test")),
        ("phys_state", "garbage", ACTIVE._replace(phys_state="")),
        ("rate", "2.5 Gb/sec (1X SDR)", ACTIVE._replace(rate_gbps=2.5)),
        ("rate", "800 Gb/sec (4X XDR)", ACTIVE._replace(rate_gbps=800.0)),
        ("rate", "nan Gb/sec", ACTIVE._replace(rate_gbps=None)),
        ("rate", "99999999999 Gb/sec", ACTIVE._replace(rate_gbps=None)),
        ("rate", "", ACTIVE._replace(rate_gbps=None)),
        ("state", "", Unread(errno.EBADMSG, "its state cannot be ''")),
        ("state", "4: ", Unread(errno.EBADMSG, "its state cannot be '4: '")),
        ("state", "ACTIVE", Unread(errno.EBADMSG, "its state cannot be 'ACTIVE'")),
        ("state", "4: \ufffd", Unread(errno.EBADMSG, "its state cannot be '4: \\ufffd'")),
    ],
)
def test_a_port_is_read_as_far_as_it_can_be_understood(
    card: MadeUpTree, name: str, text: str, expected: PortState | Unread
) -> None:
    card.write(f"{PORT_FOLDER}/{name}", f"{text}\n")
    assert port(card) == expected


def test_the_counters_of_a_port_are_read_from_the_second_look_at_everything_on(card: MadeUpTree) -> None:
    (plan,) = plans_of(card, scan(card), [PORT], [PF])
    files = FunctionFiles(card, plan)
    for name, text in (("link_downed", "3\n"), ("symbol_error", "no number\n")):
        card.write(f"{PORT_FOLDER}/counters/{name}", text)
    looks = [files.read(afresh=afresh).ports[PORT] for afresh in (True, False, True)]
    assert looks == [ACTIVE, ACTIVE, ACTIVE._replace(link_downed=3)]
    card.remove(f"{PORT_FOLDER}/counters")
    assert files.read(afresh=True).ports[PORT] == ACTIVE


def test_a_port_that_fails_says_why(card: MadeUpTree) -> None:
    card.fail(f"{PORT_FOLDER}/rate", errno.EIO)
    card.fail(f"{PORT_FOLDER}/phys_state", errno.EINVAL)
    assert port(card) == PortState("ACTIVE", "", None)
    card.fail(f"{PORT_FOLDER}/state", errno.EIO)
    assert port(card) == Unread(errno.EIO, "EIO")
    card.remove(f"{DEVICES}/{PF}/infiniband")
    assert port(card) == Unread(errno.ENOENT, "ENOENT")


def test_an_interface_is_what_the_kernel_says(card: MadeUpTree) -> None:
    assert interface(card) == Interface(
        "ens1f0np0", 1, is_switched_on=True, carrier=True, speed=100000, carrier_changes=2
    )
    card.write(f"{NET}/carrier", "0\n")
    card.write(f"{NET}/speed", "-1\n")
    card.write(f"{NET}/carrier_changes", "3\n")
    assert interface(card) == Interface("ens1f0np0", 1, is_switched_on=True, carrier=False, carrier_changes=3)
    card.fail(f"{NET}/carrier", errno.EINVAL)
    card.fail(f"{NET}/speed", errno.EINVAL)
    card.write(f"{NET}/flags", "0x1002\n")
    assert interface(card) == Interface("ens1f0np0", 1, is_switched_on=False, carrier=None, carrier_changes=3)
    card.write(f"{NET}/speed", "4294967295\n")
    assert interface(card).speed is None


def test_an_interface_that_fails_is_told_apart_from_one_that_is_gone(card: MadeUpTree) -> None:
    bus = scan(card)
    for name in ("carrier", "flags"):
        card.fail(f"{NET}/{name}", errno.EIO)
        signs = signs_of(card, bus, [])
        assert (signs.interfaces, signs.unanswered) == ({}, {PF: Unread(errno.EIO, "EIO")})
        card.fail(f"{NET}/{name}", errno.ENODEV)
        signs = signs_of(card, bus, [])
        assert (signs.interfaces, signs.unanswered) == ({}, {})
        card.remove(f"{NET}/{name}")
        card.write(f"{NET}/{name}", "1\n")


def test_names_that_are_not_utf_8_are_read(tmp_path: Path) -> None:
    write(tmp_path, function(PF, interface="ens\udcff"))
    tree = HostTree(str(tmp_path))
    ((found,),) = signs_of(tree, scan(tree), []).interfaces.values()
    assert (found.name, found.carrier) == ("ens\ufffd", True)


def test_a_virtual_function_belongs_to_the_card_of_its_parent() -> None:
    files = function(PF, number=0) | virtual(PF, "0000:3b:01.2", 0, number=1) | function(OTHER, number=2)
    tree = MadeUpTree(files.texts, files.links)
    plans = plans_of(tree, scan(tree), [PORT], [PF, "0000:3b:01.2", OTHER])
    assert [(plan.address, plan.card) for plan in plans] == [
        (PF, "0000:3b:00"),
        ("0000:3b:01.2", "0000:3b:00"),
        (OTHER, "0000:d8:00"),
    ]


class Readers:
    """Readers of made-up cards on disk, with short times."""

    def __init__(self, root: Path, files: Files, **options: int) -> None:
        self.root = root
        write(root, files)
        self.tree, self.late = HostTree(str(root)), threading.Event()
        bus = scan(self.tree)
        self.ports = [PortId(each.address, each.rdma_devices[0].name, 1) for each in bus.functions]
        self.plans: tuple[FunctionPlan, ...] = plans_of(
            self.tree, bus, self.ports, [each.address for each in bus.functions]
        )
        self.readers = PortReaders(self.tree, "reader", self.late.set, no_answer=0.3, **options)
        self.readers.follow(self.plans)
        self.hung: list[str] = []

    def states(self, only: set[str] | None = None) -> dict[str, str]:
        """Tell the word for each port by its function."""
        found = self.readers.look(only, patience=0.03).ports
        return {port.function: each.words if isinstance(each, Unread) else each.state for port, each in found.items()}

    def state_of(self, address: str) -> str:
        (plan,) = [plan for plan in self.plans if plan.address == address]
        return f"{plan.ports[0][1]}/state"

    def hang(self, *addresses: str) -> None:
        for address in addresses:
            hang(self.root, self.state_of(address))
            self.hung.append(address)

    def release(self, *addresses: str) -> None:
        for address in addresses:
            unhang(self.root, self.state_of(address), "4: ACTIVE\n")
            self.hung.remove(address)

    def threads(self) -> int:
        return len([thread for thread in threading.enumerate() if thread.name == "reader"])

    def close(self) -> None:
        self.readers.stop()
        self.release(*self.hung)
        self.readers.join(LIMIT)


@pytest.fixture
def two_cards(tmp_path: Path) -> Iterator[Readers]:
    files = function(PF, number=0, interface="a") | function(SECOND, number=1) | virtual(PF, VF, 0, number=2)
    made = Readers(tmp_path, files | function(OTHER, number=3, bridges="/sys/devices/pci0000:d7"))
    yield made
    made.close()


def test_one_reader_reads_all_as_long_as_everything_answers(tmp_path: Path) -> None:
    made = Readers(tmp_path, many(4, 8))
    for _ in range(20):
        assert set(made.states().values()) == {"ACTIVE"}
    assert made.threads() == 1
    made.close()


def test_a_function_that_hangs_takes_no_other_one_with_it(two_cards: Readers) -> None:
    two_cards.hang(SECOND)
    began = time.monotonic()
    assert two_cards.states() == {PF: "ACTIVE", SECOND: NO_ANSWER_YET.words, VF: "ACTIVE", OTHER: "ACTIVE"}
    assert time.monotonic() - began < 2
    assert two_cards.threads() == 2
    (two_cards.root / two_cards.state_of(OTHER)[1:]).write_text("1: DOWN\n")
    began = time.monotonic()
    assert two_cards.states()[OTHER] == "DOWN"
    assert time.monotonic() - began < 0.5, "what is stuck is not waited for again"
    time.sleep(0.3)
    assert two_cards.states() == {PF: "ACTIVE", SECOND: "no answer for 0.3 s", VF: "ACTIVE", OTHER: "DOWN"}


def test_an_interface_that_hangs_is_told_with_what_it_showed_last(two_cards: Readers) -> None:
    carrier = f"{DEVICES}/{PF}/net/a/carrier"
    (shown,) = two_cards.readers.look(patience=1).interfaces[PF]
    hang(two_cards.root, carrier)
    for _ in range(17):
        two_cards.states()
    time.sleep(0.35)
    signs = two_cards.readers.look(patience=0.03)
    assert signs.unanswered == {PF: Unread(None, "no answer for 0.3 s")}
    assert signs.interfaces == {PF: (shown,)}
    unhang(two_cards.root, carrier, "0\n")
    assert two_cards.late.wait(LIMIT)
    two_cards.states()
    assert not two_cards.readers.look(patience=1).interfaces[PF][0].carrier


def test_what_was_known_holds_until_the_answer_is_overdue(two_cards: Readers) -> None:
    assert two_cards.states()[SECOND] == "ACTIVE"
    two_cards.hang(SECOND)
    states = {two_cards.states()[SECOND] for _ in range(16)}
    assert states == {"ACTIVE"}, "a kept file is opened anew after 16 reads"
    time.sleep(0.35)
    assert two_cards.states()[SECOND] == "no answer for 0.3 s"


def test_an_answer_that_comes_late_wakes_who_gave_up(two_cards: Readers) -> None:
    two_cards.hang(SECOND)
    two_cards.states()
    assert not two_cards.late.is_set()
    two_cards.release(SECOND)
    assert two_cards.late.wait(LIMIT)
    assert set(two_cards.states().values()) <= {"ACTIVE", "ESPIPE"}
    assert set(two_cards.states().values()) == {"ACTIVE"}


def test_a_card_that_hangs_as_a_whole_takes_two_readers(two_cards: Readers) -> None:
    two_cards.hang(PF, SECOND, VF)
    assert two_cards.states()[OTHER] == "ACTIVE"
    time.sleep(0.3)
    two_cards.states()
    assert two_cards.states() == dict.fromkeys((PF, SECOND, VF), "no answer for 0.3 s") | {OTHER: "ACTIVE"}
    assert two_cards.threads() == 3


def test_with_all_readers_stuck_nothing_waits_and_nothing_is_thought_well(tmp_path: Path) -> None:
    made = Readers(tmp_path, many(4, 1), most=3)
    made.hang(*[port.function for port in made.ports[::2]])
    began = time.monotonic()
    assert made.states()[made.ports[1].function] == "ACTIVE"
    assert time.monotonic() - began < 1
    time.sleep(0.3)
    states = made.states()
    assert made.threads() == 3
    assert list(states.values()).count("no answer for 0.3 s") >= 4
    made.close()
    assert made.threads() == 0


def test_only_what_is_asked_for_is_read(two_cards: Readers) -> None:
    two_cards.states()
    for address in (PF, OTHER):
        (two_cards.root / two_cards.state_of(address)[1:]).write_text("1: DOWN\n")
    assert two_cards.states({PF}) == {PF: "DOWN", SECOND: "ACTIVE", VF: "ACTIVE", OTHER: "ACTIVE"}
    assert two_cards.states(set())[OTHER] == "ACTIVE"
    assert two_cards.states()[OTHER] == "DOWN"


def test_what_is_read_seldom_is_read_when_it_is_followed_or_asked_for_and_now_and_then(two_cards: Readers) -> None:
    plans = [plan._replace(is_seldom=plan.address == VF) for plan in two_cards.plans]

    def write_state(text: str) -> None:
        for address in (PF, VF):
            (two_cards.root / two_cards.state_of(address)[1:]).write_text(text)

    two_cards.readers.follow(plans)
    assert two_cards.states()[VF] == "ACTIVE", "the first look is at all"
    write_state("1: DOWN\n")
    seen = [two_cards.states() for _ in range(SELDOM)]
    assert {each[PF] for each in seen} == {"DOWN"}
    assert [each[VF] for each in seen].count("DOWN") in range(1, SELDOM)
    write_state("2: INIT\n")
    assert two_cards.states({VF})[VF] == "INIT"
    write_state("4: ACTIVE\n")
    two_cards.readers.follow(plans)
    assert two_cards.states()[VF] == "ACTIVE"


def test_a_rate_that_changes_alone_is_seen_when_all_is_asked_afresh(two_cards: Readers) -> None:
    port = PortId(PF, "mlx5_0", 1)
    two_cards.states()
    (two_cards.root / two_cards.state_of(PF)[1:]).with_name("rate").write_text("25 Gb/sec (1X EDR)\n")
    assert two_cards.readers.look(patience=1).ports[port] == ACTIVE
    two_cards.readers.follow(two_cards.plans)
    assert two_cards.readers.look(patience=1).ports[port] == ACTIVE._replace(rate_gbps=25.0)


def test_what_is_no_longer_followed_is_closed(two_cards: Readers) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count
    two_cards.states()
    assert len(os.listdir("/proc/self/fd")) == before + 5  # noqa: PTH208 - four ports and an interface
    two_cards.readers.follow(two_cards.plans[:1])
    assert two_cards.states() == {PF: "ACTIVE"}
    assert len(os.listdir("/proc/self/fd")) == before + 2  # noqa: PTH208 - a count
    two_cards.readers.follow(())
    assert two_cards.states() == {}


def test_a_function_that_is_stuck_and_no_longer_followed_is_closed_by_its_reader(two_cards: Readers) -> None:
    two_cards.hang(SECOND)
    two_cards.states()
    two_cards.readers.follow(())
    two_cards.release(SECOND)
    assert two_cards.late.wait(LIMIT)


def test_an_error_of_a_reader_is_an_answer(two_cards: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: HostTree, path: str) -> str:
        raise MemoryError(path[:0])

    monkeypatch.setattr(HostTree, "text", fail)
    assert set(two_cards.states().values()) == {"MemoryError: "}
    monkeypatch.undo()
    two_cards.readers.follow(two_cards.plans)
    assert set(two_cards.states().values()) == {"ACTIVE"}


def test_without_a_thread_nothing_is_known(two_cards: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert set(two_cards.states().values()) == {NO_ANSWER_YET.words}
    monkeypatch.undo()
    two_cards.states()
    assert two_cards.late.wait(LIMIT), "the next look starts one"
    end = time.monotonic() + LIMIT
    while set(two_cards.states().values()) != {"ACTIVE"}:
        assert time.monotonic() < end


def test_readers_that_were_stopped_read_nothing(two_cards: Readers) -> None:
    two_cards.states()
    two_cards.readers.stop()
    two_cards.readers.join(LIMIT)
    assert two_cards.threads() == 0
    assert two_cards.states() == {}
