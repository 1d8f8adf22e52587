"""The arguments of `plugin-gateway fake-kubelet`. Runs the fake kubelet, its view, and its commands."""

import argparse
import asyncio
import math
import signal
from pathlib import Path

from plugin_gateway.adapters.commands.command_line import Parts, SubCommand
from plugin_gateway.adapters.commands.fake_kubelet.prompt import HELP, Commands
from plugin_gateway.adapters.commands.fake_kubelet.views import Lines, Picture
from plugin_gateway.adapters.fake_kubelet.events import Event
from plugin_gateway.adapters.fake_kubelet.kubelet import CHECKPOINT, FAKE, GRACE, SOCKET, FakeKubelet
from plugin_gateway.adapters.fake_kubelet.releases import NEWEST, OLDEST, Release, release
from plugin_gateway.adapters.support.console import PlainConsole
from plugin_gateway.adapters.support.unix_files import explain_bind, find_listener
from plugin_gateway.core.errors import InvalidValueError


def make(_parts: Parts) -> SubCommand:
    """Return the sub-command."""
    return SubCommand(add_arguments, run)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    parser.description = (
        "Plays the kubelet of a release in a directory of its own, so that any device plugin can be tried without a "
        "cluster. Shows what it sees; takes commands on standard input: " + HELP
    )
    parser.formatter_class = argparse.HelpFormatter
    parser.add_argument("--kubelet-dir", required=True, metavar="DIR", help="where kubelet.sock is made")
    parser.add_argument(
        "--like",
        default="1.37",
        metavar="RELEASE",
        help=f"1.{OLDEST} to 1.{NEWEST}, with a patch or without, such as 1.9.7 (default: 1.37)",
    )
    parser.add_argument(
        "--grace",
        default=f"{GRACE:g}",
        metavar="SECONDS",
        help=f"how long it keeps a resource whose stream ended, from 1.9.7 on (default: {GRACE:g})",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the fake kubelet until the user ends it.

    Raises:
        InvalidValueError: the release is unknown, or the directory cannot be used.
    """
    like = _parse_release(arguments.like)
    if not arguments.kubelet_dir:
        raise InvalidValueError("--kubelet-dir: '' is no directory")
    directory = Path(arguments.kubelet_dir).absolute()
    try:
        _check_directory(directory)
    except OSError as error:
        raise InvalidValueError(f"--kubelet-dir: {directory}: {error.strerror}") from error
    return asyncio.run(_play(directory, like, _parse_seconds(arguments.grace)))


def _parse_release(name: str) -> Release:
    try:
        return release(name)
    except InvalidValueError as error:
        raise InvalidValueError(f"--like: {error}") from error


def _parse_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise InvalidValueError(f"--grace: invalid value {text!r}; expected seconds above 0")
    return seconds


def _check_directory(directory: Path) -> None:
    """Refuse a directory with other files, because a kubelet that starts deletes all files in its directory.

    Raises:
        InvalidValueError: it has files of others, or a kubelet listens in it.
    """
    if directory.exists() and not directory.is_dir():
        raise InvalidValueError(f"--kubelet-dir: {directory} is no directory")
    foreign = [path.name for path in directory.iterdir() if not _is_ours(path)] if directory.exists() else []
    if foreign:
        raise InvalidValueError(
            f"--kubelet-dir: {directory} holds {', '.join(sorted(foreign)[:3])}; a kubelet deletes the files in its "
            "directory, so give it one that holds nothing but sockets"
        )
    kubelet = find_listener(directory / SOCKET) if (directory / SOCKET).exists() else None
    if kubelet is not None:
        raise InvalidValueError(f"--kubelet-dir: a kubelet listens in {directory} already (process {kubelet.pid})")


def _is_ours(path: Path) -> bool:
    """Return whether a file may be deleted: a socket, or the checkpoint of a fake kubelet."""
    return path.is_socket() or (path.name == CHECKPOINT and path.is_file() and FAKE in path.read_text(errors="replace"))


async def _play(directory: Path, like: Release, grace: float) -> int:
    console = PlainConsole()
    view: Picture | Lines = Picture(console, HELP) if console.is_terminal else Lines(console)
    over, unwritten = asyncio.Event(), list[OSError]()

    def show(event: Event) -> None:
        """Show an event. If the output cannot be written, end the session after the present action."""
        try:
            view.show(event)
        except OSError as error:
            unwritten.append(error)
            over.set()

    kubelet = FakeKubelet(directory, like, grace=grace, on_event=show)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, over.set)
    with view.showing(kubelet):
        try:
            await kubelet.start()
        except (OSError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) else explain_bind(directory / SOCKET)
            raise InvalidValueError(f"--kubelet-dir: cannot listen on {directory / SOCKET}: {reason}") from error
        try:
            async with asyncio.TaskGroup() as tasks:
                commands = tasks.create_task(Commands(kubelet, view, over.set).read(), name="commands")
                await over.wait()
                commands.cancel()
        finally:
            await kubelet.stop()
    if unwritten:
        raise unwritten[0]
    return 0
