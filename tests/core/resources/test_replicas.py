"""Which replicas and parts are preferred: what NVIDIA's plugin answered, and a choice of one id after the other."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_gateway.core.resources.policy import SharedPolicy
from plugin_gateway.core.resources.replicas import Place, Places, share

DISTRIBUTED, PACKED, SPREAD = SharedPolicy.DISTRIBUTED, SharedPolicy.PACKED, SharedPolicy.SPREAD


def replicated(devices: int, replicas: int) -> Places:
    """Whole devices with replicas. The ids are ``device::replica``."""
    return {f"{device}::{n}": Place(device, device) for device in range(devices) for n in range(replicas)}


def parted(*parts: int) -> Places:
    """Physical devices with so many parts each. The ids are ``physical:part``."""
    names = [(physical, part) for physical, count in enumerate(parts) for part in range(count)]
    return {f"{physical}:{part}": Place(device, physical) for device, (physical, part) in enumerate(names)}


def without(places: Places, *given: str) -> list[str]:
    return [name for name in places if name not in given]


def given_away(places: Places, available: Sequence[str]) -> Counter[int]:
    return Counter(place.device for name, place in places.items() if name not in available)


def ask(policy: SharedPolicy, places: Places, available: Sequence[str], must: Sequence[str], size: int) -> list[str]:
    return sorted(share(policy, places, available, given_away(places, available), must, size))


TWO = replicated(2, 3)


@pytest.mark.parametrize(
    ("taken", "must", "size", "distributed", "packed", "spread"),
    [
        ("", "", 2, "0::0 1::0", "0::0 0::1", "0::0 1::0"),
        ("", "", 3, "0::0 0::1 1::0", "0::0 0::1 0::2", "0::0 0::1 1::0"),
        ("", "1::2", 2, "0::0 1::2", "1::0 1::2", "0::0 1::2"),
        ("1::0 1::1", "", 2, "0::0 0::1", "0::0 1::2", "0::0 1::2"),
        ("1::0 1::1", "", 1, "0::0", "1::2", "0::0"),
        ("0::0 0::1 0::2", "", 2, "1::0 1::1", "1::0 1::1", "1::0 1::1"),
        ("1::0", "0::2", 3, "0::0 0::2 1::1", "0::2 1::1 1::2", "0::0 0::2 1::1"),
        ("", "", 6, "0::0 0::1 0::2 1::0 1::1 1::2", "0::0 0::1 0::2 1::0 1::1 1::2", "0::0 0::1 0::2 1::0 1::1 1::2"),
        ("", "1::1 0::2", 1, "0::2 1::1", "0::2 1::1", "0::2 1::1"),
        ("", "", 0, "", "", ""),
        ("", "", -1, "", "", ""),
    ],
)
def test_replicas_of_two_devices(taken: str, must: str, size: int, distributed: str, packed: str, spread: str) -> None:
    """The first four lines of distributed and packed are what NVIDIA's plugin 0.20.0 answered."""
    available = without(TWO, *taken.split())
    for policy, expected in ((DISTRIBUTED, distributed), (PACKED, packed), (SPREAD, spread)):
        assert ask(policy, TWO, available, must.split(), size) == expected.split(), policy


FOUR = replicated(4, 4)


@pytest.mark.parametrize(
    ("policy", "available", "must", "size", "seen"),
    [
        (DISTRIBUTED, "0:4 1:4 2:4 3:4", "", 2, {0: 1, 1: 1}),
        (DISTRIBUTED, "0:4 1:2 2:1 3:1", "", 1, {0: 1}),
        (DISTRIBUTED, "0:4 1:2 2:1", "2::3", 3, {0: 2, 2: 1}),
        (DISTRIBUTED, "0:2 1:2", "", 4, {0: 2, 1: 2}),
        (PACKED, "0:4 1:2 2:1 3:4", "", 1, {2: 1}),
        (PACKED, "0:4 1:2 3:4", "", 2, {1: 2}),
        (PACKED, "0:4 1:2", "0::2", 3, {0: 1, 1: 2}),
    ],
)
def test_the_devices_are_those_that_nvidias_plugin_was_seen_to_answer(
    policy: SharedPolicy, available: str, must: str, size: int, seen: Mapping[int, int]
) -> None:
    """Version 0.20.0, four GPUs with four replicas. The last replicas of a device are available."""
    room = [map(int, each.split(":")) for each in available.split()]
    free = [f"{device}::{4 - number}" for device, count in room for number in range(count, 0, -1)]
    chosen = ask(policy, FOUR, free, must.split(), size)
    assert Counter(FOUR[name].device for name in chosen) == seen


