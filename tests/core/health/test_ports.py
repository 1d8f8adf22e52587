"""What the state keeps of the ports to networks."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given

from core.health.story import SEEN, Story
from core.strategies import HISTORIES
from harness.devices import device, inventory
from plugin_gateway.core.devices import PhysicalId, PortOfDevice
from plugin_gateway.core.health.changes import Changes
from plugin_gateway.core.health.observations import DriverUnavailable, InventorySeen, Observation, PortsSeen, merged


def port(number: int, *, is_up: bool = True) -> PortOfDevice:
    return PortOfDevice(PhysicalId(f"GPU-{number}"), 1, "ethernet", is_up, "ACTIVE", 100.0, 0)


def test_ports_are_those_of_the_last_look_and_change_nothing_else() -> None:
    story = Story().see(PortsSeen((port(0), port(1))))
    assert story.state.ports == (port(0), port(1))
    assert story.changes == Changes()
    assert story.see(PortsSeen((port(0, is_up=False),))).state.ports == (port(0, is_up=False),)
    assert story.see(PortsSeen(())).state == Story().state


def test_the_same_ports_again_are_no_change() -> None:
    story = Story().see(PortsSeen((port(0),)))
    before = story.state
    assert story.see(PortsSeen((port(0),))).state is before
    assert story.see(PortsSeen((port(0), port(7)))).state is before


def test_ports_of_devices_that_left_the_inventory_are_dropped() -> None:
    story = Story().see(PortsSeen((port(0), port(1), port(7))))
    assert story.state.ports == (port(0), port(1))
    assert story.see(InventorySeen(inventory(device(1)))).state.ports == (port(1),)
    assert story.see(SEEN).state.ports == (port(1),)
    assert story.see(DriverUnavailable("gone")).state.ports == (port(1),)


def test_of_ports_that_wait_only_the_latest_count() -> None:
    first, second = PortsSeen((port(0),)), PortsSeen(())
    assert merged(first, second) == second


@given(HISTORIES)
def test_ports_say_nothing_about_health_and_belong_to_devices_that_are_there(history: Sequence[Observation]) -> None:
    with_ports, without = Story(), Story()
    for observation in history:
        with_ports.see(observation)
        without.see(*([] if isinstance(observation, PortsSeen) else [observation]))
        assert replace(with_ports.state, ports=()) == without.state
        assert {port.device for port in with_ports.state.ports} <= set(with_ports.state.ids)
