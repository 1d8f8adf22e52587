"""Everything that can happen to a gateway, in any order: once it is quiet, the kubelet knows what the gateway knows."""

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from harness.node import RESOURCE, Node, device, until
from harness.random_order import SOAK, budget, releases
from plugin_gateway.adapters.fake_kubelet import Event, EventKind, FakeKubelet, release
from plugin_gateway.adapters.fake_kubelet.events import RegisterCall
from plugin_gateway.adapters.kubelet.plugin_sockets import PREFIX
from plugin_gateway.core.devices import Device
from plugin_gateway.core.resources.assignment import Health, advertise
from plugin_gateway.core.resources.names import ResourceName, parse_resource_name
from plugin_gateway.core.resources.rules import ResourceRule, Selector

AGREED = 4.0
"""Seconds after the last disturbance by which both must know the same. On a quiet machine 2 are enough."""
MAX_REFUSALS = 3
DIAL = 0.5
"""Seconds that the kubelet dials; genuine ones take 10, which are theirs."""
GPUS = range(4)
A100 = parse_resource_name("nvidia.com/a100")
ONE = (ResourceRule(name=RESOURCE),)
TWO = (ResourceRule(selector=Selector(products=("*A100*",)), name=A100), *ONE)

pauses = st.sampled_from((0.0, 0.001, 0.01, 0.05, 0.1, 0.3))
gpus = st.sampled_from(GPUS)


def gpu(index: int) -> Device:
    return device(index, "NVIDIA A100-SXM4-40GB" if index % 2 else "NVIDIA H100 80GB HBM3")


