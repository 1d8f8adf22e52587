"""Log lines in both forms, and writers that do not write."""

import json
import os
import pty
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from plugin_gateway.adapters.support.logs import MAX_KEPT, Log, LogFormat, log, set_up_logs


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    yield
    log.write_to(None)


def test_what_was_said_before_there_is_a_writer_is_written_with_its_own_time(
    capfd: pytest.CaptureFixture[str],
) -> None:
    log.info("early", number=1, nothing=None)
    set_up_logs("info", LogFormat.JSON)
    log.debug("not shown")
    log.warning("late")
    early, late = (json.loads(line) for line in capfd.readouterr().err.splitlines()[-2:])
    assert (early["event"], early["number"], early["level"]) == ("early", 1, "info")
    assert "nothing" not in early
    assert early["timestamp"] <= late["timestamp"]
    assert late["level"] == "warning"


def test_text_is_for_people_and_a_fault_of_ours_has_its_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logs("error", LogFormat.TEXT)
    try:
        int("by accident")
    except ValueError as error:
        log.exception("something failed", error)
    written = capfd.readouterr().err
    assert "something failed" in written
    assert "ValueError: invalid literal" in written
    assert "Traceback" in written


def test_a_json_line_has_the_traceback_too(capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logs("error", LogFormat.AUTO)
    log.exception("failed", ValueError("by accident"))
    line = json.loads(capfd.readouterr().err.splitlines()[-1])
    assert "by accident" in line["exception"]


def test_a_json_line_begins_with_what_is_looked_for(capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logs("info", LogFormat.JSON)
    log.info("said", number=1)
    line = json.loads(capfd.readouterr().err)
    assert list(line) == ["event", "level", "timestamp", "number"]


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_google_cloud_finds_the_severity(level: str, capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logs("debug", LogFormat.JSON_GCP)
    getattr(log, level)("said")
    line = json.loads(capfd.readouterr().err)
    assert list(line)[:3] == ["severity", "event", "level"]
    assert (line["severity"], line["level"]) == (level.upper(), level)


def test_a_field_that_takes_time_is_made_when_the_line_is_written(capfd: pytest.CaptureFixture[str]) -> None:
    made: list[str] = []

    def make() -> str:
        made.append("1.2")
        return "1.2"

    log.info("said", version=make)
    assert made == []
    set_up_logs("info", LogFormat.JSON)
    assert json.loads(capfd.readouterr().err.splitlines()[-1])["version"] == "1.2"


@pytest.mark.parametrize(
    ("environment", "has_colors"),
    [
        ({"TERM": "xterm"}, True),
        ({}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_colors_are_for_terminals_that_have_them_and_people_who_want_them(
    environment: dict[str, str], has_colors: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    reading, writing = pty.openpty()
    with os.fdopen(reading, "rb", buffering=0) as terminal, os.fdopen(writing, "w") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        set_up_logs("info", LogFormat.AUTO)
        log.info("said", number=1)
        assert (b"\x1b[" in terminal.read(4096)) is has_colors


def _pipe() -> tuple[int, int]:
    return os.pipe()


def _sockets() -> tuple[int, int]:
    reading, writing = socket.socketpair()
    return reading.detach(), writing.detach()


def _terminal() -> tuple[int, int]:
    return pty.openpty()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("connect", [_pipe, _sockets, _terminal])
def test_a_reader_that_stands_still_loses_lines_and_stops_nothing(
    connect: Callable[[], tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = connect()
    with os.fdopen(writing, "w") as stalled:
        monkeypatch.setattr("sys.stderr", stalled)
        set_up_logs("info", LogFormat.JSON)
        for _ in range(4000):
            log.info("a line", text="x" * 100)
        assert os.get_blocking(writing), "whoever shares it does not wait any more either"
        assert b'"event": "a line"' in os.read(reading, 4096)
        os.close(reading)
        log.error("nobody reads any more")


def test_logs_that_are_set_up_again_and_again_open_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "w") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        set_up_logs("info", LogFormat.JSON)
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(5):
            set_up_logs("info", LogFormat.JSON)
        assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_not_more_than_a_limit_is_kept() -> None:
    kept = Log()
    for number in range(MAX_KEPT + 5):
        kept.error("line", number=number)
    written: list[int] = []
    kept.write_to(lambda _, line: written.append(line["number"]))
    assert (len(written), written[0]) == (MAX_KEPT, 5)
