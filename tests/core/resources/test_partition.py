"""NVIDIA's rule of dividing all devices: what its plugin answered, and every division of up to eight devices."""

from collections.abc import Collection, Iterator
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.resources.machines import (
    CUBE_ON_SWITCHES,
    DGX1_P100,
    DGX1_V100,
    FOUR_ON_PCIE,
    FOUR_RTX_8000,
    NVSWITCH,
    machine,
    score_tables,
)
from plugin_gateway.core.resources import partition
from plugin_gateway.core.resources.links import Scores, best_set, score_of
from plugin_gateway.core.resources.partition import partition_set

ALL = range(8)
_CUBE, _SWITCH, _NO_LINKS = CUBE_ON_SWITCHES, NVSWITCH, NVSWITCH


@pytest.mark.parametrize(
    ("scores", "available", "must_include", "size", "seen"),
    [
        (_CUBE, ALL, (), 1, {0}),
        (_CUBE, ALL, (), 2, {2, 3}),
        (_CUBE, ALL, (), 3, {0, 2, 3}),
        (_CUBE, ALL, (), 4, {0, 1, 2, 3}),
        (_CUBE, ALL, (), 5, {0, 1, 2, 3, 4}),
        (_CUBE, ALL, (), 8, set(ALL)),
        (_CUBE, ALL, {5}, 2, {1, 5}),
        (_CUBE, ALL, {1, 6}, 4, {1, 5, 6, 7}),
        (_CUBE, {0, 1, 4, 5, 7}, (), 2, {4, 7}),
        (_CUBE, {0, 1, 4, 5, 7}, (), 4, {0, 1, 4, 5}),
        (_SWITCH, ALL, (), 2, {0, 1}),
        (_SWITCH, ALL, (), 4, {0, 1, 2, 3}),
        (_SWITCH, ALL, {3}, 2, {2, 3}),
        (_SWITCH, {0, 2, 5, 7}, (), 2, {0, 2}),
        (_SWITCH, {1, 2, 4, 6, 7}, (), 3, {4, 6, 7}),
        (_NO_LINKS, ALL, (), 2, {0, 1}),
        (_NO_LINKS, ALL, {6}, 3, {3, 6, 7}),
        (_NO_LINKS, {1, 2, 4, 6, 7}, (), 2, {6, 7}),
        (_NO_LINKS, {0, 3, 4, 7}, (), 2, {0, 3}),
    ],
)
def test_the_choice_is_what_nvidias_plugin_was_seen_to_answer(
    scores: Scores, available: Collection[int], must_include: Collection[int], size: int, seen: set[int]
) -> None:
    """Version 0.20.0, on a stand-in driver with a cube mesh, with NVSwitches and without links."""
    assert set(partition_set(scores, available, must_include, size)) == seen


def test_where_there_are_too_few_devices_all_are_returned() -> None:
    """NVIDIA's plugin answers with none. The kubelet takes any others then."""
    assert partition_set(CUBE_ON_SWITCHES, {0, 3}, (), 3) == (0, 3)


@pytest.mark.parametrize(
    ("scores", "size", "chosen", "score"),
    [
        (DGX1_V100, 2, {0, 3}, 230),
        (DGX1_V100, 3, {0, 2, 3}, 610),
        (DGX1_V100, 4, {0, 1, 2, 3}, 1120),
        (DGX1_V100, 5, {0, 1, 2, 3, 4}, 1360),
        (DGX1_V100, 6, {0, 1, 2, 3, 4, 5}, 1750),
        (DGX1_V100, 7, {0, 1, 2, 3, 4, 5, 6}, 2250),
        (DGX1_V100, 8, set(ALL), 3000),
        (DGX1_P100, 2, {0, 2}, 150),
        (DGX1_P100, 3, {0, 1, 2}, 410),
        (DGX1_P100, 4, {0, 1, 2, 3}, 820),
        (DGX1_P100, 5, {0, 1, 2, 3, 4}, 960),
        (DGX1_P100, 6, {0, 1, 2, 3, 4, 6}, 1250),
        (DGX1_P100, 7, {0, 1, 2, 3, 4, 5, 6}, 1650),
        (DGX1_P100, 8, set(ALL), 2200),
        (FOUR_RTX_8000, 2, {0, 3}, 210),
        (FOUR_RTX_8000, 3, {0, 1, 2}, 240),
        (FOUR_RTX_8000, 4, {0, 1, 2, 3}, 480),
        (FOUR_ON_PCIE, 2, {0, 1}, 20),
        (FOUR_ON_PCIE, 3, {0, 1, 2}, 40),
        (FOUR_ON_PCIE, 4, {0, 1, 2, 3}, 80),
        (NVSWITCH, 3, {0, 1, 2}, 90),
        (NVSWITCH, 5, {0, 1, 2, 3, 4}, 220),
        (NVSWITCH, 6, {0, 1, 2, 3, 4, 5}, 310),
        (NVSWITCH, 7, {0, 1, 2, 3, 4, 5, 6}, 390),
    ],
)
def test_the_choice_on_a_machine_with_all_devices(scores: Scores, size: int, chosen: set[int], score: int) -> None:
    found = partition_set(scores, range(len(scores)), (), size)
    assert set(found) == chosen
    assert score_of(scores, found) == score