class AnyOrder(RuleBasedStateMachine):
    """One gateway, and a kubelet that becomes another release now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="kubelet-"))
        self.directory = self.folder / "dir"
        self.directory.mkdir()
        self.in_force: tuple[ResourceRule, ...] = ONE
        self.present = set(GPUS)
        self.held_back: list[tuple[int, ...] | int] = []
        self.refusals = 0
        self.lives = 0
        self.endpoints: set[tuple[int, str]] = set()
        self.registering: str | None = None
        self.problems: list[str] = []

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        self.runner.run(work)
        assert not self.problems
        if self.task.done():
            self.task.result()

    @initialize(name=releases, rules=st.sampled_from((ONE, TWO)), has_inotify=st.booleans())
    def begin(self, name: str, rules: tuple[ResourceRule, ...], *, has_inotify: bool) -> None:
        self.in_force = rules
        self.runner.run(self._begin(name, has_inotify=has_inotify))

    async def _begin(self, name: str, *, has_inotify: bool) -> None:
        self.kubelet = FakeKubelet(self.directory, release(name), dial_timeout=DIAL, on_event=self._see)
        self.kubelet.on_register = self._refuse
        self.node = Node(self.directory, rules=self.in_force)
        self._deliver()
        broken = patch("plugin_gateway.adapters.kubelet.directory.INotify", side_effect=OSError(24, "none left"))
        if not has_inotify:
            broken.start()
        self.task = asyncio.get_running_loop().create_task(self.node.gateway.run())
        await asyncio.sleep(0.01)
        if not has_inotify:
            broken.stop()
        await self.kubelet.start()

    def _see(self, event: Event) -> None:
        if event.kind is EventKind.STARTED:
            self.lives += 1
            self.registering = None
        elif event.kind is EventKind.REGISTER:
            self._check_registration(self.kubelet.registrations[-1])
        elif event.kind in {EventKind.STREAM_OPENED, EventKind.DIAL_BACK_FAILED, EventKind.REGISTER_REFUSED}:
            self.registering = None

    def _check_registration(self, call: RegisterCall) -> None:
        if (self.lives, call.endpoint) in self.endpoints:
            self.problems.append(f"{call.endpoint} was registered twice with one kubelet")
        self.endpoints.add((self.lives, call.endpoint))
        if call.version == "0.1" and self.registering not in {None, call.resource}:
            self.problems.append(f"1.8 sees {call.resource} while {self.registering} registers")
        self.registering = call.resource

    async def _refuse(self, _call: RegisterCall) -> str | None:
        if not self.refusals:
            return None
        self.refusals -= 1
        return "not now"

    def _deliver(self) -> None:
        """Let the driver tell what there is."""
        self._tell(tuple(sorted(self.present)))

    def _tell(self, news: tuple[int, ...] | int) -> None:
        if self.node.silence:
            self.held_back.append(news)
        elif isinstance(news, int):
            self.node.fail(news)
        else:
            self.node.see([gpu(index) for index in news])

    @rule(name=releases, kill=st.booleans(), pause=pauses)
    def restart(self, name: str, pause: float, *, kill: bool) -> None:
        async def work() -> None:
            await (self.kubelet.kill() if kill else self.kubelet.stop())
            await asyncio.sleep(pause)
            self.kubelet.release = release(name)
            await self.kubelet.start()

        self.run(work())

    @rule(name=releases, pause=pauses)
    def replace_directory(self, name: str, pause: float) -> None:
        async def work() -> None:
            self.directory.rename(self.folder / f"old-{self.lives}")
            self.directory.mkdir()
            await asyncio.sleep(pause)
            await self.kubelet.kill()
            self.kubelet.release = release(name)
            await self.kubelet.start()

        self.run(work())

    @rule()
    def delete_own_sockets(self) -> None:
        for path in self.directory.glob(f"{PREFIX}*"):
            path.unlink(missing_ok=True)

    @rule(choice=st.integers(0, 1), again=st.booleans())
    def drop_stream(self, choice: int, *, again: bool) -> None:
        async def work() -> None:
            for _ in range(1 + again):
                with contextlib.suppress(TimeoutError):  # nothing is offered, or refused
                    await self.kubelet.wait_for(lambda: bool(self._streams()), timeout=0.3, what="stream")
                    streams = self._streams()
                    await self.kubelet.drop_stream(streams[choice % len(streams)])

        self.run(work())

    def _streams(self) -> list[ResourceName]:
        return [name for name in (RESOURCE, A100) if self.kubelet.open_streams(name)]

    @rule(count=st.integers(1, MAX_REFUSALS))
    def refuse(self, count: int) -> None:
        self.refusals = count

    @rule(index=gpus)
    def fail(self, index: int) -> None:
        self._tell(index)

    @rule(index=gpus)
    def vanish_or_appear(self, index: int) -> None:
        self.present ^= {index}
        self._deliver()

    @rule()
    def hang_up(self) -> None:
        """What SIGHUP leads to, when the file has other rules."""
        self.in_force = TWO if self.in_force is ONE else ONE
        self.node.serving_policy = self.node.serving_policy._replace(rules=self.in_force)
        self.node.gateway.apply(self.node.serving_policy)

    @precondition(lambda self: not self.node.silence)
    @rule()
    def hang_driver(self) -> None:
        self.node.silence = 60.0

    @precondition(lambda self: self.node.silence)
    @rule()
    def answer_again(self) -> None:
        self.node.silence = 0.0
        held_back, self.held_back = self.held_back, []
        for news in held_back:
            self._tell(news)

    @rule(pause=pauses)
    def wait(self, pause: float) -> None:
        self.run(asyncio.sleep(pause))

    @rule()
    def be_quiet(self) -> None:
        self.refusals = 0
        self.run(self._agree())

    async def _agree(self) -> None:
        """Wait until both know the same, and a moment longer."""
        deadline = time.monotonic() + AGREED
        await asyncio.sleep(0.02)
        while differences := list(self._differences()):
            assert time.monotonic() < deadline, f"{self.kubelet.release.name}: {differences}"
            await asyncio.sleep(0.01)

    def _differences(self) -> Iterable[str]:
        gateway = self.node.gateway
        offered = advertise(gateway.state, self.in_force)
        # A device that comes back under another name is withheld. Nobody looks at the pods here, so it stays so.
        known = {name: each.withholding(gateway.withheld.keys()) for name, each in offered.items()}
        for name in {RESOURCE, A100} - known.keys():
            if self.kubelet.allocatable(name):
                yield f"{name} is gone, the kubelet has {self.kubelet.devices(name)}"
        for name, advertisement in known.items():
            wanted = self._as_known({each.id: advertisement.health_of(each.id).value for each in advertisement.offered})
            found = self._as_known(self.kubelet.devices(name))
            if found != wanted or self.kubelet.open_streams(name) != 1:
                yield f"{name}: {found} instead of {wanted}"

    def _as_known(self, devices: Mapping[str, str]) -> Mapping[str, str]:
        """Leave out what is unhealthy where that is as good as not there."""
        if self.kubelet.release.unhealthy_has_capacity:
            return dict(devices)
        return {each: word for each, word in devices.items() if word == Health.HEALTHY.value}

    def teardown(self) -> None:
        try:
            if hasattr(self, "task"):
                self.answer_again()
                self.be_quiet()
                seen = {gpu(index).id for index in self.present}
                inventory = self.node.backend.state.inventory
                assert inventory is not None
                assert {each.id for each in inventory.devices} == seen
                assert not self.kubelet.overlaps
        finally:
            self.runner.run(self._end())
            self.runner.close()
            shutil.rmtree(self.folder)

    async def _end(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})
        assert self.task.cancelled()
        assert not list(self.directory.glob(f"{PREFIX}*"))
        await self.kubelet.stop()
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()}, "the end of every task", limit=1)


@pytest.mark.timeout(0 if SOAK else 300)
def test_the_kubelet_knows_what_the_gateway_knows_whatever_happened() -> None:
    run_state_machine_as_test(AnyOrder, settings=budget(30, 30))
