"""Kubelets that forget healthy devices when a plugin registers again, and the list that gets round it."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from harness.node import RESOURCE, Node, device, running
from plugin_gateway.adapters.dialects.v1beta1 import V1BETA1
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.core.registration import pauses
from plugin_gateway.core.resources.policy import UnhealthyFirst

FORGETFUL = ("1.9.7", "1.10.0", "1.10.1", "1.10.2")
SUSPECT = (*FORGETFUL, "1.9.11", "1.10.13", "1.12")
OTHERS = ("1.8", "1.13", "1.20", "1.36", "1.37")


async def allocatable(kubelet: FakeKubelet, count: int = 8, limit: float = 5) -> None:
    await kubelet.wait_for(
        lambda: kubelet.allocatable(RESOURCE) == count, timeout=limit, what=f"{count} allocatable devices"
    )


def begins_unhealthy(kubelet: FakeKubelet) -> list[bool]:
    """Tell of each stream whether its first list had no healthy device."""
    firsts = {listed.endpoint: listed for listed in reversed(kubelet.lists)}
    return [all(health == "Unhealthy" for _, health in listed.devices) for listed in reversed(firsts.values())]


def gateway(kubelet_dir: Path, choice: UnhealthyFirst = UnhealthyFirst.AUTO) -> Node:
    node = Node(kubelet_dir)
    node.gateway.apply(node.serving_policy._replace(unhealthy_first=choice))
    return node


async def wait_for_streams(kubelet: FakeKubelet, count: int) -> None:
    await kubelet.wait_for(lambda: len(begins_unhealthy(kubelet)) == count, what=f"{count} streams with a list")


@pytest.mark.parametrize("name", SUSPECT)
async def test_devices_come_back_after_the_end_of_a_stream(name: str, kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release(name)) as kubelet, running(gateway(kubelet_dir)):
        await allocatable(kubelet)
        await kubelet.drop_stream(RESOURCE)
        await allocatable(kubelet, 0)
        await allocatable(kubelet)


@pytest.mark.parametrize("name", SUSPECT)
async def test_devices_come_back_with_another_gateway(name: str, kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release(name)) as kubelet:
        for _ in range(3):
            async with running(gateway(kubelet_dir)):
                await allocatable(kubelet)
            await allocatable(kubelet, 0)


@pytest.mark.parametrize("name", FORGETFUL)
async def test_without_it_these_kubelets_forget_the_devices(name: str, kubelet_dir: Path) -> None:
    node = gateway(kubelet_dir, UnhealthyFirst.NEVER)
    async with FakeKubelet(kubelet_dir, release(name)) as kubelet, running(node):
        await allocatable(kubelet)
        await kubelet.drop_stream(RESOURCE)
        await wait_for_streams(kubelet, 2)
        assert kubelet.allocatable(RESOURCE) == 0
        assert begins_unhealthy(kubelet) == [False, False]
        await kubelet.restart()
        await allocatable(kubelet)


@pytest.mark.parametrize("name", OTHERS)
async def test_no_other_kubelet_ever_sees_it(name: str, kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release(name)) as kubelet, running(gateway(kubelet_dir)):
        await allocatable(kubelet)
        await kubelet.drop_stream(RESOURCE)
        await wait_for_streams(kubelet, 2)
        await allocatable(kubelet)
        assert begins_unhealthy(kubelet) == [False, False]


@pytest.mark.parametrize("name", SUSPECT)
async def test_a_kubelet_that_was_seen_to_start_gets_the_real_list_first(name: str, kubelet_dir: Path) -> None:
    kubelet = FakeKubelet(kubelet_dir, release(name))
    async with running(gateway(kubelet_dir)):
        await asyncio.sleep(0.1)
        async with kubelet:
            await allocatable(kubelet)
            assert begins_unhealthy(kubelet) == [False]
            await kubelet.drop_stream(RESOURCE)
            await wait_for_streams(kubelet, 2)
            assert begins_unhealthy(kubelet) == [False, True]


@pytest.mark.parametrize("name", ["1.9.7", "1.10.2"])
async def test_devices_that_come_late_may_be_known_from_another_plugin(name: str, kubelet_dir: Path) -> None:
    late = gateway(kubelet_dir)
    async with running(late, devices=0):
        await asyncio.sleep(0.1)
        async with FakeKubelet(kubelet_dir, release(name)) as kubelet:
            async with running(gateway(kubelet_dir)):
                await allocatable(kubelet)
            await allocatable(kubelet, 0)
            await asyncio.sleep(pauses.JUST_STARTED.seconds)
            late.see([device(index) for index in range(8)])
            await allocatable(kubelet)


async def test_a_gateway_takes_over_the_devices_although_another_one_stands_by_too(kubelet_dir: Path) -> None:
    first, second = gateway(kubelet_dir), gateway(kubelet_dir)
    kubelet = FakeKubelet(kubelet_dir, release("1.10.2"))
    async with AsyncExitStack() as ends:
        await ends.enter_async_context(kubelet)
        leaves = await ends.enter_async_context(AsyncExitStack())
        await leaves.enter_async_context(running(first))
        await allocatable(kubelet)
        await ends.enter_async_context(running(second))
        await kubelet.restart()
        await allocatable(kubelet)
        await leaves.aclose()
        await ends.enter_async_context(running(gateway(kubelet_dir)))
        # Where both registered at the same instant the second waits for the stream that the first one's cost it.
        await allocatable(kubelet, limit=2 * V1BETA1.stream_timeout)


@pytest.mark.parametrize("name", ["1.9", "1.20", "1.37"])
async def test_it_can_be_forced(name: str, kubelet_dir: Path) -> None:
    node = gateway(kubelet_dir, UnhealthyFirst.ALWAYS)
    async with FakeKubelet(kubelet_dir, release(name)) as kubelet, running(node):
        await allocatable(kubelet)
        assert begins_unhealthy(kubelet) == [True]


async def test_it_cannot_be_forced_on_1_8(kubelet_dir: Path) -> None:
    node = gateway(kubelet_dir, UnhealthyFirst.ALWAYS)
    async with FakeKubelet(kubelet_dir, release("1.8")) as kubelet, running(node):
        await allocatable(kubelet)
        assert begins_unhealthy(kubelet) == [False]


async def test_it_can_be_changed_while_the_gateway_runs(kubelet_dir: Path) -> None:
    node = gateway(kubelet_dir, UnhealthyFirst.NEVER)
    async with FakeKubelet(kubelet_dir, release("1.10.2")) as kubelet, running(node):
        await allocatable(kubelet)
        node.gateway.apply(node.serving_policy._replace(unhealthy_first=UnhealthyFirst.AUTO))
        await kubelet.drop_stream(RESOURCE)
        await allocatable(kubelet, 0)
        await allocatable(kubelet)
