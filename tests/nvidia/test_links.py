"""The pairs of GPUs of known machines, read from the driver."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driver.driver import Call, Driver
from driver.topology import DGX1_P100, DGX1_V100, HGX_A100_4, PCIE, RTX_8000, SWITCHES, Machine
from plugin_gateway.core.devices import NO_LINKS, Links, Pair
from plugin_gateway.core.health.observations import DevicesChecked, EvidenceReported, InventorySeen, LinksSeen
from plugin_gateway.core.health.policy import NOT_ANSWERING
from plugin_gateway.nvidia.links import PairTable, read_pairs
from plugin_gateway.nvidia.watch import SLOW

from .asking import asked
from .conftest import MakeDriver
from .watcher import Watcher, eventually, watch

GPU_IS_LOST, UNKNOWN, NOT_SUPPORTED = 15, 999, 3
FAR, UNKNOWN_PAIR = Pair(10, 0), Pair(0, 0)


def table(driver: Driver) -> PairTable:
    with asked(driver) as gpus:
        return read_pairs(gpus)


def score(pairs: PairTable, *gpus: int) -> int:
    """Return the sum over all pairs of a set: nearness, and 100 for each link."""
    return sum(
        pairs[one][other].nearness + 100 * pairs[one][other].links for one in gpus for other in gpus if one < other
    )


@pytest.mark.parametrize(
    ("machine", "gpus", "scores"),
    [
        (
            DGX1_V100,
            8,
            {(2, 3): 250, (0, 3): 230, (0, 2, 3): 610, (0, 1, 2, 3): 1120, (4, 7): 230, tuple(range(8)): 3000},
        ),
        (DGX1_P100, 8, {(0, 2): 150, (0, 1, 2): 410, (0, 1, 2, 3): 820, tuple(range(7)): 1650, tuple(range(8)): 2200}),
        (RTX_8000, 4, {(0, 3): 210, (0, 1): 20, (0, 1, 2): 240, (0, 1, 2, 3): 480}),
        (PCIE, 4, {(0, 1): 20, (0, 1, 2): 40, (0, 1, 2, 3): 80}),
        (SWITCHES, 8, {(0, 1): 50, (0, 1, 2): 90, (0, 1, 2, 3): 180, (0, 1, 2, 3, 4): 220, tuple(range(8)): 520}),
        (HGX_A100_4, 4, {(0, 1): 410, (0, 1, 2, 3): 2460}),
    ],
)
def test_sets_of_known_machines_score_as_with_nvidia(
    make_driver: MakeDriver, machine: Machine, gpus: int, scores: dict[tuple[int, ...], int]
) -> None:
    driver = make_driver(gpus=gpus)
    driver.topology.build(machine, gpus)
    pairs = table(driver)
    assert {each: score(pairs, *each) for each in scores} == scores
    assert all(pairs[one][other] == pairs[other][one] for one in range(gpus) for other in range(gpus))
    assert all(pairs[each][each] == Pair(60, 0) for each in range(gpus))


@pytest.mark.parametrize(
    ("level", "nearness"), [(0, 60), (10, 50), (20, 40), (30, 30), (40, 20), (50, 10), (60, 10), (255, 10)]
)
def test_each_level_has_its_nearness_and_one_that_nobody_knows_is_the_farthest(
    driver: Driver, level: int, nearness: int
) -> None:
    driver.topology.set_level(0, 1, level)
    assert table(driver)[0][1] == Pair(nearness, 0)


def test_a_link_that_is_down_does_not_count(driver: Driver) -> None:
    driver.topology.build(Machine(double="0-1"), 2)
    driver.set_links_down(0, 1)
    assert table(driver)[0][1] == Pair(10, 1)


@pytest.mark.parametrize("error", [GPU_IS_LOST, UNKNOWN])
def test_it_is_not_known_how_far_a_gpu_is_that_cannot_be_asked(make_driver: MakeDriver, error: int) -> None:
    driver = make_driver(gpus=4)
    driver.topology.build(HGX_A100_4, 4)
    driver.topology.set_level(0, 2, 10)
    with asked(driver) as gpus:
        driver.lose(1, error)
        pairs = read_pairs(gpus)
        assert read_pairs([gpus[0], None, *gpus[2:]]) == pairs
    assert pairs[0] == (Pair(60, 0), UNKNOWN_PAIR, Pair(50, 4), Pair(10, 4))
    assert pairs[3] == (Pair(10, 4), UNKNOWN_PAIR, Pair(10, 4), Pair(60, 0))


@pytest.mark.parametrize("call", [Call.LINK, Call.LINK_REMOTE])
@pytest.mark.parametrize("error", [NOT_SUPPORTED, UNKNOWN])
def test_links_that_cannot_be_read_leave_the_nearness(driver: Driver, call: Call, error: int) -> None:
    driver.topology.build(Machine(double="0-1", near=((10, "0-1"),)), 2)
    driver.fail(call, error)
    assert table(driver)[0][1] == Pair(50, 0)


@pytest.mark.parametrize("error", [NOT_SUPPORTED, UNKNOWN])
def test_an_ancestor_that_cannot_be_read_is_not_known(driver: Driver, error: int) -> None:
    driver.topology.build(Machine(near=((10, "0-1"),)), 2)
    driver.fail(Call.ANCESTOR, error)
    assert table(driver)[0][1] == UNKNOWN_PAIR


def test_a_call_that_fails_for_a_moment_changes_nothing(driver: Driver) -> None:
    driver.topology.build(Machine(double="0-1", near=((10, "0-1"),)), 2)
    for call in (Call.LINK, Call.LINK_REMOTE, Call.ANCESTOR):
        driver.fail(call, UNKNOWN, times=1)
    assert table(driver)[0][1] == Pair(50, 2)


def test_a_driver_without_these_calls_has_pairs_without_links(make_driver: MakeDriver) -> None:
    assert table(make_driver(old=True)) == ((Pair(60, 0), UNKNOWN_PAIR), (UNKNOWN_PAIR, Pair(60, 0)))


def test_the_number_of_questions_is_bounded(make_driver: MakeDriver) -> None:
    driver = make_driver(gpus=16)
    for index in range(16):
        driver.topology.connect_to_switches(index, 36)
    signs = 0

    def give_sign() -> None:
        nonlocal signs
        signs += 1

    with asked(driver) as gpus:
        read_pairs(gpus, give_sign)
    assert [driver.calls(call) for call in (Call.LINK, Call.LINK_REMOTE, Call.ANCESTOR)] == [576, 576, 120]
    assert signs == 576 + 576 + 120


def test_a_gpu_whose_links_fail_is_asked_for_one_of_them(driver: Driver) -> None:
    driver.fail(Call.LINK, UNKNOWN)
    table(driver)
    assert driver.calls(Call.LINK) == 2 * 2, "each call that fails is made once more"


@pytest.mark.parametrize("gpus", [0, 1])
def test_without_a_pair_nothing_is_asked(make_driver: MakeDriver, gpus: int) -> None:
    driver = make_driver(gpus=gpus)
    assert table(driver) == ((Pair(60, 0),),) * gpus
    assert driver.calls(Call.LINK) == driver.calls(Call.PCI) == 0


@given(st.integers(0, 6))
def test_gpus_that_cannot_be_asked_need_no_driver(count: int) -> None:
    pairs = read_pairs([None] * count)
    assert [len(row) for row in pairs] == [count] * count
    assert all(pairs[one][other] == UNKNOWN_PAIR for one in range(count) for other in range(count) if one != other)


def reported(driver: Driver) -> Links:
    with Watcher(watch(driver).backend) as watcher:
        return watcher.next(LinksSeen).links


def test_the_backend_reports_links_once_and_after_inventory_and_first_check(make_driver: MakeDriver) -> None:
    driver = make_driver(gpus=4)
    driver.topology.build(RTX_8000, 4)
    with watch(driver, rescan_seconds=0.05, checkup_seconds=0.05) as watcher:
        links = watcher.next(LinksSeen).links
        kinds = [type(each) for each in watcher.seen]
        assert kinds.index(InventorySeen) < kinds.index(DevicesChecked) < kinds.index(LinksSeen)
        watcher.next(DevicesChecked, 4)
        assert len(watcher.of(LinksSeen)) == 1
        assert driver.calls(Call.ANCESTOR) == 6
    assert links.ids == tuple(driver.uuid(index) for index in range(4))
    assert [links.pairs[0][other] for other in (1, 2, 3)] == [Pair(20, 0), Pair(10, 0), Pair(10, 2)]


def test_another_inventory_has_its_links_read_again(make_driver: MakeDriver) -> None:
    driver = make_driver(gpus=3)
    driver.topology.build(Machine(double="0-1 1-2"), 3)
    with watch(driver, rescan_seconds=0.05) as watcher:
        assert len(watcher.next(LinksSeen).links.ids) == 3
        driver.remove(2)
        links = watcher.next(LinksSeen, 2).links
        assert (len(links.ids), links.pairs[0][1]) == (2, Pair(10, 2))


def test_a_gpu_that_answers_again_has_its_links_read_again(make_driver: MakeDriver) -> None:
    driver = make_driver(gpus=3)
    driver.topology.build(Machine(double="0-1 1-2"), 3)
    with watch(driver) as watcher:
        assert watcher.next(LinksSeen).links.pairs[0][1] == Pair(10, 2)
        driver.lose(0, UNKNOWN)
        watcher.checked(driver.uuid(0), NOT_ANSWERING)
        driver.set_links_down(0, 1)
        driver.find(0)
        assert watcher.next(LinksSeen, 2).links.pairs[0][1] == Pair(10, 1)


@pytest.mark.parametrize("old", [True, False])
def test_of_a_driver_that_tells_nothing_and_of_one_gpu_nothing_is_known(make_driver: MakeDriver, *, old: bool) -> None:
    assert reported(make_driver(gpus=2 if old else 1, old=old)) == NO_LINKS


def test_events_are_read_while_the_driver_takes_its_time_for_the_links(make_driver: MakeDriver) -> None:
    driver = make_driver(gpus=4)
    with watch(driver) as watcher:
        watcher.next(DevicesChecked)
        driver.hang(Call.ANCESTOR)
        eventually(lambda: driver.calls(Call.ANCESTOR) == 1)
        driver.xid(2, 79)
        time.sleep(SLOW + 0.05)
        assert not watcher.of(LinksSeen)
        driver.release()
        watcher.next(LinksSeen)
        kinds = [type(each) for each in watcher.seen]
        assert kinds.index(EvidenceReported) < kinds.index(LinksSeen)


def test_a_fact_that_the_driver_never_tells_has_no_links_read_again(make_driver: MakeDriver) -> None:
    driver = make_driver(gpus=3)
    driver.fail(Call.MEMORY, UNKNOWN)
    with watch(driver, checkup_seconds=60) as watcher:
        watcher.next(LinksSeen)
        asked_before = driver.calls(Call.MEMORY)
        eventually(lambda: driver.calls(Call.MEMORY) > asked_before + 12)
        assert driver.calls(Call.ANCESTOR) == 3
