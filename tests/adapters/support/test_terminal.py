"""Whatever the texts are, and whoever wrote them, no control character reaches a terminal, a log or a page."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.pages import page_with
from harness.statuses import BARE, RESOURCE
from plugin_gateway.adapters.gateway.device_status import DeviceStatus
from plugin_gateway.adapters.gateway.status import ConfigurationFile, CountStatus, DriverStatus
from plugin_gateway.adapters.registration.history import Failed, Registered
from plugin_gateway.adapters.support.logs import LogFormat, log, set_up_logs
from plugin_gateway.adapters.support.terminal import fitted, print_json, print_lines, table
from plugin_gateway.core.devices import DeviceId, RejectedDevice
from plugin_gateway.core.health.faults import Stage
from plugin_gateway.core.health.observations import KernelLogRead

EVIL = "\x1b]0;title\x07\x1b[31m\r\x7f\x9b2J\u202e\nEVIL"
"""Sets title and colour, goes back to the first column, clears the screen, turns the text around, adds a line."""
BACK_ON_ONE_LINE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def harmless(written: str) -> bool:
    return all(line.isprintable() for line in written.split("\n"))


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    yield
    log.write_to(None)


@BACK_ON_ONE_LINE
@given(st.lists(st.text(), min_size=1))
def test_a_line_stays_one_line_of_printable_characters(capsys: pytest.CaptureFixture[str], lines: list[str]) -> None:
    capsys.readouterr()
    print_lines(lines)
    written = capsys.readouterr().out
    assert harmless(written)
    assert written.count("\n") == len(lines)


@BACK_ON_ONE_LINE
@given(st.lists(st.tuples(st.text(), st.text()), min_size=1))
def test_a_table_is_straight_whatever_is_in_it(rows: list[tuple[str, str]]) -> None:
    lines = table(rows)
    assert all(line.isprintable() for line in lines)
    starts = {line.index("|") for line in table([(first, "|") for first, _ in rows])}
    assert len(starts) == 1 or any("|" in first for first, _ in rows)


@BACK_ON_ONE_LINE
@given(st.dictionaries(st.text(), st.text()))
def test_json_is_the_same_value_without_control_characters(
    capsys: pytest.CaptureFixture[str], value: dict[str, str]
) -> None:
    capsys.readouterr()
    print_json(value)
    written = capsys.readouterr().out
    assert harmless(written)
    assert written.isascii()
    assert json.loads(written) == value


ROWS = (("NAME", "ACTION", "NEEDS"), ("one", "to do", "a long word and another"), ("two", "x" * 30, ""))


def test_a_table_that_is_too_wide_is_folded_and_no_word_is_cut() -> None:
    assert fitted(ROWS, 100) == fitted(ROWS, None) == table(ROWS)
    assert fitted(ROWS, 25) == [
        "NAME  ACTION  NEEDS",
        "one   to do",
        "      a long word and",
        "      another",
        "two   " + "x" * 30,
    ]


@pytest.mark.parametrize("log_format", [LogFormat.TEXT, LogFormat.JSON])
def test_a_log_line_has_none(log_format: LogFormat, capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logs("info", log_format)
    log.info("known", words=EVIL, several=[EVIL], named={"a": EVIL})
    log.exception("failed", ValueError(EVIL), resource=EVIL)
    written = capfd.readouterr().err
    assert "EVIL" in written
    assert harmless(written)


def test_the_page_has_none() -> None:
    resource = replace(
        RESOURCE,
        name=EVIL,
        api_version=EVIL,
        stream_opened=0.0,
        registrations=(Registered(0.0, EVIL, EVIL, EVIL, 1.0),),
        failures=(Failed(0.0, EVIL, EVIL),),
    )
    device = DeviceStatus(
        id=DeviceId(EVIL), index=0, product=EVIL, resource=EVIL, health=Stage.UNHEALTHY, reason=EVIL, needs=EVIL
    )
    status = replace(
        BARE,
        configuration_problem=EVIL,
        configuration_file=ConfigurationFile(path=EVIL, changed=True),
        driver=DriverStatus(version=EVIL, problem=EVIL, events_problem=EVIL, kernel_log=KernelLogRead(EVIL)),
        device_count=CountStatus(present=1, expected=2, decided_by=EVIL, problem=EVIL),
        devices=(device,),
        resources=(resource,),
        rejected=(RejectedDevice(EVIL, EVIL),),
    )
    page = page_with(status)
    assert page.count("EVIL") >= 13
    assert harmless(page)
