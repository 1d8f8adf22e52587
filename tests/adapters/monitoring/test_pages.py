"""What the probe says of a driver that is there and cannot be opened any more."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.devices import inventory
from harness.node import Node, running, until
from harness.pages import page_of, pages_of
from plugin_gateway.adapters.monitoring.http_listener import Page
from plugin_gateway.core.devices import RejectedDevice
from plugin_gateway.core.health.observations import DriverSilence, DriverUnavailable, InventorySeen
from plugin_gateway.nvidia.evidence import HEALTH_POLICY


def at_once(node: Node, path: str) -> Page:
    """Return a page that needs no wait."""
    page = pages_of(node)[path]()
    assert isinstance(page, Page)
    return page


@pytest.mark.parametrize("restart_may_help", [True, False])
async def test_liveness_ends_where_a_restart_may_help_and_only_there(kubelet_dir: Path, restart_may_help: bool) -> None:
    node = Node(kubelet_dir, health=replace(HEALTH_POLICY, driver_timeout=0.2))
    async with running(node):
        await until(lambda: bool(list(kubelet_dir.glob("*.sock"))), "the socket of 8 devices")
        node.observations.put(DriverUnavailable("Unknown Error", restart_may_help=restart_may_help))
        await until(lambda: node.gateway.state.driver_problem is not None, "the problem")
        assert (at_once(node, "/healthz").status, at_once(node, "/healthz").body) == (200, "ok\n"), (
            "not before the timeout"
        )
        await until(lambda: node.gateway.state.driver_is_gone, "the timeout")
        assert (at_once(node, "/healthz").status == 503) is restart_may_help
        assert ("Unknown Error" in at_once(node, "/healthz").body) is restart_may_help
        node.see(node.gateway.state.devices)
        node.check()
        await until(lambda: at_once(node, "/healthz").status == 200, "the end of it")


async def test_a_driver_that_hangs_after_it_was_away_needs_no_restart(kubelet_dir: Path) -> None:
    node = Node(kubelet_dir, health=replace(HEALTH_POLICY, driver_timeout=0.2))
    async with running(node):
        await until(lambda: bool(list(kubelet_dir.glob("*.sock"))), "the socket of 8 devices")
        node.observations.put(DriverUnavailable("Unknown Error", restart_may_help=True))
        await until(lambda: node.gateway.state.driver_problem is not None, "the problem")
        node.see(node.gateway.state.devices)
        await until(lambda: node.gateway.state.driver_problem is None, "its end")
        node.observations.put(DriverSilence(99.0))
        await until(lambda: node.gateway.state.driver_is_gone, "a driver that hangs")
        assert at_once(node, "/healthz").status == 200


async def test_a_node_with_devices_and_no_driver_is_not_ready_and_one_without_devices_is(kubelet_dir: Path) -> None:
    node = Node(kubelet_dir)
    async with running(node, devices=0):
        node.observations.put(DriverUnavailable("no library", unserved=0))
        await until(lambda: node.gateway.state.driver_problem is not None, "the problem")
        assert (at_once(node, "/readyz").status, at_once(node, "/readyz").body) == (200, "ok\n")
        node.observations.put(DriverUnavailable("no library", unserved=8))
        await until(lambda: at_once(node, "/readyz").status == 503, "the devices")
        assert at_once(node, "/readyz").body == "no driver serves the devices of this machine (8): no library\n"
        node.see(())
        await until(lambda: at_once(node, "/readyz").status == 200, "the driver")


async def test_a_node_whose_every_device_is_rejected_is_not_ready(kubelet_dir: Path) -> None:
    node = Node(kubelet_dir)
    async with running(node, devices=0):
        rejected = (RejectedDevice("GPU at 0000:1b:00.0", "the driver failed to start it"),)
        node.observations.put(InventorySeen(inventory(rejected=rejected)))
        await until(lambda: at_once(node, "/readyz").status == 503, "the inventory")
        assert at_once(node, "/readyz").body == "GPU at 0000:1b:00.0 cannot be offered: the driver failed to start it\n"
        assert "\nplugin_gateway_devices_rejected 1.0\n" in (await page_of(node, "/metrics")).body
