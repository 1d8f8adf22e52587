"""What must not happen although something else does: a second stream, a lost registration, a word too many."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from adapters.registration.waiting import A100, TWO, allocatable, reason, see_both, state
from harness.node import DIALECTS, EVERYTHING, RESOURCE, Node, device, running, until
from plugin_gateway.adapters.dialects.v1alpha import V0_1, V1ALPHA2
from plugin_gateway.adapters.dialects.v1beta1 import V1BETA1
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.fake_kubelet.events import Event, EventKind
from plugin_gateway.adapters.serving.endpoint import BindError, Endpoint
from plugin_gateway.api.v1beta1 import api_pb2 as wire
from plugin_gateway.core.registration import pauses
from plugin_gateway.core.registration.failures import Reason
from plugin_gateway.core.registration.states import Accepted
from plugin_gateway.core.resources.names import parse_resource_name
from plugin_gateway.core.resources.rules import ResourceRule, Selector

RELEASES = ("1.8", "1.9", "1.10", "1.36", "1.37")


@asynccontextmanager
async def answering(
    directory: Path, answer: Callable[[wire.RegisterRequest, grpc.aio.ServicerContext[bytes, bytes]], Awaitable[bytes]]
) -> AsyncIterator[None]:
    """A kubelet that does with a v1beta1 Register whatever the test says."""

    class Registration(grpc.GenericRpcHandler):
        def service(
            self, handler_call_details: grpc.HandlerCallDetails
        ) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
            if handler_call_details.method != V1BETA1.register_method:
                return None

            async def register(data: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
                return await answer(wire.RegisterRequest.FromString(data), context)

            return grpc.unary_unary_rpc_method_handler(register)

    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers((Registration(),))
    server.add_insecure_port(f"unix:{directory}/kubelet.sock")
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


async def moved(socket: Path) -> None:
    socket.rename(socket.with_name("elsewhere"))
    await asyncio.sleep(0.1)
    socket.with_name("elsewhere").rename(socket)


async def touched(socket: Path) -> None:
    os.utime(socket)


@pytest.mark.parametrize("disturb", [moved, touched])
@pytest.mark.parametrize("name", RELEASES)
async def test_a_kubelet_whose_socket_is_touched_is_the_same_kubelet(
    name: str, disturb: Callable[[Path], Awaitable[None]], kubelet_dir: Path
) -> None:
    async with FakeKubelet(kubelet_dir, release(name)) as kubelet, running(Node(kubelet_dir)) as node:
        await allocatable(kubelet)
        known = len(kubelet.registrations)
        await disturb(kubelet_dir / "kubelet.sock")
        (kubelet_dir / "plugin-gateway-wake").touch()
        await asyncio.sleep(0.3)
        assert len(kubelet.registrations) == known
        await kubelet.drop_stream(RESOURCE)
        ended = time.monotonic()
        await kubelet.wait_for(lambda: len(kubelet.registrations) > known, what="a registration")
        assert kubelet.registrations[known].time - ended >= 0.06
        await allocatable(kubelet)
        assert reason(node) is Reason.STREAM_ENDED
        await kubelet.restart(kill=True)
        await allocatable(kubelet)
        assert not kubelet.overlaps


@pytest.mark.parametrize("name", RELEASES)
async def test_a_kubelet_whose_socket_is_moved_away_and_back_during_register_is_not_asked_again(
    name: str, kubelet_dir: Path
) -> None:
    async with FakeKubelet(kubelet_dir, release(name)) as kubelet:
        entered, held = asyncio.Event(), asyncio.Event()

        async def hold(_: object) -> None:
            entered.set()
            await held.wait()

        kubelet.on_register = hold
        async with running(Node(kubelet_dir)):
            await asyncio.wait_for(entered.wait(), 5)
            known = len(kubelet.registrations)
            await moved(kubelet_dir / "kubelet.sock")
            await asyncio.sleep(0.5)
            assert len(kubelet.registrations) == known
            held.set()
            await allocatable(kubelet)
            assert not kubelet.overlaps


@pytest.mark.parametrize("name", RELEASES)
async def test_a_resource_that_comes_back_at_once_is_registered_after_the_pause(name: str, kubelet_dir: Path) -> None:
    events: list[Event] = []
    async with (
        FakeKubelet(kubelet_dir, release(name), on_event=events.append) as kubelet,
        running(Node(kubelet_dir, rules=TWO)) as node,
    ):
        see_both(node)
        await allocatable(kubelet, 1, A100)
        await allocatable(kubelet, 1)
        known = len(kubelet.registrations)
        node.gateway.apply(node.serving_policy._replace(rules=EVERYTHING))
        node.gateway.apply(node.serving_policy)
        await kubelet.wait_for(lambda: len(kubelet.registrations) > known, what="a registration")
        (ended,) = [event.time for event in events if event.kind is EventKind.STREAM_ENDED]
        assert kubelet.registrations[known].time - ended >= 0.06
        await allocatable(kubelet, 1, A100)
        assert not kubelet.overlaps


async def test_removed_resources_say_that_they_have_no_devices_and_end(kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, running(Node(kubelet_dir, rules=TWO)) as node:
        see_both(node)
        await allocatable(kubelet, 1, A100)
        await allocatable(kubelet, 1)
        third = parse_resource_name("nvidia.com/all")
        node.gateway.apply(node.serving_policy._replace(rules=(ResourceRule(name=third),)))
        await allocatable(kubelet, 2, third)
        await kubelet.wait_for(
            lambda: not kubelet.open_streams(A100) and not kubelet.open_streams(RESOURCE), what="the end of both"
        )
        for resource in (A100, RESOURCE):
            assert [seen.devices for seen in kubelet.lists if seen.resource == resource][-1] == ()
        await until(lambda: len(list(kubelet_dir.glob("plugin-gateway-*"))) == 1, "the end of their sockets")


async def test_a_resource_can_be_removed_while_it_registers(kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet:

        async def hang(_: object) -> None:
            if kubelet.registrations[-1].resource == A100:
                await asyncio.sleep(30)

        kubelet.on_register = hang
        async with running(Node(kubelet_dir, rules=TWO), devices=0) as node:
            node.see([device(1, "NVIDIA A100-SXM4-80GB")])
            await kubelet.wait_for(lambda: bool(kubelet.registrations), what="a registration")
            see_both(node)
            node.gateway.apply(node.serving_policy._replace(rules=EVERYTHING))
            await allocatable(kubelet, 2)


async def test_an_api_version_that_is_forbidden_during_a_registration_is_not_used(
    kubelet_dir: Path, told: list[dict[str, Any]]
) -> None:
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet:
        held = asyncio.Event()

        async def hold(_: object) -> None:
            await held.wait()

        kubelet.on_register = hold
        async with running(Node(kubelet_dir)) as node:
            await kubelet.wait_for(lambda: bool(kubelet.registrations), what="a registration")
            node.registrar.allow([V1ALPHA2, V0_1])
            held.set()
            await asyncio.sleep(0.3)
            assert not kubelet.open_streams(RESOURCE)
            node.registrar.allow(DIALECTS)
            await allocatable(kubelet)
            node.registrar.allow([V1ALPHA2])
            await kubelet.wait_for(lambda: not kubelet.open_streams(RESOURCE), what="the end of the stream")
            await until(lambda: reason(node) is Reason.SETTINGS_CHANGED, "the reason")
            node.registrar.allow([V1BETA1, V0_1])
            await allocatable(kubelet)
            assert not kubelet.overlaps
            assert not [line for line in told if line["event"] == "the kubelet ended the stream"], "it was us"


@pytest.mark.parametrize("name", ["1.25", "1.34", "1.36", "1.37"])
async def test_a_socket_deleted_during_the_registration_costs_what_the_kubelet_takes_to_dial(
    name: str, kubelet_dir: Path
) -> None:
    """A second Register meanwhile would be forgotten by a kubelet of 1.25 to 1.34 when the first one fails."""
    async with FakeKubelet(kubelet_dir, release(name), dial_timeout=0.5) as kubelet:

        async def lose(_: object) -> None:
            if len(kubelet.registrations) == 1:
                (kubelet_dir / kubelet.registrations[0].endpoint).unlink()

        kubelet.on_register = lose
        async with running(Node(kubelet_dir)):
            await allocatable(kubelet)
            assert [call.error is None for call in kubelet.registrations] == [False, True]
        await allocatable(kubelet, 0)


@pytest.mark.parametrize("name", ["1.25", "1.34"])
async def test_a_resource_removed_during_its_registration_comes_back_when_the_kubelet_is_done_with_it(
    name: str, kubelet_dir: Path
) -> None:
    async with FakeKubelet(kubelet_dir, release(name), dial_timeout=0.8) as kubelet:
        entered = asyncio.Event()

        async def hold(_: object) -> None:
            if len(kubelet.registrations) == 1:
                entered.set()
                await asyncio.sleep(0.2)

        kubelet.on_register = hold
        node = Node(kubelet_dir)
        async with running(node):
            await entered.wait()
            node.gateway.apply(node.serving_policy._replace(rules=(ResourceRule(name=A100),)))
            node.gateway.apply(node.serving_policy)
            await allocatable(kubelet)
        await allocatable(kubelet, 0)


@pytest.mark.parametrize("name", ["1.36", "1.37"])
async def test_a_kubelet_that_has_no_time_to_notice_the_end_of_a_stream_gets_a_second(
    name: str, kubelet_dir: Path
) -> None:
    """Genuine ones of 1.36 that stood still for a while lost the stream that came next."""
    async with FakeKubelet(kubelet_dir, release(name)) as kubelet:
        node = Node(kubelet_dir)
        async with running(node):
            await allocatable(kubelet)
            node.gateway.apply(node.serving_policy._replace(rules=(ResourceRule(name=A100),)))
            node.gateway.apply(node.serving_policy)
            left = time.monotonic()
            await kubelet.wait_for(lambda: len(kubelet.registrations) == 2, what="the second registration")
            assert time.monotonic() - left > 0.9
            await allocatable(kubelet)


async def test_a_kubelet_that_asked_for_the_options_must_open_the_stream_soon(
    kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten = 0
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet:
        connect = kubelet._connections._watch

        async def watch(*arguments: Any) -> None:
            nonlocal forgotten
            forgotten += 1
            if forgotten > 1:
                await connect(*arguments)

        monkeypatch.setattr(kubelet._connections, "_watch", watch)
        async with running(Node(kubelet_dir)):
            await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, timeout=6, what="the second attempt")


async def test_a_pause_begins_when_the_endpoint_is_closed_although_the_process_was_stopped_before(
    kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet:

        async def open_no_stream(*_: Any) -> None:
            pass

        monkeypatch.setattr(kubelet._connections, "_watch", open_no_stream)
        async with running(Node(kubelet_dir)) as node:
            await kubelet.wait_for(lambda: bool(kubelet.registrations), what="a registration")
            await until(lambda: state(node) is Accepted, "the answer")
            node.registrar.renew(RESOURCE, Reason.DEVICES_LOST)
            time.sleep(0.5)  # noqa: ASYNC251 - as if the process were stopped
            went_on = time.monotonic()
            await kubelet.wait_for(lambda: len(kubelet.registrations) == 2, what="the second registration")
            assert kubelet.registrations[1].time - went_on >= pauses.CLOSED_STREAM.seconds


async def test_a_socket_that_cannot_be_made_is_tried_again(kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bind, failed = Endpoint.bind, 0

    async def often_in_vain(self: Endpoint) -> None:
        nonlocal failed
        failed += 1
        if failed <= 2:
            raise BindError("no space left")
        await bind(self)

    monkeypatch.setattr("plugin_gateway.adapters.registration.registrar.BIND_RETRY", 0.1)
    monkeypatch.setattr(Endpoint, "bind", often_in_vain)
    async with running(Node(kubelet_dir)):
        await until(lambda: bool(list(kubelet_dir.glob("plugin-gateway-*"))), "a socket")
    assert failed == 3


@pytest.mark.parametrize("turns", range(0, 60, 3))
async def test_the_gateway_can_be_stopped_at_any_moment_of_its_start(turns: int, kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release("1.9")):
        async with running(Node(kubelet_dir)):
            for _ in range(turns):
                await asyncio.sleep(0)
        assert not list(kubelet_dir.glob("plugin-gateway-*"))


async def test_a_kubelet_that_never_opens_the_stream_is_registered_with_again(kubelet_dir: Path) -> None:
    names: list[str] = []

    async def accept(request: wire.RegisterRequest, _: object) -> bytes:
        names.append(request.endpoint)
        return b""

    impatient = (V1BETA1._replace(stream_timeout=0.2),)
    async with answering(kubelet_dir, accept), running(Node(kubelet_dir, allowed=impatient)):
        await until(lambda: len(names) == 3, "the third registration")
        assert len(set(names)) == 3
        await until(lambda: not (kubelet_dir / names[0]).exists(), "the end of the first socket")


async def test_a_stream_counts_although_the_answer_to_register_got_lost(kubelet_dir: Path) -> None:
    names: list[str] = []
    streams = asyncio.Event()
    over = asyncio.Event()

    async def open_and_fail(request: wire.RegisterRequest, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        names.append(request.endpoint)
        if len(names) == 1:
            kubelet.append(asyncio.ensure_future(watch(kubelet_dir / request.endpoint)))
        await streams.wait()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the answer got lost")

    async def watch(path: Path) -> None:
        options = (("grpc.primary_user_agent", "grpc-go/1.7.5"), ("grpc.default_authority", "localhost"))
        async with grpc.aio.insecure_channel(f"unix:{path}", options=options) as channel:
            watch_devices: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(
                f"/{V1BETA1.service}/ListAndWatch"
            )
            stream = watch_devices(b"")
            await stream.read()
            streams.set()
            await over.wait()
            stream.cancel()

    kubelet: list[asyncio.Future[None]] = []
    async with answering(kubelet_dir, open_and_fail), running(Node(kubelet_dir)) as node:
        await asyncio.wait_for(streams.wait(), 5)
        await asyncio.sleep(0.5)
        assert len(names) == 1
        over.set()
        await asyncio.gather(*kubelet)
        await until(lambda: len(names) == 2, "a registration after its end")
        assert reason(node) is Reason.STREAM_ENDED


async def test_1_8_hears_of_two_resources_one_after_the_other(kubelet_dir: Path) -> None:
    """Its kubelet can crash when two resources are new, or change, at the same instant."""
    async with (
        FakeKubelet(kubelet_dir, release("1.8")) as kubelet,
        running(Node(kubelet_dir, rules=TWO), devices=0) as node,
    ):
        see_both(node)
        await allocatable(kubelet, 1, A100)
        await allocatable(kubelet, 1)
        for round_ in range(3):
            node.see([device(0), device(1, "NVIDIA A100-SXM4-80GB"), *(device(2 + n) for n in range(round_))])
            node.fail(0, 79 if round_ else 48)
            node.fail(1)
            await asyncio.sleep(0.3)
        accepted = [(call.time, call.resource) for call in kubelet.registrations if call.error is None]
        told = sorted([*accepted, *((seen.time, seen.resource) for seen in kubelet.lists)])
        assert len(told) >= 6
        assert all(after[0] - before[0] >= 0.03 for before, after in pairwise(told) if before[1] != after[1])


async def test_a_problem_is_told_again_after_it_was_over(kubelet_dir: Path, told: list[dict[str, Any]]) -> None:
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet:
        refused = 0

        async def refuse(_: object) -> str | None:
            nonlocal refused
            refused += 1
            name = kubelet.registrations[-1].endpoint
            return None if refused % 3 == 0 else f"failed to get device plugin options: {name} is not ready"

        kubelet.on_register = refuse
        async with running(Node(kubelet_dir)):
            await allocatable(kubelet)
            await kubelet.drop_stream(RESOURCE)
            await kubelet.wait_for(lambda: refused == 6, timeout=15, what="the second success")
            await allocatable(kubelet)
    assert len([line for line in told if line["event"] == "registration failed"]) == 2


async def test_a_restricted_api_version_is_named_as_the_cause(kubelet_dir: Path, told: list[dict[str, Any]]) -> None:
    async with FakeKubelet(kubelet_dir, release("1.9")), running(Node(kubelet_dir, allowed=(V1BETA1,))):
        await until(lambda: any(line["event"] == "registration failed" for line in told), "the refusal")
    (failed,) = [line for line in told if line["event"] == "registration failed"]
    assert failed["hint"] == "--api-version allows only v1beta1"


async def test_devices_that_match_no_rule_and_nodes_that_are_missing_are_told(
    kubelet_dir: Path, told: list[dict[str, Any]]
) -> None:
    def unmatched_told() -> list[dict[str, Any]]:
        return [line for line in told if line["event"].startswith("devices match no rule")]

    node = Node(kubelet_dir, rules=(ResourceRule(selector=Selector(products=("*H100*",)), name=RESOURCE),))
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, running(node, devices=0):
        node.see([device(1, "NVIDIA T4"), device(7)])
        await allocatable(kubelet, 1)
        for product in ("NVIDIA T4", "NVIDIA L4"):
            node.see([device(1, product), device(7)])
        await until(lambda: len(unmatched_told()) == 2, "both products")
        await kubelet.allocate(RESOURCE, 1, pod="p")
    assert [line["products"] for line in unmatched_told()] == [["NVIDIA T4"], ["NVIDIA L4"]]
    (missing,) = [line for line in told if line["event"] == "device nodes are missing, the container gets none"]
    assert missing["nodes"] == ("/dev/nvidia7",)
