"""What the pages and the chart say of the options is what the table of options says."""

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chart_options
import options
from generated import BEGIN, END
from plugin_gateway.adapters.configuration.option import Option
from plugin_gateway.core.errors import InvalidValueError


@pytest.mark.parametrize(("page", "text"), [(options.PAGE, options.table()), (options.README, options.overview())])
def test_the_page_has_what_the_table_says(page: Path, text: str) -> None:
    assert f"{BEGIN}\n\n{text}\n\n{END}" in page.read_text()


@pytest.mark.parametrize(
    "cells",
    [
        "| `--numa-hints` | `NUMA_HINTS` | `flags.plugin.numaHints` | `true`, `false` | `true` |",
        "| `--driver-timeout` | `DRIVER_TIMEOUT` | `health.driverTimeout` | 10 to 10000000 seconds | `30` |",
        "| `--flap-count` | `FLAP_COUNT` | `health.flapCount` | 1 to 1000 | `3` |",
        "| `--listen` | `LISTEN` |  | `[HOST:]PORT` | none |",
        "| `NVIDIA_DEV_ROOT` | `flags.nvidiaDevRoot` | `DIR` | the driver root |",
    ],
)
def test_a_row_tells_all_about_an_option(cells: str) -> None:
    assert cells in options.table()


@pytest.mark.parametrize(
    ("path", "made"),
    [
        (chart_options.VALUES, chart_options.values),
        (chart_options.SCHEMA, chart_options.schema),
        (chart_options.TEMPLATE, lambda _: chart_options.template()),
        (chart_options.DEFAULTS, lambda _: chart_options.defaults(chart_options.VALUES.read_text())),
    ],
)
def test_the_chart_has_what_the_table_says(path: Path, made: Callable[[str], str]) -> None:
    assert made(path.read_text()) == path.read_text()


def test_an_option_that_is_gone_leaves_the_schema_and_nothing_else_does() -> None:
    page = chart_options.SCHEMA.read_text()
    old = page.replace('"quietTime":', '"quietTimes":')
    assert old != page
    assert chart_options.schema(old) == page


@settings(max_examples=300, deadline=None)
@given(option=st.sampled_from(chart_options.chart_options()), text=st.text(max_size=8), number=st.integers(-5, 1500))
def test_the_schema_refuses_no_value_that_the_gateway_takes(option: Option[object], text: str, number: int) -> None:
    """A word as it is, and a number as YAML reads it."""
    rule = json.loads(chart_options.SCHEMA.read_text())["properties"][option.word]
    words = [str(word) for word in rule.get("enum", ())]
    for value in (*words, f"/{text}", text, number, number / 2):
        is_taken = jsonschema.Draft7Validator(rule).is_valid(value)
        assert is_taken or not takes(option, str(value), is_number=not isinstance(value, str))


def takes(option: Option[object], text: str, *, is_number: bool) -> bool:
    """Whether the gateway takes the value. What looks like a number is a number in YAML, and has no quotes."""
    is_numeric = "minimum" in option.kind.schema
    if option.is_switch or is_number != is_numeric:
        return False
    try:
        option.kind.parse(text)
    except InvalidValueError:
        return False
    return True


def test_the_overview_has_each_flag_once() -> None:
    assert options.overview().count("`--quiet-time`") == 1
