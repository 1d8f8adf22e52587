"""Devices that several containers share: what is offered, and what a container gets.

The answers are those that NVIDIA's device plugin 0.20.0 was seen to give with time-slicing.
"""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.devices import PART, RECIPE, VARIABLE, advertised, device, inventory, part
from harness.hosts import EveryNode
from plugin_gateway.core.devices import Device, DeviceId, FaultId, Kind, Offered, OfferedId, Recipe
from plugin_gateway.core.errors import (
    AllocationError,
    InvalidValueError,
    RepeatedDeviceError,
    SharedRequestError,
    UnhealthyDeviceError,
    UnknownDeviceError,
)
from plugin_gateway.core.health.faults import Evidence, Fault, add_evidence
from plugin_gateway.core.health.policy import Needs
from plugin_gateway.core.health.state import State
from plugin_gateway.core.resources.allocation import DeviceNode, allocate
from plugin_gateway.core.resources.assignment import Advertisement, advertise
from plugin_gateway.core.resources.names import parse_resource_name
from plugin_gateway.core.resources.policy import AllocationPolicy, DeviceIdStrategy
from plugin_gateway.core.resources.preference import prefer
from plugin_gateway.core.resources.rules import ResourceRule, Selector
from plugin_gateway.core.resources.sharing import MAX_REPLICAS, Sharing

NAME = parse_resource_name("nvidia.com/gpu")
FOUR = [device(number) for number in range(4)]
POLICY = AllocationPolicy()
BROKEN = add_evidence(None, Evidence("XID 79", 0.0), Needs.REBOOT, 0.0)


def shared(replicas: int, *unhealthy: str, devices: Sequence[Device] = FOUR, one: bool = False) -> Advertisement:
    return advertised(devices, *unhealthy, sharing=Sharing(replicas=replicas, one_per_request=one))


def variable(advertisement: Advertisement, *ids: str, policy: AllocationPolicy = POLICY) -> str:
    return allocate(advertisement, ids, policy, EveryNode()).environment[VARIABLE]


def nodes(advertisement: Advertisement, *ids: str) -> list[str]:
    return [each.container_path for each in allocate(advertisement, ids, POLICY, EveryNode()).device_nodes]


@pytest.mark.parametrize(
    ("replicas", "ids", "named"),
    [
        (2, ("GPU-1::0",), "GPU-1"),
        (2, ("GPU-1::0", "GPU-1::1"), "GPU-1"),
        (2, ("GPU-0::1", "GPU-2::0"), "GPU-0,GPU-2"),
        (4, ("GPU-3::2",), "GPU-3"),
        (4, ("GPU-3::2", "GPU-2::2"), "GPU-2,GPU-3"),
        (10, ("GPU-0::9",), "GPU-0"),
        (10, ("GPU-1::0", "GPU-1::3", "GPU-1::7"), "GPU-1"),
    ],
)
def test_a_container_gets_each_device_once(replicas: int, ids: Sequence[str], named: str) -> None:
    """NVIDIA's plugin names the devices in an order that differs from run to run."""
    assert variable(shared(replicas), *ids) == named
    assert nodes(shared(replicas), *ids) == [f"/dev/nvidia{name[-1]}" for name in named.split(",")]


def test_the_index_names_a_device_once_too() -> None:
    by_index = AllocationPolicy(device_id_strategy=DeviceIdStrategy.INDEX)
    assert variable(shared(3), "GPU-1::0", "GPU-1::2", policy=by_index) == "1"
    assert variable(shared(3), "GPU-3::1", policy=by_index) == "3"


@pytest.mark.parametrize("name", ["GPU-1", "GPU-1::5", "GPU-1::2", "GPU-1::99", "GPU-1::-1", "GPU-1::01", "GPU-1::"])
def test_a_device_without_its_replica_and_a_replica_that_is_not_there_are_unknown(name: str) -> None:
    with pytest.raises(UnknownDeviceError) as caught:
        allocate(shared(2), ["GPU-0::0", name], POLICY, EveryNode())
    assert caught.value.ids == (name,)


def test_one_replica_cannot_be_had_twice() -> None:
    with pytest.raises(RepeatedDeviceError):
        allocate(shared(2), ["GPU-1::0", "GPU-1::0"], POLICY, EveryNode())


def test_a_request_for_more_than_one_can_be_refused_with_limit_number_and_option() -> None:
    limited = shared(4, one=True)
    assert variable(limited, "GPU-3::2") == "GPU-3"
    with pytest.raises(SharedRequestError) as caught:
        allocate(limited, ["GPU-3::2", "GPU-3::3"], POLICY, EveryNode())
    assert isinstance(caught.value, AllocationError)
    assert str(caught.value) == (
        "a container can have at most 1 shared device, 2 were asked for (failRequestsGreaterThanOne): "
        "GPU-3::2, GPU-3::3"
    )
    with pytest.raises(UnknownDeviceError):
        allocate(limited, ["GPU-3::2", "GPU-3"], POLICY, EveryNode())


def test_devices_of_their_own_are_not_limited() -> None:
    assert variable(shared(1, one=True), "GPU-1", "GPU-0") == "GPU-0,GPU-1"


@pytest.mark.parametrize("replicas", [0, -1, MAX_REPLICAS + 1, 10**9])
def test_a_number_of_replicas_that_makes_no_sense_is_refused(replicas: int) -> None:
    with pytest.raises(InvalidValueError, match=rf"^{replicas} replicas of a device; expected 1 to 1024$"):
        Sharing(replicas=replicas)


def offered_by(state: State, replicas: int) -> Advertisement:
    rule = ResourceRule(name=NAME, sharing=Sharing(replicas=replicas))
    return advertise(state, [rule])[NAME]


