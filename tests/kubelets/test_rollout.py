"""One gateway after the other takes over from the one before, beside a genuine kubelet."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from driver.driver import Driver
from harness.node import RESOURCE
from harness.process import Process, started
from kubelets.genuine import GENUINE, GenuineKubelet
from kubelets.test_gateway import PLUGIN_ENDED, available, settled

HANDOVERS = 20
ADMISSIONS = 25
"""Pods that are admitted and removed during each handover."""
GAP = 5.0
"""Seconds for which the kubelet may have no device on a busy machine. Usual is 0.1, see `test_handover.py`."""
NEWEST = GENUINE[-1]


class Watched:
    """A genuine kubelet, and when its number of allocatable devices changed."""

    def __init__(self, kubelet: GenuineKubelet) -> None:
        self.kubelet = kubelet
        self.changes: list[tuple[float, int | None]] = []

    async def look(self) -> None:
        """Look each 10 ms, until cancelled."""
        while True:
            found = self.kubelet.allocatable(RESOURCE)
            if not self.changes or self.changes[-1][1] != found:
                self.changes.append((time.monotonic(), found))
            await asyncio.sleep(0.01)

    def missing(self) -> float:
        """Return the longest time without eight, in seconds from look to look. Zero: no look found less."""
        times = [at for at, count in self.changes if count == 8]
        lasting = (
            next((end for end in times if end > at), time.monotonic()) - at
            for at, count in self.changes
            if count != 8 and at > times[0]
        )
        return max(lasting, default=0.0)


@asynccontextmanager
async def watched(kubelet: GenuineKubelet) -> AsyncIterator[Watched]:
    found = Watched(kubelet)
    looking = asyncio.create_task(found.look())
    try:
        yield found
    finally:
        looking.cancel()
        await asyncio.wait({looking})


@asynccontextmanager
async def gateway(kubelet_dir: Path, driver: Driver, *more: str) -> AsyncIterator[Process]:
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root), *more)
    async with started(*arguments, environment=driver.environment) as process:
        yield process


async def admit(kubelet: GenuineKubelet, first: int) -> None:
    for number in range(first, first + ADMISSIONS):
        assert (await kubelet.allocate(RESOURCE, 1, pod=f"pod {number}")).ids
        await kubelet.remove(f"pod {number}")


@pytest.mark.parametrize("release", GENUINE)
async def test_the_next_gateway_has_the_devices_at_once(release: str, kubelet_dir: Path, driver: Driver) -> None:
    async with GenuineKubelet(kubelet_dir, release) as kubelet, watched(kubelet) as seen:
        kubelet.expected += PLUGIN_ENDED
        async with gateway(kubelet_dir, driver) as first:
            await available(kubelet, 8)
            await first.wait_for_control()
            async with gateway(kubelet_dir, driver) as second:
                await taken_over(seen, first, second, signal.SIGTERM)
                await second.wait_for_control()
                async with gateway(kubelet_dir, driver) as third:
                    await taken_over(seen, second, third, signal.SIGKILL)
        assert not kubelet.complaints()


async def taken_over(seen: Watched, leaving: Process, standing_by: Process, how: signal.Signals) -> None:
    await standing_by.wait_for_event("the other gateway will say when it leaves")
    leaving.send(how)
    await leaving.ended()
    await standing_by.wait_for_event("registered")
    await settled(seen.kubelet, 8)
    assert seen.missing() < GAP


async def test_no_pod_fails_in_twenty_replacements_and_the_kubelet_always_has_all_devices(
    kubelet_dir: Path, driver: Driver
) -> None:
    sure = f"--kubelet-version={NEWEST.removeprefix('v').rpartition('.')[0]}"
    async with GenuineKubelet(kubelet_dir, NEWEST) as kubelet, AsyncExitStack() as before:
        kubelet.expected += PLUGIN_ENDED
        process = await before.enter_async_context(gateway(kubelet_dir, driver, sure))
        await available(kubelet, 8)
        async with watched(kubelet) as seen:
            await asyncio.sleep(0.05)
            for number in range(HANDOVERS):
                await process.wait_for_control()
                async with AsyncExitStack() as now:
                    process = await now.enter_async_context(gateway(kubelet_dir, driver, sure))
                    await asyncio.gather(admit(kubelet, number * ADMISSIONS), process.wait_for_event("registered"))
                    await before.aclose()
                    before.push_async_exit(now.pop_all())
            await admit(kubelet, HANDOVERS * ADMISSIONS)
            assert [count for _, count in seen.changes] == [8]


@pytest.mark.parametrize("killed", ["elder", "younger"])
async def test_the_kubelet_has_all_devices_if_one_is_killed_while_both_serve(
    killed: str, kubelet_dir: Path, driver: Driver
) -> None:
    sure = f"--kubelet-version={NEWEST.removeprefix('v').rpartition('.')[0]}"
    async with GenuineKubelet(kubelet_dir, NEWEST) as kubelet:
        kubelet.expected += PLUGIN_ENDED
        async with gateway(kubelet_dir, driver, sure) as elder:
            await available(kubelet, 8)
            await elder.wait_for_control()
            async with watched(kubelet) as seen, gateway(kubelet_dir, driver, sure) as younger:
                await asyncio.sleep(0.05)
                await younger.wait_for_event("registered")
                (elder if killed == "elder" else younger).send(signal.SIGKILL)
                await asyncio.sleep(2.0)
                assert [count for _, count in seen.changes] == [8]
