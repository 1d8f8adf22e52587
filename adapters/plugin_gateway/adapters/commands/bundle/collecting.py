"""Makes a part of a bundle within its limit of time and size."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import NamedTuple, TypeVar

from plugin_gateway.core.errors import GatewayError

MIB = 1024 * 1024
MAX_BYTES = 8 * MIB
"""Longest content of a part, except a recording."""
_GRACE = 2.0
"""Seconds after its limit in which a process that was killed ends. One that waits for a driver may not."""
_T = TypeVar("_T")


class UnavailableError(GatewayError):
    """A part that should be there could not be had. The message says why."""


class AbsentError(GatewayError):
    """A part that this gateway does not have. The message says why."""


class Content(NamedTuple):
    """What a part contains."""

    data: bytes
    remark: str = ""
    """What is missing from it, for people."""


class Part(NamedTuple):
    """Something that support needs to know."""

    name: str
    """The name of its file in the bundle."""
    limit: float
    """Seconds that it may take."""
    make: Callable[[], Content]
    """Returns the content. Raises UnavailableError, AbsentError or OSError."""


def within(limit: float, make: Callable[[], _T]) -> _T:
    """Return what the function returns. It is left alone, in a thread that keeps nobody, if it takes longer.

    Raises:
        UnavailableError: it takes longer.
    """
    outcomes: SimpleQueue[tuple[_T | None, BaseException | None]] = SimpleQueue()

    def run() -> None:
        try:
            outcomes.put((make(), None))
        except BaseException as error:  # noqa: BLE001 - it is raised again below
            outcomes.put((None, error))

    Thread(target=run, daemon=True).start()
    try:
        result, error = outcomes.get(timeout=limit)
    except Empty:
        raise UnavailableError(f"not finished after {limit:.0f} s") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


def command(arguments: Sequence[str], limit: float, program: Sequence[str] = ()) -> Content:
    """Run a command, and return what it prints. The default program is this one. After the limit it is killed.

    Raises:
        UnavailableError: it printed nothing. The message has its last line of errors.
    """
    own = (sys.executable, "-P", "-m", "plugin_gateway")
    with os.fdopen(os.memfd_create("output"), "w+b") as output, os.fdopen(os.memfd_create("errors"), "w+b") as errors:
        child = subprocess.Popen(  # noqa: S603 - our own program, or one that this module's callers name
            (*(program or own), *arguments), stdin=subprocess.DEVNULL, stdout=output, stderr=errors
        )
        problem = _end(child, limit)
        data, said = _begin(output.fileno(), MAX_BYTES), _begin(errors.fileno(), MAX_BYTES)
    lines = said.decode(errors="replace").strip().splitlines()
    problems = [each for each in (problem, *(line.removeprefix("plugin-gateway: ") for line in lines[-1:])) if each]
    if not data:
        raise UnavailableError("; ".join(problems) or f"it printed nothing and ended with {child.returncode}")
    return Content(data, "; ".join(problems))


def _end(child: subprocess.Popen[bytes], limit: float) -> str:
    """Wait for the end. Return why it did not come by itself, or an empty text."""
    try:
        child.wait(limit)
    except subprocess.TimeoutExpired:
        child.kill()
        try:
            child.wait(_GRACE)
        except subprocess.TimeoutExpired:
            return f"not finished after {limit:.0f} s, and it cannot be killed: it waits for the kernel"
        return f"not finished after {limit:.0f} s"
    return ""


def _begin(descriptor: int, most: int) -> bytes:
    return os.pread(descriptor, most, 0)


def file(path: Path, most: int = MAX_BYTES) -> Content:
    """Return the beginning of a regular file. Links are not followed.

    Raises:
        UnavailableError: it is no regular file.
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise UnavailableError(f"{path} is no regular file")
        data = opened.read(most)
    remark = f"the first {len(data)} of {found.st_size} bytes" if found.st_size > most else ""
    return Content(data, remark)
