"""A kubelet that ends while an attempt to register with it is under way."""

import asyncio
import time
from pathlib import Path

import pytest

from adapters.registration.test_faults import RELEASES
from adapters.registration.waiting import allocatable
from harness.node import Node, running, until
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "ended in order"])
async def test_a_kubelet_that_ends_during_register_is_followed_by_the_next_one_at_once(
    is_killed: bool, kubelet_dir: Path
) -> None:
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet:
        entered = asyncio.Event()

        async def hang(_: object) -> None:
            if not entered.is_set():
                entered.set()
                await asyncio.sleep(30)

        kubelet.on_register = hang
        async with running(Node(kubelet_dir)):
            await asyncio.wait_for(entered.wait(), 5)
            await (kubelet.kill() if is_killed else kubelet.stop())
            await asyncio.sleep(0.1)
            restarted = time.monotonic()
            await kubelet.start()
            await allocatable(kubelet)
            assert kubelet.registrations[-1].time - restarted < 0.3


@pytest.mark.parametrize("name", RELEASES)
async def test_an_attempt_with_a_killed_kubelet_does_not_reach_the_next_one_without_its_socket(
    name: str, kubelet_dir: Path
) -> None:
    """A kubelet deletes the sockets in its directory when it starts. Then it would dial the one that is gone."""
    async with FakeKubelet(kubelet_dir, release(name)) as kubelet, running(Node(kubelet_dir)) as node:
        await allocatable(kubelet)
        (resource,) = node.registrar._resources.values()
        attempts = resource.registration.attempts
        await kubelet.kill()
        await until(lambda: resource.registration.attempts > attempts, "the next attempt")
        restarted = time.monotonic()
        await kubelet.start()
        await allocatable(kubelet)
        assert kubelet.registrations[-1].time - restarted < 2.5  # it dials for 10 s
