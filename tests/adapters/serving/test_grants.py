"""What a kubelet may still be busy with when a device leaves: the grant of that device."""

from pathlib import Path

import pytest

from adapters.registration.waiting import A100, TWO, allocatable, see_both
from harness.node import RESOURCE, Node, device, running
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.serving import resource as served
from plugin_gateway.core.resources.assignment import Health

SHORT = 0.3


@pytest.fixture(autouse=True)
def short_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "GRANT_GRACE", SHORT)


@pytest.mark.parametrize("name", ["1.8", "1.9", "1.37"])
async def test_a_device_that_vanishes_as_it_is_granted_is_unhealthy_before_it_leaves(
    name: str, kubelet_dir: Path
) -> None:
    async with FakeKubelet(kubelet_dir, release(name)) as kubelet, running(Node(kubelet_dir), devices=2) as node:
        await allocatable(kubelet, 2)
        granted = await kubelet.allocate(RESOURCE, pod="p")
        left = [each for each in (device(0), device(1)) if each.id not in granted.ids]
        node.see(left)
        listed = len(kubelet.lists)
        await kubelet.wait_for(lambda: len(kubelet.lists) > listed, what="another list")
        assert dict(kubelet.lists[-1].devices) == {
            left[0].id: Health.HEALTHY.value,
            granted.ids[0]: Health.UNHEALTHY.value,
        }
        await kubelet.wait_for(lambda: len(kubelet.lists[-1].devices) == 1, what="a list without it")


async def test_a_device_that_was_granted_long_ago_leaves_at_once(kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, running(Node(kubelet_dir), devices=2) as node:
        await allocatable(kubelet, 2)
        await kubelet.allocate(RESOURCE, 2, pod="p")
        node.gateway._served[RESOURCE]._granted.update({device(0).id: 0.0})
        node.see([device(1)])
        await kubelet.wait_for(lambda: len(kubelet.lists[-1].devices) == 1, what="a list without it")
        assert len(kubelet.lists) == 2


async def test_a_device_that_comes_back_before_it_left_is_healthy_again(kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, running(Node(kubelet_dir), devices=1) as node:
        await allocatable(kubelet, 1)
        await kubelet.allocate(RESOURCE, pod="p")
        node.see([])
        await allocatable(kubelet, 0)
        node.see([device(0)])
        await allocatable(kubelet, 1)
        assert node.gateway._served[RESOURCE].publish_again_at is None


async def test_a_resource_that_is_removed_as_it_is_granted_goes_after_its_devices(kubelet_dir: Path) -> None:
    node = Node(kubelet_dir, rules=TWO)
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, running(node, devices=0):
        see_both(node)
        await allocatable(kubelet, 1, A100)
        await kubelet.allocate(A100, pod="p")
        node.gateway.apply(node.serving_policy._replace(rules=TWO[1:]))
        await allocatable(kubelet, 0, A100)
        await kubelet.wait_for(lambda: kubelet.capacity(A100) == 0, what="a list without devices")
        await kubelet.wait_for(lambda: kubelet.open_streams(A100) == 0, what="the end of the stream")
