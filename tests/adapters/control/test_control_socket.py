"""The operator's socket: for root alone, and nobody who misuses it holds the gateway up."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.node import until
from plugin_gateway.adapters.control import control_socket
from plugin_gateway.adapters.control.control_socket import MAX_CLIENTS, ControlError, ControlServer, ask
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


@asynccontextmanager
async def serving(directory: Path) -> AsyncIterator[Path]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(ControlServer(directory, answer).run())
        try:
            path = directory / "control.sock"
            await until(path.exists, "the socket")
            yield path
        finally:
            task.cancel()


async def asked(directory: Path, request: Mapping[str, Any]) -> Mapping[str, Any]:
    return await asyncio.to_thread(ask, directory, request)


@asynccontextmanager
async def connected(path: Path) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_request_is_answered_and_a_refusal_told(state_dir: Path) -> None:
    async with serving(state_dir):
        assert await asked(state_dir, {"command": "x"}) == {"got": {"command": "x"}}
        with pytest.raises(ControlError, match=r"^not today$"):
            await asked(state_dir, {"command": "refuse"})
        assert await asked(state_dir, {"command": "wait"}) == {"got": {"command": "wait"}}
        with pytest.raises(ControlError, match=r"^not tomorrow$"):
            await asked(state_dir, {"command": "wait and refuse"})


async def test_it_is_for_its_owner_alone_and_gone_at_the_end(state_dir: Path) -> None:
    async with serving(state_dir) as path:
        assert path.stat().st_mode & 0o777 == 0o600
        assert state_dir.stat().st_mode & 0o777 == 0o700
    assert list(state_dir.iterdir()) == []


async def test_a_later_gateway_takes_the_place_and_keeps_it(state_dir: Path) -> None:
    async with AsyncExitStack() as later:
        async with serving(state_dir) as path:
            before = path.stat().st_ino
            await later.enter_async_context(serving(state_dir))
            await until(lambda: path.stat().st_ino != before, "the other socket")
        assert await asked(state_dir, {}) == {"got": {}}


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
        assert await asked(state_dir, {}) == {"got": {}}


async def test_a_client_that_hangs_up_harms_nobody(state_dir: Path) -> None:
    async with serving(state_dir) as path:
        for _ in range(20):
            async with connected(path) as (_, writer):
                writer.write(b'{"command": "x"}\n')
        assert await asked(state_dir, {}) == {"got": {}}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_anybody_else_is_hung_up_on(kubelet_dir: Path) -> None:
    async with serving(kubelet_dir / "state") as path:
        for each in (kubelet_dir, path.parent, path):
            each.chmod(0o777)
        code = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({str(path)!r}); print(s.recv(9))"
        child = await asyncio.create_subprocess_exec(
            "python3", "-c", code, user=12345, group=12345, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(child.communicate(), 10)
        assert output == b"b''\n"


async def test_a_place_that_cannot_be_had_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "LOOK_INTERVAL", 0.02)
    (tmp_path / "file").touch()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(ControlServer(tmp_path / "file" / "state", answer).run())
        await asyncio.sleep(0.1)
        assert not task.done()
        (tmp_path / "file").unlink()
        await until((tmp_path / "file" / "state" / "control.sock").exists, "the socket")
        assert await asked(tmp_path / "file" / "state", {}) == {"got": {}}
        task.cancel()


async def test_a_socket_that_is_deleted_is_made_again(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "LOOK_INTERVAL", 0.02)
    async with serving(state_dir) as path:
        for _ in range(3):
            path.unlink()
            path.parent.rmdir()
            await until(path.exists, "the socket again")
            assert await asked(state_dir, {}) == {"got": {}}


def test_nobody_there_is_told_with_what_to_look_at(state_dir: Path) -> None:
    with pytest.raises(ControlError, match=r"no gateway can be asked at .*control.sock: No such file .*--state-dir\?"):
        ask(state_dir, {})


def test_a_name_that_is_too_long_for_a_socket_is_told(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match=r"no gateway can be asked at .*: AF_UNIX path too long"):
        ask(tmp_path / ("x" * 120), {})


@pytest.mark.parametrize(
    ("line", "words"),
    [(b"", "hung up"), (b"{}\n", "no gateway of this version"), (b"5\n", "no gateway of this version")],
)
async def test_what_is_no_gateway_is_told_so(line: bytes, words: str, state_dir: Path) -> None:
    state_dir.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(state_dir / "control.sock"))
        listener.listen()
        asking = asyncio.create_task(asked(state_dir, {}))
        client, _ = await asyncio.to_thread(listener.accept)
        with client:
            client.recv(100)
            client.sendall(line)
        with pytest.raises(ControlError, match=words):
            await asyncio.wait_for(asking, 5)


async def test_a_gateway_that_does_not_answer_is_not_waited_for_for_ever(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_socket, "TIMEOUT", 0.2)
    state_dir.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(state_dir / "control.sock"))
        listener.listen()
        with pytest.raises(ControlError, match="did not answer within 0 s"):
            await asyncio.wait_for(asked(state_dir, {}), 5)
