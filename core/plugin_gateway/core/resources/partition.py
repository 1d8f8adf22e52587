"""A choice of devices that keeps good sets for the next pods as well.

All devices are divided into sets of the size that is asked for, and the best of these sets is taken. Device plugins of
vendors choose in this way.
"""

from collections.abc import Collection, Iterator
from itertools import combinations
from typing import NamedTuple

from plugin_gateway.core.resources.links import Scores, all_alike, best_set, score_of

MAX_DEVICES = 12
"""More devices are not divided. About 10 ms for 12, and 25 ms for 13, which would hold up other calls."""


class _Group(NamedTuple):
    """A set of a division. Each device is a bit."""

    members: int
    score: int


class _Division(NamedTuple):
    """The division of some devices, without the sets after the first one."""

    total: int
    """The sum of the scores of all its sets."""
    first: _Group


def partition_set(
    scores: Scores, available: Collection[int], must_include: Collection[int], size: int
) -> tuple[int, ...]:
    """Return the best set of the best division into sets of ``size``, in ascending order.

    One set of a division is short if the number of devices is no multiple of the size. The best division has the
    highest sum of scores among those that have a full set with all of ``must_include``. Among equal divisions and sets,
    the first in the order of the numbers is taken.

    If all pairs are alike, or if there are more than `MAX_DEVICES`, the answer is that of `best_set`.
    """
    held = frozenset(must_include)
    devices = sorted(held.union(available))
    if not len(held) < size < len(devices) or all_alike(scores, devices):
        return best_set(scores, available, must_include, size)
    if size == 1:
        return (devices[0],)
    if len(devices) > MAX_DEVICES:
        return best_set(scores, available, must_include, size)
    required = sum(1 << place for place, device in enumerate(devices) if device in held)
    local = tuple(tuple(scores[one][other] for other in devices) for one in devices)
    members = _Divider(local, size, required).best_group().members
    return tuple(device for place, device in enumerate(devices) if members >> place & 1)


class _Divider:
    """Divides devices into sets. The best division of every group of devices that is left over is kept."""

    def __init__(self, scores: Scores, size: int, required: int) -> None:
        self._count = len(scores)
        self._size = size
        self._required = required
        self._groups = [list(self._beginning_with(scores, lowest)) for lowest in range(self._count)]
        self._full = [[group for group in groups if self._is_full(group)] for groups in self._groups]
        self._by_members = {group.members: group for groups in self._groups for group in groups}
        self._known: dict[int, _Division | None] = {}

    def best_group(self) -> _Group:
        """Return the best full set of the best division, with all that is required."""
        groups: list[_Group] = []
        left = (1 << self._count) - 1
        while left:
            division = self._divide(left)
            assert division is not None, "the required devices, then all others in order, are a division"
            groups.append(division.first)
            left ^= division.first.members
        possible = [each for each in groups if self._is_full(each) and each.members & self._required == self._required]
        return max(possible, key=_score)

    def _divide(self, devices: int) -> _Division | None:
        """Return the first of the divisions with the highest score. None if what is required does not fit."""
        if devices in self._known:
            return self._known[devices]
        if devices.bit_count() <= self._size:
            last = self._by_members.get(devices)
            return last and _Division(last.score, last)
        lowest = (devices & -devices).bit_length() - 1
        short_is_open = devices.bit_count() % self._size
        best: _Division | None = None
        for group in (self._groups if short_is_open else self._full)[lowest]:
            if group.members & devices == group.members:
                rest = self._divide(devices ^ group.members)
                if rest is not None and (best is None or group.score + rest.total > best.total):
                    best = _Division(group.score + rest.total, group)
        self._known[devices] = best
        return best

    def _is_full(self, group: _Group) -> bool:
        return group.members.bit_count() == self._size

    def _beginning_with(self, scores: Scores, lowest: int) -> Iterator[_Group]:
        """Return the sets with this lowest device. In their order, an empty place is behind every device."""
        following = range(lowest + 1, self._count)
        rows = list(combinations(following, self._size - 1))
        short = self._count % self._size
        if short:
            empty = (self._count,) * (self._size - short)
            rows = sorted([*rows, *(row + empty for row in combinations(following, short - 1))])
        for row in rows:
            members = (lowest, *(place for place in row if place < self._count))
            group = _Group(sum(1 << place for place in members), score_of(scores, members))
            if self._keeps_together(group):
                yield group

    def _keeps_together(self, group: _Group) -> bool:
        """Return whether the set has none of the required devices, or is full and has all of them."""
        common = group.members & self._required
        return not common or (common == self._required and self._is_full(group))


def _score(group: _Group) -> int:
    return group.score
