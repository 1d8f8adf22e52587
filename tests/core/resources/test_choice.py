"""The answer to the kubelet: by links for whole devices, by policy for replicas and parts, and never an error."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.resources.machines import DGX1_V100, score_tables
from core.strategies import device_lists, machine_links
from harness.devices import advertised, device, part
from plugin_gateway.core.devices import NO_LINKS, Device, Links, Pair, PhysicalId
from plugin_gateway.core.resources.choice import choose, known_of, preferred
from plugin_gateway.core.resources.links import Scores
from plugin_gateway.core.resources.policy import AllocationPreference, Preferences, SharedPolicy
from plugin_gateway.core.resources.preference import PreferenceRequest, prefer
from plugin_gateway.core.resources.replicas import Place, Places
from plugin_gateway.core.resources.sharing import Sharing

WHOLE: Places = {f"GPU-{number}": Place(number, number) for number in range(8)}
PARTITION = Preferences(whole=AllocationPreference.PARTITION)
PACKED = Preferences(shared=SharedPolicy.PACKED)


def names(*numbers: int) -> tuple[str, ...]:
    return tuple(f"GPU-{number}" for number in numbers)


@pytest.mark.parametrize(
    ("available", "must", "size", "best", "partition"),
    [
        (names(0, 2, 4, 5), (), 2, names(0, 4), names(4, 5)),
        (names(5, 4, 2, 0), (), 2, names(0, 4), names(4, 5)),
        (names(*range(8)), (), 2, names(2, 3), names(0, 3)),
        (names(*range(8)), names(4), 2, names(4, 7), names(4, 7)),
        (names(*range(8)), names(7, 4), 4, names(7, 4, 5, 6), names(7, 4, 5, 6)),
        (names(3, 1), names(6), 9, names(6, 1, 3), names(6, 1, 3)),
        (("GPU-y", "GPU-x", *names(3)), (), 3, (*names(3), "GPU-x", "GPU-y"), (*names(3), "GPU-x", "GPU-y")),
        (("GPU-y", *names(0, 2, 3)), ("GPU-x",), 3, ("GPU-x", *names(2, 3)), ("GPU-x", *names(2, 3))),
        (names(3, 3), names(2, 2), 2, names(2, 3), names(2, 3)),
    ],
)
def test_whole_devices_are_chosen_by_links(
    available: Sequence[str], must: Sequence[str], size: int, best: Sequence[str], partition: Sequence[str]
) -> None:
    request = PreferenceRequest(available, must, size)
    assert choose(WHOLE, DGX1_V100, request) == tuple(best)
    assert choose(WHOLE, DGX1_V100, request, PARTITION) == tuple(partition)


def test_whole_devices_of_one_resource_among_others_have_their_own_links() -> None:
    """The numbers are those of the physical devices, whatever place an id has in the resource."""
    resource = {name: WHOLE[name] for name in names(1, 2, 5, 7)}
    assert choose(resource, DGX1_V100, PreferenceRequest(list(resource), (), 2)) == names(1, 2)


def test_devices_without_links_come_after_those_with_links() -> None:
    table = tuple(row[:4] for row in DGX1_V100[:4])
    request = PreferenceRequest(names(7, 6, 1, 0), (), 3)
    assert choose(WHOLE, table, request) == names(0, 1, 6)
    assert choose(WHOLE, (), request) == names(0, 1, 6)
    assert choose(WHOLE, table, request._replace(must_include=names(7))) == names(7, 0, 1)


SHARED: Places = {f"GPU-{device}::{n}": Place(device, device) for device in range(2) for n in range(3)}


def test_replicas_are_chosen_by_policy_and_what_is_not_available_is_given_away() -> None:
    request = PreferenceRequest(["GPU-1::2", "GPU-0::2", "GPU-0::1", "GPU-0::0"], (), 2)
    assert choose(SHARED, DGX1_V100, request) == ("GPU-0::0", "GPU-0::1")
    assert choose(SHARED, DGX1_V100, request, PACKED) == ("GPU-1::2", "GPU-0::0")
    spread = Preferences(shared=SharedPolicy.SPREAD)
    assert choose(SHARED, DGX1_V100, request, spread) == ("GPU-0::0", "GPU-1::2")


def test_parts_are_chosen_by_policy() -> None:
    places = {f"part-{part}": Place(part, part // 2) for part in range(4)}
    request = PreferenceRequest(list(places), (), 2)
    assert choose(places, DGX1_V100, request) == ("part-0", "part-2")
    assert choose(places, DGX1_V100, request, PACKED) == ("part-0", "part-1")


KINDS = st.sampled_from([WHOLE, SHARED, {f"GPU-{n}": Place(n, n // 3) for n in range(8)}, {}])
IDS = st.sampled_from([*WHOLE, *SHARED, "GPU-x", "", "\udc80"])
PREFERENCES = st.builds(Preferences, st.sampled_from(AllocationPreference), st.sampled_from(SharedPolicy))


@given(KINDS, score_tables(max_size=10), st.lists(IDS), st.lists(IDS, max_size=4), st.integers(), PREFERENCES)
def test_no_request_fails(
    places: Places,
    scores: Scores,
    available: Sequence[str],
    must: Sequence[str],
    size: int,
    preferences: Preferences,
) -> None:
    """An error here would fail the pod's admission."""
    chosen = choose(places, scores, PreferenceRequest(available, must, size), preferences)
    first = tuple(dict.fromkeys(must))
    everything = {*available, *must}
    assert chosen[: len(first)] == first
    assert set(chosen) <= everything
    assert len(chosen) == len(set(chosen)) == max(len(first), min(size, len(everything)))
    known = [name in places for name in chosen[len(first) :]]
    assert known == sorted(known, reverse=True)