def test_one_replica_is_the_device_itself() -> None:
    assert [each.id for each in offered_by(State(inventory=inventory(*FOUR)), replicas=1).offered] == [
        "GPU-0",
        "GPU-1",
        "GPU-2",
        "GPU-3",
    ]


@given(st.integers(1, 20), st.integers(0, 4), st.frozensets(st.integers(0, 3)))
def test_each_device_is_offered_so_often_and_each_replica_has_its_health(
    replicas: int, count: int, broken: frozenset[int]
) -> None:
    faults: dict[FaultId, Fault] = {FOUR[number].id: BROKEN for number in broken}
    state = State(inventory=inventory(*FOUR[:count]), faults=faults)
    if not count:
        assert not advertise(state, [ResourceRule(name=NAME, sharing=Sharing(replicas=replicas))])
        return
    offered = offered_by(state, replicas=replicas)
    assert len(offered.offered) == len(offered.by_id) == count * replicas
    assert offered.devices == tuple(FOUR[:count])
    assert {each.id for each in offered.offered if each.device.physical.index in broken} == offered.unhealthy
    for each in offered.offered:
        ids = [each.id]
        if each.id in offered.unhealthy:
            with pytest.raises(UnhealthyDeviceError):
                allocate(offered, ids, POLICY, EveryNode())
        else:
            assert variable(offered, *ids) == each.device.id


def test_a_fault_takes_out_every_replica() -> None:
    state = State(inventory=inventory(*FOUR), faults={FOUR[1].id: BROKEN})
    assert offered_by(state, replicas=3).unhealthy == {"GPU-1::0", "GPU-1::1", "GPU-1::2"}


def test_a_withheld_device_is_withheld_in_every_replica() -> None:
    withheld = shared(2, "GPU-0::1").withholding([DeviceId("GPU-2"), DeviceId("GPU-9")])
    assert withheld.unhealthy == {"GPU-0::1", "GPU-2::0", "GPU-2::1"}
    assert withheld.offered == shared(2).offered


def test_one_name_can_have_shared_devices_and_others() -> None:
    rules = [
        ResourceRule(
            selector=Selector(products=("*T4",)), name=NAME, sharing=Sharing(replicas=2, one_per_request=True)
        ),
        ResourceRule(name=NAME),
    ]
    state = State(inventory=inventory(device(0, product="Tesla T4"), *FOUR[1:3]))
    mixed = advertise(state, rules)[NAME]
    assert [each.id for each in mixed.offered] == ["GPU-0::0", "GPU-0::1", "GPU-1", "GPU-2"]
    assert variable(mixed, "GPU-1", "GPU-2") == "GPU-1,GPU-2"
    with pytest.raises(SharedRequestError):
        allocate(mixed, ["GPU-1", "GPU-0::1"], POLICY, EveryNode())


def test_no_id_is_offered_twice() -> None:
    twice = (Offered(OfferedId("GPU-0"), FOUR[0]), Offered(OfferedId("GPU-0"), FOUR[1]))
    with pytest.raises(InvalidValueError, match="an id is offered twice: GPU-0, GPU-0"):
        Advertisement(offered=twice, recipes={})


def test_what_leaves_stays_in_its_place() -> None:
    two = shared(2, devices=FOUR[:2])
    (left,) = [each for each in shared(3, devices=FOUR[:1]).offered if each.replica == 2]
    more = two.with_unhealthy([left])
    assert [each.id for each in more.offered] == ["GPU-0::0", "GPU-0::1", "GPU-0::2", "GPU-1::0", "GPU-1::1"]
    assert more.unhealthy == {"GPU-0::2"}


def test_replicas_are_preferred_by_place_and_number() -> None:
    ids = [each.id for each in shared(11, devices=FOUR[:1]).offered]
    assert prefer(shared(11), ids[::-1], (), 11) == tuple(ids)


PARTS = [part(device(0), number) for number in range(3)]


def test_parts_of_one_device_give_its_node_once() -> None:
    parts = advertised(PARTS, sharing=Sharing(replicas=2))
    assert variable(parts, "MIG-0-2::0", "MIG-0-1::1", "MIG-0-2::1") == "MIG-0-1,MIG-0-2"
    assert nodes(parts, "MIG-0-2::0", "MIG-0-1::1", "MIG-0-2::1") == [
        "/dev/nvidia0",
        "/dev/nvidia-caps/nvidia-cap1",
        "/dev/nvidia-caps/nvidia-cap2",
    ]
    by_index = AllocationPolicy(device_id_strategy=DeviceIdStrategy.INDEX)
    assert variable(parts, "MIG-0-2::0", "MIG-0-1::1", policy=by_index) == "0:1,0:2"


def test_each_kind_has_its_own_recipe() -> None:
    nic = Recipe(environment={"NIC": "on"}, shared_nodes=("/dev/nic",), permissions="rwm")
    recipes: Mapping[Kind, Recipe] = {PART: nic, FOUR[1].kind: RECIPE}
    both = Advertisement(offered=advertised([PARTS[0], FOUR[1]]).offered, recipes=recipes)
    edits = allocate(both, ["GPU-1", "MIG-0-0"], POLICY, EveryNode())
    assert edits.environment == {VARIABLE: "GPU-1", "NIC": "on"}
    assert edits.device_nodes == (
        DeviceNode("/dev/nvidia0", "/dev/nvidia0", "rwm"),
        DeviceNode("/dev/nvidia-caps/nvidia-cap0", "/dev/nvidia-caps/nvidia-cap0", "rwm"),
        DeviceNode("/dev/nic", "/dev/nic", "rwm"),
        DeviceNode("/dev/nvidia1", "/dev/nvidia1", "rw"),
    )
