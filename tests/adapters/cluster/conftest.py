"""What tests of the reports to the cluster have in common."""

from collections.abc import Iterator
from typing import Any

import pytest

from plugin_gateway.adapters.support.logs import log


@pytest.fixture
def told() -> Iterator[list[dict[str, Any]]]:
    """The lines of the log."""
    lines: list[dict[str, Any]] = []
    log.write_to(lambda level, line: lines.append({"level": level, **line}))
    lines.clear()
    yield lines
    log.write_to(None)
