"""A gateway replaces an older one without a gap, with kubelets that hold several endpoints of one resource."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

import pytest

from driver.driver import Driver
from harness.node import RESOURCE, Node, device, running, until
from harness.process import Process, started
from plugin_gateway.adapters.control.control_socket import ControlServer, socket_name
from plugin_gateway.adapters.control.handover import OtherGateways, Successors
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.fake_kubelet.events import Event, EventKind
from plugin_gateway.adapters.registration.registrar import LOOK_INTERVAL
from plugin_gateway.core.registration import pauses
from plugin_gateway.core.resources.rules import ResourceRule
from plugin_gateway.core.resources.sharing import Sharing

LOOK = 0.01
"""Seconds between two looks at the number of devices."""


class Watched:
    """A kubelet that notes when its number of allocatable devices is not eight any more."""

    def __init__(self, directory: Path, name: str = "1.37") -> None:
        self.wrong: list[int | None] = []
        self.has_had_eight = False
        self.react: Callable[[Event], None] = lambda _: None
        self.kubelet = FakeKubelet(directory, release(name), on_event=self._take)
        self._looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.kubelet.start()
        self._looking = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._looking is not None
        self._looking.cancel()
        await asyncio.wait({self._looking})
        await self.kubelet.stop()

    async def _look(self) -> None:
        while True:
            self._check()
            await asyncio.sleep(LOOK)

    def _take(self, event: Event) -> None:
        self._check()
        self.react(event)

    def _check(self) -> None:
        found = self.kubelet.allocatable(RESOURCE)
        self.has_had_eight |= found == 8
        if self.has_had_eight and found != 8:
            self.wrong.append(found)

    async def eight(self) -> None:
        await self.kubelet.wait_for(lambda: self.kubelet.allocatable(RESOURCE) == 8, timeout=10, what="8 devices")

    async def streams(self, count: int) -> None:
        await self.kubelet.wait_for(
            lambda: self.kubelet.open_streams(RESOURCE) == count, timeout=10, what=f"{count} streams"
        )

    def current(self) -> str:
        """Return the instance that answers for the resource."""
        endpoint = self.kubelet._resources[RESOURCE].endpoint
        return "" if endpoint is None else "-".join(endpoint.path.name.split("-")[-3:-1])


@asynccontextmanager
async def inside(node: Node, state_dir: Path) -> AsyncIterator[Node]:
    """A gateway in this process that can replace others, and be replaced."""
    handover = node.registrar.handover
    successors = Successors(handover)
    async with asyncio.TaskGroup() as tasks:
        others = [
            tasks.create_task(ControlServer(state_dir, node.registrar.instance, successors.answer).run()),
            tasks.create_task(OtherGateways(state_dir, handover, can_share=True).run()),
        ]
        try:
            await until((state_dir / socket_name(node.registrar.instance)).exists, "the control socket")
            async with running(node):
                yield node
        finally:
            for each in others:
                each.cancel()
            successors.leave()


@asynccontextmanager
async def served(kubelet_dir: Path, state_dir: Path) -> AsyncIterator[tuple[Watched, Node]]:
    """A kubelet that has its eight devices, and the gateway that serves it."""
    async with Watched(kubelet_dir) as watched, inside(Node(kubelet_dir), state_dir) as elder:
        await watched.eight()
        yield watched, elder


@asynccontextmanager
async def beside(watched: Watched, kubelet_dir: Path, state_dir: Path) -> AsyncIterator[Node]:
    """A younger gateway that serves the kubelet beside the elder."""
    async with inside(Node(kubelet_dir), state_dir) as younger:
        await watched.streams(2)
        yield younger


async def test_an_older_one_that_shares_its_devices_in_another_way_is_not_replaced_beside_it(
    kubelet_dir: Path, state_dir: Path, told: list[dict[str, Any]]
) -> None:
    """The kubelet would take the ids of both for different devices."""
    async with served(kubelet_dir, state_dir) as (watched, _):
        shared = (ResourceRule(name=RESOURCE, sharing=Sharing(replicas=2)),)
        async with inside(Node(kubelet_dir, rules=shared), state_dir):
            words = "the other gateway cannot be replaced without a gap"
            await until(lambda: any(line["event"] == words for line in told), "the refusal", 10)
            assert watched.kubelet.open_streams(RESOURCE) == 1
            assert watched.kubelet.capacity(RESOURCE) == 8


@asynccontextmanager
async def process(kubelet_dir: Path, driver: Driver, *, at_once: bool = False) -> AsyncIterator[Process]:
    """Run a gateway, and wait until it can be asked if not ``at_once``."""
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root), "--kubelet-version=1.37")
    async with started(*arguments, environment=driver.environment) as found:
        if not at_once:
            await found.wait_for_control()
        yield found


async def test_twenty_gateways_replace_each_other_and_the_kubelet_always_has_all_devices(
    kubelet_dir: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pauses, "BOTH_HOLD", pauses.BOTH_HOLD._replace(seconds=0.1))
    async with Watched(kubelet_dir) as watched, AsyncExitStack() as before:
        await before.enter_async_context(inside(Node(kubelet_dir), state_dir))
        await watched.eight()
        for number in range(20):
            async with AsyncExitStack() as now:
                node = await now.enter_async_context(inside(Node(kubelet_dir), state_dir))
                await until(lambda node=node: watched.current() == node.registrar.instance, f"number {number}")  # type: ignore[misc]
                await watched.streams(1)
                await before.aclose()
                before.push_async_exit(now.pop_all())
        assert not watched.wrong
        assert len(watched.kubelet.registrations) == 21


async def test_from_the_list_of_the_younger_on_the_elder_sends_and_writes_nothing(
    kubelet_dir: Path, state_dir: Path
) -> None:
    async with served(kubelet_dir, state_dir) as (watched, elder):
        answer = Successors(elder.registrar.handover).answer
        digests = elder.registrar.handover.digests([RESOURCE])
        assert answer({"command": "share", "resources": dict(digests)}) == {"agreed": [RESOURCE]}
        assert not elder.registrar.leads()
        known = len(watched.kubelet.lists)
        elder.fail(3)
        await until(lambda: device(3).id in elder.gateway.state.faults, "the fault")
        await asyncio.sleep(0.1)
        assert len(watched.kubelet.lists) == known
        async with inside(Node(kubelet_dir), state_dir) as younger:
            await until(lambda: watched.current() == younger.registrar.instance, "the younger")
            await watched.streams(1)
            await until(lambda: any(each.stands_by for each in elder.registrar.status()), "the elder's end")
            assert not elder.registrar.leads()
            assert all(younger.registrar.instance in each.endpoint for each in watched.kubelet.lists[known:])


async def test_an_elder_whose_younger_never_registers_goes_on(kubelet_dir: Path, state_dir: Path) -> None:
    async with served(kubelet_dir, state_dir) as (watched, elder):
        handover = elder.registrar.handover
        assert handover.agree(handover.digests([RESOURCE])) == [RESOURCE]
        elder.fail(3)
        await watched.kubelet.wait_for(lambda: watched.kubelet.allocatable(RESOURCE) == 7, what="7 devices")
        assert elder.registrar.leads()


async def test_an_elder_whose_younger_ends_goes_on_at_once_with_a_list_of_its_own(
    kubelet_dir: Path, state_dir: Path
) -> None:
    async with served(kubelet_dir, state_dir) as (watched, elder):
        async with beside(watched, kubelet_dir, state_dir):
            assert not elder.registrar.leads()
            known = len(watched.kubelet.lists)
        left = asyncio.get_running_loop().time()
        await watched.kubelet.wait_for(lambda: len(watched.kubelet.lists) > known, what="the elder's list")
        assert asyncio.get_running_loop().time() - left < pauses.KEPT_BACK.seconds / 2
        assert elder.registrar.instance in watched.kubelet.lists[-1].endpoint
        await until(elder.registrar.leads, "the elder writes again")
        assert not watched.wrong


async def test_an_elder_that_has_seen_the_stream_of_the_younger_keeps_its_own_when_that_one_ends(
    kubelet_dir: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pauses, "BOTH_HOLD", pauses.BOTH_HOLD._replace(seconds=10.0))
    async with served(kubelet_dir, state_dir) as (watched, elder):
        async with beside(watched, kubelet_dir, state_dir):
            await asyncio.sleep(2 * LOOK_INTERVAL)
        await asyncio.sleep(2 * LOOK_INTERVAL)
        assert not watched.wrong
        assert [each.stands_by for each in elder.registrar.status()] == [False]
        assert len(watched.kubelet.registrations) == 2


async def test_an_elder_that_gave_its_word_to_nobody_who_has_a_stream_keeps_its_own(
    kubelet_dir: Path, state_dir: Path
) -> None:
    async with served(kubelet_dir, state_dir) as (watched, elder):
        handover = elder.registrar.handover
        assert handover.agree(handover.digests([RESOURCE])) == [RESOURCE]
        handover.note_replaced("ffffffffff-ffff", [RESOURCE])
        await asyncio.sleep(LOOK_INTERVAL)
        assert not watched.wrong


@pytest.mark.parametrize("moment", [0.2, 0.95])
async def test_a_kubelet_that_restarts_while_both_serve_has_all_devices_at_once(
    moment: float, kubelet_dir: Path, state_dir: Path
) -> None:
    async with served(kubelet_dir, state_dir) as (watched, _), beside(watched, kubelet_dir, state_dir):
        await asyncio.sleep(pauses.BOTH_HOLD.seconds * moment)
        await watched.kubelet.restart()
        watched.has_had_eight = False
        async with asyncio.timeout(1.5):
            await watched.eight()
        watched.wrong.clear()
        await asyncio.sleep(1.5)
        assert not watched.wrong


async def test_an_elder_goes_on_if_the_younger_has_lost_its_stream_before_the_word(
    kubelet_dir: Path, state_dir: Path
) -> None:
    async with served(kubelet_dir, state_dir) as (watched, elder), beside(watched, kubelet_dir, state_dir):

        async def hang(_: object) -> None:
            await asyncio.sleep(5)

        watched.kubelet.on_register = hang
        await watched.kubelet.drop_stream(RESOURCE)
        await asyncio.sleep(2 * pauses.BOTH_HOLD.seconds)
        assert watched.current() == elder.registrar.instance
        assert not watched.wrong


async def test_an_elder_that_hears_late_that_it_is_replaced_does_not_have_the_last_word(
    kubelet_dir: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stopped meanwhile, so it sends a list that does not have the fault, and then hears the word."""
    monkeypatch.setattr(pauses, "KEPT_BACK", pauses.KEPT_BACK._replace(seconds=0.5))
    async with served(kubelet_dir, state_dir) as (watched, elder), beside(watched, kubelet_dir, state_dir) as younger:
        younger.fail(3)
        await watched.kubelet.wait_for(lambda: watched.kubelet.allocatable(RESOURCE) == 7, what="7 devices")
        await watched.eight()
        assert elder.registrar.instance in watched.kubelet.lists[-1].endpoint
        await watched.streams(1)
        await watched.kubelet.wait_for(lambda: watched.kubelet.allocatable(RESOURCE) == 7, what="7 devices")
        assert younger.registrar.instance in watched.kubelet.lists[-1].endpoint


