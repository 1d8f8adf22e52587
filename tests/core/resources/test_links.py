"""The best set by links: known machines, and every possible choice of up to eight devices."""

from collections.abc import Collection, Sequence
from itertools import combinations
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.resources.machines import (
    DGX1_P100,
    DGX1_V100,
    FOUR_ON_PCIE,
    FOUR_RTX_8000,
    HGX_A100_FOUR,
    NVSWITCH,
    SIXTEEN_ON_SWITCHES,
    machine,
    score_tables,
)
from plugin_gateway.core.resources import links
from plugin_gateway.core.resources.links import MAX_STEPS, Scores, best_set, pair_score, score_of

ALL = range(8)


@pytest.mark.parametrize(("nearness", "count", "score"), [(10, 0, 10), (60, 0, 60), (50, 2, 250), (20, 18, 1820)])
def test_a_link_is_worth_more_than_any_nearness(nearness: int, count: int, score: int) -> None:
    assert pair_score(nearness, count) == score


@pytest.mark.parametrize(
    ("scores", "size", "best", "score"),
    [
        (DGX1_V100, 2, {2, 3}, 250),
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
        (NVSWITCH, 2, {0, 1}, 50),
        (NVSWITCH, 3, {0, 1, 2}, 90),
        (NVSWITCH, 4, {0, 1, 2, 3}, 180),
        (NVSWITCH, 5, {0, 1, 2, 3, 4}, 220),
        (NVSWITCH, 6, {0, 1, 2, 3, 4, 5}, 310),
        (NVSWITCH, 7, {0, 1, 2, 3, 4, 5, 6}, 390),
        (NVSWITCH, 8, set(ALL), 520),
        (HGX_A100_FOUR, 2, {0, 1}, 420),
    ],
)
def test_the_best_set_of_a_machine(scores: Scores, size: int, best: set[int], score: int) -> None:
    chosen = best_set(scores, range(len(scores)), (), size)
    assert set(chosen) == best
    assert score_of(scores, chosen) == score


@pytest.mark.parametrize(
    ("available", "must_include", "size", "best"),
    [
        ({0, 2, 4, 5}, (), 2, {0, 4}),
        ({4, 5, 6, 0}, (), 2, {5, 6}),
        ({0, 1, 3}, (), 2, {0, 3}),
        ({0, 1, 4}, (), 2, {0, 4}),
        ({0, 1, 2, 5}, (), 2, {1, 2}),
        (ALL, {4}, 1, {4}),
        (ALL, {4}, 2, {4, 7}),
        (ALL, {4}, 4, {4, 5, 6, 7}),
        (ALL, {0, 2, 4, 6}, 4, {0, 2, 4, 6}),
        ({1, 2}, {4, 7, 5}, 1, {4, 5, 7}),
        ({1, 2}, {4}, 9, {1, 2, 4}),
        (ALL, (), 0, set()),
        (ALL, (), -3, set()),
        ((), (), 2, set()),
    ],
)
def test_the_best_set_when_some_devices_are_taken_or_required(
    available: Collection[int], must_include: Collection[int], size: int, best: set[int]
) -> None:
    assert set(best_set(DGX1_V100, available, must_include, size)) == best


@pytest.mark.parametrize("size", range(2, 9))
def test_sixteen_devices_in_two_halves_give_the_first_of_one_half(size: int) -> None:
    assert best_set(SIXTEEN_ON_SWITCHES, range(16), (), size) == tuple(range(size))


def test_what_is_left_of_a_half_is_used_before_a_whole_half_is_broken() -> None:
    assert best_set(SIXTEEN_ON_SWITCHES, {0, 1, *range(8, 16)}, (), 2) == (0, 1)


