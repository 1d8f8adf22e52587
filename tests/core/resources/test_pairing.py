"""Which devices are near those that the same container was given of another backend."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.resources.machines import DGX1_V100, FOUR_ON_PCIE, NVSWITCH
from harness.devices import advertised, altered, device
from plugin_gateway.core.cards import PARENT
from plugin_gateway.core.devices import NO_LINKS, Device, Links, Offered, OfferedId, Pair, PhysicalDevice, PhysicalId
from plugin_gateway.core.resources.choice import Known, known_of, preferred
from plugin_gateway.core.resources.links import Scores
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.pairing import (
    BELOW_ONE_HOST_BRIDGE,
    FAR,
    MAX_AGE,
    ON_ONE_NODE,
    Grant,
    Grants,
    counting,
    nearest,
    nearness,
    noted,
    value_of,
    words_of,
)
from plugin_gateway.core.resources.policy import AllocationPreference, Preferences, SharedPolicy
from plugin_gateway.core.resources.preference import PreferenceRequest
from plugin_gateway.core.resources.sharing import Sharing

PACKED = Preferences(shared=SharedPolicy.PACKED)
PARTITION = Preferences(AllocationPreference.PARTITION)
GPUS, NICS, OTHERS = (ResourceName(f"example.com/{name}") for name in ("gpu", "nic", "other"))


def bridge(number: int) -> tuple[str, str]:
    """The path of all that hangs below one root port."""
    return f"pci0000:{number:02x}", f"0000:{number:02x}:00.0"


def gpu(number: int, path: Sequence[str] = (), numa_node: int | None = None) -> Device:
    return altered(device(number), pci_path=tuple(path), numa_node=numa_node)


def virtual(parent: int, number: int) -> Device:
    """A virtual function. Parents are on bridges of their own, the first two on NUMA node 0."""
    address = f"0000:{parent + 1:02x}:00.{number + 2}"
    made = device(parent * 8 + number, name=address)
    parents = (f"eth{parent}", f"eth{parent}#{number}", f"0000:{parent + 1:02x}:00.0", f"0000:{parent + 1:02x}:00.0#0")
    return altered(made, pci_path=bridge(parent), numa_node=parent // 2, attributes={PARENT: parents})


def physical(number: int) -> PhysicalDevice:
    """What was granted, on the bridge with this number."""
    return gpu(0, bridge(number), number // 4).physical


def eight_gpus() -> list[Device]:
    """Each on a bridge of its own, four on each NUMA node."""
    return [gpu(number, bridge(number), number // 4) for number in range(8)]


def links_of(devices: Sequence[Device], scores: Scores) -> Links:
    pairs = tuple(tuple(Pair(score % 100, score // 100) for score in row) for row in scores)
    return Links(tuple(each.physical.id for each in devices), pairs)


def numbers(ids: Sequence[str]) -> list[int]:
    return sorted(int(each.removeprefix("GPU-")) for each in ids)


def ask(known: Known, size: int, *granted: int, must: Sequence[str] = (), without: Sequence[str] = ()) -> list[int]:
    """Return the numbers of those that are chosen, near what hangs below the bridges ``granted``."""
    available = [each for each in known.places if each not in without]
    request = PreferenceRequest(available, must, size)
    return numbers(nearest(known, request, [physical(number) for number in granted]))


@pytest.mark.parametrize(
    ("one", "other", "near", "words"),
    [
        ((("a", "b", "c"), 0), (("a", "b", "c"), 0), BELOW_ONE_HOST_BRIDGE + 2, "below 2 bridges of each other"),
        ((("a", "b", "c"), 0), (("a", "b", "d"), 0), BELOW_ONE_HOST_BRIDGE + 1, "below one bridge"),
        ((("a", "b"), 0), (("a", "c"), 1), BELOW_ONE_HOST_BRIDGE, "below one host bridge"),
        ((("a", "b"), 0), (("c", "b"), 0), ON_ONE_NODE, "on one NUMA node"),
        (((), 1), ((), 1), ON_ONE_NODE, "on one NUMA node"),
        ((("a",), 0), (("c",), 1), FAR, "far"),
        (((), None), ((), None), FAR, "far"),
    ],
)
def test_bridges_in_common_are_nearer_than_the_numa_node(
    one: tuple[Sequence[str], int | None], other: tuple[Sequence[str], int | None], near: int, words: str
) -> None:
    first, second = gpu(0, *one).physical, gpu(1, *other).physical
    assert nearness(first, second) == nearness(second, first) == near
    assert words_of(near) == words


def test_one_device_is_that_on_the_bridge_of_what_was_granted() -> None:
    known = known_of(advertised(eight_gpus()), NO_LINKS)
    assert [ask(known, 1, number) for number in range(8)] == [[number] for number in range(8)]


def test_without_one_on_the_bridge_it_is_one_on_the_numa_node() -> None:
    known = known_of(advertised(eight_gpus()), NO_LINKS)
    assert ask(known, 1, 6, without=["GPU-6"]) == [4]
    assert ask(known, 1, 6, without=[f"GPU-{number}" for number in range(4, 8)]) == [0]


def test_each_of_several_that_were_granted_gets_one() -> None:
    known = known_of(advertised([*eight_gpus(), *(gpu(8 + n, bridge(n), n // 4) for n in range(8))]), NO_LINKS)
    assert ask(known, 2, 1, 6) == [1, 6]
    assert ask(known, 3, 1, 6) == [1, 6, 9]
    assert ask(known, 4, 1, 6) == [1, 6, 9, 14]
    assert ask(known, 2, 1, 6, must=["GPU-9"]) == [6, 9]


def test_several_devices_with_links_that_are_all_alike_are_chosen_by_nearness() -> None:
    gpus = eight_gpus()
    known = known_of(advertised(gpus), links_of(gpus, ((10,) * 8,) * 8))
    assert ask(known, 4, 6) == [4, 5, 6, 7]
    assert ask(known, 4, 6, must=["GPU-0"]) == [0, 4, 5, 6]


def test_several_devices_are_chosen_by_links_first() -> None:
    gpus = eight_gpus()
    known = known_of(advertised(gpus), links_of(gpus, DGX1_V100))
    assert ask(known, 4, 1) == [0, 1, 2, 3]
    assert ask(known, 4, 5) == [4, 5, 6, 7]
    assert ask(known, 2, 1) == [2, 3]
    assert ask(known, 2, 5) == [6, 7]
    assert ask(known, 2, 5, without=["GPU-7"]) == [2, 3], "they have better links than GPU 5 and GPU 6"
    assert ask(known, 2, 5, without=["GPU-3", "GPU-7"]) == [5, 6]
    assert ask(known, 2, 5, must=["GPU-4"]) == [4, 7]
    assert ask(known, 1, 6) == [6]


def test_pairs_on_one_switch_are_taken_where_the_other_device_is() -> None:
    gpus = eight_gpus()
    known = known_of(advertised(gpus), links_of(gpus, NVSWITCH))
    assert [ask(known, 2, number) for number in (0, 3, 4, 7)] == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_nearness_counts_more_than_a_switch_that_two_devices_share() -> None:
    gpus = eight_gpus()
    known = known_of(advertised(gpus), links_of(gpus, NVSWITCH))
    assert ask(known, 2, 3, without=["GPU-2"]) == [0, 3]
    assert ask(known, 2, 0, 6) == [0, 6]


def test_nvidias_partition_of_several_devices_is_not_changed() -> None:
    gpus = eight_gpus()
    known = known_of(advertised(gpus), links_of(gpus, DGX1_V100))
    request = PreferenceRequest(list(known.places), (), 2)
    assert nearest(known, request, [physical(6)], PARTITION) == preferred(known, request, PARTITION)
    assert numbers(nearest(known, request._replace(size=1), [physical(6)], PARTITION)) == [6]


def virtuals(parents: int, of_each: int) -> list[Device]:
    return [virtual(parent, number) for parent in range(parents) for number in range(of_each)]


def test_virtual_functions_are_spread_over_their_physical_ones() -> None:
    devices = virtuals(4, 4)
    known = known_of(advertised(devices), NO_LINKS)
    ids = [each.id for each in devices]
    assert preferred(known, PreferenceRequest(ids, (), 4)) == (ids[0], ids[4], ids[8], ids[12])
    assert preferred(known, PreferenceRequest(ids[1:], (), 1)) == (ids[4],)
    assert preferred(known, PreferenceRequest(ids[1:], (), 1), PACKED) == (ids[1],)


def test_virtual_functions_are_near_first_and_spread_then() -> None:
    two_ports = [
        altered(each, pci_path=bridge(each.physical.index // 16), numa_node=0)
        for each in virtuals(parents=4, of_each=2)
    ]
    known = known_of(advertised(two_ports), NO_LINKS)
    ids = [each.id for each in two_ports]
    granted = [physical(1)]
    assert nearest(known, PreferenceRequest(ids, (), 1), granted) == (ids[4],)
    assert nearest(known, PreferenceRequest(ids, (), 2), granted) == (ids[4], ids[6])
    assert nearest(known, PreferenceRequest([*ids[:4], *ids[5:]], (), 1), granted) == (ids[6],), "least given away"
    assert nearest(known, PreferenceRequest(ids[:4], (), 1), granted) == (ids[0],), "all are equally far"


def test_replicas_are_those_of_the_near_device() -> None:
    devices = [replace(each.physical) for each in eight_gpus()]
    known = known_of(advertised(eight_gpus(), sharing=Sharing(replicas=3)), NO_LINKS)
    ids = list(known.places)
    assert nearest(known, PreferenceRequest(ids, (), 1), [devices[5]]) == ("GPU-5::0",)
    assert nearest(known, PreferenceRequest(ids, (), 2), [devices[5]]) == ("GPU-5::0", "GPU-5::1")
    assert nearest(known, PreferenceRequest(ids, (), 4), [devices[5]])[3] == "GPU-4::0"


def test_the_ids_of_a_pool_are_all_alike() -> None:
    gpus = tuple(eight_gpus())
    offer = replace(advertised([]), offered=tuple(Offered(OfferedId(str(n)), gpus[0], None, gpus) for n in range(3)))
    known = known_of(offer, NO_LINKS)
    request = PreferenceRequest(["2", "1"], (), 1)
    assert nearest(known, request, [physical(5)]) == preferred(known, request)
    assert Grant(NICS, "b", offer, ("1",), 0.0).devices == tuple(each.physical for each in gpus)


def test_one_bridge_for_all_changes_nothing() -> None:
    gpus = [gpu(number, ("pci0000:00",), 0) for number in range(4)]
    known = known_of(advertised(gpus), links_of(gpus, FOUR_ON_PCIE))
    request = PreferenceRequest(list(known.places), (), 2)
    assert nearest(known, request, [gpus[3].physical]) == preferred(known, request)


SPOTS = st.tuples(
    st.sampled_from([(), ("a",), ("a", "b"), ("a", "b", "c"), ("a", "d"), ("e",), ("e", "b"), ("e", "f")]),
    st.sampled_from([None, 0, 1]),
)


@st.composite
def questions(draw: st.DrawFn) -> tuple[Known, PreferenceRequest, list[PhysicalDevice], Preferences]:
    spots = draw(st.lists(SPOTS, min_size=1, max_size=7))
    devices = [gpu(number, *spot) for number, spot in enumerate(spots)]
    if draw(st.booleans()):
        parents = [draw(st.sampled_from(["x", "y"])) for _ in devices]
        devices = [altered(each, attributes={PARENT: (of,)}) for each, of in zip(devices, parents, strict=True)]
    count = len(devices)
    scores = [[0] * count for _ in range(count)]
    for one, other in combinations(range(count), 2):
        scores[one][other] = scores[other][one] = draw(st.sampled_from([10, 10, 50, 110]))
    links = links_of(devices, tuple(map(tuple, scores))) if draw(st.booleans()) else NO_LINKS
    known = known_of(advertised(devices, sharing=Sharing(replicas=draw(st.sampled_from([1, 1, 3])))), links)
    ids = st.sampled_from([*known.places, "unknown", "another"])
    available = draw(st.lists(ids, max_size=12))
    must = draw(st.lists(ids, max_size=3))
    granted = [gpu(50 + n, *spot).physical for n, spot in enumerate(draw(st.lists(SPOTS, max_size=4)))]
    preferences = Preferences(draw(st.sampled_from(AllocationPreference)), draw(st.sampled_from(SharedPolicy)))
    return known, PreferenceRequest(available, must, draw(st.integers(0, 9))), granted, preferences


@given(questions())
def test_the_answer_is_valid_and_never_farther_than_without_pairing(
    question: tuple[Known, PreferenceRequest, list[PhysicalDevice], Preferences],
) -> None:
    known, request, granted, preferences = question
    found, usual = nearest(known, request, granted, preferences), preferred(known, request, preferences)
    must = tuple(dict.fromkeys(request.must_include))
    assert len(found) == len(set(found)) == len(usual)
    assert found[: len(must)] == must
    assert {*found} <= {*request.available, *must}
    assert worth(known, found, granted) >= worth(known, usual, granted)
    assert nearest(known, request, granted, preferences) == found, "the same question has the same answer"


def worth(known: Known, ids: Sequence[str], granted: Sequence[PhysicalDevice]) -> int:
    by_id = known.advertised.by_id
    return value_of(
        [tuple(nearness(by_id[i].device.physical, each) for each in granted) or (0,) for i in ids if i in by_id]
    )


@given(
    spots=st.lists(st.integers(0, 5), min_size=1, max_size=8),
    granted=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    size=st.integers(1, 5),
)
@example(spots=[0, 0, 1, 1, 4], granted=[0, 1], size=3)
def test_in_a_machine_of_bridges_no_set_is_worth_more(spots: list[int], granted: list[int], size: int) -> None:
    devices = [gpu(number, bridge(spot), spot // 4) for number, spot in enumerate(spots)]
    known = known_of(advertised(devices), NO_LINKS)
    others = [physical(number) for number in granted]
    ids = list(known.places)
    found = nearest(known, PreferenceRequest(ids, (), size), others)
    best = max(worth(known, each, others) for each in combinations(ids, min(size, len(ids))))
    assert worth(known, found, others) == best


def grant(resource: ResourceName, at: float, backend: str = "") -> Grant:
    return Grant(resource, backend or resource, advertised(eight_gpus()), ("GPU-1",), at)


def after(*grants: Grant) -> Grants:
    found: Grants = ()
    for each in grants:
        found = noted(found, each)
    return found


def counted(grants: Grants, resource: ResourceName, now: float, backend: str = "") -> list[ResourceName]:
    return [each.resource for each in counting(grants, resource, backend or resource, now)]


@pytest.mark.parametrize(("first", "second"), [(GPUS, NICS), (NICS, GPUS)])
def test_a_grant_of_another_backend_counts_for_a_second(first: ResourceName, second: ResourceName) -> None:
    grants = after(grant(first, 10.0))
    assert counted(grants, second, 10.0) == counted(grants, second, 10.0 + MAX_AGE) == [first]
    assert counted(grants, second, 10.1 + MAX_AGE) == []
    assert counted(grants, second, 10.0, backend=first) == [], "it is of the same backend"


def test_a_resource_that_was_given_already_is_for_another_container() -> None:
    grants = after(grant(GPUS, 10.0), grant(NICS, 10.1))
    assert counted(grants, GPUS, 10.2) == counted(grants, NICS, 10.2) == []
    assert counted(grants, OTHERS, 10.2) == [GPUS, NICS]
    grants = noted(grants, grant(NICS, 10.2))
    assert counted(grants, GPUS, 10.3) == [NICS]


def test_what_was_given_before_the_last_second_is_forgotten() -> None:
    grants = after(grant(GPUS, 10.0), grant(NICS, 11.5))
    assert [each.resource for each in grants] == [NICS]


def test_a_grant_knows_its_physical_devices_once_and_ignores_unknown_ids() -> None:
    offer = advertised(eight_gpus(), sharing=Sharing(replicas=2))
    given_away = Grant(GPUS, "a", offer, ("GPU-1::0", "GPU-1::1", "GPU-2::0", "GPU-9"), 0.0)
    assert [each.id for each in given_away.devices] == [PhysicalId("GPU-1"), PhysicalId("GPU-2")]