async def test_an_elder_that_has_forgotten_that_it_agreed_is_asked_again(kubelet_dir: Path, state_dir: Path) -> None:
    """It forgets it when it sees a kubelet.sock, which the younger one may have seen before it asked."""
    async with served(kubelet_dir, state_dir) as (watched, elder), beside(watched, kubelet_dir, state_dir) as younger:
        resource = elder.registrar._resources[RESOURCE]
        precedence = resource.registration.precedence.start_over()
        resource.registration = resource.registration._replace(precedence=precedence)
        await watched.streams(1)
        assert watched.current() == younger.registrar.instance
        await until(lambda: any(each.stands_by for each in elder.registrar.status()), "the elder's end")
        assert not watched.wrong


async def test_a_process_replaces_another_one_and_gives_way_to_a_third(kubelet_dir: Path, driver: Driver) -> None:
    async with Watched(kubelet_dir) as watched, process(kubelet_dir, driver) as first:
        await watched.eight()
        async with process(kubelet_dir, driver) as second:
            assert (await second.wait_for_event("registered"))["reason"] == "other_gateway_agreed"
            await watched.streams(1)
            await first.wait_for_event("another gateway offers this resource, standing by")
            assert "another gateway offers this resource and has to stand by" not in first.events()
            first.send(signal.SIGTERM)
            await first.ended()
            async with process(kubelet_dir, driver) as third:
                await third.wait_for_event("registered")
                await watched.streams(1)
                await second.wait_for_event("another gateway offers this resource, standing by")
                assert not watched.wrong
                assert first.events().count("registered") == second.events().count("registered") == 1


