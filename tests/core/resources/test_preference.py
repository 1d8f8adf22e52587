"""Which devices are preferred; small cases are compared with every possible choice."""

from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.devices import advertised, device
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.preference import prefer


def on_nodes(*numa_nodes: int | None) -> Advertisement:
    """One device for each NUMA node that is named, in the order of the index."""
    return advertised(device(number, numa_node=node) for number, node in enumerate(numa_nodes))


def names(*numbers: int) -> tuple[str, ...]:
    return tuple(f"GPU-{number}" for number in numbers)


TWO_SOCKETS = on_nodes(0, 0, 0, 0, 1, 1, 1, 1)
ALL = names(*range(8))


@pytest.mark.parametrize(
    ("available", "must_include", "size", "preferred"),
    [
        (ALL, (), 2, names(0, 1)),
        (ALL[::-1], (), 2, names(0, 1)),
        (names(0, 1, 4, 5, 6), (), 3, names(4, 5, 6)),
        (names(3, 4, 5), (), 2, names(4, 5)),
        (ALL, names(5), 2, names(5, 4)),
        (ALL, names(7, 5), 3, names(7, 5, 4)),
        (names(0, 5, 6), names(5), 3, names(5, 6, 0)),
        (ALL, (), 8, ALL),
        (ALL, (), 0, ()),
        (ALL, (), -1, ()),
        (ALL, names(1, 2), 1, names(1, 2)),
        (names(1), (), 5, names(1)),
        (("GPU-x", *names(6)), (), 2, (*names(6), "GPU-x")),
        (("GPU-x", "GPU-y"), ("GPU-z",), 2, ("GPU-z", "GPU-x")),
        (names(2, 2, 2), names(3, 3), 3, names(3, 2)),
        ((), (), 3, ()),
    ],
)
def test_on_a_machine_with_two_sockets(
    available: Sequence[str], must_include: Sequence[str], size: int, preferred: Sequence[str]
) -> None:
    assert prefer(TWO_SOCKETS, available, must_include, size) == tuple(preferred)


def test_devices_without_a_numa_node_are_taken_by_index() -> None:
    assert prefer(on_nodes(None, None, None), names(2, 1, 0), (), 2) == names(0, 1)


def test_of_equally_few_nodes_those_with_the_lowest_index_are_taken() -> None:
    """Nodes 0 and 1 would do as well as 0 and 2, and node 3 has too few to help."""
    assert prefer(on_nodes(3, 0, 0, 2, 2, 1, 1), names(*range(7)), (), 4) == names(1, 2, 3, 4)


def test_above_a_dozen_nodes_the_largest_are_taken() -> None:
    """Comparing every combination would hold up the answer; the number of nodes is the smallest all the same."""
    machine = on_nodes(*(number % 14 for number in range(28)), 13)
    assert prefer(machine, names(*range(29)), (), 3) == names(13, 27, 28)
    assert prefer(machine, names(*range(29)), (), 4) == names(0, 13, 14, 27)


class Counted(str):
    """An id that counts how often anybody looks it up."""

    __slots__ = ()
    lookups = 0

    def __hash__(self) -> int:
        Counted.lookups += 1
        return super().__hash__()


def test_the_work_grows_with_the_number_of_ids_and_no_faster() -> None:
    """Of 8,000 ids, half have to be included."""
    ids = [Counted(name) for name in names(*range(8_000))]
    machine = on_nodes(*(number % 2 for number in range(8_000)))
    Counted.lookups = 0
    assert len(prefer(machine, ids, ids[::2], 6_000)) == 6_000
    assert Counted.lookups < 10 * len(ids)


IDS = st.sampled_from((*names(*range(9)), "GPU-x", "GPU-y"))
MACHINES = st.lists(st.none() | st.integers(0, 4), max_size=8).map(lambda nodes: on_nodes(*nodes))
SIZES = st.integers(-2, 12)


@given(MACHINES, st.lists(IDS, max_size=12), st.lists(IDS, max_size=4), SIZES)
def test_what_must_be_included_comes_first_and_the_size_is_honoured(
    machine: Advertisement, available: Sequence[str], must_include: Sequence[str], size: int
) -> None:
    preferred = prefer(machine, available, must_include, size)
    first = tuple(dict.fromkeys(must_include))
    assert preferred[: len(first)] == first
    assert set(preferred) <= {*available, *must_include}
    assert len(preferred) == len(set(preferred))
    assert len(preferred) == max(len(first), min(size, len({*available, *must_include})))


@given(MACHINES, st.lists(IDS, max_size=12), st.lists(IDS, max_size=4), SIZES)
def test_known_devices_come_before_unknown_ones(
    machine: Advertisement, available: Sequence[str], must_include: Sequence[str], size: int
) -> None:
    chosen = prefer(machine, available, must_include, size)[len(set(must_include)) :]
    known = [name in machine.by_id for name in chosen]
    assert known == sorted(known, reverse=True)


@given(MACHINES, st.lists(IDS, max_size=12), st.lists(IDS, max_size=4), SIZES)
@example(on_nodes(0, 1, 1, 2, 2, 2), list(names(*range(6))), [], 4)
def test_no_choice_spreads_over_fewer_numa_nodes(
    machine: Advertisement, available: Sequence[str], must_include: Sequence[str], size: int
) -> None:
    preferred = prefer(machine, available, must_include, size)
    must = [name for name in dict.fromkeys(must_include) if name in machine.by_id]
    chosen = [name for name in preferred if name in machine.by_id]
    free = [name for name in dict.fromkeys(available) if name in machine.by_id and name not in must]

    def nodes(ids: Sequence[str]) -> int:
        return len({machine.by_id[name].device.physical.numa_node for name in ids})

    choices = combinations(free, len(chosen) - len(must))
    assert nodes(chosen) == min(nodes([*must, *choice]) for choice in choices)


@given(MACHINES, st.lists(IDS, max_size=12), SIZES)
def test_of_the_choices_with_the_fewest_nodes_it_is_the_one_with_the_lowest_indexes(
    machine: Advertisement, available: Sequence[str], size: int
) -> None:
    chosen = [machine.by_id[name] for name in prefer(machine, available, (), size) if name in machine.by_id]
    free = sorted({machine.by_id[name].device.physical.index for name in available if name in machine.by_id})
    node = {known.physical.index: known.physical.numa_node for known in machine.devices}
    best = min(combinations(free, len(chosen)), key=lambda indexes: (len({node[index] for index in indexes}), indexes))
    assert tuple(known.device.physical.index for known in chosen) == best


@given(
    st.lists(st.none() | st.integers(0, 20), max_size=32).map(lambda nodes: on_nodes(*nodes)),
    st.lists(st.text(max_size=3) | st.sampled_from(names(*range(32))), max_size=40),
    st.lists(st.text(max_size=3) | st.sampled_from(names(*range(32)))),
    st.integers(),
)
def test_no_request_fails(
    machine: Advertisement, available: Sequence[str], must_include: Sequence[str], size: int
) -> None:
    """An error here would fail the pod's admission."""
    before = tuple(available), tuple(must_include)
    first = prefer(machine, available, must_include, size)
    assert first == prefer(machine, available, must_include, size)
    assert (tuple(available), tuple(must_include)) == before
