"""Fails tests that leave tasks, threads or file descriptors behind."""

import asyncio
import contextlib
import gc
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import grpc.aio
import pytest

from plugin_gateway.adapters.support.logs import log

LIMIT = 3.0
"""Seconds. gRPC closes some things later, in its own threads."""


KEPT_BY_GRPC = ("anon_inode:[eventpoll]", "anon_inode:[eventfd]")
"""gRPC opens and closes these at any time. What it serves with them has a socket too, which is checked."""


@pytest.fixture(scope="session", autouse=True)
def grpc_is_kept_running() -> None:
    """Keep gRPC's queue and threads alive until the process ends.

    Otherwise they would come and go, and look like leaks. And gRPC can wait for ever for the end of its own thread, if
    the garbage collector frees the last channel.
    """
    grpc.aio.init_grpc_aio()


def _python_threads() -> set[str]:
    """Return the names of our threads. Those of an event loop's executor and of gRPC end with the loop."""
    names = {thread.name for thread in threading.enumerate()}
    return {name for name in names if not name.startswith("asyncio_") and "_poll_wrapper" not in name}


def _descriptors() -> dict[str, str]:
    """Return what each file descriptor is."""
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the descriptor of this listing is closed already
            found[path.name] = os.readlink(path)  # noqa: PTH115 - the target of a socket is no path
    return {name: what for name, what in found.items() if what not in KEPT_BY_GRPC}


def _settled(what: Callable[[], object]) -> object:
    """Wait until ``what`` returns nothing, for a limited time. Return what it returns then."""
    end = time.monotonic() + LIMIT
    while (left := what()) and time.monotonic() < end:
        gc.collect()
        time.sleep(0.01)
    return left


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Fail a test that leaves a thread or a file descriptor."""
    threads, descriptors = _python_threads(), _descriptors()
    yield
    log._kept.clear()  # a kept traceback keeps the local variables of its functions alive
    assert not (left := _settled(lambda: _python_threads() - threads)), f"threads left: {left}"
    extra = _settled(lambda: {k: v for k, v in _descriptors().items() if descriptors.get(k) != v})
    assert not extra or len(_descriptors()) <= len(descriptors), f"descriptors left: {extra}"


@pytest.fixture(autouse=True)
async def no_task_is_left() -> AsyncIterator[None]:
    """Fail a test that leaves a task."""
    before = asyncio.all_tasks()
    yield
    until = time.monotonic() + LIMIT
    while left := asyncio.all_tasks() - before - {asyncio.current_task()}:
        if time.monotonic() > until:
            break
        await asyncio.sleep(0.01)  # gRPC's task for the status of a call ends a moment after the call
    assert not left, f"tasks left: {left}"
