"""What the probe says of a driver that is there and cannot be opened any more."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.node import Node, running, until
from harness.pages import pages_of
from plugin_gateway.adapters.monitoring.http_listener import Page
from plugin_gateway.core.health.observations import DriverSilence, DriverUnavailable
from plugin_gateway.nvidia.evidence import HEALTH_POLICY


def healthz_of(node: Node) -> Page:
    page = pages_of(node)["/healthz"]()
    assert isinstance(page, Page)
    return page


@pytest.mark.parametrize("restart_may_help", [True, False])
async def test_liveness_ends_where_a_restart_may_help_and_only_there(kubelet_dir: Path, restart_may_help: bool) -> None:
    node = Node(kubelet_dir, health=replace(HEALTH_POLICY, driver_timeout=0.2))
    async with running(node):
        await until(lambda: len(node.gateway.state.devices) == 8, "8 devices")
        node.observations.put(DriverUnavailable("Unknown Error", restart_may_help=restart_may_help))
        await until(lambda: node.gateway.state.driver_problem is not None, "the problem")
        assert (healthz_of(node).status, healthz_of(node).body) == (200, "ok\n"), "not before the timeout"
        await until(lambda: node.gateway.state.driver_is_gone, "the timeout")
        assert (healthz_of(node).status == 503) is restart_may_help
        assert ("Unknown Error" in healthz_of(node).body) is restart_may_help
        node.see(node.gateway.state.devices)
        node.check()
        await until(lambda: healthz_of(node).status == 200, "the end of it")


async def test_a_driver_that_hangs_after_it_was_away_needs_no_restart(kubelet_dir: Path) -> None:
    node = Node(kubelet_dir, health=replace(HEALTH_POLICY, driver_timeout=0.2))
    async with running(node):
        await until(lambda: len(node.gateway.state.devices) == 8, "8 devices")
        node.observations.put(DriverUnavailable("Unknown Error", restart_may_help=True))
        await until(lambda: node.gateway.state.driver_problem is not None, "the problem")
        node.see(node.gateway.state.devices)
        await until(lambda: node.gateway.state.driver_problem is None, "its end")
        node.observations.put(DriverSilence(99.0))
        await until(lambda: node.gateway.state.driver_is_gone, "a driver that hangs")
        assert healthz_of(node).status == 200
