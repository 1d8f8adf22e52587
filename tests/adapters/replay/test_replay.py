"""What the replay needs, and what it says of a recording that a gateway has just made, or that is long."""

import io
import json
import signal
import subprocess
import sys
from contextlib import AsyncExitStack, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from driver.driver import Driver
from harness.node import RESOURCE
from harness.process import run_to_end, started
from harness.recordings import CALLED, DEVICES, conversation, line, listed, opened, registration, said_of, seen, write
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.replay import registering
from plugin_gateway.adapters.replay.report import replay
from plugin_gateway.adapters.support.signals import Interruption
from plugin_gateway.core.health.observations import EvidenceReported
from plugin_gateway.core.registration.endings import Outcome
from plugin_gateway.core.registration.machine import step
from plugin_gateway.nvidia.evidence import xid_kind


async def offered(kubelet: FakeKubelet, count: int) -> None:
    await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == count, timeout=10, what=f"{count} devices")


@pytest.mark.parametrize("releases", [("1.36", "1.8"), ("1.9", "1.37")])
async def test_a_recording_plays_again_without_a_difference(
    releases: tuple[str, ...], recording: Path, kubelet_dir: Path, driver: Driver
) -> None:
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root), f"--record={recording}")
    async with (
        FakeKubelet(kubelet_dir, release(releases[0])) as kubelet,
        started(*arguments, environment=driver.environment) as process,
    ):
        for number, name in enumerate(releases):
            if number:
                await kubelet.restart(release(name), kill=True)
            await offered(kubelet, 8 - number)
            await process.wait_for_event("registered", times=number + 1)
            await kubelet.allocate(RESOURCE, 2, pod=f"p{number}")
            driver.xid(number, 79)
            await offered(kubelet, 7 - number)
            await kubelet.remove(f"p{number}")
    lines = [json.loads(line) for line in recording.read_text().splitlines()]
    assert {line.get("what") for line in lines[1:]} - {"replaced"} == {
        "kubelet", "seen", "register", "answered", "opened", "list", "ended", "call", "stopping", "end",
    }  # fmt: skip
    assert recording.stat().st_mode & 0o777 == 0o600
    said = f"{len(lines) - 1} lines played, no difference\n"
    assert await run_to_end("replay", str(recording)) == (0, said, "")


async def test_the_recordings_of_a_handover_play_again_without_a_difference(
    recording: Path, kubelet_dir: Path, driver: Driver
) -> None:
    about = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root), "--kubelet-version=1.37")
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, AsyncExitStack() as gateways:
        for _ in range(2):  # the younger one records into the next free name
            running = started(*about, f"--record={recording}", environment=driver.environment)
            process = await gateways.enter_async_context(running)
            await process.wait_for_control()
            await process.wait_for_event("registered")
        await kubelet.wait_for(lambda: kubelet.open_streams(RESOURCE) == 1, timeout=10, what="one stream")
    for path, kinds in ((recording, {"event", "kept_back"}), (recording.with_name(f"{recording.name}.1"), {"event"})):
        assert kinds <= {json.loads(each).get("what") for each in path.read_text().splitlines()}
        status, output, _ = await run_to_end("replay", str(path))
        assert (status, "lines played, no difference\n" in output) == (0, True), output


def test_it_needs_no_loop_and_no_server() -> None:
    code = "import sys, plugin_gateway.adapters.replay.report; print({'asyncio', 'grpc'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"set()\n"


def test_an_hour_takes_a_few_steps_for_each_line(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each second, a device is unhealthy for a moment, and the kubelet ends its stream or is restarted."""
    lines = conversation()[:-1]
    for second in range(1, 3600):
        index, stream = second % 2, str(second + 1)
        lines.append(seen(EvidenceReported(xid_kind(1000), DEVICES[index].id), second))
        lines.append(listed(index, stream=str(second), t=second))
        lines.append(line("cleared", second + 0.1, device=DEVICES[index].id))
        lines.append(listed(stream=str(second), t=second + 0.1))
        lines.append(line("ended", second + 0.2, stream=str(second), by="kubelet"))
        if index:
            lines += [line("kubelet", second + 0.3, is_there=there) for there in (False, True)]
        lines += [*registration(t=second + 0.3), opened(stream, t=second + 0.4), listed(stream=stream, t=second + 0.4)]
    lines.append(line("end", 3600.0))
    steps = 0

    def counted(*about: Any) -> Outcome:
        nonlocal steps
        steps += 1
        return step(*about)

    monkeypatch.setattr(registering, "step", counted)
    said = said_of(write(recording, lines))
    assert said.output == f"{len(lines) - 1} lines played, no difference\n"
    assert steps < 2 * len(lines)


def test_a_signal_ends_it_and_what_was_found_is_told(recording: Path) -> None:
    interruption = Interruption()

    class Interrupting(io.StringIO):
        """The signal comes while the first difference is printed."""

        def write(self, words: str) -> int:
            interruption.number = signal.SIGINT
            return super().write(words)

    with redirect_stdout(Interrupting()) as output:
        status = replay(write(recording, conversation(listed(1), listed(1))), interruption)
    assert status == 128 + signal.SIGINT
    remark = f"{recording}:8: a list was sent then, and none is now"
    assert output.getvalue() == f"{remark}\n7 lines played, 1 difference until it was interrupted\n"


def test_what_strangers_said_has_no_control_over_the_terminal(recording: Path) -> None:
    call = line("call", **CALLED, method="Allocate", request="", answer=None, error="X: \x1b[31mred\x1b]0;a\x07\nb")
    elsewhere = {**call, "resource": "\x1b[31m\nr.jsonl:1: a"}
    said = said_of(write(recording, conversation(call, elsewhere)))
    assert "-X: \\x1b[31mred\\x1b]0;a\\x07\n" in said.output
    assert said.remarks[-1].startswith("9: the kubelet called \\x1b[31m\\nr.jsonl:1: a then")


async def test_what_is_no_recording_is_one_line(recording: Path) -> None:
    for words in ("No such file or directory", "empty"):
        status, output, errors = await run_to_end("replay", str(recording))
        assert (status, output, errors.count("\n")) == (2, "", 1)
        assert words in errors
        recording.touch()
