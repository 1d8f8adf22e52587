"""What no container may be without: as long as the node lacks it, no device is given out, though none has a fault."""

from harness.devices import device, inventory
from plugin_gateway.core.health.faults import Moment
from plugin_gateway.core.health.observations import InventorySeen, RequirementSeen, merged
from plugin_gateway.core.health.state import RequirementState, State
from plugin_gateway.core.health.state_function import advance
from plugin_gateway.core.resources.assignment import advertise
from plugin_gateway.core.resources.names import parse_resource_name
from plugin_gateway.core.resources.rules import ResourceRule
from plugin_gateway.core.resources.sharing import Sharing
from plugin_gateway.nvidia.evidence import HEALTH_POLICY

NAME = parse_resource_name("nvidia.com/gpu")
TWO = InventorySeen(inventory(device(0), device(1)))
LACKING = RequirementSeen("/dev/channel0 is not there", "make it")


def seen(state: State, observation: InventorySeen | RequirementSeen, at: float = 1.0) -> State:
    return advance(state, observation, Moment(at, at), HEALTH_POLICY)[0]


def unhealthy(state: State, replicas: int = 1) -> set[str]:
    rules = [ResourceRule(name=NAME, sharing=Sharing(replicas=replicas))]
    return set(advertise(state, rules)[NAME].unhealthy)


def test_every_device_and_every_replica_is_in_the_list_and_unhealthy() -> None:
    state = seen(seen(State(), TWO), LACKING)
    assert unhealthy(state) == {"GPU-0", "GPU-1"}
    assert unhealthy(state, 2) == {f"GPU-{index}::{number}" for index in range(2) for number in range(2)}
    assert not state.faults, "it is no fault of a device"
    assert not unhealthy(seen(state, RequirementSeen("")))


def test_it_holds_for_devices_that_come_later() -> None:
    assert unhealthy(seen(seen(State(), LACKING), TWO)) == {"GPU-0", "GPU-1"}


def test_the_time_is_that_since_when_something_is_lacking() -> None:
    state = seen(seen(State(), LACKING, 3.0), RequirementSeen("another is not there"), 5.0)
    assert state.requirement == RequirementState("another is not there", "", 3.0)
    assert seen(state, RequirementSeen(""), 7.0).requirement == RequirementState("", "", 7.0)


def test_what_holds_before_the_first_inventory_is_no_news() -> None:
    state, news = State(), []
    observations: list[InventorySeen | RequirementSeen] = [LACKING, TWO, LACKING]
    observations += [RequirementSeen("other"), RequirementSeen(""), RequirementSeen(""), LACKING]
    for at, observation in enumerate(observations):
        state, changes = advance(state, observation, Moment(at, at), HEALTH_POLICY)
        news.append(changes.requirement)
    assert news == [None, None, None, RequirementSeen("other"), RequirementSeen(""), None, LACKING]


def test_only_the_latest_look_counts() -> None:
    assert LACKING.topic == RequirementSeen("").topic
    assert merged(LACKING, RequirementSeen("")) == RequirementSeen("")
