"""A time can be written as seconds, or as Go writes it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_gateway.adapters.configuration.kinds import parse_time
from plugin_gateway.core.errors import InvalidValueError

from .conftest import Read


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5", 1.5), ("90s", 90), ("1m", 60), ("1h30m", 5400), ("2m0.5s", 120.5), ("500ms", 0.5)],
)
def test_a_time_is_understood(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "1d", "1m x", "1m30", "-5s", "1 m", "\u0661s", "9" * 41 + "s", "1e3s"])
def test_anything_else_is_no_time(text: str) -> None:
    assert parse_time(text) is None


@given(st.text(max_size=50))
def test_no_text_is_a_fault(text: str) -> None:
    assert parse_time(text) is None or isinstance(parse_time(text), float)


def test_flags_variables_and_file_take_it(read: Read) -> None:
    assert read(["--quiet-time=2m"]).quiet_time == 120
    assert read((), {"QUIET_TIME": "90s"}).quiet_time == 90
    assert read((), {}, "version: v1\nhealth: {quietTime: 1m30s}\n").quiet_time == 90
    assert read((), {}, "version: v1\nhealth: {quietTime: 45}\n").quiet_time == 45


def test_what_is_too_long_is_refused_with_what_is_allowed(read: Read) -> None:
    said = "--driver-timeout: invalid value '1s'; expected 10 to 10000000 seconds, also as 90s or 2m"
    with pytest.raises(InvalidValueError, match=re.escape(said)):
        read(["--driver-timeout=1s"])


def test_the_word_of_other_programs_for_warnings_is_understood(read: Read) -> None:
    assert read(["--log-level=warn"]).log_level == "warning"
