"""The answer to the kubelet: by links for whole devices, by policy for replicas and parts, and never an error."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.resources.machines import DGX1_V100, score_tables
from plugin_gateway.core.resources.choice import Preferences, choose
from plugin_gateway.core.resources.links import Scores
from plugin_gateway.core.resources.policy import AllocationPreference, SharedPolicy
from plugin_gateway.core.resources.preference import PreferenceRequest
from plugin_gateway.core.resources.replicas import Place, Places

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
