"""Devices that are shared through a daemon: when they are given out, and what a container gets.

The files, variables and mounts are those of NVIDIA's MPS control daemon, as its device plugin 0.20.0 has them.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.devices import RECIPE, VARIABLE, device, inventory, part
from harness.hosts import EveryNode
from plugin_gateway.core.devices import DeviceId, Inventory, OfferedId
from plugin_gateway.core.errors import InvalidValueError, SharedRequestError, UnhealthyDeviceError
from plugin_gateway.core.health.changes import DaemonChange
from plugin_gateway.core.health.faults import Moment
from plugin_gateway.core.health.observations import DaemonsSeen, InventorySeen
from plugin_gateway.core.health.state import State
from plugin_gateway.core.health.state_function import advance
from plugin_gateway.core.resources.allocation import ContainerEdits, Mount, allocate
from plugin_gateway.core.resources.assignment import Advertisement, advertise
from plugin_gateway.core.resources.conflicts import Holding, find_withheld, holding_of
from plugin_gateway.core.resources.daemons import Wait, through_of, waiting
from plugin_gateway.core.resources.names import parse_resource_name
from plugin_gateway.core.resources.policy import AllocationPolicy
from plugin_gateway.core.resources.rules import ResourceRule, Selector
from plugin_gateway.core.resources.sharing import Sharing
from plugin_gateway.nvidia.evidence import HEALTH_POLICY
from plugin_gateway.nvidia.naming import GPU, MIG, RECIPES

NAME = parse_resource_name("nvidia.com/gpu")
OTHER = parse_resource_name("nvidia.com/gpu.shared")
POLICY = AllocationPolicy(pass_device_specs=False, daemon_root="/run/nvidia/mps/")
THREADS, MEMORY = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"
MISSING = "/run/nvidia/mps/nvidia.com/gpu/.started is not there"
TWO = (device(0), device(1))


def machine(*devices: object) -> Inventory:
    found = inventory(*(devices or TWO))  # type: ignore[arg-type]
    return Inventory(physical=found.physical, devices=found.devices, recipes=RECIPES)


def rule(replicas: int = 4, selector: Selector | None = None, *, one: bool = True) -> ResourceRule:
    sharing = Sharing(replicas=replicas, one_per_request=one, through="mps")
    return ResourceRule(selector=selector or Selector(), name=NAME, sharing=sharing)


def seen(state: State, problem: str, at: float = 1.0) -> State:
    return advance(state, DaemonsSeen({NAME: problem}, "start it"), Moment(at, at), HEALTH_POLICY)[0]


def offer(*rules: ResourceRule, problem: str | None = "", of: Inventory | None = None) -> Advertisement:
    state = State(inventory=of or machine())
    return advertise(state if problem is None else seen(state, problem), rules)[NAME]


def given_out(advertisement: Advertisement, *ids: str) -> ContainerEdits:
    return allocate(advertisement, ids, POLICY, EveryNode())


@pytest.mark.parametrize("problem", [None, MISSING], ids=["not looked for", "missing"])
def test_replicas_are_unhealthy_until_the_daemon_is_there(problem: str | None) -> None:
    unhealthy = offer(rule(), problem=problem)
    assert len(unhealthy.offered) == 8
    assert unhealthy.unhealthy == {each.id for each in unhealthy.offered}
    with pytest.raises(UnhealthyDeviceError):
        given_out(unhealthy, "GPU-0::0")
    assert not offer(rule()).unhealthy


def test_a_fault_of_the_device_and_a_missing_daemon_stand_side_by_side() -> None:
    state = seen(State(inventory=machine()), MISSING)
    assert waiting(state, [rule()]) == {name: Wait(MISSING, 1.0, "start it") for name in ("GPU-0", "GPU-1")}
    assert not state.faults


def test_what_is_not_shared_through_the_daemon_does_not_wait_for_it() -> None:
    mixed = offer(rule(2, Selector(places=((0,),))), ResourceRule(name=NAME), problem=MISSING)
    assert mixed.unhealthy == {"GPU-0::0", "GPU-0::1"}
    assert given_out(mixed, "GPU-1") == ContainerEdits({VARIABLE: "GPU-1"})


def test_a_device_whose_kind_has_no_such_daemon_is_never_given_out() -> None:
    found = offer(rule(2), of=machine(device(0), part(device(1), 0)))
    assert found.unhealthy == {"MIG-1-0::0", "MIG-1-0::1"}
    assert set(found.through) == {"GPU-0"}
    state = seen(State(inventory=machine(part(device(1), 0))), "")
    assert waiting(state, [rule(2)]) == {"MIG-1-0": Wait("devices of the kind mig cannot be shared through mps", None)}


def test_a_container_gets_what_nvidias_plugin_gives_it_and_its_share() -> None:
    assert given_out(offer(rule()), "GPU-1::2") == ContainerEdits(
        environment={
            VARIABLE: "GPU-1",
            "CUDA_MPS_PIPE_DIRECTORY": "/mps/nvidia.com/gpu/pipe",
            THREADS: "25",
            MEMORY: f"GPU-1={TWO[1].memory_bytes // 2**20 // 4}M",
        },
        mounts=(
            Mount("/mps/nvidia.com/gpu/pipe", "/run/nvidia/mps/nvidia.com/gpu/pipe", read_only=False),
            Mount("/dev/shm", "/run/nvidia/mps/shm", read_only=False),
        ),
    )


def test_more_than_one_replica_is_refused_unless_somebody_allows_it() -> None:
    with pytest.raises(SharedRequestError):
        given_out(offer(rule()), "GPU-1::2", "GPU-1::3")
    assert given_out(offer(rule(one=False)), "GPU-1::2", "GPU-1::3").environment[THREADS] == "50"


def test_with_several_devices_the_smallest_share_of_threads_counts() -> None:
    edits = given_out(offer(rule(3, one=False)), "GPU-1::0", "GPU-0::2", "GPU-1::1")
    whole = TWO[0].memory_bytes // 2**20
    assert edits.environment[THREADS] == "33"
    assert edits.environment[MEMORY] == f"GPU-0={whole // 3}M,GPU-1={whole * 2 // 3}M"
    assert edits.environment[VARIABLE] == "GPU-0,GPU-1"


@given(replicas=st.integers(2, 48), chosen=st.sets(st.integers(0, 47), min_size=1, max_size=48))
def test_the_shares_of_all_containers_are_at_most_the_device(replicas: int, chosen: set[int]) -> None:
    """Whichever replicas are chosen, the container with the others fits beside this one."""
    ids = [f"GPU-0::{number}" for number in range(replicas)]
    mine = [each for number, each in enumerate(ids) if number in chosen] or ids[:1]
    others = [each for each in ids if each not in mine]
    advertisement = offer(rule(replicas, one=False))
    environments = [given_out(advertisement, *each).environment for each in (mine, others) if each]
    memory = [int(each[MEMORY].removeprefix("GPU-0=").removesuffix("M")) for each in environments]
    assert sum(int(each[THREADS]) for each in environments) <= 100
    assert sum(memory) <= TWO[0].memory_bytes // 2**20
    assert min(memory) > 0


def test_a_daemon_that_goes_and_comes_back_is_told_once_each_time() -> None:
    state, told = State(), []
    for at, problem in enumerate(["", "", MISSING, MISSING, "another", ""]):
        observation = DaemonsSeen({NAME: problem}, "start it")
        state, changes = advance(state, observation, Moment(at, at), HEALTH_POLICY)
        told.append(changes.daemons)
    assert told == [
        (DaemonChange(NAME, None),), (),
        (DaemonChange(NAME, MISSING, "start it"),), (),
        (DaemonChange(NAME, "another", "start it"),),
        (DaemonChange(NAME, None),),
    ]  # fmt: skip


def test_the_time_is_that_since_when_the_daemon_is_not_there() -> None:
    state = seen(seen(State(inventory=machine()), MISSING, 3.0), "another", 5.0)
    assert waiting(state, [rule()])[DeviceId("GPU-0")] == Wait("another", 3.0, "start it")


def test_what_is_known_of_daemons_outlives_an_inventory() -> None:
    state = seen(State(inventory=machine()), "")
    state, _ = advance(state, InventorySeen(machine(device(0))), Moment(2.0, 2.0), HEALTH_POLICY)
    assert not advertise(state, [rule()])[NAME].unhealthy


def test_one_replica_through_a_daemon_is_no_sharing() -> None:
    with pytest.raises(InvalidValueError, match="1 replica of a device that is shared through mps"):
        Sharing(replicas=1, through="mps")


def test_nothing_is_different_without_daemons() -> None:
    state = State(inventory=machine())
    assert not advertise(state, [ResourceRule(name=NAME, sharing=Sharing(replicas=2))])[NAME].through
    assert not waiting(state, [ResourceRule(name=NAME)])


def test_only_whole_gpus_can_be_shared_through_mps() -> None:
    assert set(RECIPES[GPU].daemons) == {"mps"}
    assert not RECIPES[MIG].daemons
    assert not RECIPE.daemons


def test_a_vanished_replica_stays_as_it_was() -> None:
    """What was granted a moment ago stays in the list, whoever shares it."""
    before = offer(rule())
    kept = before.with_unhealthy([]).withholding([DeviceId("GPU-0")])
    assert kept.through == before.through
    assert OfferedId("GPU-0::0") in kept.unhealthy


ANSWERS = {"mps": b"\x12\x17CUDA_MPS_PIPE_DIRECTORY\x12\x04/mps", "": b"\x16NVIDIA_VISIBLE_DEVICES", None: b""}
"""What a kubelet keeps of answers, by what they say of the daemon."""


@pytest.mark.parametrize("through", list(ANSWERS))
def test_what_a_container_got_says_through_which_daemon_it_shares(through: str | None) -> None:
    assert through_of(ANSWERS[through], RECIPES.values()) == through


@pytest.mark.parametrize(
    ("held", "is_withheld"), [("mps", False), ("", True), (None, False)], ids=["the same", "without", "not known"]
)
def test_a_device_is_withheld_that_is_held_without_the_daemon(held: str | None, *, is_withheld: bool) -> None:
    found = find_withheld({NAME: offer(rule())}, {holding_of("GPU-0::1", NAME, held): "ns/pod main"})
    words = "held as nvidia.com/gpu (shared without a daemon) by ns/pod main"
    assert found == ({"GPU-0": words} if is_withheld else {})


def test_a_device_is_withheld_that_is_held_through_the_daemon() -> None:
    sliced = advertise(State(inventory=machine()), [ResourceRule(name=NAME, sharing=Sharing(replicas=4))])
    found = find_withheld(sliced, {Holding(DeviceId("GPU-0"), NAME, is_shared=True, through="mps"): "ns/pod main"})
    assert found == {"GPU-0": "held as nvidia.com/gpu (shared through mps) by ns/pod main"}
