"""Another driver under a gateway that lives: the driver is released, exchanged, and taken again."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from driver.driver import Call, Driver, built
from harness.node import RESOURCE, until
from harness.process import Process, run_to_end, started
from plugin_gateway.adapters.control.control_client import ask_all
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.gateway import driver_access
from plugin_gateway.adapters.gateway.driver_access import DriverAccess, Released
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverUnavailable,
    FactsSeen,
    InventorySeen,
    LinksSeen,
    Observation,
)
from plugin_gateway.core.ports import Report, want_facts
from plugin_gateway.nvidia.simulated import SimulatedBackend


@asynccontextmanager
async def node(kubelet_dir: Path, driver: Driver, *more: str) -> AsyncIterator[tuple[FakeKubelet, Process]]:
    """The process, beside a kubelet that has its eight devices."""
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root), "--quiet-time=0", *more)
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        started(*arguments, environment=driver.environment) as process,
    ):
        await given_out(kubelet, 8)
        await process.wait_for_control()
        yield kubelet, process


async def given_out(kubelet: FakeKubelet, count: int) -> None:
    await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == count, timeout=15, what=f"{count} devices")


def holds_library(process: Process) -> bool:
    return str(built(old=False)) in Path(f"/proc/{process.pid}/maps").read_text()


async def test_a_driver_that_is_released_is_not_held_until_somebody_takes_it(kubelet_dir: Path, driver: Driver) -> None:
    async with node(kubelet_dir, driver) as (kubelet, process):
        assert holds_library(process)
        status, output, errors = await run_to_end("driver", "release", "--for", "10m")
        assert (status, errors) == (0, "")
        assert output == "the driver is released for 600 s, and its library is closed; no GPU is given out\n"
        assert not holds_library(process)
        assert kubelet.allocatable(RESOURCE) == 0
        assert kubelet.capacity(RESOURCE) == 8
        calls = driver.calls(Call.INIT)
        _, output, _ = await run_to_end("status")
        assert "waiting for the driver: an operator has released the driver for 600 s" in output
        assert f"{driver.uuid(3)}, unhealthy; it needs a driver that answers" in output
        _, output, _ = await run_to_end("doctor", environment=driver.environment)
        assert "note  an operator has released the driver for 600 s\n      -> plugin-gateway driver take" in output
        assert output.count("  do: plugin-gateway driver take, when the work on the driver is done") == 8
        assert "nvidia-smi" not in output, "it would hold the driver"
        assert driver.calls(Call.INIT) == calls + 1, "doctor alone has asked the driver"
        driver.load_module("580.10.01")
        status, output, _ = await run_to_end("driver", "take")
        assert (status, output) == (0, "the driver is taken again\n")
        await given_out(kubelet, 8)
        assert holds_library(process)
        status, output, _ = await run_to_end("driver", "take")
        assert (status, output) == (0, "the driver was not released\n")


async def test_simulated_devices_are_given_out_again_too(kubelet_dir: Path) -> None:
    arguments = ("--kubelet-dir", str(kubelet_dir), "--backend", "simulated:2xH100", "--quiet-time=0")
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, started(*arguments) as process:
        await given_out(kubelet, 2)
        await process.wait_for_control()
        assert (await run_to_end("driver", "release"))[0] == 0
        await given_out(kubelet, 0)
        assert (await run_to_end("driver", "take"))[0] == 0
        await given_out(kubelet, 2)


async def test_it_is_taken_again_when_the_time_is_over(kubelet_dir: Path, driver: Driver, state_dir: Path) -> None:
    async with node(kubelet_dir, driver) as (kubelet, process):
        assert ask_all(state_dir)[0].tell({"command": "release", "seconds": 1})["seconds_left"] <= 1
        await given_out(kubelet, 0)
        await process.wait_for_event("driver taken again")
        await given_out(kubelet, 8)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("release", "--for", "9s"), "--for: invalid value '9s'; expected 10s to 3600s, also as 10m"),
        (("release", "--for", "2h"), "--for: invalid value '2h'; expected 10s to 3600s, also as 10m"),
        (("release", "--for", "61m"), "--for: invalid value '61m'; expected 10s to 3600s, also as 10m"),
        (("take", "--for", "1s"), "driver take: it has no --for, it takes the driver at once"),
    ],
)
async def test_what_is_not_allowed_is_told(words: Sequence[str], told: str) -> None:
    assert await run_to_end("driver", *words) == (2, "", f"plugin-gateway: {told}\n")


async def test_only_one_backend_uses_the_driver_and_none_while_it_is_released() -> None:
    seen: list[Observation] = []
    made: list[SimulatedBackend] = []

    def make() -> SimulatedBackend:
        made.append(SimulatedBackend("1xH100"))
        return made[-1]

    first = make()
    first.start(seen.append)
    access = DriverAccess(first, make, seen.append)
    assert access.released is None
    access.release(60)
    assert seen[-1] == DriverUnavailable("an operator has released the driver for 60 s", is_released=True)
    assert access.released is not None
    assert access.released.is_closed
    assert access.is_watching(), "that it is released is no reason to restart the gateway"
    access.release(30)
    assert isinstance(access.released, Released)
    assert 29 < access.released.seconds_left <= 30
    access.replace()
    assert len(made) == 1, "a new configuration does not take it"
    assert access.take()
    assert not access.take()
    assert [type(each) for each in seen[-3:]] == [InventorySeen, DevicesChecked, LinksSeen]
    access.release(0.01)
    await until(lambda: access.released is None, "the end of the time")
    assert len(made) == 3
    access.release(60)
    access.stop()
    await asyncio.sleep(0)
    assert access.released is None
    assert not access.is_watching()
    assert len(made) == 3


class HangingBackend(SimulatedBackend):
    """A backend with a thread, whose first call of the driver returns when the test says so."""

    def __init__(self, returns: threading.Event) -> None:
        super().__init__("1xH100")
        self._returns = returns
        self.thread: threading.Thread | None = None
        self.is_stopped = self.has_called = False

    def start(self, report: Report, after: Callable[[], object] = lambda: None) -> None:  # noqa: ARG002 - nothing to say
        def work() -> None:
            after()
            if not self.is_stopped:
                self.has_called = True
                self._returns.wait()

        self.thread = threading.Thread(target=work, name="hanging backend")
        self.thread.start()

    def stop(self) -> None:
        self.is_stopped = True

    def join(self, timeout: float | None = None) -> bool:
        if self.thread is not None:
            self.thread.join(timeout)
        return not self.is_watching()

    def is_watching(self) -> bool:
        return self.thread is not None and self.thread.is_alive()


async def test_however_often_a_driver_that_hangs_is_taken_one_backend_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(driver_access, "POLL", 0.01)
    returns, made = threading.Event(), list[HangingBackend]()

    def make() -> HangingBackend:
        made.append(HangingBackend(returns))
        return made[-1]

    first = make()
    first.start(print)
    access = DriverAccess(first, make, lambda _: None)
    try:
        for _ in range(20):
            access.release(60)
            assert access.released is not None
            assert not access.released.is_closed, "the first call has not returned"
            access.take()
        access.replace()
        await until(lambda: sum(each.is_watching() for each in made) <= 2, "the end of the threads in between")
        assert [each for each in made if each.has_called] == [first], "nobody else calls the driver meanwhile"
    finally:
        returns.set()
    await until(lambda: made[-1].has_called, "a call by the last one")
    assert [each for each in made if each.has_called] == [first, made[-1]]
    access.stop()


async def test_without_a_thread_for_it_the_driver_is_taken_later(
    monkeypatch: pytest.MonkeyPatch, told: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(driver_access, "RETRY", 0.01)
    seen: list[Observation] = []
    failures = 3

    class Starved(SimulatedBackend):
        def start(self, report: Report, after: Callable[[], object] = lambda: None) -> None:
            nonlocal failures
            if failures:
                failures -= 1
                raise RuntimeError("can't start new thread")
            super().start(report, after)

    access = DriverAccess(SimulatedBackend("1xH100"), lambda: Starved("1xH100"), seen.append)
    access.release(60)
    assert access.take()
    assert seen[-1] == DriverUnavailable("no thread can be started for it")
    before = len(seen)
    await until(lambda: any(isinstance(each, InventorySeen) for each in seen[before:]), "the devices")
    assert [line["event"] for line in told] == ["driver released", "driver taken again"]
    access.stop()


async def test_another_backend_tells_facts_if_the_first_one_did() -> None:
    for wanted in (True, False):
        seen: list[Observation] = []
        first = SimulatedBackend("1xH100")
        assert want_facts(first, wanted=wanted)
        first.start(seen.append)
        access = DriverAccess(first, lambda: SimulatedBackend("2xH100"), seen.append)
        access.replace()
        assert [len(each.devices) for each in seen if isinstance(each, FactsSeen)] == ([1, 2] if wanted else [])
        access.stop()
