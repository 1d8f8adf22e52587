"""What the pages say of the options is what the table of options says."""

from pathlib import Path

import pytest

import options
from generated import BEGIN, END


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


def test_the_overview_has_each_flag_once() -> None:
    assert options.overview().count("`--quiet-time`") == 1
