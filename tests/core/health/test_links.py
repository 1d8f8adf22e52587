"""What the state keeps of the links between devices."""

from core.health.story import SEEN, Story
from core.strategies import IDS
from harness.devices import device, inventory
from plugin_gateway.core.devices import NO_LINKS, Links, Pair, PhysicalId
from plugin_gateway.core.health.changes import Changes
from plugin_gateway.core.health.observations import DriverUnavailable, InventorySeen, LinksSeen, merged

PAIR = Pair(20, 2)
LINKS = Links((PhysicalId(IDS[0]), PhysicalId(IDS[1])), ((PAIR, PAIR), (PAIR, PAIR)))


def test_links_are_known_from_their_observation_on_and_change_nothing_else() -> None:
    story = Story()
    assert story.state.links == NO_LINKS
    assert story.see(LinksSeen(LINKS)).state.links == LINKS
    assert story.changes == Changes()
    assert story.see(LinksSeen(NO_LINKS)).state == Story().state


def test_links_stay_known_over_other_inventories_and_without_the_driver() -> None:
    story = Story().see(LinksSeen(LINKS), InventorySeen(inventory(device(1))), DriverUnavailable("gone"), SEEN)
    assert story.state.links == LINKS


def test_of_links_that_wait_only_the_latest_counts() -> None:
    first, second = LinksSeen(LINKS), LinksSeen(NO_LINKS)
    assert first.topic == second.topic
    assert merged(first, second) == second
