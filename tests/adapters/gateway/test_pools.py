"""Resources of which each id stands for all devices, and resources without a device, as kubelets see them."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.resources import cards
from harness.node import DIALECTS, EVERYTHING, RESOURCE, Node, device, running
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.gateway import held_elsewhere
from plugin_gateway.adapters.gateway.checkpoint_look import CheckpointLook
from plugin_gateway.core.devices import DeviceId
from plugin_gateway.core.health.observations import InventorySeen
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule, Selector
from plugin_gateway.core.resources.sharing import Sharing

OTHER = ResourceName("example.com/other")
POOL = (ResourceRule(name=RESOURCE, sharing=Sharing(replicas=5, is_pool=True)),)
NUMBERS = {str(number) for number in range(5)}


@pytest.mark.parametrize("version", ["1.8", "1.9", "1.10", "1.36", "1.37"])
async def test_every_kubelet_takes_a_pool_and_gives_its_containers_all_devices(version: str, kubelet_dir: Path) -> None:
    node = Node(kubelet_dir, rules=POOL)
    async with FakeKubelet(kubelet_dir, release(version)) as kubelet, running(node, devices=3):
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 5, what="five ids")
        assert set(kubelet.devices(RESOURCE)) == NUMBERS
        container = await kubelet.allocate(RESOURCE, pod="p")
        assert container.environment["NVIDIA_VISIBLE_DEVICES"] == ",".join(device(number).id for number in range(3))
        node.fail(1)
        await kubelet.wait_for(lambda: node.gateway.offered[RESOURCE].out == {device(1).id}, what="the fault")
        assert kubelet.allocatable(RESOURCE) == 5
        container = await kubelet.allocate(RESOURCE, pod="q")
        assert container.environment["NVIDIA_VISIBLE_DEVICES"] == ",".join(device(number).id for number in (0, 2))
        for index in (0, 2):
            node.fail(index)
        await kubelet.wait_for(lambda: not kubelet.allocatable(RESOURCE), what="a pool of which no device is left")


async def test_a_pod_with_an_id_of_a_pool_keeps_its_devices_when_they_are_no_pool_any_more(
    kubelet_dir: Path, told: list[dict[str, Any]]
) -> None:
    node, renamed = Node(kubelet_dir, rules=POOL), (ResourceRule(name=OTHER),)
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, running(node, devices=2):
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 5, what="five ids")
        await kubelet.allocate(RESOURCE, pod="uid-1", container="main", ids=["3"])
        node.gateway.see_holders(await held_elsewhere.read_holders(kubelet_dir))
        assert not node.gateway.withheld
        assert held_elsewhere.changes_form(node.gateway, renamed)
        node.gateway.apply(node.serving_policy._replace(rules=renamed))
        await kubelet.wait_for(lambda: kubelet.capacity(OTHER) == 2, what="the new name")
        node.gateway.see_holders(await held_elsewhere.read_holders(kubelet_dir))
        assert kubelet.allocatable(OTHER) == 0
        lines = [line for line in told if line["event"] == "device is not given out"]
        assert {line["what"] for line in lines} == {f"held as {RESOURCE} by uid-1 main"}
        node.gateway.apply(node.serving_policy._replace(rules=POOL))
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 5, what="the pool again")


async def test_a_device_that_a_pod_has_for_itself_is_left_out_of_a_new_pool(kubelet_dir: Path) -> None:
    node = Node(kubelet_dir)
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, running(node, devices=2):
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 2, what="two devices")
        await kubelet.allocate(RESOURCE, pod="uid-1", container="main", ids=[device(0).id])
        node.gateway.apply(node.serving_policy._replace(rules=POOL))
        await kubelet.wait_for(lambda: set(kubelet.devices(RESOURCE)) >= NUMBERS, what="the pool")
        node.gateway.see_holders(await held_elsewhere.read_holders(kubelet_dir))
        container = await kubelet.allocate(RESOURCE, pod="uid-2", ids=["0"])
        assert container.environment["NVIDIA_VISIBLE_DEVICES"] == device(1).id


def pool_of(*numbers: int) -> ResourceRule:
    addresses = tuple(map(cards.address, numbers))
    return cards.rule(Sharing(replicas=5, is_pool=True), selector=Selector(addresses=addresses))


def three_cards(kubelet_dir: Path, *rules: ResourceRule) -> Node:
    """A gateway with three cards that looks into the checkpoint, as each does."""
    node = Node(kubelet_dir, rules=rules)
    node.serving_policy = node.serving_policy._replace(nodes=cards.host(0, 1))
    node.watch()
    node.registrar.before_register = CheckpointLook(node.gateway, kubelet_dir, dict).before_register
    node.observations.put(InventorySeen(cards.inventory(cards.card(0), cards.card(1), cards.card(2))))
    return node


async def look_at_pods(node: Node, kubelet_dir: Path) -> None:
    holders = await held_elsewhere.read_holders(kubelet_dir)
    node.gateway.see_holders(holders, await held_elsewhere.read_answers(kubelet_dir))


async def test_after_a_restart_the_checkpoint_tells_which_devices_an_id_of_a_former_pool_stands_for(
    kubelet_dir: Path,
) -> None:
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet:
        async with running(three_cards(kubelet_dir, pool_of(0, 1)), devices=None):
            await kubelet.wait_for(lambda: kubelet.allocatable(cards.NAME) == 5, what="five ids")
            await kubelet.allocate(cards.NAME, pod="uid-1", container="main", ids=["3"])
        node = three_cards(kubelet_dir, ResourceRule(name=OTHER))
        async with running(node, devices=None):
            await kubelet.wait_for(lambda: kubelet.allocatable(OTHER) == 1, what="the device that nobody has")
            assert node.gateway.withheld.keys() == {cards.address(0), cards.address(1)}
            assert node.gateway.withheld[DeviceId(cards.address(0))].reason == f"held as {cards.NAME} by uid-1 main"


async def test_after_a_restart_a_device_that_left_the_pool_is_not_given_to_a_second_pod(kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet:
        async with running(three_cards(kubelet_dir, pool_of(0, 1)), devices=None):
            await kubelet.wait_for(lambda: kubelet.allocatable(cards.NAME) == 5, what="five ids")
            await kubelet.allocate(cards.NAME, pod="uid-1", container="main", ids=["3"])
        node = three_cards(kubelet_dir, pool_of(0), ResourceRule(name=OTHER))
        async with running(node, devices=None):
            await kubelet.wait_for(lambda: kubelet.capacity(OTHER) == 2, what="the devices that are no pool any more")
            assert kubelet.allocatable(OTHER) == 1
            await look_at_pods(node, kubelet_dir)
            assert node.gateway.withheld.keys() == {cards.address(1)}
            assert node.gateway.withheld[DeviceId(cards.address(1))].reason == f"held as {cards.NAME} by uid-1 main"


async def test_a_pod_that_got_an_id_after_a_device_left_the_pool_does_not_hold_it(kubelet_dir: Path) -> None:
    node = three_cards(kubelet_dir, pool_of(0, 1))
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, running(node, devices=None):
        await kubelet.wait_for(lambda: kubelet.allocatable(cards.NAME) == 5, what="five ids")
        node.gateway.apply(node.serving_policy._replace(rules=(pool_of(0), ResourceRule(name=OTHER))))
        await kubelet.wait_for(lambda: kubelet.capacity(OTHER) == 2, what="the devices that are no pool any more")
        await kubelet.allocate(cards.NAME, pod="uid-1", container="main", ids=["2"])
        await look_at_pods(node, kubelet_dir)
        assert not node.gateway.withheld


NONE = ResourceRule(
    name=OTHER, selector=Selector(products=("no such",)), is_always_there=True, origin="resources.other[0]"
)


async def test_a_resource_that_no_device_matches_is_registered_with_an_empty_list_and_said_once(
    kubelet_dir: Path, told: list[dict[str, Any]]
) -> None:
    node = Node(kubelet_dir, rules=(NONE, *EVERYTHING), allowed=DIALECTS)
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, running(node, devices=2):
        await kubelet.wait_for(lambda: kubelet.capacity(OTHER) == 0, what="an empty resource")
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 2, what="two devices")
        assert kubelet.devices(OTHER) == {}
        node.fail(1)
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 1, what="a fault")
        lines = [line for line in told if "no device" in json.dumps(line) or "mistake" in line["event"]]
        assert [(line["event"], line["resource"], line["where"]) for line in lines] == [
            ("no device matches a rule for resources", OTHER, "resources.other[0]")
        ]
        node.see([device(0), device(1, product="no such")])
        await kubelet.wait_for(lambda: kubelet.capacity(OTHER) == 1, what="a device that matches")
        node.see([device(0)])
        await kubelet.wait_for(lambda: kubelet.capacity(OTHER) == 0, what="an empty resource again")
        assert sum(line["event"] == "no device matches a rule for resources" for line in told) == 2
