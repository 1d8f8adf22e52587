"""Tests of the gateway, started as its users start it, with the genuine and the fake kubelet of each release."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

from driver.driver import Driver
from harness.node import RESOURCE, until
from harness.process import Process, run_to_end, started
from kubelets.fake import played
from kubelets.genuine import GENUINE
from kubelets.scene import Kubelet
from kubelets.table import UPGRADE, Column
from plugin_gateway.adapters.fake_kubelet import AdmissionError

EVERY = pytest.mark.parametrize("release", GENUINE)
Make: TypeAlias = Callable[[Path, str], Kubelet]
PLUGIN_ENDED = ("listAndWatch ended", "ListAndWatch ended", "list and watch", "transport is closing", "Failed to close")
"""Parts of log lines about the end of a plugin."""
SETTLED = 0.5
"""Seconds for which a count has to stay the same."""


@asynccontextmanager
async def gateway(kubelet_dir: Path, driver: Driver, *more: str) -> AsyncIterator[Process]:
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root), *more)
    async with started(*arguments, environment=driver.environment) as process:
        yield process


@asynccontextmanager
async def node(make: Make, kubelet_dir: Path, driver: Driver, release: str) -> AsyncIterator[tuple[Kubelet, Process]]:
    """Run a kubelet and a gateway inside the block. At the end the kubelet's log must have no unexpected complaint."""
    async with make(kubelet_dir, release) as kubelet, gateway(kubelet_dir, driver) as process:
        await available(kubelet, 8)
        yield kubelet, process
        assert not kubelet.complaints()


async def available(kubelet: Kubelet, count: int, limit: float = 10) -> None:
    await kubelet.wait_for(
        lambda: (kubelet.allocatable(RESOURCE) or 0) == count, timeout=limit, what=f"{count} allocatable devices"
    )


async def settled(kubelet: Kubelet, count: int, limit: float = 10) -> None:
    """Wait until the count stays the same. A stream can begin with a list in which all devices are unhealthy."""
    while True:
        await available(kubelet, count, limit)
        try:
            await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) != count, timeout=SETTLED, what="change")
        except TimeoutError:
            return


