"""What the machine must allow this process; gRPC hangs or crashes without a word where it is less."""

import _thread
import contextlib
import os
import resource

from plugin_gateway.core.errors import GatewayError

MIN_THREADS = 12
"""Threads beside the main one: eight are gRPC's and ours, measured with the simulated GPUs; the rest are for more."""
MIN_DESCRIPTORS = 64
"""Open files: sixteen with one resource and one kubelet, measured; the rest are for more of both."""


class ProcessLimitError(GatewayError):
    """The process may not have what it needs; the message names the limit and who sets it."""


def claim_limits() -> None:
    """Take as many descriptors as we may have, and see that there are enough of them and of threads.

    Raises:
        ProcessLimitError: there are not.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < MIN_DESCRIPTORS:
        raise ProcessLimitError(f"{most} open files are allowed (ulimit -Hn), needed are {MIN_DESCRIPTORS}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a crowd of connections must not keep the kubelet's out
    possible = _count_possible_threads()
    if possible < MIN_THREADS:
        raise ProcessLimitError(
            f"{possible} more threads are allowed, needed are {MIN_THREADS}: raise the limit of processes "
            "(pids.max of the container's cgroup, --pod-max-pids of the kubelet, ulimit -u)"
        )


def _count_possible_threads() -> int:
    """Start threads until there are enough, as the only way to ask every limit there is.

    Those of ``threading`` would cost the start ten times as much, which is 2 ms.
    """
    gate, ended = _thread.allocate_lock(), list[None]()
    gate.acquire()

    def wait() -> None:
        with gate:
            ended.append(None)

    started = 0
    with contextlib.suppress(RuntimeError):  # Python's word for a thread that cannot be started
        for _ in range(MIN_THREADS):
            _thread.start_new_thread(wait, ())
            started += 1
    gate.release()
    while len(ended) < started:
        os.sched_yield()
    return started