def test_of_answers_that_are_equal_to_nvidias_plugin_the_first_is_taken() -> None:
    """It was seen to take three of four GPUs at random, and two of four parts at random, whatever GPU they are on."""
    four = replicated(4, 2)
    assert ask(DISTRIBUTED, four, list(four), (), 3) == ["0::0", "1::0", "2::0"]
    assert ask(DISTRIBUTED, parted(2, 2), ["0:0", "0:1", "1:0", "1:1"], (), 2) == ["0:0", "1:0"]


def test_where_there_are_too_few_all_are_returned() -> None:
    """NVIDIA's plugin answers with an error, which fails the pod's admission."""
    assert ask(DISTRIBUTED, FOUR, ["0::0"], (), 2) == ["0::0"]


@pytest.mark.parametrize(
    ("taken", "must", "size", "distributed", "packed", "spread"),
    [
        ("", "", 2, "0:0 1:0", "1:0 1:1", "0:0 1:0"),
        ("", "", 3, "0:0 1:0 2:0", "0:0 0:1 0:2", "0:0 1:0 2:0"),
        ("", "", 4, "0:0 0:1 1:0 2:0", "2:0 2:1 2:2 2:3", "0:0 0:1 1:0 2:0"),
        ("", "", 5, "0:0 0:1 1:0 1:1 2:0", "1:0 2:0 2:1 2:2 2:3", "0:0 0:1 1:0 1:1 2:0"),
        ("2:0", "", 2, "0:0 1:0", "1:0 1:1", "0:0 1:0"),
        ("0:1", "", 2, "1:0 2:0", "0:0 0:2", "1:0 2:0"),
        ("0:0 0:1 1:0", "", 3, "1:1 2:0 2:1", "2:0 2:1 2:2", "0:2 1:1 2:0"),
        ("", "1:1", 2, "0:0 1:1", "1:0 1:1", "0:0 1:1"),
        ("", "1:1", 3, "0:0 1:1 2:0", "0:0 1:0 1:1", "0:0 1:1 2:0"),
        ("", "0:2 2:1", 4, "0:0 0:2 1:0 2:1", "0:0 0:1 0:2 2:1", "0:0 0:2 1:0 2:1"),
    ],
)
def test_parts_of_three_physical_devices(
    taken: str, must: str, size: int, distributed: str, packed: str, spread: str
) -> None:
    """The devices have 3, 2 and 4 parts. NVIDIA's plugin does not look at the physical device: to it all are equal."""
    places = parted(3, 2, 4)
    available = without(places, *taken.split())
    for policy, expected in ((DISTRIBUTED, distributed), (PACKED, packed), (SPREAD, spread)):
        assert ask(policy, places, available, must.split(), size) == expected.split(), policy


