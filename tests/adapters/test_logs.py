"""Log lines in both forms, and writers that do not write."""

import json
import os
from collections.abc import Iterator

import pytest

from plugin_gateway.adapters.logs import MOST_KEPT, Log, LogFormat, log, set_up_logs


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


def test_a_reader_that_stands_still_loses_lines_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stalled:
        monkeypatch.setattr("sys.stderr", stalled)
        set_up_logs("info", LogFormat.JSON)
        for _ in range(2000):
            log.info("a line", text="x" * 100)
        os.close(reading)
        log.error("nobody reads any more")


def test_not_more_than_a_limit_is_kept() -> None:
    kept = Log()
    for number in range(MOST_KEPT + 5):
        kept.error("line", number=number)
    written: list[int] = []
    kept.write_to(lambda _, line: written.append(line["number"]))
    assert (len(written), written[0]) == (MOST_KEPT, 5)
