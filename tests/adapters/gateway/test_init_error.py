"""With ``fail_on_init_error`` the gateway ends if there is no driver, and waits for one that is slow."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from harness.node import Node, device, until
from plugin_gateway.adapters.gateway.watched_backend import FIRST_LOOK_TIMEOUT, DriverUnavailableError
from plugin_gateway.core.health.observations import DriverUnavailable
from plugin_gateway.nvidia.evidence import HEALTH_POLICY


@pytest.fixture
def node(kubelet_dir: Path) -> Node:
    node = Node(kubelet_dir, health=replace(HEALTH_POLICY, driver_timeout=0.2))
    node.backend.fails_without_devices = True
    return node


async def test_a_driver_that_is_missing_ends_it(node: Node) -> None:
    node.observations.put(DriverUnavailable("Driver Not Loaded"))
    with pytest.raises(ExceptionGroup) as ended:
        await asyncio.wait_for(node.gateway.run(), 5)
    assert ended.group_contains(DriverUnavailableError, match="Driver Not Loaded")


async def test_a_driver_that_gives_no_sign_ends_it(node: Node) -> None:
    node.silence = FIRST_LOOK_TIMEOUT
    with pytest.raises(ExceptionGroup) as ended:
        await asyncio.wait_for(node.gateway.run(), 5)
    assert ended.group_contains(DriverUnavailableError, match="has not answered for 120 s")


async def test_a_driver_that_is_slow_is_waited_for(node: Node) -> None:
    node.silence = FIRST_LOOK_TIMEOUT - 1
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(node.gateway.run())
        await until(lambda: node.gateway.state.driver_is_silent, "a silent driver")
        node.silence = 0.0
        node.see([device(0)])
        await until(lambda: len(node.gateway.state.devices) == 1, "its device")
        task.cancel()
