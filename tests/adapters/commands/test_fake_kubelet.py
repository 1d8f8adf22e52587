"""`plugin-gateway fake-kubelet` as a user runs it."""

import asyncio
import contextlib
import os
import pty
import signal
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters.fake_kubelet.plugin import OK, RESOURCE, Plugin
from plugin_gateway.adapters.fake_kubelet import release

PROGRAM = str(Path(sys.executable).with_name("plugin-gateway"))


class Session:
    """A running fake kubelet, told what to do and read line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def say(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n".encode())
        await self.process.stdin.drain()

    async def see(self, words: str) -> str:
        """Read until a line has these words."""
        assert self.process.stdout is not None
        async with asyncio.timeout(10):
            while line := (await self.process.stdout.readline()).decode():
                self.lines.append(line)
                if words in line:
                    return line
        raise AssertionError(f"ended without {words!r}: {self.lines}")

    async def ended(self) -> int:
        async with asyncio.timeout(10):
            return await self.process.wait()


@asynccontextmanager
async def playing(directory: Path, like: str = "1.36") -> AsyncIterator[Session]:
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "fake-kubelet", "--kubelet-dir", str(directory), "--like", like,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    session = Session(process)
    try:
        await session.see(f"kubelet started  kubelet {like}")
        yield session
    finally:
        if process.returncode is None:
            process.terminate()
        await session.ended()


async def refused(*arguments: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "fake-kubelet", *arguments, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(10):
        output, _ = await process.communicate()
    return process.returncode, output.decode()


async def test_it_shows_what_it_sees_and_does_as_it_is_told(kubelet_dir: Path) -> None:
    async with playing(kubelet_dir, "1.36") as session, Plugin(kubelet_dir, release("1.36")) as plugin:
        assert await plugin.register() == OK
        assert "thing.sock" in await session.see("stream opened")
        assert "2 of 2 healthy; capacity 2, allocatable 2" in await session.see("list received")
        await session.say(f"devices {RESOURCE}")
        await session.see(f"{RESOURCE} b Healthy")
        await session.say(f"allocate {RESOURCE} 2 web")
        assert "web/main: a, b" in await session.see("allocated")
        assert "{'THING': 'first'}" in await session.see("container of web: environment")
        await session.see("container of web: mount /in from /out (read-only)")
        await session.see("container of web: annotation a=b")
        await session.see("container of web: CDI device v.com/c=d")
        await session.say(f"allocate {RESOURCE}")
        assert "Requested: 1, Available: 0" in await session.see("refused:")
        await session.say(f"allocate {RESOURCE} 1 web")
        await session.see("refused: there is already a pod 'web'; there are web")
        await session.say("remove web")
        await session.see("removed web")
        await session.say(f"drop {RESOURCE}")
        assert "capacity" not in await session.see("stream ended")
        assert "capacity 2, allocatable 0" in await session.see("end of the stream noticed")
        await session.say("restart 1.37")
        await session.see("kubelet started  kubelet 1.37")
        await session.say("restart")
        await session.see("kubelet started  kubelet 1.37")
        await session.say("quit")
        assert await session.ended() == 0
    assert not (kubelet_dir / "kubelet.sock").exists()


async def test_replicas_of_a_device_are_one_line(kubelet_dir: Path) -> None:
    ids = [f"{device}::{number}" for number in range(64) for device in ("b", "a")]
    async with playing(kubelet_dir) as session, Plugin(kubelet_dir, release("1.36"), ids=ids) as plugin:
        plugin.devices[0] = ("b::0", "Unhealthy")
        await plugin.register()
        await session.see("127 of 128 healthy")
        await session.say(f"devices {RESOURCE}")
        await session.see(f"{RESOURCE} b::1 to ::63 (63) Healthy")
        shown = [f"{RESOURCE} a::0 to ::63 (64) Healthy\n", f"{RESOURCE} b::0 Unhealthy\n"]
        assert session.lines[-3:-1] == shown
        await session.say(f"allocate {RESOURCE} 127 web")
        assert "web/main: a::0 to ::63 (64), b::1 to ::63 (63)\n" in await session.see("allocated")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("frobnicate", "refused: invalid value 'frobnicate'; expected allocate RESOURCE"),
        ("allocate a.b/c many", "refused: 'many' is no number of devices"),
        ("allocate a.b/c", "starts without devices: no plugin offers a.b/c"),
        ("allocate a.b/c ²", "refused: '²' is no number of devices"),
        ("allocate a.b/c 100001", "refused: '100001' is no number of devices; expected 0 to 100000"),
        (f"allocate a.b/c {'9' * 5000}", "is no number of devices"),
        ("allocate gpu", "refused: no plugin can offer 'gpu': a resource's name is a domain and a name"),
        ("allocate", "refused: invalid value 'allocate'; expected allocate RESOURCE"),
        ("drop a.b/c", "refused: no resource 'a.b/c', registered are none yet"),
        ("devices a.b/c", "refused: no resource 'a.b/c'"),
        ("remove nobody", "refused: no pod 'nobody'; there are none"),
        ("restart 1.7", "refused: kubelet release '1.7'; expected 1.8"),
    ],
)
async def test_a_command_that_makes_no_sense_is_refused_and_it_goes_on(
    command: str, words: str, kubelet_dir: Path
) -> None:
    async with playing(kubelet_dir) as session:
        await session.say(command)
        await session.say("")
        await session.see(words)
        await session.say("quit")
        assert await session.ended() == 0


async def test_a_call_that_its_release_does_not_know_is_shown(kubelet_dir: Path) -> None:
    async with playing(kubelet_dir, "1.8") as session, Plugin(kubelet_dir, release("1.8")) as plugin:
        await plugin.register(package="v1beta1", version="v1beta1")
        await session.see("call of an unknown method  /v1beta1.Registration/Register")


@pytest.mark.parametrize("commands", [None, "frobnicate\nquit\n"])
async def test_its_input_can_be_a_file_or_nothing(commands: str | None, kubelet_dir: Path, tmp_path: Path) -> None:
    source = Path(os.devnull)
    if commands is not None:
        source = tmp_path / "commands"
        source.write_text(commands)
    with source.open() as file:
        process = await asyncio.create_subprocess_exec(
            PROGRAM, "fake-kubelet", "--kubelet-dir", str(kubelet_dir), stdin=file,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
    session = Session(process)
    await session.see("kubelet started")
    if commands is None:
        process.terminate()
    else:
        await session.see("refused: ")
    assert await session.ended() == 0


async def test_a_directory_in_which_a_kubelet_listens_is_refused(kubelet_dir: Path) -> None:
    async with playing(kubelet_dir) as session:
        status, output = await refused("--kubelet-dir", str(kubelet_dir))
        assert (status, output.count("\n")) == (2, 1)
        assert f"a kubelet listens in {kubelet_dir} already (process {session.process.pid})" in output
        assert (kubelet_dir / "kubelet.sock").exists()


async def test_it_goes_on_when_its_input_ends_and_leaves_at_a_signal(kubelet_dir: Path) -> None:
    async with playing(kubelet_dir) as session, Plugin(kubelet_dir, release("1.36")) as plugin:
        assert session.process.stdin is not None
        session.process.stdin.close()
        assert await plugin.register() == OK
        await session.see("list received")
        session.process.send_signal(signal.SIGINT)
        assert await session.ended() == 0


async def test_a_directory_that_is_not_its_own_to_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    status, output = await refused("--kubelet-dir", str(tmp_path))
    assert status == 2
    assert output.count("\n") == 1
    assert f"{tmp_path} holds precious" in output
    assert (tmp_path / "precious").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--kubelet-dir", "/dev/null"), "--kubelet-dir: /dev/null is no directory"),
        (("--kubelet-dir", "/proc/nothing"), "/proc/nothing/kubelet.sock: No such file or directory"),
        (("--kubelet-dir", "/tmp/" + "x" * 120), "AF_UNIX path too long"),
        (("--kubelet-dir", ""), "--kubelet-dir: '' is no directory"),
        (("--kubelet-dir", "/tmp/k", "--like", "1.7"), "--like: kubelet release '1.7'; expected 1.8"),
        (("--kubelet-dir", "/tmp/k", "--grace", "soon"), "--grace: invalid value 'soon'; expected seconds above 0"),
        (("--kubelet-dir", "/tmp/k", "--grace", "0"), "--grace: invalid value '0'; expected seconds above 0"),
        ((), "--kubelet-dir"),
    ],
)
async def test_a_mistake_is_told_in_one_line(arguments: tuple[str, ...], words: str) -> None:
    status, output = await refused(*arguments)
    assert (status, output.count("\n")) == (2, 1), output
    assert words in output


class Terminal:
    """A fake kubelet on a terminal of 16 lines, and all that it wrote there."""

    def __init__(self, process: asyncio.subprocess.Process, file: int) -> None:
        self.process = process
        self.shown = bytearray()
        self._file = file

    def read(self) -> None:
        """Read until the other end is closed."""
        with contextlib.suppress(OSError):
            while data := os.read(self._file, 4096):
                self.shown.extend(data)

    def type(self, command: str) -> None:
        os.write(self._file, f"{command}\n".encode())

    async def see(self, words: bytes) -> None:
        async with asyncio.timeout(10):
            while words not in self.shown:  # noqa: ASYNC110 - a thread fills it
                await asyncio.sleep(0.02)

    async def ended(self) -> int:
        async with asyncio.timeout(10):
            return await self.process.wait()


@asynccontextmanager
async def on_a_terminal(directory: Path) -> AsyncIterator[Terminal]:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (16, 100))
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    environment["TERM"] = "xterm"
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "fake-kubelet", "--kubelet-dir", str(directory), "--like", "1.10",
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment,
    )  # fmt: skip
    os.close(theirs)
    terminal = Terminal(process, ours)
    reading = asyncio.create_task(asyncio.to_thread(terminal.read))
    try:
        yield terminal
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await reading
        os.close(ours)
    assert b"Traceback" not in terminal.shown


async def test_on_a_terminal_it_draws_a_picture_that_fits(kubelet_dir: Path) -> None:
    things = [f"thing-{number}" for number in range(9)]
    async with on_a_terminal(kubelet_dir) as terminal:
        await terminal.see(b"kubelet 1.10")
        async with Plugin(kubelet_dir, release("1.10"), ids=things) as plugin:
            assert await plugin.register() == OK
            await terminal.see(b"9 of 9 healthy; capacity 9, allocatable 9")
            await terminal.see(b"and 7 more")
            plugin.devices = [(f"{name}::{number}", "Healthy") for name in "ab" for number in range(64)]
            await plugin.register()
            await terminal.see(b"b::0 to ::63 (64) Healthy")
            terminal.shown.clear()
            terminal.type(f"allocate {RESOURCE} 200")
            await terminal.see(b"refused: Update plugin resources failed")
            terminal.type("quit")
            assert await terminal.ended() == 0


async def test_a_kubelet_that_cannot_listen_is_not_drawn(tmp_path: Path) -> None:
    async with on_a_terminal(tmp_path / ("x" * 120)) as terminal:
        assert await terminal.ended() == 2
    assert b"AF_UNIX path too long" in terminal.shown
    assert b"kubelet 1.10" not in terminal.shown


async def test_an_output_that_cannot_be_written_is_told_as_the_cause(kubelet_dir: Path) -> None:
    process = await asyncio.create_subprocess_shell(
        f"exec {PROGRAM} fake-kubelet --kubelet-dir {kubelet_dir} >/dev/full", stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(10):
        _, errors = await process.communicate()
    assert errors == b"plugin-gateway: cannot write the output: No space left on device\n"
    assert process.returncode == 1


async def test_an_output_that_nobody_reads_ends_it_without_a_word(kubelet_dir: Path) -> None:
    process = await asyncio.create_subprocess_shell(
        f"exec {PROGRAM} fake-kubelet --kubelet-dir {kubelet_dir}",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(10):
        await process.stdout.readline()
        process.stdout._transport.close()  # type: ignore[attr-defined]
        process.stdin.write(b"restart\nrestart\nrestart\n")
        assert await process.wait() == 1
        assert await process.stderr.read() == b""