@pytest.mark.parametrize("moment", [EventKind.REGISTERED, EventKind.STREAM_OPENED], ids=["accepted", "both serve"])
@pytest.mark.parametrize("killed", ["elder", "younger"])
async def test_the_kubelet_has_all_devices_if_one_of_both_is_killed(
    killed: str, moment: EventKind, kubelet_dir: Path, driver: Driver
) -> None:
    async with Watched(kubelet_dir) as watched, process(kubelet_dir, driver) as elder:
        await watched.eight()
        async with process(kubelet_dir, driver, at_once=True) as younger:
            victim = elder if killed == "elder" else younger

            def kill(event: Event) -> None:
                if event.kind is moment:
                    victim.send(signal.SIGKILL)

            watched.react = kill
            await victim.ended(limit=20)
            watched.react = lambda _: None
            await watched.streams(1)
            await asyncio.sleep(0.3)
            assert not watched.wrong


async def stands_by_alone(watched: Watched, kubelet_dir: Path, driver: Driver) -> str:
    """A younger gateway waits for the word, and is not registered beside the elder. Return why, as it says."""
    async with process(kubelet_dir, driver) as younger:
        await younger.wait_for_event("the other gateway will say when it leaves")
        told = await younger.wait_for_event("the other gateway cannot be replaced without a gap")
        await asyncio.sleep(0.5)
        assert not watched.kubelet.overlaps
        assert not watched.wrong
        return str(told["problem"])


async def test_gateways_with_different_devices_are_never_registered_together(
    kubelet_dir: Path, driver: Driver, tmp_path: Path
) -> None:
    (tmp_path / "fewer").mkdir()
    fewer = Driver(tmp_path / "fewer", gpus=7)
    try:
        async with Watched(kubelet_dir) as watched, process(kubelet_dir, driver):
            await watched.eight()
            assert "other devices" in await stands_by_alone(watched, kubelet_dir, fewer)
    finally:
        fewer.close()


async def test_a_word_about_the_kubelet_that_its_user_agent_contradicts_is_not_followed(
    kubelet_dir: Path, driver: Driver
) -> None:
    async with Watched(kubelet_dir, "1.36") as watched, process(kubelet_dir, driver):
        await watched.eight()
        problem = await stands_by_alone(watched, kubelet_dir, driver)
        assert "grpc-go/" in problem
        assert "--kubelet-version" in problem
