"""The operator's socket: for root alone, and nobody who misuses it holds the gateway up."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.node import until
from harness.statuses import BARE, RESOURCE
from harness.unix_sockets import connected
from plugin_gateway.adapters.control import control_client, control_socket
from plugin_gateway.adapters.control.control_client import Asked, ControlError, NoAnswerError, ask_all
from plugin_gateway.adapters.control.control_socket import MAX_CLIENTS, Answer, ControlServer
from plugin_gateway.adapters.gateway.status_document import encode
from plugin_gateway.adapters.support.unix_files import find_listener
from plugin_gateway.core.errors import GatewayError


class RefusedError(GatewayError):
    pass


def answer(request: Mapping[str, Any]) -> Mapping[str, Any] | Awaitable[Mapping[str, Any]]:
    if request.get("command") == "refuse":
        raise RefusedError("not today")
    return later(request) if request.get("command") in {"wait", "wait and refuse"} else {"got": request}


async def later(request: Mapping[str, Any]) -> Mapping[str, Any]:
    await asyncio.sleep(0.01)
    if request["command"] == "wait and refuse":
        raise RefusedError("not tomorrow")
    return {"got": request}


INSTANCE, LATER = "0000000001-aaaa", "0000000002-bbbb"


@asynccontextmanager
async def serving(directory: Path, instance: str = INSTANCE, answer: Answer = answer) -> AsyncIterator[Path]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(ControlServer(directory, instance, answer).run())
        try:
            path = directory / f"control-{instance}.sock"
            await until(path.exists, "the socket")
            yield path
        finally:
            task.cancel()


async def asked(path: Path, request: Mapping[str, Any]) -> Mapping[str, Any]:
    return await asyncio.to_thread(Asked(path, 0, None).tell, request)


def status(*, stream: float | None = None, stands_by: bool = False) -> Answer:
    """What a gateway answers that has one resource."""
    resource = replace(RESOURCE, stream_opened=stream, stands_by=stands_by)
    return lambda _: encode(replace(BARE, resources=(resource,)))


async def test_a_request_is_answered_and_a_refusal_told(state_dir: Path) -> None:
    async with serving(state_dir) as path:
        assert await asked(path, {"command": "x"}) == {"got": {"command": "x"}}
        with pytest.raises(ControlError, match=r"^not today$"):
            await asked(path, {"command": "refuse"})
        assert await asked(path, {"command": "wait"}) == {"got": {"command": "wait"}}
        with pytest.raises(ControlError, match=r"^not tomorrow$"):
            await asked(path, {"command": "wait and refuse"})


async def test_it_is_for_its_owner_alone_and_gone_at_the_end(state_dir: Path) -> None:
    async with serving(state_dir) as path:
        assert path.stat().st_mode & 0o777 == 0o600
        assert state_dir.stat().st_mode & 0o777 == 0o700
    assert list(state_dir.iterdir()) == []


async def test_each_gateway_has_a_socket_and_the_end_of_one_leaves_the_other(state_dir: Path) -> None:
    async with serving(state_dir) as path:
        async with serving(state_dir, LATER) as later:
            assert [await asked(each, {}) for each in (path, later)] == [{"got": {}}] * 2
        assert list(state_dir.iterdir()) == [path]
        assert await asked(path, {}) == {"got": {}}


async def test_the_active_one_is_asked_first_and_one_of_an_older_version_is_found(state_dir: Path) -> None:
    async with (
        serving(state_dir, answer=status(stands_by=True)) as standby,
        serving(state_dir, LATER, answer=status(stream=5.0)) as active,
        serving(state_dir, "0000000003-cccc", answer=status()) as older,
    ):
        older.rename(state_dir / "control.sock")
        found = await asyncio.to_thread(ask_all, state_dir)
        (state_dir / "control.sock").rename(older)
    assert [(each.socket, each.role, each.pid) for each in found] == [
        (active, "active", os.getpid()),
        (state_dir / "control.sock", "not registered", os.getpid()),
        (standby, "standing by", os.getpid()),
    ]


async def test_one_that_hangs_comes_last_and_the_error_is_told_only_if_nobody_answers(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_client, "TIMEOUT", 0.2)
    state_dir.mkdir()
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(state_dir / f"control-{INSTANCE}.sock"))
        hanging.listen()
        async with serving(state_dir, LATER, answer=status(stream=5.0)):
            first, last = await asyncio.to_thread(ask_all, state_dir)
            assert (first.role, last.role) == ("active", "does not answer")
        with pytest.raises(NoAnswerError, match="did not answer within 0 s"):
            await asyncio.to_thread(ask_all, state_dir)


async def test_a_socket_is_removed_if_its_gateway_is_gone_and_stays_if_it_only_hangs(state_dir: Path) -> None:
    state_dir.mkdir()
    names = ("control-0000000000-dead.sock", "control.sock", "control-0000000000-beef.sock", "other.sock")
    sockets = [socket.socket(socket.AF_UNIX) for _ in names]
    for each, name in zip(sockets, names, strict=True):
        each.bind(str(state_dir / name))
    dead, older, hanging, other = sockets
    hanging.listen(0)
    full = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) for _ in range(3)]
    try:
        for each in full:
            each.connect_ex(str(state_dir / names[2]))  # until its queue is full, as that of a stopped process
        for each in (dead, older, other):
            each.close()
        (state_dir / "control-0000000000-f11e.sock").touch()
        async with serving(state_dir) as path:
            left = {each.name for each in state_dir.iterdir()}
    finally:
        for each in (*full, hanging):
            each.close()
    assert left == {path.name, names[2], "other.sock", "control-0000000000-f11e.sock"}


@pytest.mark.parametrize(
    ("request_line", "words"),
    [
        (b"hello\n", b"the request is not JSON"),
        (b"[1]\n", b"the request has no names with values"),
        (b"\xff\n", b"the request is not JSON"),
        (b"[" * 5000, b"the request is not JSON"),
    ],
)
async def test_what_is_no_request_is_told_so(request_line: bytes, words: bytes, state_dir: Path) -> None:
    async with serving(state_dir) as path, connected(path) as (reader, writer):
        writer.write(request_line)
        async with asyncio.timeout(5):
            assert words in await reader.readline()


async def test_clients_that_say_nothing_are_let_go_and_keep_nobody_out_for_long(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_socket, "TIMEOUT", 0.3)
    async with serving(state_dir) as path, AsyncExitStack() as clients:
        for _ in range(3 * MAX_CLIENTS):
            await clients.enter_async_context(connected(path))
        await asyncio.sleep(0.5)
        assert await asked(path, {}) == {"got": {}}


async def test_a_client_that_hangs_up_harms_nobody(state_dir: Path) -> None:
    async with serving(state_dir) as path:
        for _ in range(20):
            async with connected(path) as (_, writer):
                writer.write(b'{"command": "x"}\n')
        assert await asked(path, {}) == {"got": {}}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_anybody_else_is_hung_up_on(kubelet_dir: Path) -> None:
    async with serving(kubelet_dir / "state") as path:
        for each in (kubelet_dir.parent, kubelet_dir, path.parent, path):
            each.chmod(0o777)
        code = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({str(path)!r}); print(s.recv(9))"
        child = await asyncio.create_subprocess_exec(
            "python3", "-c", code, user=12345, group=12345, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(child.communicate(), 10)
        assert output == b"b''\n"


async def test_a_place_that_cannot_be_had_is_tried_again(kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "LOOK_INTERVAL", 0.02)
    (kubelet_dir / "file").touch()
    path = kubelet_dir / "file" / "state" / f"control-{INSTANCE}.sock"
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(ControlServer(path.parent, INSTANCE, answer).run())
        await asyncio.sleep(0.1)
        assert not task.done()
        (kubelet_dir / "file").unlink()
        await until(path.exists, "the socket")
        assert await asked(path, {}) == {"got": {}}
        task.cancel()


async def test_a_socket_that_is_deleted_is_made_again(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "LOOK_INTERVAL", 0.02)
    async with serving(state_dir) as path:
        for _ in range(3):
            path.unlink()
            path.parent.rmdir()
            await until(path.exists, "the socket again")
            assert await asked(path, {}) == {"got": {}}


@pytest.mark.parametrize("kind", ["file", "dead socket", "link"])
async def test_a_socket_that_something_else_has_replaced_is_made_again(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(control_socket, "LOOK_INTERVAL", 0.02)
    async with serving(state_dir) as path:
        path.unlink()
        match kind:
            case "file":
                path.touch()
            case "dead socket":
                with socket.socket(socket.AF_UNIX) as dead:
                    dead.bind(str(path))
            case _:
                path.symlink_to("nowhere")
        await until(path.is_socket, "a socket")
        await until(lambda: find_listener(path) is not None, "the own socket again")
        assert await asked(path, {}) == {"got": {}}
    assert not os.path.lexists(path)


async def test_what_is_made_in_place_of_the_socket_stays_at_the_end(state_dir: Path) -> None:
    async with serving(state_dir) as path:
        path.unlink()
        path.mkdir()
    assert path.is_dir()


async def test_what_takes_long_is_carried_out_and_whoever_asked_is_told_so(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_socket, "ANSWER_TIME", 0.05)
    may_end, ended = asyncio.Event(), asyncio.Event()

    async def work(request: Mapping[str, Any]) -> Mapping[str, Any]:
        await may_end.wait()
        ended.set()
        return request

    async with serving(state_dir, answer=work) as path:
        with pytest.raises(ControlError, match=r"takes longer than .* and goes on; the log tells the outcome"):
            await asked(path, {})
        may_end.set()
        await asyncio.wait_for(ended.wait(), 5)


def test_nobody_there_is_told_with_what_to_look_at(state_dir: Path) -> None:
    with pytest.raises(ControlError, match=r"no gateway can be asked at .*state: No such file .*--state-dir\?"):
        ask_all(state_dir)
    state_dir.mkdir()
    with pytest.raises(ControlError, match=r"at .*state: there is no control socket; .*--state-dir\?"):
        ask_all(state_dir)
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(state_dir / "control.sock"))
    with pytest.raises(ControlError, match=r"at .*/control.sock: Connection refused; is it running"):
        ask_all(state_dir)


def test_a_name_that_is_too_long_for_a_socket_is_told(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match=r"no gateway can be asked at .*: AF_UNIX path too long"):
        Asked(tmp_path / ("x" * 120), 0, None).tell({})


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", "hung up"),
        (b"[" * 60_000, "hung up"),
        (b"{}\n", "no gateway of this version"),
        (b"5\n", "no gateway of this version"),
        (b'{"answer": 5}\n', "no gateway of this version"),
    ],
)
async def test_what_is_no_gateway_is_told_so(line: bytes, words: str, state_dir: Path) -> None:
    state_dir.mkdir()
    path = state_dir / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        asking = asyncio.create_task(asked(path, {}))
        client, _ = await asyncio.to_thread(listener.accept)
        with client:
            client.recv(100)
            client.sendall(line)
        with pytest.raises(ControlError, match=words):
            await asyncio.wait_for(asking, 5)