def test_replicas_of_parts_are_spread_over_physical_devices_then_over_parts() -> None:
    """Two physical devices with two parts each, and two replicas of each part."""
    places = {f"{part}::{n}": Place(part, part // 2) for part in range(4) for n in range(2)}
    assert share(DISTRIBUTED, places, list(places), {}, (), 4) == ("0::0", "2::0", "1::0", "3::0")
    assert share(SPREAD, places, list(places), {0: 1}, (), 3) == ("2::0", "1::0", "3::0")
    assert share(PACKED, places, list(places), {}, ["3::1"], 4) == ("3::1", "3::0", "2::0", "2::1")


def one_by_one(
    policy: SharedPolicy, places: Places, available: Sequence[str], must: Sequence[str], size: int
) -> list[str]:
    """Take one id after the other, as NVIDIA's plugin does, physical devices first. Not for packed parts."""
    chosen = list(dict.fromkeys(must))
    before = given_away(places, [*available, *must])

    def key(name: str) -> list[tuple[int, int, int]]:
        keys = []
        for level in (1, 0):
            number = places[name][level]
            picks = sum(places[each][level] == number for each in chosen)
            gone = sum(before[device] for device in {each.device for each in places.values() if each[level] == number})
            load = gone + picks
            ranks = {DISTRIBUTED: (load, picks), PACKED: (-load, picks), SPREAD: (picks, load)}
            keys.append((*ranks[policy], number))
        return keys

    free = [name for name in places if name in available and name not in chosen]
    while free and len(chosen) < size:
        chosen.append(min(free, key=key))
        free.remove(chosen[-1])
    return chosen


Question = tuple[Places, list[str], list[str], int]


@st.composite
def questions(draw: st.DrawFn, *, parts: bool) -> Question:
    """Places, the available ids in any order, those that must be included, and a size."""
    most = 3 if parts else 1
    sizes = draw(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=most), min_size=1, max_size=4))
    whole = [(physical, replicas) for physical, each in enumerate(sizes) for replicas in each]
    places = {
        f"{device}::{n}": Place(device, physical)
        for device, (physical, replicas) in enumerate(whole)
        for n in range(replicas)
    }
    available = draw(st.lists(st.sampled_from(sorted(places)), unique=True))
    must = draw(st.lists(st.sampled_from(available), max_size=3)) if available else []
    return places, available, must, draw(st.integers(-1, 12))


@given(st.sampled_from(SharedPolicy), questions(parts=False))
def test_replicas_are_those_of_taking_one_after_the_other(policy: SharedPolicy, question: Question) -> None:
    assert ask(policy, *question) == sorted(one_by_one(policy, *question))


@given(st.sampled_from([DISTRIBUTED, SPREAD]), questions(parts=True))
def test_parts_are_those_of_taking_one_after_the_other(policy: SharedPolicy, question: Question) -> None:
    assert ask(policy, *question) == sorted(one_by_one(policy, *question))


@given(questions(parts=True))
def test_packed_parts_are_on_as_few_physical_devices_as_possible(question: Question) -> None:
    places, available, must, size = question
    several = len({place.device for place in places.values()}) > len({place.physical for place in places.values()})
    chosen = ask(PACKED, places, available, must, size)

    def physical(names: Sequence[str]) -> int:
        return len({places[name].physical for name in names})

    free = [name for name in available if name not in must]
    choices = combinations(free, len(chosen) - len(set(must)))
    if several:
        assert physical(chosen) == min(physical([*must, *choice]) for choice in choices)


@given(st.sampled_from(SharedPolicy), questions(parts=True), st.data())
def test_the_order_of_the_question_does_not_matter(
    policy: SharedPolicy, question: Question, data: st.DataObject
) -> None:
    places, available, must, size = question
    chosen = ask(policy, places, available, must, size)
    shuffled = data.draw(st.permutations(available)), data.draw(st.permutations(must))
    assert ask(policy, places, *shuffled, size) == chosen
    assert set(must) <= set(chosen) <= set(available)
    assert len(chosen) == len(set(chosen)) == max(len(set(must)), min(size, len(available)))


class _Counted(str):
    """An id that counts how often anybody looks it up."""

    __slots__ = ()
    lookups = 0

    def __hash__(self) -> int:
        _Counted.lookups += 1
        return super().__hash__()


@pytest.mark.parametrize("policy", SharedPolicy)
@pytest.mark.parametrize("replicas", [1, 64])
def test_the_work_grows_with_the_number_of_ids_and_no_faster(policy: SharedPolicy, replicas: int) -> None:
    """Of 8,960 ids, a quarter has to be included. A physical device has four parts."""
    places: Places = {_Counted(number): Place(number // replicas, number // replicas // 4) for number in range(8_960)}
    ids = list(places)
    _Counted.lookups = 0
    assert len(share(policy, places, ids, {0: 3}, ids[::4], 6_000)) == 6_000
    assert _Counted.lookups < 10 * len(ids)
