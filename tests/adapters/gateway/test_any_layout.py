"""MIG layouts that change at random under a gateway that lives, with any kubelet, and with pods that come and go."""

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from adapters.gateway.mig_world import SLOTS, World, granted_twice, listed
from driver.driver import NO_INSTANCE, Call, Driver
from harness.driven import DrivenNode
from harness.node import RESOURCE, until
from harness.random_order import SOAK, budget, releases
from plugin_gateway.adapters.fake_kubelet import AdmissionError, Event, EventKind, FakeKubelet, release
from plugin_gateway.adapters.fake_kubelet.events import Container
from plugin_gateway.adapters.serving import resource as served
from plugin_gateway.core.resources.assignment import Health

AGREED = 10.0
"""Seconds after the last disturbance by which the kubelet must have the right lists, on a busy machine."""
DIAL = 0.5
"""Seconds that the kubelet dials; genuine ones take 10, which are theirs."""
GRACE = 0.1
"""Seconds for which a device that was granted and vanished stays in the list."""
GPUS = range(3)
HALF = "nvidia.com/mig-3g.40gb"
LAYOUTS = (
    "",
    "7g.80gb",
    "3g.40gb,3g.40gb",
    "4g.40gb,2g.20gb,1g.10gb",
    "4g.40gb",
    "1g.10gb,1g.10gb+me,-,1g.20gb",
    "3g.40gb/1c/2c",
    "-,3g.40gb",
)
STRATEGIES = ("mixed", "mixed", "single", "none")
REPLICAS: tuple[Mapping[str, int], ...] = ({}, {HALF: 2}, {RESOURCE: 3, HALF: 3})

pauses = st.sampled_from((0.0, 0.001, 0.01, 0.05, 0.1, 0.2))
Pods = list[int]
pods: st.SearchStrategy[Pods] = st.lists(st.integers(0, 9), min_size=1, max_size=4)
"""Pods to start. The number says what each asks for."""
gpus, slots = st.sampled_from(GPUS), st.sampled_from(SLOTS)
instances = st.sampled_from((NO_INSTANCE, 0, 1, 2))
FAILING = (None, Call.ATTRIBUTES, Call.GI, Call.UUID, Call.CI_ID)


