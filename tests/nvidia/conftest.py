from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from driver.driver import Driver

MakeDriver = Callable[..., Driver]


@pytest.fixture
def make_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeDriver]:
    """Make the one machine of this test; whatever hangs in it is released at the end."""
    made: list[Driver] = []

    def make(*, gpus: int = 2, old: bool = False) -> Driver:
        driver = Driver(tmp_path, gpus=gpus, old=old)
        made.append(driver)
        for name, value in driver.environment.items():
            monkeypatch.setenv(name, value)
        return driver

    yield make
    for driver in made:
        driver.close()


@pytest.fixture
def driver(make_driver: MakeDriver) -> Driver:
    """A machine with two GPUs."""
    return make_driver()
