"""`plugin-gateway fake-kubelet`: the fake kubelet for people, live, with commands on standard input."""

import argparse
import asyncio
import contextlib
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from plugin_gateway.adapters.fake_kubelet.events import Event
from plugin_gateway.adapters.fake_kubelet.kubelet import SOCKET, FakeKubelet
from plugin_gateway.adapters.fake_kubelet.releases import RELEASES, Release, release
from plugin_gateway.core.errors import GatewayError, InvalidValueError
from plugin_gateway.core.health import Health

EVENTS_SHOWN = 12
HELP = "allocate RESOURCE [COUNT [POD]] | remove POD | drop RESOURCE | restart [RELEASE] | quit"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the sub-command."""
    parser.description = (
        "Plays the kubelet of a release in a directory of its own, so that any device plugin can be tried without a "
        "cluster. Shows what it sees; takes commands on standard input: " + HELP
    )
    parser.formatter_class = argparse.HelpFormatter
    parser.add_argument("--kubelet-dir", required=True, metavar="DIR", help="where kubelet.sock is made")
    parser.add_argument("--like", default="1.37", metavar="RELEASE", help=f"of {', '.join(RELEASES)} (default: 1.37)")


def run(arguments: argparse.Namespace) -> int:
    """Play until told to quit.

    Raises:
        InvalidValueError: unknown release, or a directory that cannot be used.
    """
    directory = Path(arguments.kubelet_dir).absolute()
    like = _parse_release(arguments.like)
    _check_directory(directory)
    return asyncio.run(_play(directory, like))


def _parse_release(name: str) -> Release:
    try:
        return release(name)
    except InvalidValueError as error:
        raise InvalidValueError(f"--like: {error}") from error


def _check_directory(directory: Path) -> None:
    """Refuse a directory that is not ours to empty: a starting kubelet deletes what it finds there."""
    if directory.exists() and not directory.is_dir():
        raise InvalidValueError(f"--kubelet-dir: {directory} is no directory")
    strangers = [path.name for path in directory.iterdir() if not path.is_socket()] if directory.exists() else []
    if strangers:
        raise InvalidValueError(
            f"--kubelet-dir: {directory} holds {', '.join(sorted(strangers)[:3])}; a kubelet deletes the files in its "
            "directory, so give it one that holds nothing but sockets"
        )


async def _play(directory: Path, like: Release) -> int:
    console = Console()
    view: _Live | _Lines = _Live(console) if console.is_terminal else _Lines(console)
    kubelet = FakeKubelet(directory, like, on_event=view.tell)
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, over.set)
    try:
        await kubelet.start()
    except (OSError, RuntimeError) as error:
        raise InvalidValueError(f"--kubelet-dir: cannot listen on {directory / SOCKET}: {error}") from error
    with view.showing(kubelet):
        async with asyncio.TaskGroup() as tasks:
            commands = tasks.create_task(_Commands(kubelet, view.say, over.set).read())
            await over.wait()
            commands.cancel()
        await kubelet.stop()
    return 0


class _Lines:
    """One plain line for each event."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    def showing(self, _kubelet: FakeKubelet) -> contextlib.AbstractContextManager[object]:
        return contextlib.nullcontext()

    def tell(self, event: Event) -> None:
        self.say(f"{event.time - self._began:8.3f} {event.kind.value} {event.resource} {event.text}".rstrip())

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class _Live:
    """Resources as a table, with the last events below; drawn again at every event."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._last: deque[str] = deque(maxlen=EVENTS_SHOWN)
        self._kubelet: FakeKubelet | None = None
        self._live = Live(console=console, auto_refresh=False, transient=False)

    @contextlib.contextmanager
    def showing(self, kubelet: FakeKubelet):  # type: ignore[no-untyped-def]  # noqa: ANN202
        self._kubelet = kubelet
        with self._live:
            self._draw()
            yield

    def tell(self, event: Event) -> None:
        self.say(f"{event.time - self._began:8.3f} {event.kind.value} {event.resource} {event.text}")

    def say(self, text: str) -> None:
        self._last.append(text)
        self._draw()

    def _draw(self) -> None:
        if self._kubelet is None:
            return
        table = Table(
            "resource", "capacity", "allocatable", "streams", "unhealthy", title=f"kubelet {self._kubelet.release.name}"
        )
        for name in self._kubelet.resources:
            sick = [each for each, health in self._kubelet.devices(name).items() if health != Health.HEALTHY.value]
            table.add_row(
                name,
                str(self._kubelet.capacity(name)),
                str(self._kubelet.allocatable(name)),
                str(self._kubelet.open_streams(name)),
                ", ".join(sorted(sick)),
            )
        events = Text("\n".join(self._last), style="dim")
        self._live.update(Group(table, events, Text(HELP, style="italic")), refresh=True)


class _Commands:
    """Reads commands from standard input and carries them out."""

    def __init__(self, kubelet: FakeKubelet, say: Callable[[str], None], quit_: Callable[[], None]) -> None:
        self._kubelet = kubelet
        self._say = say
        self._quit = quit_

    async def read(self) -> None:
        """Read until the input ends; the kubelet goes on without."""
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        except (ValueError, OSError):
            return  # a file or nothing at all: there is nobody to listen to
        async for line in reader:
            try:
                await self._carry_out(line.decode(errors="replace").split())
            except (GatewayError, TimeoutError) as error:
                self._say(f"refused: {error}")

    async def _carry_out(self, words: list[str]) -> None:
        match words:
            case []:
                pass
            case ["allocate", resource, *rest]:
                await self._allocate(resource, *rest[:2])
            case ["remove", pod]:
                self._kubelet.remove_pod(pod)
                self._say(f"removed {pod}")
            case ["drop", resource] if resource in self._kubelet.resources:
                await self._kubelet.drop_stream(resource)
            case ["restart"]:
                await self._kubelet.restart()
            case ["restart", name]:
                await self._kubelet.restart(release(name))
            case ["quit"]:
                self._quit()
            case _:
                raise InvalidValueError(f"{' '.join(words)!r}, allowed are {HELP}")

    async def _allocate(self, resource: str, wanted: str = "1", pod: str = "pod") -> None:
        if not wanted.isdigit():
            raise InvalidValueError(f"{wanted!r} is no number of devices")
        container = await self._kubelet.allocate(resource, int(wanted), pod=pod)
        self._say(f"container of {pod}: environment {dict(container.environment)}")
        for path, (host, permissions) in container.device_nodes.items():
            self._say(f"container of {pod}: device {path} from {host} ({permissions})")
