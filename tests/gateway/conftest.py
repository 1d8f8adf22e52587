from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from driver.driver import Driver
from plugin_gateway.adapters.logs import log


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    """A machine with eight GPUs; it is closed at the end."""
    made = Driver(tmp_path, gpus=8)
    yield made
    made.close()


@pytest.fixture
def told() -> Iterator[list[dict[str, Any]]]:
    """The log lines of the test, as fields."""
    lines: list[dict[str, Any]] = []
    log.write_to(lambda level, line: lines.append({"level": level, **line}))
    lines.clear()  # of the tests before
    yield lines
    log.write_to(None)
