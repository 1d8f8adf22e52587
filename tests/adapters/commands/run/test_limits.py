"""Limits under which gRPC would hang or crash without a word."""

import _thread
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.process import run_to_end
from plugin_gateway.adapters.commands.run.limits import MIN_THREADS, ProcessLimitError, claim_limits


def test_it_takes_every_descriptor_that_it_may_have() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        claim_limits()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("possible", [0, MIN_THREADS - 1])
def test_too_few_threads_are_told_with_their_number_and_none_stays(
    possible: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, started = _thread.start_new_thread, list[int]()

    def limited(function: Callable[[], object], arguments: tuple[()]) -> int:
        if len(started) == possible:
            raise RuntimeError("can't start new thread")
        started.append(start(function, arguments))
        return started[-1]

    monkeypatch.setattr(_thread, "start_new_thread", limited)
    with pytest.raises(ProcessLimitError, match=f"^{possible} more threads are allowed, needed are {MIN_THREADS}"):
        claim_limits()


async def test_a_process_with_too_few_open_files_says_so_and_ends_with_1(kubelet_dir: Path) -> None:
    arguments = ("run", "--kubelet-dir", str(kubelet_dir), "--backend", "simulated:1xH100")
    status, _, errors = await run_to_end(*arguments, within=("prlimit", "--nofile=40:40"))
    assert status == 1
    assert "40 open files are allowed (ulimit -Hn), needed are 64" in errors
    assert "Traceback" not in errors