@pytest.mark.column(Column.EIGHT_GPUS)
@EVERY
async def test_it_gets_eight_devices_and_starts_containers_with_them(
    make: Make, release: str, kubelet_dir: Path, driver: Driver
) -> None:
    async with node(make, kubelet_dir, driver, release) as (kubelet, process):
        registered = await process.wait_for_event("registered")
        assert registered["api_version"] == played(release).api_version
        one = await kubelet.allocate(RESOURCE, 1, pod="one")
        assert len(one.ids) == 1
        nodes = {f"/dev/{name}" for name in ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools")}
        own = set(one.device_nodes) - nodes
        assert len(own) == 1
        assert all(node == (f"{driver.root}{path}", "rw") for path, node in one.device_nodes.items())
        kubelet.expected += ["Failed to admit", "Predicate failed", "unavailable"]
        with pytest.raises(AdmissionError, match=r"equested: 8"):
            await kubelet.allocate(RESOURCE, 8, pod="too many")
        await kubelet.remove("one")
        everything = await kubelet.allocate(RESOURCE, 8, pod="eight")
        assert len(set(everything.ids)) == 8
        assert set(everything.device_nodes) == nodes | {f"/dev/nvidia{number}" for number in range(8)}
        again = await kubelet.start_container("eight")
        assert again.answer == everything.answer


@pytest.mark.column(Column.GPU_FAILS)
@EVERY
async def test_a_gpu_that_fails_is_given_to_nobody_by_any_gateway_until_an_operator_says_that_it_is_well(
    make: Make, release: str, kubelet_dir: Path, driver: Driver
) -> None:
    async with make(kubelet_dir, release) as kubelet:
        kubelet.expected += PLUGIN_ENDED
        async with gateway(kubelet_dir, driver):
            await available(kubelet, 8)
            driver.xid(3, 79)
            await available(kubelet, 7)
            rest = await kubelet.allocate(RESOURCE, 7, pod="the rest")
            assert "/dev/nvidia3" not in rest.device_nodes
        await available(kubelet, 0)
        async with gateway(kubelet_dir, driver) as process:
            await settled(kubelet, 7)
            await process.wait_for_control()
            assert (await run_to_end("health", "clear", driver.uuid(3)))[0] == 0
            await available(kubelet, 8)
            assert "/dev/nvidia3" in (await kubelet.allocate(RESOURCE, 1, pod="that one")).device_nodes
            assert not kubelet.complaints()


@pytest.mark.column(Column.KUBELET_KILLED)
@EVERY
async def test_a_kubelet_that_is_killed_and_started_again_knows_what_it_gave_out(
    make: Make, release: str, kubelet_dir: Path, driver: Driver
) -> None:
    async with node(make, kubelet_dir, driver, release) as (kubelet, process):
        before = await kubelet.allocate(RESOURCE, 2, pod="before")
        await kubelet.restart_as()
        began = time.monotonic()
        await available(kubelet, 8)
        assert time.monotonic() - began < 2
        assert (await kubelet.start_container("before")).answer == before.answer
        after = await kubelet.allocate(RESOURCE, 6, pod="after")
        assert not set(before.ids) & set(after.ids)
        assert "ends" not in process.events()


@pytest.mark.column(Column.GATEWAY_KILLED)
@EVERY
async def test_a_gateway_that_is_killed_is_missed_and_its_successor_welcome(
    make: Make, release: str, kubelet_dir: Path, driver: Driver
) -> None:
    async with make(kubelet_dir, release) as kubelet:
        kubelet.expected += PLUGIN_ENDED
        async with gateway(kubelet_dir, driver) as process:
            await available(kubelet, 8)
            await kubelet.allocate(RESOURCE, 2, pod="before")
            process.send(signal.SIGKILL)
            await process.ended()
            await available(kubelet, 0)
        async with gateway(kubelet_dir, driver):
            await available(kubelet, 8)
            assert len((await kubelet.allocate(RESOURCE, 6, pod="after")).ids) == 6
            assert not kubelet.complaints()


@pytest.mark.column(Column.SOCKET_DELETED)
@EVERY
async def test_a_deleted_socket_hurts_neither_allocation_nor_the_next_restart(
    make: Make, release: str, kubelet_dir: Path, driver: Driver
) -> None:
    async with node(make, kubelet_dir, driver, release) as (kubelet, process):
        await until(lambda: len(list(kubelet_dir.glob("plugin-gateway-*"))) == 1, "the end of other dialects' sockets")
        (socket,) = kubelet_dir.glob("plugin-gateway-*")
        socket.unlink()
        await process.wait_for_event("own socket was gone, bound again")
        assert len((await kubelet.allocate(RESOURCE, 2, pod="a")).ids) == 2
        driver.xid(3, 79)
        await available(kubelet, 7)
        assert process.events().count("registered") == 1
        await kubelet.restart_as()
        await available(kubelet, 7)


@pytest.mark.column(Column.HANGUPS)
@EVERY
async def test_twenty_hangups_change_nothing_and_the_end_is_still_noticed(
    make: Make, release: str, kubelet_dir: Path, driver: Driver
) -> None:
    """Kubelet 1.37 never notices the end of a plugin that registered twice with one name."""
    async with make(kubelet_dir, release) as kubelet, gateway(kubelet_dir, driver) as process:
        await available(kubelet, 8)
        for number in range(20):
            process.send(signal.SIGHUP)
            await process.wait_for_event("configuration read again, nothing changed", times=number + 1)
        assert process.events().count("registered") == 1
        assert not kubelet.complaints()
        process.send(signal.SIGKILL)
        await available(kubelet, 0)
        async with gateway(kubelet_dir, driver):
            await available(kubelet, 8)
        await available(kubelet, 0)


@pytest.mark.column(Column.STREAM_DROPPED)
@EVERY
async def test_a_stream_that_the_kubelet_drops_is_made_again(
    make: Make, release: str, kubelet_dir: Path, driver: Driver
) -> None:
    async with node(make, kubelet_dir, driver, release) as (kubelet, process):
        kubelet.expected += PLUGIN_ENDED
        for number in range(3):
            await kubelet.drop_stream(RESOURCE)
            await process.wait_for_event("registered", times=number + 2)
            await settled(kubelet, 8)
        assert len((await kubelet.allocate(RESOURCE, 8, pod="p")).ids) == 8
        driver.xid(3, 79)
        await available(kubelet, 7)


@pytest.mark.column(Column.UNHEALTHY_FIRST)
@EVERY
async def test_two_releases_lose_every_device_without_a_list_of_unhealthy_ones_first(
    make: Make, release: str, kubelet_dir: Path, driver: Driver
) -> None:
    async with make(kubelet_dir, release) as kubelet:
        async with gateway(kubelet_dir, driver):
            await available(kubelet, 8)
        await available(kubelet, 0)
        async with gateway(kubelet_dir, driver, "--unhealthy-first=never") as process:
            await process.wait_for_event("registered")
            await asyncio.sleep(0.5)
            assert kubelet.allocatable(RESOURCE) == (0 if played(release).forgets_health else 8)
        async with gateway(kubelet_dir, driver):
            await available(kubelet, 8)


@pytest.mark.column(Column.GIVEN_BACK)
@EVERY
async def test_what_a_pod_gives_back_is_given_to_the_next(
    make: Make, release: str, kubelet_dir: Path, driver: Driver
) -> None:
    async with node(make, kubelet_dir, driver, release) as (kubelet, _):
        for number in range(4):
            assert len((await kubelet.allocate(RESOURCE, 8, pod=f"pod {number}")).ids) == 8
            await kubelet.remove(f"pod {number}")


@pytest.mark.column(UPGRADE)
async def test_one_gateway_lives_through_the_upgrade_of_its_node_and_back(
    make: Make, kubelet_dir: Path, driver: Driver
) -> None:
    async with node(make, kubelet_dir, driver, GENUINE[0]) as (kubelet, process):
        await process.wait_for_event("registered")
        for number, release in enumerate([*GENUINE[1:], GENUINE[0]]):
            await kubelet.restart_as(release)
            await available(kubelet, 8)
            registered = await process.wait_for_event("registered", times=number + 2)
            assert registered["api_version"] == played(release).api_version
            await kubelet.allocate(RESOURCE, 8, pod=release)
            await kubelet.remove(release)
            await asyncio.sleep(0.05)
