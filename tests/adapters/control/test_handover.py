"""The word that a gateway gives to those that stand by for it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.node import RESOURCE, Node, running, until
from harness.unix_sockets import connected
from plugin_gateway.adapters.control import handover
from plugin_gateway.adapters.control.control_socket import ControlServer, socket_name
from plugin_gateway.adapters.control.handover import MAX_WAITING, OtherGateways, Successors, _offers_of
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.registration.handover import Handover
from plugin_gateway.adapters.registration.resource_registration import OfferedDevices
from plugin_gateway.core.registration import pauses
from plugin_gateway.core.resources.names import ResourceName, parse_resource_name

OTHER = parse_resource_name("example.com/other")


@asynccontextmanager
async def able_to_hand_over(node: Node, state_dir: Path, *, can_share: bool = False) -> AsyncIterator[Successors]:
    """Let a gateway answer those that stand by for it, and ask those that it stands by for."""
    successors = Successors(node.registrar.handover)
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(ControlServer(state_dir, node.registrar.instance, successors.answer).run())
        asking = tasks.create_task(OtherGateways(state_dir, node.registrar.handover, can_share=can_share).run())
        try:
            await until((state_dir / socket_name(node.registrar.instance)).exists, "the control socket")
            yield successors
        finally:
            asking.cancel()
            serving.cancel()
            successors.leave()


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *resources: str) -> Any:
    writer.write(json.dumps({"command": "await_leave", "resources": resources}).encode() + b"\n")
    return await told(reader)


async def told(reader: asyncio.StreamReader) -> Any:
    async with asyncio.timeout(5):
        return json.loads(await reader.readline())


def registrations(kubelet: FakeKubelet) -> int:
    return len(kubelet.registrations)


async def test_a_resource_that_is_given_up_is_taken_by_who_stands_by(kubelet_dir: Path, state_dir: Path) -> None:
    elder, younger = Node(kubelet_dir), Node(kubelet_dir)
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        able_to_hand_over(elder, state_dir),
        able_to_hand_over(younger, state_dir),
        running(elder),
    ):
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, what="8 devices")
        async with running(younger):
            await until(lambda: elder.registrar.instance in younger.registrar.handover.answering, "the first answer")
            before = registrations(kubelet)
            elder.gateway.apply(elder.serving_policy._replace(rules=()))
            began = asyncio.get_running_loop().time()
            await kubelet.wait_for(lambda: registrations(kubelet) > before, what="the younger's registration")
            assert asyncio.get_running_loop().time() - began < pauses.TAKE_OVER.seconds
            await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, what="8 devices")
            assert not kubelet.overlaps
            await until(lambda: not younger.registrar.handover.answering, "the end of the connection")


async def test_a_word_comes_at_once_about_what_is_not_held(kubelet_dir: Path, state_dir: Path) -> None:
    node = Node(kubelet_dir)
    async with FakeKubelet(kubelet_dir, release("1.37")), able_to_hand_over(node, state_dir), running(node):
        await until(lambda: RESOURCE in node.registrar.handover.held, "the resource")
        async with connected(state_dir / socket_name(node.registrar.instance)) as (reader, writer):
            assert await ask(reader, writer, OTHER, RESOURCE) == {"answer": {"waits": True}}
            assert await told(reader) == {"answer": {"left": [OTHER]}}
            assert await reader.read() == b""


async def test_what_is_no_name_of_a_resource_is_not_waited_for(kubelet_dir: Path, state_dir: Path) -> None:
    node = Node(kubelet_dir)
    async with FakeKubelet(kubelet_dir, release("1.37")), able_to_hand_over(node, state_dir), running(node):
        await until(lambda: RESOURCE in node.registrar.handover.held, "the resource")
        async with connected(state_dir / socket_name(node.registrar.instance)) as (reader, writer):
            writer.write(b'{"command": "await_leave", "resources": [[], {}, null, "nvidia.com/gpu"]}\n')
            assert await told(reader) == {"answer": {"waits": True}}
            node.gateway.apply(node.serving_policy._replace(rules=()))
            assert await told(reader) == {"answer": {"left": [RESOURCE]}}


async def test_one_that_leaves_earlier_is_forgotten_and_too_many_are_refused(
    kubelet_dir: Path, state_dir: Path
) -> None:
    node = Node(kubelet_dir)
    async with able_to_hand_over(node, state_dir) as successors, running(node):
        path = state_dir / socket_name(node.registrar.instance)
        await until(lambda: RESOURCE in node.registrar.handover.held, "the resource")
        async with contextlib.AsyncExitStack() as many:
            for _ in range(MAX_WAITING):
                assert "answer" in await ask(*await many.enter_async_context(connected(path)), RESOURCE)
            async with connected(path) as (reader, writer):
                assert "wait already" in (await ask(reader, writer, RESOURCE))["error"]
        await until(lambda: not successors._waiting, "the end of all")
        async with connected(path) as (reader, writer):
            assert "answer" in await ask(reader, writer, RESOURCE)


async def test_a_request_with_something_else_than_names_keeps_nobody_from_the_word(
    kubelet_dir: Path, state_dir: Path
) -> None:
    node = Node(kubelet_dir)
    async with able_to_hand_over(node, state_dir), running(node):
        path = state_dir / socket_name(node.registrar.instance)
        await until(lambda: RESOURCE in node.registrar.handover.held, "the resource")
        async with connected(path) as (odd, odd_writer), connected(path) as (reader, writer):
            odd_writer.write(b'{"command": "await_leave", "resources": [[1], {}, null]}\n')
            assert "answer" in await told(odd)
            assert "answer" in await ask(reader, writer, RESOURCE)
            node.gateway.apply(node.serving_policy._replace(rules=()))
            assert await told(reader) == {"answer": {"left": [RESOURCE]}}


@asynccontextmanager
async def played(state_dir: Path, instance: str, *lines: bytes) -> AsyncIterator[list[asyncio.StreamWriter]]:
    """Play the control socket of another gateway that sends these lines. The connections stay open."""
    writers: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writers.append(writer)
        writer.writelines(lines)

    state_dir.mkdir(exist_ok=True)
    server = await asyncio.start_unix_server(answer, state_dir / socket_name(instance))
    try:
        yield writers
    finally:
        server.close()
        for writer in writers:
            writer.close()


class Listener(Handover):
    """Remembers what it is told about another gateway."""

    def __init__(self) -> None:
        super().__init__("0000000009-ffff", {}, lambda *_: None, lambda _: None, lambda: None)
        self.learned: list[tuple[str, Collection[ResourceName]]] = []

    def note_left(self, instance: str, resources: Collection[ResourceName]) -> None:
        self.learned.append((instance, resources))


@asynccontextmanager
async def asking(listener: Handover, state_dir: Path) -> AsyncIterator[None]:
    """Let a gateway stand by for another one."""
    listener.awaited.publish({INSTANCE: frozenset({RESOURCE})})
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(OtherGateways(state_dir, listener).run())
        try:
            yield
        finally:
            task.cancel()


INSTANCE = "0000000001-aaaa"
WAITS = b'{"answer": {"waits": true}}\n'


async def test_a_connection_that_breaks_while_somebody_listens_tells_nothing(state_dir: Path) -> None:
    listener = Listener()
    async with (
        played(state_dir, INSTANCE, WAITS) as writers,
        asking(listener, state_dir),
    ):
        await until(lambda: INSTANCE in listener.answering, "the first answer")
        writers[0].close()
        await until(lambda: len(writers) == 2, "another connection")
        assert INSTANCE in listener.answering
        assert not listener.learned
    assert not listener.answering


async def test_a_connection_that_breaks_when_nobody_listens_any_more_tells_the_end(state_dir: Path) -> None:
    listener = Listener()
    async with asking(listener, state_dir):
        async with played(state_dir, INSTANCE, WAITS):
            await until(lambda: INSTANCE in listener.answering, "the first answer")
        await until(lambda: bool(listener.learned), "the end")
        assert listener.learned == [(INSTANCE, frozenset({RESOURCE}))]
        assert not listener.answering


async def test_where_nobody_ever_answered_nothing_is_believed(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "MIN_RETRY", 0.01)
    listener = Listener()
    async with asking(listener, state_dir):
        await asyncio.sleep(0.05)
        async with played(state_dir, INSTANCE):
            await asyncio.sleep(0.05)
        assert not listener.learned
        assert not listener.answering


async def test_one_of_an_older_version_answers_but_gives_no_word(state_dir: Path) -> None:
    listener = Listener()
    async with asking(listener, state_dir):
        async with played(state_dir, INSTANCE, b'{"error": "unknown command"}\n'):
            await until(lambda: INSTANCE in listener.answering, "the answer")
        await asyncio.sleep(0.05)
        assert not listener.learned


@pytest.mark.parametrize(
    "lines",
    [
        (b"nonsense\n",),
        (b"[1]\n",),
        (b"[" * 60_000 + b"\n",),
        (b'{"other": 1}\n',),
        (WAITS, b'{"answer": {"left": 5}}\n'),
        (WAITS, b'{"answer": {"left": [5, "example.com/stranger"]}}\n'),
        (b"x" * (handover.MAX_ANSWER + 1),),
        (b"[" * (handover.MAX_ANSWER // 2) + b"\n",),
        (WAITS, b'{"answer": ' + b"[" * (handover.MAX_ANSWER // 2) + b"\n"),
    ],
)
async def test_an_answer_that_is_none_tells_nothing(lines: tuple[bytes, ...], state_dir: Path) -> None:
    listener = Listener()
    async with played(state_dir, INSTANCE, *lines) as writers, asking(listener, state_dir):
        await until(lambda: bool(writers), "the connection")
        await asyncio.sleep(0.05)
        assert not any(resources for _, resources in listener.learned)


async def test_one_that_always_breaks_off_after_its_first_answer_is_asked_less_and_less(state_dir: Path) -> None:
    listener = Listener()
    async with played(state_dir, INSTANCE, WAITS, b"nonsense\n") as writers, asking(listener, state_dir):
        await asyncio.sleep(1)
        assert len(writers) <= 10


async def test_one_that_accepts_and_says_nothing_is_not_waited_for_for_ever(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "FIRST_ANSWER", 0.05)
    monkeypatch.setattr(handover, "MIN_RETRY", 0.01)
    listener = Listener()
    async with played(state_dir, INSTANCE) as writers, asking(listener, state_dir):
        await until(lambda: len(writers) > 1, "another try")
        assert not listener.learned
        assert not listener.answering


async def test_an_elder_is_not_told_that_it_is_replaced_if_a_stream_ends_within_the_time_of_both(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pauses, "BOTH_HOLD", pauses.BOTH_HOLD._replace(seconds=0.2))
    elder, younger, replaced = Listener(), Listener(), list[tuple[str, Collection[ResourceName]]]()
    monkeypatch.setattr(elder, "note_replaced", lambda *told: replaced.append(told))
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(ControlServer(state_dir, INSTANCE, Successors(elder).answer).run())
        telling = tasks.create_task(OtherGateways(state_dir, younger, can_share=True).run())
        await until((state_dir / socket_name(INSTANCE)).exists, "the control socket")
        younger.sharing.publish({INSTANCE: frozenset({RESOURCE})})
        await asyncio.sleep(0.1)
        younger.sharing.publish({})
        await asyncio.sleep(0.3)
        assert not replaced
        younger.sharing.publish({INSTANCE: frozenset({RESOURCE})})
        await until(lambda: bool(replaced), "the word")
        assert replaced[0] == (younger.instance, {RESOURCE})
        telling.cancel()
        serving.cancel()


async def test_a_gateway_that_stands_by_says_whether_the_other_one_answers(kubelet_dir: Path, state_dir: Path) -> None:
    elder, younger = Node(kubelet_dir), Node(kubelet_dir)
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, running(elder):
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, what="8 devices")
        async with running(younger):
            await until(lambda: any(each.stands_by for each in younger.registrar.status()), "the younger")
            assert [each.others_answer for each in younger.registrar.status()] == [False]
            async with able_to_hand_over(elder, state_dir), able_to_hand_over(younger, state_dir):
                await until(lambda: younger.registrar.status()[0].others_answer, "the answer")


@pytest.mark.parametrize(
    ("status", "offers"),
    [
        ({"resources": [], "devices": []}, {}),
        ({"resources": [{"name": "a/b"}, 5], "devices": [7]}, {"a/b": OfferedDevices(frozenset())}),
        (
            {"resources": [{"name": "a/b"}], "devices": [{"id": "GPU-1", "resource": "a/b"}, {"id": "GPU-2"}]},
            {"a/b": OfferedDevices(frozenset({"GPU-1"}))},
        ),
        (
            {"resources": [], "devices": [{"id": "MIG-1", "physical": "GPU-1", "resource": "a/b"}]},
            {"a/b": OfferedDevices(frozenset({"MIG-1"}), frozenset({"GPU-1"}))},
        ),
    ],
)
def test_what_another_gateway_offers_is_read_from_its_status(status: Any, offers: Any) -> None:
    assert _offers_of({"answer": status}) == offers


@pytest.mark.parametrize("answer", [{}, {"error": "unknown command"}, {"answer": 5}, {"answer": {"resources": []}}])
def test_what_is_no_status_is_refused(answer: Any) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        _offers_of(answer)


def whole(*ids: str) -> OfferedDevices:
    return OfferedDevices(frozenset(ids))


def of_g1(part: str) -> OfferedDevices:
    return OfferedDevices(frozenset({part}), frozenset({"G1"}))


@pytest.mark.parametrize(
    ("ours", "theirs", "is_shared"),
    [
        (whole("G1", "G2"), whole("G2"), True),
        (whole("G1"), whole("G2"), False),
        (of_g1("M1"), whole("G1"), True),
        (of_g1("M1"), of_g1("M1"), True),
        (of_g1("M1"), of_g1("M2"), False),
        (whole(), whole(), False),
    ],
)
def test_two_parts_of_one_device_are_different_devices_and_the_whole_one_is_both(
    ours: OfferedDevices, theirs: OfferedDevices, *, is_shared: bool
) -> None:
    assert ours.has_any_of(theirs) is is_shared
    assert theirs.has_any_of(ours) is is_shared