def test_when_all_pairs_are_alike_only_the_order_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is searched, whatever the number of devices."""
    monkeypatch.setattr(links, "_as_weights", None)
    alike = machine(40, within_half=10)
    assert best_set(alike, range(39, -1, -1), {7}, 20) == tuple(range(20))
    assert best_set(alike, range(39, -1, -1), {30}, 3) == (0, 1, 30)


def _rank(scores: Scores, everything: Collection[int], chosen: Sequence[int]) -> tuple[int, int, list[int]]:
    rest = [device for device in everything if device not in chosen]
    return score_of(scores, chosen), score_of(scores, rest), [-device for device in chosen]


def exhaustive(scores: Scores, available: Collection[int], must_include: Collection[int], size: int) -> tuple[int, ...]:
    """Compare every set, with the three rules as they are written."""
    everything = sorted({*available, *must_include})
    wanted = max(min(size, len(everything)), len(set(must_include)))
    possible = [each for each in combinations(everything, wanted) if set(must_include) <= set(each)]
    if len({scores[one][other] for one, other in combinations(everything, 2)}) <= 1:
        return min(possible, key=lambda chosen: [device for device in chosen if device not in must_include])
    return max(possible, key=lambda chosen: _rank(scores, everything, chosen))


@st.composite
def questions(draw: st.DrawFn) -> tuple[Scores, list[int], list[int], int]:
    """Scores, available and required devices in any order, and a size."""
    scores = draw(score_tables())
    numbers = st.integers(0, len(scores) - 1)
    return (
        scores,
        draw(st.lists(numbers, max_size=12)),
        draw(st.lists(numbers, max_size=3)),
        draw(st.integers(-1, 9)),
    )


@given(questions())
def test_no_set_is_better(question: tuple[Scores, list[int], list[int], int]) -> None:
    assert best_set(*question) == exhaustive(*question)


@given(questions(), st.data())
def test_the_order_of_the_question_does_not_matter(
    question: tuple[Scores, list[int], list[int], int], data: st.DataObject
) -> None:
    scores, available, must_include, size = question
    shuffled = data.draw(st.permutations(available)), data.draw(st.permutations(must_include))
    assert best_set(scores, *shuffled, size) == best_set(*question)


@given(score_tables(min_size=10, max_size=13), st.integers(2, 12), st.sets(st.integers(0, 9), max_size=2))
def test_above_the_bound_the_set_is_grown_and_still_keeps_its_promises(
    scores: Scores, size: int, must_include: set[int]
) -> None:
    """The bound is lowered here, so that the real best set is known."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(links, "MAX_STEPS", 30)
        grown = best_set(scores, range(len(scores)), must_include, size)
        assert grown == best_set(scores, range(len(scores) - 1, -1, -1), must_include, size)
    best = best_set(scores, range(len(scores)), must_include, size)
    assert must_include <= set(grown) <= set(range(len(scores)))
    assert len(grown) == len(best) == len(set(grown))
    assert score_of(scores, grown) <= score_of(scores, best)


def test_a_grown_set_stays_in_one_group_of_a_large_machine() -> None:
    """Groups of 4, 12, 16 and 16 with the same links inside. The first group is too small for the size."""
    groups = [number for number, size in enumerate((4, 12, 16, 16)) for _ in range(size)]
    scores = tuple(tuple(210 if one == other else 10 for other in groups) for one in groups)
    assert 8 * comb(48, 8) > MAX_STEPS
    assert best_set(scores, range(48), (), 8) == tuple(range(4, 12))
    assert best_set(scores, range(48), {20}, 8) == tuple(range(16, 24))


def test_every_request_among_sixteen_devices_is_within_the_bound() -> None:
    assert max(size * comb(16, size) for size in range(17)) == MAX_STEPS


@pytest.mark.parametrize(("devices", "size"), [(16, 8), (64, 62), (64, 32), (160, 2), (160, 80), (160, 158), (200, 3)])
def test_the_work_is_limited_on_every_machine(devices: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    additions = 0

    def counted(one: int, other: int) -> int:
        nonlocal additions
        additions += 1
        return one + other

    monkeypatch.setattr(links, "add", counted)
    assert len(best_set(machine(devices), range(devices), (), size)) == size
    assert 0 < additions <= MAX_STEPS
