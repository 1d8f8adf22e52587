"""What the state keeps of the ports to networks."""

from core.health.story import SEEN, Story
from harness.devices import device, inventory
from plugin_gateway.core.devices import PhysicalId, PortOfDevice
from plugin_gateway.core.health.changes import Changes
from plugin_gateway.core.health.observations import DriverUnavailable, InventorySeen, PortsSeen, merged


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
