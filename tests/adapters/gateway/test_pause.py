"""A time in which the process did not run, such as a suspend, is no quiet time."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.node import WELL, Node, device, running, until
from plugin_gateway.adapters.gateway import watched_backend
from plugin_gateway.core.health.changes import Changes
from plugin_gateway.core.health.faults import Checkup, Moment, Stage
from plugin_gateway.core.health.observations import DriverUnavailable
from plugin_gateway.core.health.state import State

HOUR = 3600.0


class Clock:
    """The uptime, which goes on in a suspend. The test adds to it."""

    def __init__(self) -> None:
        self.suspended = 0.0

    def now(self) -> Moment:
        return Moment(time.clock_gettime(time.CLOCK_BOOTTIME) + self.suspended, time.time())


@asynccontextmanager
async def probation(directory: Path) -> AsyncIterator[tuple[Node, Clock]]:
    """A gateway with a device that has been on probation since this moment."""
    node, clock = Node(directory), Clock()
    node.watch(now=clock.now)
    async with running(node):
        node.fail(3, xid=1000)
        node.check()
        await until(lambda: stage(node) is Stage.PROBATION, "the probation")
        yield node, clock


def stage(node: Node) -> Stage:
    return node.gateway.state.stage_of(device(3).id)


@pytest.mark.parametrize("what_wakes_it", ["an observation", "nothing", "a check of another device"])
async def test_an_hour_of_suspend_is_no_quiet_time(
    what_wakes_it: str, kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch, told: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(watched_backend, "LISTEN_INTERVAL", 0.1)
    async with probation(kubelet_dir) as (node, clock):
        clock.suspended = HOUR
        if what_wakes_it == "an observation":
            node.see(node.gateway.state.devices)
        elif what_wakes_it == "a check of another device":
            node.check(WELL, 5)
        await until(lambda: stage(node) is not Stage.PROBATION, "the end of the probation")
        assert stage(node) is Stage.UNHEALTHY
        assert node.gateway.state.faults[device(3).id].lacks == "a check that finds nothing"
        assert node.gateway.state.events_problem is None
        node.check()
        await until(lambda: stage(node) is Stage.PROBATION, "a new probation")
        clock.suspended += node.backend.health.quiet_time - 20
    (line,) = [line for line in told if "cannot be waited for" in line["event"]]
    assert line["problem"].startswith("this process did not run for 360")


async def test_a_quiet_time_in_which_the_process_ran_ends(kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched_backend, "LISTEN_INTERVAL", 0.02)
    async with probation(kubelet_dir) as (node, clock):
        for _ in range(20):
            clock.suspended += 4.0  # less than what counts as a pause
            seen = node.backend.alive_at
            await until(lambda before=seen: node.backend.alive_at > before, "a look at the clock")  # type: ignore[misc]
        node.check(Checkup({}, asks_for_recovery=False))
        await until(lambda: stage(node) is Stage.HEALTHY, "health")


async def test_a_driver_is_not_silent_because_nobody_asked_it_in_a_suspend(
    kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_backend, "LISTEN_INTERVAL", 0.02)
    monkeypatch.setattr(watched_backend, "RESUME_TIME", HOUR)
    async with probation(kubelet_dir) as (node, clock):
        clock.suspended = node.silence = HOUR
        await until(lambda: stage(node) is Stage.UNHEALTHY, "the end of the probation")
        seen = node.backend.alive_at
        await until(lambda: node.backend.alive_at > seen + 0.1, "more looks")
        assert not node.gateway.state.driver_is_silent
        monkeypatch.setattr(watched_backend, "RESUME_TIME", 0.1)
        await until(lambda: node.gateway.state.driver_is_silent, "a driver that had time to answer")


async def test_a_driver_is_not_gone_because_the_process_was_stopped_just_when_it_read_of_it(kubelet_dir: Path) -> None:
    """A stop can come at any line, also between an observation and the look at what is due."""
    node, clock = Node(kubelet_dir), Clock()

    def stop(state: State, changes: Changes) -> None:
        if changes.driver is not None and state.driver_problem is not None:
            clock.suspended = node.backend.health.driver_timeout + 10

    node.watch(now=clock.now, keep=stop)
    async with running(node):
        await until(lambda: node.gateway.state.is_settled, "the devices")
        node.observations.put(DriverUnavailable("gone"))
        await until(lambda: node.gateway.state.driver_problem is not None, "the observation")
        await until(lambda: clock.suspended > 0, "the stop")
        node.see([device(index) for index in range(8)])
        await until(lambda: node.gateway.state.driver_problem is None, "the driver")
        assert not node.backend.counted.transitions