class AnyLayout(RuleBasedStateMachine):
    """One gateway with a driver, and a kubelet that becomes another release now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="kubelet-"))
        self.directory = self.folder / "dp"
        self.pods = self.folder / "pods"
        for each in (self.directory, self.pods):
            each.mkdir()
        self.driver = Driver(self.folder, gpus=0)
        self.world = World(self.driver, GPUS)
        self.containers: dict[str, Container] = {}
        """What each living pod was given."""
        self.count = 0
        self.replicas: Mapping[str, int] = {}
        self.is_disturbed = False
        """Whether the kubelet itself ends streams."""
        self.problems: list[str] = []

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        self.runner.run(work)
        assert not self.problems
        if self.task.done():
            self.task.result()
            raise AssertionError("the gateway has ended")

    @initialize(
        name=releases,
        strategy=st.sampled_from(("mixed", "single")),
        layouts=st.dictionaries(gpus, st.sampled_from(LAYOUTS), min_size=1),
    )
    def begin(self, name: str, strategy: str, layouts: dict[int, str]) -> None:
        self.world.layouts = layouts
        self.world.lay_out()
        self.runner.run(self._begin(name, strategy))
        self.be_quiet()

    async def _begin(self, name: str, strategy: str) -> None:
        self.patched = patch.object(served, "GRANT_GRACE", GRACE)
        self.patched.start()
        self.kubelet = FakeKubelet(self.directory, release(name), dial_timeout=DIAL, on_event=self._see)
        self.node = DrivenNode(self.directory, self.driver, strategy)
        self.over = asyncio.Event()
        self.task = asyncio.get_running_loop().create_task(self._live())
        await self.kubelet.start()

    async def _live(self) -> None:
        async with self.node.running():
            await self.over.wait()

    def _see(self, event: Event) -> None:
        """Check that the last list of a resource that goes was empty."""
        if event.kind is not EventKind.STREAM_ENDED or self.is_disturbed:
            return
        sent = [each for each in self.kubelet.lists if each.endpoint == event.text]
        if event.resource not in self.node.gateway.offered and sent and sent[-1].devices:
            self.problems.append(f"{event.resource} went with {sent[-1].devices} in its list")

    @contextlib.contextmanager
    def _disturbing(self) -> Iterator[None]:
        self.is_disturbed = True
        try:
            yield
        finally:
            self.is_disturbed = False

    @rule(gpu=gpus, layout=st.sampled_from(LAYOUTS), pods=pods, pause=pauses)
    def change_layout(self, gpu: int, layout: str, pods: Pods, pause: float) -> None:
        async def work() -> None:
            await self._start_pods(pods)
            if gpu in self.world.layouts:
                self.world.layouts[gpu] = layout
                self.world.lay_out()
            await asyncio.sleep(pause)

        self.run(work())

    @rule(gpu=gpus, layout=st.sampled_from(LAYOUTS), pods=pods, pause=pauses)
    def change_mode(self, gpu: int, layout: str, pods: Pods, pause: float) -> None:
        """Change the mode, for which the gateway has to close the driver."""

        async def work() -> None:
            await self._start_pods(pods)
            access = self.node.access
            self.world.heal()
            access.release(60)
            await until(lambda: access.released is not None and access.released.is_closed, "the end of the library")
            if self.world.layouts.pop(gpu, None) is None:
                self.world.layouts[gpu] = layout
            self.world.lay_out()
            await asyncio.sleep(pause)
            access.take()

        self.run(work())

    @rule(gpu=gpus)
    def ask_for_mode(self, gpu: int) -> None:
        """Ask for the other mode, which is pending as long as the gateway has the driver open."""
        enabled = gpu not in self.world.layouts
        if self.driver.mig.ask_for_mode(gpu, enabled=enabled):
            self.world.layouts = {each: layout for each, layout in self.world.layouts.items() if each != gpu}
            self.world.layouts |= {gpu: ""} if enabled else {}
            self.world.lay_out()

    @rule(gpu=gpus, slot=slots, after=st.integers(0, 12))
    def vanish(self, gpu: int, slot: int, after: int) -> None:
        """Let a MIG device go between two calls for it."""
        self.driver.mig.vanish(gpu, slot, after=after)

    @rule(gpu=gpus, slot=slots, call=st.sampled_from(FAILING))
    def fail(self, gpu: int, slot: int, call: Call | None) -> None:
        self.driver.mig.fail(gpu, slot, 999, call)

    @rule(gpu=gpus, slot=slots)
    def spoil(self, gpu: int, slot: int) -> None:
        self.world.spoil(gpu, slot)

    @rule(gpu=gpus, xid=st.sampled_from((31, 48, 79)), gi=instances, ci=instances)
    def report_xid(self, gpu: int, xid: int, gi: int, ci: int) -> None:
        """Report an XID of a GPU, or of an instance that may be there."""
        self.driver.xid(gpu, xid, gi=gi, ci=ci if gi != NO_INSTANCE else NO_INSTANCE)

    @rule()
    def forbid(self) -> None:
        self.driver.mig.permit(privileged=False)

    @rule(call=st.sampled_from((Call.MIG_HANDLE, Call.ATTRIBUTES, Call.COUNT)))
    def hang(self, call: Call) -> None:
        self.driver.hang(call)

    @rule(strategy=st.sampled_from(STRATEGIES), replicas=st.sampled_from(REPLICAS), pods=pods)
    def hang_up(self, strategy: str, replicas: Mapping[str, int], pods: Pods) -> None:
        """What SIGHUP leads to, when the file has another strategy or other numbers of replicas."""

        async def work() -> None:
            await self._start_pods(pods)
            self.replicas = replicas
            await self.node.follow(strategy, self._file())

        self.run(work())

    def _file(self) -> Path:
        shared = ", ".join(f"{{name: {name}, replicas: {count}}}" for name, count in self.replicas.items())
        file = self.folder / "config.yaml"
        file.write_text("version: v1\n" + (f"sharing: {{timeSlicing: {{resources: [{shared}]}}}}\n" if shared else ""))
        return file

    @rule(pods=pods)
    def start_pods(self, pods: Pods) -> None:
        self.run(self._start_pods(pods))

    async def _start_pods(self, pods: Pods) -> None:
        """Start a pod for each number, which says what it asks for, as soon as there is anything to ask for."""
        with contextlib.suppress(TimeoutError):
            await self.kubelet.wait_for(lambda: bool(self._on_offer()), timeout=0.5 if pods else 0, what="any device")
        for number in pods:
            if names := self._on_offer():
                await self._start_pod(names[number % len(names)], 1 + number // 8)

    def _on_offer(self) -> Sequence[str]:
        """Return the resources of which a device is free."""
        held = {(each.resource, id_) for each in self.containers.values() for id_ in each.ids}
        known = {name: self.kubelet.devices(name) for name in self.kubelet.resources if self.kubelet.allocatable(name)}
        return [
            name
            for name, devices in known.items()
            if any(word == Health.HEALTHY.value and (name, id_) not in held for id_, word in devices.items())
        ]

    async def _start_pod(self, resource: str, wanted: int) -> None:
        self.count += 1
        pod = f"uid-{self.count}"
        (self.pods / pod).mkdir()
        try:
            self.containers[pod] = await self.kubelet.allocate(resource, wanted, pod=pod)
        except AdmissionError:  # what the kubelet chose can be gone by then
            await self._end_pod(pod)
        self._check_grants()

    def _check_grants(self) -> None:
        if twice := granted_twice(self.world.held(self.containers.values())):
            self.problems.append(f"granted twice: {twice}")

    @precondition(lambda self: self.containers)
    @rule(choice=st.integers(0, 9))
    def end_pod(self, choice: int) -> None:
        self.run(self._end_pod(list(self.containers)[choice % len(self.containers)]))

    async def _end_pod(self, pod: str) -> None:
        await self.kubelet.remove(pod)
        self.containers.pop(pod, None)
        (self.pods / pod).rmdir()

    @rule(name=releases, kill=st.booleans(), pause=pauses)
    def restart(self, name: str, pause: float, *, kill: bool) -> None:
        async def work() -> None:
            with self._disturbing():
                await (self.kubelet.kill() if kill else self.kubelet.stop())
            await asyncio.sleep(pause)
            self.kubelet.release = release(name)
            await self.kubelet.start()

        self.run(work())

    @rule(choice=st.integers(0, 9))
    def drop_stream(self, choice: int) -> None:
        async def work() -> None:
            streams = [name for name in self.kubelet.resources if self.kubelet.open_streams(name)]
            if streams:
                with self._disturbing(), contextlib.suppress(TimeoutError):
                    await self.kubelet.drop_stream(streams[choice % len(streams)])

        self.run(work())

    @rule(pause=pauses)
    def wait(self, pause: float) -> None:
        self.run(asyncio.sleep(pause))

    @rule()
    def be_quiet(self) -> None:
        """End what is wrong with the driver and the GPUs, and compare."""
        self.world.heal()
        self.run(self._agree())

    async def _agree(self) -> None:
        """Wait until the kubelet has what the driver and the pods lead to."""
        deadline = time.monotonic() + AGREED
        while differences := list(self._differences()):
            for broken in list(self.node.gateway.state.faults):
                self.node.gateway.backends[0].clear(broken)
            assert time.monotonic() < deadline, f"{self.kubelet.release.name}, {self.node.strategy}: {differences}"
            await asyncio.sleep(0.01)

    def _differences(self) -> Iterable[str]:
        held = self.world.held(self.containers.values())
        expected = listed(self.world.offers(self.node.strategy, self.replicas), held, self.replicas)
        for name in {*expected, *self.kubelet.resources}:
            wanted, found = self._as_known(expected.get(name, {})), self._as_known(self.kubelet.devices(name))
            streams, is_offered = self.kubelet.open_streams(name), name in self.node.gateway.offered
            if not is_offered and not wanted and not self.kubelet.allocatable(name):
                found = {}  # a kubelet that ended the stream itself keeps the devices for some minutes, as unhealthy
            if wanted != found or streams != is_offered:
                yield f"{name}: {found} instead of {wanted}, {streams} streams"

    def _as_known(self, devices: Mapping[str, str]) -> Mapping[str, str]:
        """Leave out what is unhealthy where that is as good as not there."""
        if self.kubelet.release.unhealthy_has_capacity:
            return dict(devices)
        return {each: word for each, word in devices.items() if word == Health.HEALTHY.value}

    def teardown(self) -> None:
        try:
            if hasattr(self, "task"):
                self.be_quiet()
                assert not self.kubelet.overlaps
        finally:
            self.runner.run(self._end())
            self.runner.close()
            self.driver.close()
            self.patched.stop()
            shutil.rmtree(self.folder)

    async def _end(self) -> None:
        self.world.heal()
        self.over.set()
        await asyncio.wait({self.task})
        self.is_disturbed = True
        await self.kubelet.stop()
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()}, "the end of every task", limit=2)


@pytest.mark.timeout(0 if SOAK else 300)
def test_the_kubelet_has_what_the_driver_has_whatever_happened_and_nothing_is_granted_twice() -> None:
    run_state_machine_as_test(AnyLayout, settings=budget(12, 20))