@pytest.mark.parametrize(
    ("available", "must_include", "size", "chosen"),
    [
        ({0, 2, 4, 5}, (), 2, {4, 5}),
        ({0, 4, 5, 6}, (), 2, {5, 6}),
        ({0, 1, 3}, (), 2, {0, 3}),
        ({0, 1, 4}, (), 2, {0, 4}),
        ({0, 1, 2, 5}, (), 2, {1, 5}),
        (ALL, {4}, 1, {4}),
        (ALL, {4}, 2, {4, 7}),
        (ALL, {4}, 4, {4, 5, 6, 7}),
        (ALL, {0, 2, 4, 6}, 4, {0, 2, 4, 6}),
        (ALL, {1, 2, 3}, 1, {1, 2, 3}),
        ((), (), 2, set()),
        (ALL, (), 0, set()),
    ],
)
def test_the_choice_on_a_dgx_1(
    available: Collection[int], must_include: Collection[int], size: int, chosen: set[int]
) -> None:
    """Good sets are kept: {0, 4} has more links than {4, 5}, but leaves the pair {2, 5} that has none."""
    assert set(partition_set(DGX1_V100, available, must_include, size)) == chosen


def test_a_pod_gets_fewer_links_than_it_could_as_often_as_with_nvidias_plugin() -> None:
    """Of all 1,024 questions on the cube mesh, its answers scored below the best set in 45, at worst 0.68 of it."""
    shares = []
    for size in ALL:
        for available in combinations(ALL, size + 1):
            for wanted in range(1, len(available) + 1):
                best = score_of(_CUBE, best_set(_CUBE, available, (), wanted))
                shares.append(score_of(_CUBE, partition_set(_CUBE, available, (), wanted)) / best if best else 1)
    lower = [share for share in shares if share < 1]
    assert (len(shares), len(lower), round(min(lower), 2)) == (1_024, 45, 0.68)


def test_when_all_pairs_are_alike_only_the_order_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "_Divider", None)
    assert partition_set(machine(12, within_half=10), range(11, -1, -1), {7}, 5) == (0, 1, 2, 3, 7)


def divisions(devices: tuple[int, ...], size: int, *, short: int) -> Iterator[list[tuple[int, ...]]]:
    """Return every division, in the order of NVIDIA's walk. The empty places of the short set come last in it."""
    if not devices:
        yield []
        return
    rows = [*combinations(devices[1:], size - 1)]
    if short:
        rows += [(*row, *(99,) * (size - short)) for row in combinations(devices[1:], short - 1)]
    for row in sorted(rows):
        chosen = (devices[0], *(device for device in row if device != 99))
        rest = tuple(device for device in devices if device not in chosen)
        for others in divisions(rest, size, short=short if len(chosen) == size else 0):
            yield [chosen, *others]


def exhaustive(scores: Scores, available: Collection[int], must_include: set[int], size: int) -> tuple[int, ...]:
    """Return the first best full set of the first best division, as NVIDIA's allocator finds it."""
    devices = tuple(sorted({*available, *must_include}))
    best: list[tuple[int, ...]] = []
    best_total = -1
    for division in divisions(devices, size, short=len(devices) % size):
        fitting = [each for each in division if len(each) == size and must_include <= set(each)]
        total = sum(score_of(scores, each) for each in division)
        if fitting and total > best_total:
            best, best_total = fitting, total
    return max(best, key=lambda each: score_of(scores, each))


@st.composite
def questions(draw: st.DrawFn) -> tuple[Scores, set[int], set[int], int]:
    """Scores, available devices, fewer required ones than the size, and a size below the number of devices."""
    scores = draw(score_tables(min_size=3))
    numbers = st.integers(0, len(scores) - 1)
    available = draw(st.sets(numbers, min_size=3))
    size = draw(st.integers(2, len(available) - 1))
    return scores, available, draw(st.sets(st.sampled_from(sorted(available)), max_size=size - 1)), size


@given(questions())
def test_it_is_the_set_that_a_walk_over_all_divisions_finds(question: tuple[Scores, set[int], set[int], int]) -> None:
    """With all pairs alike, `best_set` answers: its set has the same score."""
    scores = question[0]
    assert score_of(scores, partition_set(*question)) == score_of(scores, exhaustive(*question))
    if len({scores[one][other] for one, other in combinations({*question[1], *question[2]}, 2)}) > 1:
        assert partition_set(*question) == exhaustive(*question)


@given(score_tables(), st.data(), st.integers(-1, 9))
def test_the_order_of_the_question_does_not_matter(scores: Scores, data: st.DataObject, size: int) -> None:
    numbers = st.integers(0, len(scores) - 1)
    available, must_include = data.draw(st.lists(numbers)), data.draw(st.lists(numbers, max_size=4))
    chosen = partition_set(scores, available, must_include, size)
    shuffled = data.draw(st.permutations(available)), data.draw(st.permutations(must_include))
    assert partition_set(scores, *shuffled, size) == chosen
    everything = {*available, *must_include}
    assert set(must_include) <= set(chosen) <= everything
    assert len(chosen) == len(set(chosen)) == max(min(size, len(everything)), len(set(must_include)))


@pytest.mark.parametrize("size", range(2, 12))
def test_up_to_twelve_devices_are_divided(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "best_set", None)
    assert len(partition_set(machine(12), range(12), (), size)) == size


@pytest.mark.parametrize(("devices", "size"), [(13, 5), (14, 3), (15, 8), (16, 4), (16, 9), (17, 16), (100, 98)])
def test_of_more_devices_the_best_set_is_taken(devices: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "_Divider", None)
    scores = machine(devices)
    last = devices - 1
    assert partition_set(scores, range(devices), {last}, size) == best_set(scores, range(devices), {last}, size)


def test_the_first_is_taken_where_one_is_asked_for() -> None:
    """However many there are, and whatever is left."""
    assert partition_set(machine(100), range(99, 2, -1), (), 1) == (3,)
