"""Devices that wait for the daemon through which containers share them, on the page and in the metrics."""

from pathlib import Path

from harness.devices import inventory
from harness.node import RESOURCE, Node, device, running, until
from harness.pages import page_of, process_status, status_of
from plugin_gateway.core.devices import Inventory
from plugin_gateway.core.health.observations import DaemonsSeen, InventorySeen, RequirementSeen
from plugin_gateway.core.resources.rules import ResourceRule
from plugin_gateway.core.resources.sharing import Sharing
from plugin_gateway.nvidia.naming import RECIPES

from .test_metrics import measured

WAITING = ("plugin_gateway_devices_waiting", (RESOURCE,))
MISSING = "/run/<mps>/.started is not there\x1b[2J"


async def test_a_missing_daemon_is_shown_beside_the_health(kubelet_dir: Path) -> None:
    node = Node(kubelet_dir, rules=(ResourceRule(name=RESOURCE, sharing=Sharing(replicas=2, through="mps")),))
    whole = inventory(*(device(index) for index in range(2)))
    async with running(node, devices=0):
        node.observations.put(InventorySeen(Inventory(physical=whole.physical, devices=whole.devices, recipes=RECIPES)))
        node.observations.put(DaemonsSeen({RESOURCE: MISSING}, "start it"))
        await until(lambda: len(node.gateway.state.devices) == 2, "2 devices")
        await until(lambda: bool(node.gateway.state.daemons), "the daemon")
        node.fail(0)
        await until(lambda: bool(node.gateway.state.faults), "the fault")
        page, found = (await page_of(node, "/")).body, await measured(node)
        assert found[WAITING] == 2
        assert found["plugin_gateway_devices", ("healthy", RESOURCE)] == 1, "the daemon says nothing about the GPUs"
        told = "/run/&lt;mps&gt;/.started is not there"
        assert f"<p class=problem>devices are not given out: {RESOURCE} is not given out: {told}" in page
        assert f"<span class=wait>healthy, not given out</span><span>not held</span></h3><p>{told}" in page
        assert "<p class=todo>start it</p>" in page
        assert "\x1b" not in page
        first = page[page.index("class=unhealthy>") :].partition("</section>")[0]
        assert "XID 79" in first
        assert told in first
        node.observations.put(DaemonsSeen({RESOURCE: ""}))
        await until(lambda: not node.gateway.state.daemons[RESOURCE].problem, "the daemon")
        assert (await measured(node))[WAITING] == 0
        assert "daemon" not in (await page_of(node, "/")).body


async def test_what_the_node_lacks_is_shown_for_every_device(kubelet_dir: Path) -> None:
    node = Node(kubelet_dir)
    async with running(node, devices=2):
        await until(lambda: len(node.gateway.state.devices) == 2, "2 devices")
        node.observations.put(RequirementSeen("/dev/<x> is not there\x1b[2J", "make it"))
        await until(lambda: node.gateway.state.requirement is not None, "what is required")
        page = (await page_of(node, "/")).body
        assert (await measured(node))[WAITING] == 2
        told = f"devices are not given out: {RESOURCE} is not given out: /dev/&lt;x&gt; is not there"
        assert (page.count(told), page.count("healthy, not given out")) == (1, 2)
        assert "\x1b" not in page
        status = status_of(node, process_status())
        assert [each.waits_for and each.waits_for.todo for each in status.devices] == ["make it"] * 2
        node.observations.put(RequirementSeen(""))
        await until(lambda: not node.gateway.offered[RESOURCE].unhealthy, "the devices")
        assert WAITING not in await measured(node)


async def test_without_such_devices_there_is_no_such_metric(kubelet_dir: Path) -> None:
    node = Node(kubelet_dir)
    async with running(node):
        await until(lambda: len(node.gateway.state.devices) == 8, "8 devices")
        assert WAITING not in await measured(node)
