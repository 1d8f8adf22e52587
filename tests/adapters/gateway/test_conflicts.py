"""Another device plugin beside the gateway: it is found, told everywhere with its socket, and not disturbed."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from adapters.fake_kubelet.plugin import OK, Plugin
from driver.driver import Driver
from harness.node import RESOURCE, Node, device, running, until
from harness.pages import pages_of, shown
from harness.pod_resources import pod_resources
from harness.process import run_to_end, started
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.gateway import conflict_watch
from plugin_gateway.adapters.gateway.conflict_watch import ConflictWatch, KnownConflict
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.api.podresources import api_pb2 as wire
from plugin_gateway.core.resources.assignment import Health
from plugin_gateway.core.resources.conflicts import Cause

EVENT = "another device plugin is in conflict with this gateway"
OURS = tuple(device(index).id for index in range(8))


@asynccontextmanager
async def watched(kubelet_dir: Path, kubernetes: str = "1.36") -> AsyncIterator[tuple[FakeKubelet, Node]]:
    """A gateway that a kubelet has taken, and that watches for conflicts."""
    async with FakeKubelet(kubelet_dir, release(kubernetes)) as kubelet, running(Node(kubelet_dir)) as node:
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, what="8 devices")
        watching = asyncio.create_task(ConflictWatch(kubelet_dir, node.gateway).run())
        try:
            yield kubelet, node
        finally:
            watching.cancel()
            await asyncio.wait({watching})


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PAUSE", "CONFIRMATION", "SLOW_INTERVAL", "CONFLICT_INTERVAL"):
        monkeypatch.setattr(conflict_watch, name, 0.1)


async def conflict(node: Node, cause: Cause) -> KnownConflict:
    """Wait until there is one conflict, of this cause."""

    def found() -> Sequence[Cause]:
        return [each.conflict.cause for each in node.gateway.conflicts]

    await until(lambda: found() == [cause], f"{cause}, and not {found()}")
    return node.gateway.conflicts[0]


async def test_another_plugin_for_the_same_resource_is_told_by_log_doctor_status_and_metrics(
    kubelet_dir: Path, driver: Driver
) -> None:
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root))
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        started(*arguments, environment=driver.environment) as process,
        Plugin(kubelet_dir, kubelet.release, "rival.sock", ids=("other-0", "other-1")) as plugin,
    ):
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, timeout=10, what="8 devices")
        await process.wait_for_control()
        assert await plugin.register(name=RESOURCE) == OK
        line = await process.wait_for_event(EVENT)
        assert (line["cause"], line["sockets"], line["pids"]) == ("foreign_devices", ["rival.sock"], [os.getpid()])
        assert "other-0, other-1" in line["problem"]
        driver.xid(3, 79)  # the next list of the gateway hides the devices of the other one
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 7, what="7 devices")
        await asyncio.sleep(3)
        words = f"another device plugin has registered {RESOURCE}: the kubelet has its devices other-0, other-1"
        status, output, _ = await run_to_end("doctor", environment=driver.environment)
        assert status == 1
        assert f"mend  {words}; its socket may be rival.sock (pid {os.getpid()})\n      -> remove one of" in output
        _, output, _ = await run_to_end("status")
        assert words in output
        _, output, _ = await run_to_end("status", "--json")
        (told,) = json.loads(output)["conflicts"]
        assert told["sockets"] == [{"name": "rival.sock", "pid": os.getpid()}]
        assert plugin.streams == 1, "that of the kubelet"
        assert plugin.called == ["GetDevicePluginOptions"] * 2, "one of them by the kubelet"


@pytest.mark.parametrize("kubernetes", ["1.20", "1.36", "1.37"])
async def test_the_gateway_registers_again_when_the_other_plugin_has_left(kubelet_dir: Path, kubernetes: str) -> None:
    """A kubelet of 1.36 then has no plugin for the resource, although the stream of the gateway is open."""
    async with watched(kubelet_dir, kubernetes) as (kubelet, node):
        async with Plugin(kubelet_dir, kubelet.release, "rival.sock", ids=("other",)) as plugin:
            assert await plugin.register(name=RESOURCE) == OK
            await conflict(node, Cause.FOREIGN_DEVICES)
        await until(lambda: not node.gateway.conflicts, "the end of the conflict")
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, what="8 devices again")
        await kubelet.allocate(RESOURCE, 1, pod="pod")


@asynccontextmanager
async def live(kubelet: FakeKubelet, root: Path) -> AsyncIterator[None]:
    """The answers of a kubelet of 1.23 and later: the healthy devices of every resource."""

    async def allocatable(_request: bytes, _context: object) -> bytes:
        entries = [
            wire.ContainerDevices(resource_name=name, device_ids=[device])
            for name in kubelet.resources
            for device, health in kubelet.devices(name).items()
            if health == Health.HEALTHY.value
        ]
        return wire.AllocatableResourcesResponse(devices=entries).SerializeToString()

    async with pod_resources(root, allocatable):
        yield


@pytest.mark.parametrize("is_live", [True, False], ids=["asked", "checkpoint"])
@pytest.mark.parametrize("kubernetes", ["1.24", "1.36", "1.37"])
async def test_devices_that_the_kubelet_lost_to_a_plugin_that_came_and_went_are_registered_again(
    kubelet_dir: Path, kubernetes: str, is_live: bool
) -> None:
    """It was too short to be seen. The stream of the gateway is open, but the kubelet has none of its devices."""
    async with watched(kubelet_dir, kubernetes) as (kubelet, node), AsyncExitStack() as telling:
        if is_live:
            await telling.enter_async_context(live(kubelet, kubelet_dir.parent))
        await asyncio.sleep(0.5)
        before = len(kubelet.registrations)
        async with Plugin(kubelet_dir, kubelet.release, "rival.sock", ids=("other",)) as plugin:
            assert await plugin.register(name=RESOURCE) == OK
            await kubelet.wait_for(lambda: "other" in kubelet.devices(RESOURCE), what="the list of the other one")
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, what="8 devices again")
        await kubelet.allocate(RESOURCE, 1, pod="pod")
        for index in range(8):
            node.fail(index)
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 0, what="no healthy device")
        await asyncio.sleep(1)
        assert len(kubelet.registrations) == before + 2, "of each plugin one"
        assert not node.gateway.conflicts


async def test_a_conflict_is_a_metric_and_on_the_page(kubelet_dir: Path) -> None:
    async with (
        watched(kubelet_dir) as (kubelet, node),
        Plugin(kubelet_dir, kubelet.release, "<rival>.sock", ids=("a\nb",)) as plugin,
    ):
        pages = pages_of(node)
        assert "plugin_gateway_conflict{" not in (await shown(pages, "/metrics")).body
        assert await plugin.register(name=RESOURCE) == OK
        known = await conflict(node, Cause.FOREIGN_DEVICES)
        labels = f'cause="foreign_devices",resource="{RESOURCE}",socket="<rival>.sock"'
        assert f"plugin_gateway_conflict{{{labels}}} 1.0" in (await shown(pages, "/metrics")).body
        assert "its socket may be &lt;rival&gt;.sock (pid " in (await shown(pages, "/")).body
        assert "has its devices a\\nb;" in known.words


async def test_the_same_devices_under_another_name_are_a_conflict(kubelet_dir: Path) -> None:
    async with (
        watched(kubelet_dir) as (kubelet, node),
        Plugin(kubelet_dir, kubelet.release, ids=(f"{OURS[0]}::0", f"{OURS[0]}::1", "x")) as plugin,
    ):
        assert await plugin.register(name="example.com/shared") == OK
        found = (await conflict(node, Cause.SAME_DEVICES)).conflict
        assert (found.resource, found.other_resource, found.sockets) == (
            RESOURCE,
            "example.com/shared",
            ("thing.sock",),
        )
        assert found.devices == (f"{OURS[0]}::0", f"{OURS[0]}::1")


async def test_a_plugin_with_the_same_ids_is_recognised_by_the_name_of_its_socket(kubelet_dir: Path) -> None:
    async with (
        watched(kubelet_dir) as (kubelet, node),
        Plugin(kubelet_dir, kubelet.release, "nvidia-gpu.sock", ids=OURS) as plugin,
    ):
        assert await plugin.register(name=RESOURCE) == OK
        assert (await conflict(node, Cause.SOCKET_NAME)).pids == {"nvidia-gpu.sock": os.getpid()}


async def test_a_conflict_that_looks_different_after_the_next_list_is_not_told_as_the_end(
    kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, str | None]] = []
    for level in ("info", "warning"):
        monkeypatch.setattr(log, level, lambda event, **fields: told.append((event, fields.get("cause"))))
    async with (
        watched(kubelet_dir) as (kubelet, node),
        Plugin(kubelet_dir, kubelet.release, "nvidia-gpu.sock", ids=("other",)) as plugin,
    ):
        assert await plugin.register(name=RESOURCE) == OK
        await conflict(node, Cause.FOREIGN_DEVICES)
        told.clear()
        node.see([device(index) for index in range(4)])
        await conflict(node, Cause.SOCKET_NAME)
        conflicts = [each for each in told if "another device plugin" in each[0]]
        assert conflicts == [
            ("the conflict with another device plugin has ended", "foreign_devices"),
            (EVENT, "socket_name"),
        ]


async def test_a_plugin_with_devices_of_its_own_is_no_conflict_and_is_asked_for_its_options_once(
    kubelet_dir: Path,
) -> None:
    async with (
        watched(kubelet_dir) as (kubelet, node),
        Plugin(kubelet_dir, kubelet.release, "nvidia-rdma.sock") as plugin,
    ):
        await until(lambda: bool(plugin.called), "a question")
        assert await plugin.register() == OK
        await asyncio.sleep(1)
        assert plugin.called == ["GetDevicePluginOptions"] * 2, "one of them by the kubelet"
        assert plugin.streams == 1
        assert not node.gateway.conflicts


async def test_devices_that_come_and_go_and_a_restart_of_the_kubelet_are_no_conflict(kubelet_dir: Path) -> None:
    seen: list[object] = []
    async with watched(kubelet_dir) as (kubelet, node):
        for count in (4, 8, 0, 8):
            node.see([device(index) for index in range(count)])
            for _ in range(10):
                await asyncio.sleep(0.05)
                seen += node.gateway.conflicts
        await kubelet.restart()
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, what="8 devices")
        await asyncio.sleep(0.5)
        assert not [*seen, *node.gateway.conflicts]
