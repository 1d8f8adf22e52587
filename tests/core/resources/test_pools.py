"""Resources of which each id stands for all devices."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.resources.cards import NAME, address, card, folder, host, inventory, offer, rule
from plugin_gateway.adapters.dialects import load_dialects
from plugin_gateway.core.devices import NO_LINKS, PhysicalId, Recipe
from plugin_gateway.core.errors import InvalidValueError, SharedRequestError
from plugin_gateway.core.health.faults import Evidence, add_evidence
from plugin_gateway.core.health.policy import Needs
from plugin_gateway.core.health.state import State
from plugin_gateway.core.resources.allocation import ContainerEdits, DeviceNode, allocate
from plugin_gateway.core.resources.assignment import Advertisement, advertise, keep_granted
from plugin_gateway.core.resources.choice import known_of, preferred
from plugin_gateway.core.resources.conflicts import (
    Cause,
    Pools,
    Sockets,
    find_conflicts,
    find_withheld,
    given_in,
    holdings_of,
    pools_in,
)
from plugin_gateway.core.resources.container_options import ContainerOptions
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.policy import AllocationPolicy, Preferences, SharedPolicy
from plugin_gateway.core.resources.preference import PreferenceRequest
from plugin_gateway.core.resources.rules import Selector
from plugin_gateway.core.resources.sharing import ALONE, Sharing

CARDS = [card(number) for number in range(3)]
POOL = Sharing(replicas=12, is_pool=True)
NUMBERS = tuple(map(str, range(12)))
OTHER = ResourceName("example.com/other")
BROKEN = add_evidence(None, Evidence("port 1 is DOWN", 0.0), Needs.CHECK, 0.0)


def ids(advertised: Advertisement) -> tuple[str, ...]:
    return tuple(each.id for each in advertised.offered)


def numa_nodes(advertised: Advertisement) -> set[tuple[int, ...]]:
    dialect = next(each for each in load_dialects() if each.preference is not None)
    return {each.numa_nodes for each in dialect.read_list(dialect.device_list(advertised))}


def test_the_ids_are_numbers_and_each_stands_for_all_devices() -> None:
    advertised = offer(CARDS, POOL)
    assert ids(advertised) == NUMBERS
    assert all(each.devices == tuple(CARDS) for each in advertised.offered)
    assert advertised.devices == tuple(CARDS)
    assert (advertised.is_pool, advertised.is_shared) == (True, True)
    assert not offer(CARDS, Sharing(replicas=2)).is_pool


def test_a_pool_without_a_device_offers_nothing() -> None:
    advertised = offer([], POOL)
    assert (advertised.offered, advertised.devices, advertised.unhealthy) == ((), (), frozenset())


@pytest.mark.parametrize(("out", "is_healthy"), [((), True), ((0,), True), ((0, 2), True), ((0, 1, 2), False)])
def test_a_pool_is_healthy_while_one_of_its_devices_is(out: Sequence[int], *, is_healthy: bool) -> None:
    by_faults = offer(CARDS, POOL, faults={CARDS[number].id: BROKEN for number in out})
    withheld = offer(CARDS, POOL).withholding({CARDS[number].id for number in out})
    for advertised in (by_faults, withheld):
        assert advertised.unhealthy == (frozenset() if is_healthy else frozenset(NUMBERS))
        assert advertised.out == {CARDS[number].id for number in out}
    assert by_faults == withheld


def test_what_is_withheld_adds_to_what_is_unhealthy() -> None:
    one = offer(CARDS, POOL, faults={CARDS[0].id: BROKEN})
    assert one.withholding({CARDS[0].id}) is one
    assert not one.withholding({CARDS[1].id}).unhealthy
    assert one.withholding({CARDS[1].id, CARDS[2].id}).unhealthy == frozenset(NUMBERS)


@given(st.sets(st.integers(0, 2)), st.sets(st.integers(0, 2)))
def test_a_container_gets_exactly_the_devices_that_are_neither_unhealthy_nor_withheld(
    faulty: set[int], withheld: set[int]
) -> None:
    advertised = offer(CARDS, POOL, faults={CARDS[number].id: BROKEN for number in faulty})
    advertised = advertised.withholding({CARDS[number].id for number in withheld})
    left = sorted({0, 1, 2} - faulty - withheld)
    assert bool(advertised.unhealthy) is not bool(left)
    if left:
        given_out = allocate(advertised, ["5"], AllocationPolicy(), host(*left)).device_nodes
        assert [node.container_path for node in given_out][:-1] == [f"/dev/net/verbs{number}" for number in left]


@pytest.mark.parametrize(
    ("nodes", "hints"),
    [((1, 1, 1), {(1,)}), ((0, 0, 0), {(0,)}), ((0, 1, 0), {()}), ((0, None, 0), {()}), ((None, None, None), {()})],
)
def test_the_kubelet_is_told_a_numa_node_if_all_devices_are_on_it(
    nodes: Sequence[int | None], hints: set[tuple[int, ...]]
) -> None:
    advertised = offer([card(number, numa_node=node) for number, node in enumerate(nodes)], POOL)
    assert numa_nodes(advertised) == hints
    assert numa_nodes(replace(advertised, numa_hints=False)) == {()}


@pytest.mark.parametrize("policy", SharedPolicy)
def test_the_lowest_numbers_are_preferred_after_those_that_are_decided(policy: SharedPolicy) -> None:
    known = known_of(offer(CARDS, POOL), NO_LINKS)
    for available, must, size, wanted in (
        (("11", "10", "2", "9"), (), 3, ("2", "9", "10")),
        (("11", "2", "9"), ("11",), 2, ("11", "2")),
        (("7",), ("x",), 2, ("x", "7")),
        (NUMBERS[::-1], ("5", "3"), 2, ("5", "3")),
    ):
        request = PreferenceRequest(available, must, size)
        assert preferred(known, request, Preferences(shared=policy)) == wanted


def test_a_pool_of_one_id_has_a_preference_too() -> None:
    known = known_of(offer(CARDS, Sharing(replicas=1, is_pool=True)), NO_LINKS)
    assert preferred(known, PreferenceRequest(("0",), (), 1)) == ("0",)


def test_a_container_can_be_limited_to_one_id() -> None:
    advertised = offer(CARDS, Sharing(replicas=4, is_pool=True, one_per_request=True))
    with pytest.raises(SharedRequestError):
        allocate(advertised, ["0", "1"], AllocationPolicy(), host(0, 1, 2))


def test_a_pool_that_becomes_smaller_keeps_what_was_granted_a_moment_ago() -> None:
    smaller = offer(CARDS, Sharing(replicas=2, is_pool=True))
    kept, again = keep_granted(smaller, offer(CARDS, POOL), {"11": 5.0, "1": 5.0}, 1.0)
    assert (ids(kept), again) == (("0", "1", "11"), 5.0)
    assert kept.unhealthy == {"11"}
    assert kept.devices == tuple(CARDS)


def test_devices_under_the_same_name_stay_beside_the_pool() -> None:
    pooled = rule(POOL, selector=Selector(attributes={"function": ("vf",)}))
    state = State(inventory=inventory(*CARDS), faults={CARDS[1].id: BROKEN})
    advertised = advertise(state, [pooled, rule(selector=Selector(addresses=(address(0),)))])[NAME]
    assert ids(advertised) == (address(0), *NUMBERS)
    assert {device.id for device in advertised.devices} == {device.id for device in CARDS}
    alone = advertised.withholding({CARDS[0].id})
    assert alone.unhealthy == {address(0)}
    assert alone.withholding({CARDS[2].id}).unhealthy == {address(0), *NUMBERS}


def test_the_first_rule_decides_how_many_ids_a_pool_has() -> None:
    rules = [
        rule(Sharing(replicas=2, is_pool=True), selector=Selector(addresses=(address(1),))),
        rule(POOL),
    ]
    advertised = advertise(State(inventory=inventory(*CARDS)), rules)[NAME]
    assert ids(advertised) == ("0", "1")
    assert advertised.devices == (CARDS[0], CARDS[1], CARDS[2])


def test_a_pool_has_no_daemon() -> None:
    with pytest.raises(InvalidValueError, match="a pool of devices cannot be shared through mps"):
        Sharing(replicas=4, is_pool=True, through="mps")
    assert POOL.words == " as a pool of 12"


MEMBERS: Pools = {NAME: [device.id for device in CARDS]}


def test_who_holds_an_id_of_a_pool_holds_all_devices_of_it() -> None:
    (held, *others) = holdings_of("3", NAME, None, MEMBERS)
    assert (held.device, held.resource, held.is_shared, len(others)) == (CARDS[0].id, NAME, True, 2)
    assert [each.device for each in holdings_of("3", OTHER, None, MEMBERS)] == ["3"]
    assert [each.device for each in holdings_of(address(2), NAME, None, MEMBERS)] == [address(2)]


@pytest.mark.parametrize(
    ("sharing", "name", "withheld"),
    [
        (POOL, NAME, ()),
        (Sharing(replicas=3, is_pool=True), NAME, ()),
        (ALONE, NAME, (0, 1, 2)),
        (POOL, OTHER, (0, 1, 2)),
        (ALONE, OTHER, (0, 1, 2)),
    ],
)
def test_devices_of_a_pool_are_withheld_in_another_form_as_long_as_a_pod_holds_an_id(
    sharing: Sharing, name: ResourceName, withheld: Sequence[int]
) -> None:
    found = find_withheld({name: offer(CARDS, sharing)}, dict.fromkeys(holdings_of("7", NAME, "", MEMBERS), "a pod"))
    assert found.keys() == {CARDS[number].id for number in withheld}
    assert all(NAME in why for why in found.values())


def test_a_device_that_a_pod_has_for_itself_is_left_out_of_the_pool() -> None:
    held = dict.fromkeys(holdings_of(address(1), OTHER, ""), "a pod")
    wanted = offer(CARDS, POOL)
    found = find_withheld({NAME: wanted}, held)
    assert found.keys() == {CARDS[1].id}
    advertised = wanted.withholding(found.keys())
    assert not advertised.unhealthy
    edits = allocate(advertised, ["0"], AllocationPolicy(), host(0, 2, **{folder(1): []}))
    assert [node.container_path for node in edits.device_nodes][:2] == ["/dev/net/verbs0", "/dev/net/verbs2"]


def test_the_same_numbers_under_another_name_are_no_devices_of_the_pool() -> None:
    offered = {NAME: dict.fromkeys(NUMBERS, PhysicalId(CARDS[0].id))}
    assert not find_conflicts(offered, {NAME}, {OTHER: {"0", "1"}, NAME: set(NUMBERS)}, Sockets(), MEMBERS)
    (found,) = find_conflicts(offered, {NAME}, {OTHER: {address(2), "1"}}, Sockets(), MEMBERS)
    assert (found.cause, found.devices) == (Cause.SAME_DEVICES, (address(2),))
    (foreign,) = find_conflicts(offered, {NAME}, {NAME: {"0", address(1)}}, Sockets(), MEMBERS)
    assert (foreign.cause, foreign.devices) == (Cause.FOREIGN_DEVICES, (address(1),))


def test_the_options_of_the_rule_hold_for_its_pool() -> None:
    options = ContainerOptions(environment={"MODE": "fast"})
    assert offer(CARDS, POOL, options).options == options
    assert offer([], POOL, options).options == options


def answer(*paths: str) -> bytes:
    dialect = next(each for each in load_dialects() if each.preference is not None)
    edits = ContainerEdits(device_nodes=tuple(DeviceNode(path, path) for path in paths))
    return dialect.allocation.write_answer([edits])


def test_what_an_earlier_gateway_gave_with_a_number_is_known_by_the_nodes_in_its_answer() -> None:
    several = inventory(*(card(number) for number in (0, 1, 10)), card(11, nodes=()))
    answers: dict[tuple[str, str], bytes] = {
        (NAME, "3"): answer("/dev/net/verbs10", "/dev/net/common"),
        (NAME, "4"): answer("/dev/net/verbs0", "/dev/net/common"),
        (OTHER, address(1)): answer("/dev/net/verbs1"),
        (OTHER, "7"): answer("/dev/net/verbs12"),
        (OTHER, "8"): b"",
    }
    given = given_in(answers, [several])
    assert given == {(NAME, "3"): {address(10)}, (NAME, "4"): {address(0)}}
    assert pools_in(given) == {NAME: {address(0), address(10)}}
    assert given_in(answers, [inventory(*CARDS, recipe=Recipe())]) == {}, "it can be given by another plugin"
    assert [each.device for each in holdings_of("3", NAME, None, MEMBERS, given)] == [address(10)]
    assert len(holdings_of("5", NAME, None, MEMBERS, given)) == len(CARDS)
