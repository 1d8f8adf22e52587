"""What the replay says of a recording that it cannot play as a whole, and how it ends."""

import asyncio
import os
import re
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.replay.playing import PLAYED, UNWELL, record
from driver.driver import Driver
from harness.process import PROGRAM, run_to_end
from harness.recordings import CALLED, Line, conversation, head, inventory, line, listed, opened, registration, write
from plugin_gateway.adapters.replay.report import socket_folder
from plugin_gateway.adapters.support.signals import Interruption
from plugin_gateway.core.errors import InvalidValueError


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "No such file or directory"),
        ("", "empty"),
        ("hello", "1: not JSON"),
        ("[]", "1: [] where names with values belong"),
        ('{"recording": 0}', "1: a recording of version 0, versions are numbers from 1 on"),
        ('{"recording": 99}', "1: at: None is no number"),
        ('{"recording": 1}', "1: at: None is no number"),
    ],
)
async def test_what_is_no_recording_is_one_line(text: str | None, words: str, recording: Path) -> None:
    if text is not None:
        recording.write_text(text)
    status, output, errors = await run_to_end("replay", str(recording))
    assert (status, output) == (2, "")
    assert words in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: text.replace('"what": "end"', '"what": "dance"'), "what: 'dance' is not known"),
    ],
)
async def test_a_recording_that_was_damaged_is_one_line(
    spoil: Callable[[str], str], words: str, recording: Path, kubelet_dir: Path, driver: Driver
) -> None:
    await record(recording, kubelet_dir, driver, "1.36")
    recording.write_text(spoil(recording.read_text()))
    status, _, errors = await run_to_end("replay", str(recording))
    assert status == 2
    assert words in errors
    assert errors.count("\n") == 1


async def test_what_strangers_said_has_no_control_over_the_terminal(recording: Path) -> None:
    call = line("call", **CALLED, method="Allocate", request="", answer=None, error="X: \x1b[31mred\x1b]0;a\x07\nb")
    elsewhere = line(
        "call", **{**CALLED, "resource": "\x1b[31m\nr.jsonl:1: a"}, method="Allocate", request="", answer="", error=None
    )
    write(recording, conversation(call, elsewhere))
    status, output, errors = await run_to_end("replay", str(recording))
    assert (status, errors) == (1, "")
    assert "-X: \\x1b[31mred\\x1b]0;a\\x07\n" in output
    assert f"{recording}:9: the kubelet called \\x1b[31m\\nr.jsonl:1: a then" in output
    assert output.endswith("9 lines played, 2 differences\n")


async def test_lines_that_cannot_be_played_are_counted_and_told_why(recording: Path) -> None:
    other = {**opened("2"), "agent": "grpcurl/1.9"}
    lines = conversation(other, listed(stream="2"), listed(stream="3"))
    status, output, errors = await run_to_end("replay", str(write(recording, lines)))
    assert (status, errors) == (0, "")
    reasons = "2: of another client than the kubelet; 1: no such stream in this recording"
    assert output == f"7 {PLAYED}3 skipped ({reasons}), no difference\n"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([head(), line("end")], "1 line played, nothing was compared\n"),
        (
            [head(), line("kubelet", is_there=False), inventory(), *registration(), line("end")],
            f"4 {PLAYED}1 skipped (no kubelet in this recording), nothing was compared\n",
        ),
    ],
)
async def test_a_recording_with_nothing_to_compare_is_no_success(
    lines: list[Line], words: str, recording: Path
) -> None:
    assert await run_to_end("replay", str(write(recording, lines))) == (1, words, "")


async def test_a_recording_that_was_cut_says_so(recording: Path) -> None:
    status, output, errors = await run_to_end("replay", str(write(recording, conversation(UNWELL)[:-1])))
    assert (status, errors) == (0, "")
    remark = f"{recording}:8: the recording does not end in order: it was cut, or its gateway was killed"
    assert output == f"{remark}\n7 {PLAYED}no difference\n"


async def test_a_folder_that_is_too_long_for_sockets_is_said(recording: Path, kubelet_dir: Path) -> None:
    write(recording, conversation())
    long = kubelet_dir / ("d" * 60)
    long.mkdir()
    status, output, errors = await run_to_end("replay", str(recording), environment={"TMPDIR": str(long)})
    assert (status, output) == (2, "")
    assert "bytes, allowed are 55, since the path of a unix socket in it has at most 107; set TMPDIR" in errors
    assert errors.count("\n") == 1
    assert not list(long.iterdir())


def test_no_folder_at_all_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", find_none)
    said = "no folder for the sockets: No usable temporary directory found in ['/tmp']; set TMPDIR to one"
    with pytest.raises(InvalidValueError, match=re.escape(said)), socket_folder(Interruption()):
        raise AssertionError


@pytest.mark.parametrize("numbers", [(signal.SIGINT,), (signal.SIGINT, signal.SIGINT), (signal.SIGTERM,)])
async def test_a_signal_ends_it_in_order_and_what_was_found_is_told(
    numbers: tuple[signal.Signals, ...], recording: Path, kubelet_dir: Path
) -> None:
    never = registration("nvidia.com/other")[0]
    write(recording, conversation(line("call", **CALLED, method="Allocate", request="", answer="", error=None), never))
    child = await asyncio.create_subprocess_exec(
        PROGRAM, "replay", str(recording), env={**os.environ, "TMPDIR": str(kubelet_dir)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    first_line = await asyncio.wait_for(child.stdout.readline(), 10)
    assert first_line == f"{recording}:8: Allocate differs\n".encode()
    for number in numbers:
        child.send_signal(number)
    output, errors = await asyncio.wait_for(child.communicate(), 4)
    assert child.returncode == 128 + numbers[0]
    assert errors == b""
    assert output.endswith(b"7 lines played, 1 difference until it was interrupted\n")
    assert not list(kubelet_dir.iterdir())


async def test_nothing_is_compared_after_lines_that_were_lost(recording: Path) -> None:
    lines = conversation(line("lost", lines=3), listed(1))
    status, output, errors = await run_to_end("replay", str(write(recording, lines)))
    assert (status, errors) == (0, "")
    remark = f"{recording}:8: 3 lines were lost here: nothing after them can be compared"
    assert output == f"{remark}\n7 {PLAYED}2 skipped (after lines that were lost), no difference\n"


async def test_every_whole_line_before_one_that_was_cut_is_played(recording: Path) -> None:
    write(recording, conversation())
    recording.write_text(recording.read_text()[:-5])
    status, output, errors = await run_to_end("replay", str(recording))
    assert (status, errors) == (0, "")
    remark = f"{recording}:8: the line is cut: the disk was full, or this copy is not whole"
    assert output == f"{remark}\n6 {PLAYED}1 skipped (cut), no difference\n"
