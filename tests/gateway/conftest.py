from collections.abc import Iterator
from typing import Any

import pytest

from plugin_gateway.adapters.support.logs import log


@pytest.fixture
def told() -> Iterator[list[dict[str, Any]]]:
    """The log lines of the test, as fields."""
    lines: list[dict[str, Any]] = []
    log.write_to(lambda level, line: lines.append({"level": level, **line}))
    lines.clear()  # of the tests before
    yield lines
    log.write_to(None)
