"""Checks the limits of the process. gRPC would hang or crash without a message if they are too low."""

import _thread
import contextlib
import os
import resource

from plugin_gateway.core.errors import GatewayError

MIN_THREADS = 12
"""Threads beside the main one. gRPC and the gateway use eight with simulated GPUs (measured); the rest is a margin."""
MIN_DESCRIPTORS = 64
"""Open files. With one resource and one kubelet there are sixteen (measured); the rest is for more of both."""
MANY_DESCRIPTORS = 1024
"""Open files for which there is room with network cards. Each function keeps two, its port and its interface."""


class ProcessLimitError(GatewayError):
    """A limit is too low. The message names it and who sets it."""


def claim_limits() -> None:
    """Raise the limit of open files as far as allowed, and check that it and the limit of threads are high enough.

    Raises:
        ProcessLimitError: one of them is too low.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < MIN_DESCRIPTORS:
        raise ProcessLimitError(f"{most} open files are allowed (ulimit -Hn), needed are {MIN_DESCRIPTORS}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # many connections must not keep the kubelet's out
    possible = _count_possible_threads()
    if possible < MIN_THREADS:
        raise ProcessLimitError(
            f"{possible} more threads are allowed, needed are {MIN_THREADS}: raise the limit of processes "
            "(pids.max of the container's cgroup, --pod-max-pids of the kubelet, ulimit -u)"
        )


def make_room_for_descriptors() -> None:
    """Let the kernel make its table of open files as large as many network cards need it.

    Later, when there are threads, the kernel takes 7 to 15 ms each time that it doubles the table (measured).
    """
    small = os.eventfd(0)
    with contextlib.suppress(OSError):  # fewer are allowed, and it is only a matter of time
        os.close(os.dup2(small, MANY_DESCRIPTORS - 1, inheritable=False))
    os.close(small)


def _count_possible_threads() -> int:
    """Start threads until there are enough, and return how many could be started.

    Several limits can apply, and no call returns the lowest of them. `_thread` is used because threads of `threading`
    take ten times as long, 2 ms in all.
    """
    gate, ended = _thread.allocate_lock(), list[None]()
    gate.acquire()

    def wait() -> None:
        with gate:
            ended.append(None)

    started = 0
    with contextlib.suppress(RuntimeError):  # Python raises it if a thread cannot be started
        for _ in range(MIN_THREADS):
            _thread.start_new_thread(wait, ())
            started += 1
    gate.release()
    while len(ended) < started:
        os.sched_yield()
    return started