@given(KINDS, score_tables(max_size=10), st.lists(IDS), st.integers(0, 9), PREFERENCES, st.data())
def test_the_order_of_the_available_ids_does_not_matter(
    places: Places, scores: Scores, available: Sequence[str], size: int, preferences: Preferences, data: st.DataObject
) -> None:
    request = PreferenceRequest(available, (), size)
    shuffled = request._replace(available=data.draw(st.permutations(available)))
    assert choose(places, scores, shuffled, preferences) == choose(places, scores, request, preferences)


def linked(numbers: Sequence[int], *pairs: tuple[int, int]) -> Links:
    """Links between GPUs of these numbers. The pairs have two links, and all are of one processor."""
    table = tuple(
        tuple(Pair(20, 2 if {one, other} in [set(pair) for pair in pairs] else 0) for other in numbers)
        for one in numbers
    )
    return Links(tuple(PhysicalId(f"GPU-{number}") for number in numbers), table)


FOUR = advertised([device(number, numa_node=number % 2) for number in range(4)])
BY_NUMA = names(0, 2)


@pytest.mark.parametrize(
    ("links", "chosen"),
    [
        (linked(range(4), (1, 2)), names(1, 2)),
        (linked(range(8), (1, 7), (0, 3)), names(0, 3)),
        (linked([3, 2, 1, 0], (0, 1)), names(0, 1)),
        (linked([1, 2, 3], (2, 3)), names(2, 3)),
        (NO_LINKS, BY_NUMA),
        (linked(range(4)), BY_NUMA),
        (linked(range(4), *((one, other) for one in range(4) for other in range(one))), BY_NUMA),
        (linked([0]), BY_NUMA),
        (linked([7, 8, 9], (7, 8)), BY_NUMA),
    ],
    ids=["one pair", "links of others", "another order", "one is not known", "none known", "no links", "all the same",
         "one device", "links of others alone"],
)  # fmt: skip
def test_links_decide_if_they_say_something_about_the_devices_and_numa_nodes_otherwise(
    links: Links, chosen: Sequence[str]
) -> None:
    known = known_of(FOUR, links)
    assert preferred(known, PreferenceRequest(names(3, 2, 1, 0), (), 2)) == tuple(chosen)


def test_devices_that_are_shared_or_parts_are_chosen_by_policy_whatever_their_links_are() -> None:
    links = linked(range(2), (0, 1))
    replicas = known_of(advertised([device(0), device(1)], sharing=Sharing(replicas=2)), links)
    everything = PreferenceRequest(list(replicas.places), (), 2)
    assert preferred(replicas, everything) == ("GPU-0::0", "GPU-1::0")
    assert preferred(replicas, everything, PACKED) == ("GPU-0::0", "GPU-0::1")
    parts = known_of(advertised([part(device(one), number) for one in range(2) for number in range(2)]), NO_LINKS)
    everything = PreferenceRequest(list(parts.places), (), 2)
    assert preferred(parts, everything) == ("MIG-0-0", "MIG-1-0")
    assert preferred(parts, everything, PACKED) == ("MIG-0-0", "MIG-0-1")


def test_the_only_part_of_each_device_has_the_links_of_its_device() -> None:
    parts = advertised([part(device(number), 3) for number in range(3)])
    known = known_of(parts, linked(range(3), (1, 2)))
    assert preferred(known, PreferenceRequest(list(known.places), (), 2)) == ("MIG-1-3", "MIG-2-3")


ASKED = st.sampled_from([*names(*range(6)), *(f"GPU-{number}::{n}" for number in range(3) for n in range(2)), "GPU-x"])


@given(device_lists(), st.integers(1, 3), machine_links(), st.lists(ASKED), st.lists(ASKED, max_size=3), st.integers())
def test_whatever_is_known_no_request_fails(
    devices: Sequence[Device], replicas: int, links: Links, available: Sequence[str], must: Sequence[str], size: int
) -> None:
    known = known_of(advertised(devices, sharing=Sharing(replicas=replicas)), links)
    request = PreferenceRequest(available, must, size)
    chosen = preferred(known, request)
    assert len(chosen) == len(set(chosen)) == max(len({*must}), min(size, len({*available, *must})))
    assert {*must} <= set(chosen) <= {*available, *must}
    if known.numa_decides:
        assert chosen == prefer(known.advertised, *request)
