"""What a test must not leave behind: tasks, threads and descriptors."""

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
"""Seconds that gRPC gets to close what it closes in threads of its own."""


KEPT_BY_GRPC = ("anon_inode:[eventpoll]", "anon_inode:[eventfd]")
"""Opened and closed by its engine when it likes; whatever it serves has a socket too."""


@pytest.fixture(scope="session", autouse=True)
def grpc_is_kept_running() -> Iterator[None]:
    """Have gRPC keep its queue and its threads from test to test: what comes and goes is then ours."""

    async def use() -> grpc.aio.Channel:
        return grpc.aio.insecure_channel("unix:/nowhere")

    channel = asyncio.run(use())
    yield
    del channel


def _python_threads() -> set[str]:
    """Name our threads: neither those of an event loop's executor nor gRPC's, which end when their loop does."""
    names = {thread.name for thread in threading.enumerate()}
    return {name for name in names if not name.startswith("asyncio_") and "_poll_wrapper" not in name}


def _descriptors() -> dict[str, str]:
    """Tell what each descriptor is."""
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one that lists them
            found[path.name] = os.readlink(path)  # noqa: PTH115 - a socket's is no path
    return {name: what for name, what in found.items() if what not in KEPT_BY_GRPC}


def _settled(what: Callable[[], object]) -> object:
    """Wait until there is nothing, for a while; tells what there still is then."""
    end = time.monotonic() + LIMIT
    while (left := what()) and time.monotonic() < end:
        gc.collect()
        time.sleep(0.01)
    return left


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Fail a test that leaves a thread or a descriptor."""
    threads, descriptors = _python_threads(), _descriptors()
    yield
    log._kept.clear()  # a kept traceback holds on to everything that its functions knew
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
        await asyncio.sleep(0.01)  # gRPC's own task for a call's status ends a moment after the call
    assert not left, f"tasks left: {left}"
