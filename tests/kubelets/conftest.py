"""Genuine kubelets for the tests of this folder; without them it does not run at all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from driver.driver import Driver
from kubelets.build import BUILT
from kubelets.genuine import GENUINE


def pytest_configure() -> None:
    missing = [release for release in GENUINE if not (BUILT / release).exists()]
    if missing:
        pytest.exit(f"kubelets that are not built: {', '.join(missing)}; make kubelets builds them", returncode=1)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    """A machine with eight GPUs; it is closed at the end."""
    made = Driver(tmp_path, gpus=8)
    yield made
    made.close()
