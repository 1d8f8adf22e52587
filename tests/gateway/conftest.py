from collections.abc import Iterator
from pathlib import Path

import pytest

from driver.driver import Driver


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    """A machine with eight GPUs; it is closed at the end."""
    made = Driver(tmp_path, gpus=8)
    yield made
    made.close()
