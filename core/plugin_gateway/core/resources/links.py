"""The best set of devices for one container, by the links between the devices.

Each pair of devices has a score, and the score of a set is the sum over its pairs. A device is a number here: its row
in the table of scores.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from math import comb
from operator import add
from types import MappingProxyType
from typing import NamedTuple

Scores = tuple[tuple[int, ...], ...]
"""The score of each pair of devices, the same in both directions. The diagonal is not used."""

_LINK, _FARTHEST = 100, 10
_NOTHING_NEAR: Mapping[int, int] = MappingProxyType({})
MAX_STEPS = 8 * comb(16, 8)
"""The most devices in all sets that are compared: enough for every request among 16 devices. About 10 ms."""


class _Problem(NamedTuple):
    """Which ``size`` of some devices have the greatest sum of weights. No two sets have the same sum."""

    weights: list[int]
    pairs: list[list[int]]
    size: int


def pair_score(nearness: int, links: int) -> int:
    """Return the score of a pair. Nearness is from 10, other processors, to 60, one board. A link adds a hundred.

    A pair of unknown nearness, 0, counts as far away as can be.
    """
    return max(nearness, _FARTHEST) + _LINK * links


def score_of(scores: Scores, devices: Collection[int]) -> int:
    """Return the score of a set of devices."""
    return sum(scores[one][other] for one, other in combinations(devices, 2))


def all_alike(scores: Scores, devices: Sequence[int]) -> bool:
    """Return whether all pairs of these devices have the same score. There must be two devices at least."""
    expected = scores[devices[0]][devices[1]]
    return all(scores[one][other] == expected for one, other in combinations(devices, 2))


def differ_in_links(scores: Scores, devices: Sequence[int]) -> bool:
    """Return whether some pairs of these devices have more links than others. How near they are does not count."""
    return len({scores[one][other] // _LINK for one, other in combinations(devices, 2)}) > 1


def best_set(
    scores: Scores,
    available: Collection[int],
    must_include: Collection[int],
    size: int,
    near: Mapping[int, int] = _NOTHING_NEAR,
) -> tuple[int, ...]:
    """Return the set of ``size`` devices with the highest score that contains ``must_include``, in ascending order.

    Of equal sets it is the one whose devices have most in ``near``, then the one whose rest of the available devices
    has the highest score, then the one with the lowest numbers. If all pairs are alike, the lowest numbers are taken.
    If comparing every set takes more than `MAX_STEPS`, sets are grown instead: from one device, by the one that adds
    most each time. The best set that was grown is taken.

    Fewer devices are returned only if there are fewer, and more only if ``must_include`` has more.
    """
    held = frozenset(must_include)
    free = sorted(frozenset(available) - held)
    count = min(max(size - len(held), 0), len(free))
    if count in (0, len(free)) or (not near and all_alike(scores, [*held, *free])):
        return tuple(sorted([*held, *free[:count]]))
    problem = _as_weights(scores, held, free, count, near)
    exact = count * comb(len(free), count) <= MAX_STEPS
    chosen = _heaviest(problem.weights, _tails(problem.pairs), count)[1] if exact else _grown(problem)
    return tuple(sorted([*held, *(free[place] for place in chosen)]))


def _as_weights(
    scores: Scores, held: Collection[int], free: Sequence[int], count: int, near: Mapping[int, int]
) -> _Problem:
    """Return the four rules as one sum: the score, then the nearness, then what the rest keeps, then the order.

    Among sets of the same score, the rest keeps most if the pairs of the chosen devices with all others have the lowest
    sum. Among sets of the same size, the one with the lowest numbers has the highest sum of these powers of two.
    """
    everything = [*held, *free]
    reach = [sum(scores[one][other] for other in everything if other != one) for one in free]
    rest = 1 << len(free)
    nearer = rest * (1 + sum(map(abs, reach)))
    unit = nearer * (1 + sum(near.get(one, 0) for one in free))
    weights = [
        unit * sum(scores[one][other] for other in held)
        + nearer * near.get(one, 0)
        - rest * reach[place]
        + (rest >> (place + 1))
        for place, one in enumerate(free)
    ]
    return _Problem(weights, [[unit * scores[one][other] for other in free] for one in free], count)


def _tails(pairs: Sequence[Sequence[int]]) -> list[Sequence[int]]:
    return [row[place + 1 :] for place, row in enumerate(pairs)]


def _heaviest(
    weights: Sequence[int], tails: Sequence[Sequence[int]], count: int, first: int = 0
) -> tuple[int, tuple[int, ...]]:
    """Return the greatest sum of ``count`` of the places from ``first`` on, and these places.

    ``weights`` begins with that of the place ``first``. The weights of pairs with places before are in them.
    """
    if count == 1:
        heaviest = max(weights)
        return heaviest, (first + weights.index(heaviest),)
    best: tuple[int, tuple[int, ...]] | None = None
    for place, weight in enumerate(weights[: len(weights) - count + 1]):
        following = list(map(add, weights[place + 1 :], tails[first + place]))
        value, chosen = _heaviest(following, tails, count - 1, first + place + 1)
        if best is None or weight + value > best[0]:
            best = weight + value, (first + place, *chosen)
    assert best is not None
    return best


def _grown(problem: _Problem) -> list[int]:
    """Return the best of the sets that are grown from single places, as many of them as `MAX_STEPS` allows."""
    places = len(problem.weights)
    starts = max(1, MAX_STEPS // (places * problem.size))
    grown = [_grow(problem, start) for start in range(min(starts, places))]
    return max(grown)[1]


def _grow(problem: _Problem, start: int) -> tuple[int, list[int]]:
    weights = problem.weights
    total, chosen, left = 0, [], set(range(len(weights)))
    following = start
    while True:
        total += weights[following]
        chosen.append(following)
        left.discard(following)
        if len(chosen) == problem.size:
            return total, chosen
        weights = list(map(add, weights, problem.pairs[following]))
        following = max(left, key=weights.__getitem__)
