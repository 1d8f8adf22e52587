"""Devices that the kubelet takes for free while they are in the network namespace of a pod that it knows no more."""

from pathlib import Path

import pytest

from core.resources import cards
from harness.hosts import Host
from harness.node import Node, running
from plugin_gateway.adapters.fake_kubelet import AdmissionError, FakeKubelet, release
from plugin_gateway.adapters.gateway import held_elsewhere
from plugin_gateway.adapters.gateway.held_elsewhere import AWAY
from plugin_gateway.core.devices import DeviceId
from plugin_gateway.core.health.observations import InventorySeen
from plugin_gateway.core.resources.sharing import ALONE, Sharing

FIRST = cards.address(0)


class Moving(Host):
    """A host from which a device can be moved, and to which it comes back under another name."""

    def __init__(self) -> None:
        self.names = {cards.folder(number): [f"verbs{number}"] for number in range(2)}
        super().__init__()

    def names_in(self, folder: str) -> list[str]:
        there = ["common", *(name for names in self.names.values() for name in names)]
        return sorted(there) if folder == "/dev/net" else self.names[folder]


@pytest.fixture
def host() -> Moving:
    return Moving()


def two_cards(kubelet_dir: Path, host: Moving, sharing: Sharing = ALONE) -> Node:
    node = Node(kubelet_dir, rules=(cards.rule(sharing),))
    node.serving_policy = node.serving_policy._replace(nodes=host)
    node.watch()
    node.observations.put(InventorySeen(cards.inventory(cards.card(0), cards.card(1))))
    return node


async def test_one_pod_is_refused_a_device_that_is_away_and_the_next_gets_another_one(
    kubelet_dir: Path, host: Moving
) -> None:
    node = two_cards(kubelet_dir, host)
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, running(node, devices=None):
        await kubelet.wait_for(lambda: kubelet.allocatable(cards.NAME) == 2, what="both")
        host.names[cards.folder(0)] = []
        with pytest.raises(AdmissionError, match=f"is not there; not given out: {FIRST}"):
            await kubelet.allocate(cards.NAME, pod="p", ids=[FIRST])
        await kubelet.wait_for(lambda: kubelet.allocatable(cards.NAME) == 1, what="the other one")
        assert node.gateway.withheld[DeviceId(FIRST)].reason == AWAY
        assert (await kubelet.allocate(cards.NAME, pod="q")).device_nodes.keys() >= {"/dev/net/verbs1"}
        node.gateway.see_holders(await held_elsewhere.read_holders(kubelet_dir))
        assert kubelet.allocatable(cards.NAME) == 1
        host.names[cards.folder(0)] = ["verbs7"]
        node.gateway.see_holders(await held_elsewhere.read_holders(kubelet_dir))
        await kubelet.wait_for(lambda: kubelet.allocatable(cards.NAME) == 2, what="both again")
        assert not node.gateway.withheld
        assert (await kubelet.allocate(cards.NAME, pod="r", ids=[FIRST])).device_nodes.keys() >= {"/dev/net/verbs7"}


async def test_a_pool_of_which_all_devices_are_away_is_unhealthy_until_one_is_back(
    kubelet_dir: Path, host: Moving
) -> None:
    node = two_cards(kubelet_dir, host, Sharing(replicas=5, is_pool=True))
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, running(node, devices=None):
        await kubelet.wait_for(lambda: kubelet.allocatable(cards.NAME) == 5, what="the pool")
        host.names |= {cards.folder(number): [] for number in range(2)}
        with pytest.raises(AdmissionError, match="is not there"):
            await kubelet.allocate(cards.NAME, pod="p")
        await kubelet.wait_for(lambda: kubelet.allocatable(cards.NAME) == 0, what="an unhealthy pool")
        host.names[cards.folder(1)] = ["verbs1"]
        node.gateway.see_holders(await held_elsewhere.read_holders(kubelet_dir))
        await kubelet.wait_for(lambda: kubelet.allocatable(cards.NAME) == 5, what="the pool again")


async def test_a_device_whose_node_alone_is_missing_is_not_away(kubelet_dir: Path, host: Moving) -> None:
    """The backend notices that within moments, and says why."""
    node = two_cards(kubelet_dir, host)
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, running(node, devices=None):
        await kubelet.wait_for(lambda: kubelet.allocatable(cards.NAME) == 2, what="both")
        node.gateway.apply(node.serving_policy._replace(nodes=cards.host(1, **{cards.folder(0): ["verbs0"]})))
        with pytest.raises(AdmissionError, match="/dev/net/verbs0 is not there"):
            await kubelet.allocate(cards.NAME, pod="p", ids=[FIRST])
        assert not node.gateway.withheld
