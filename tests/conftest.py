"""What every test of the whole may need."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from driver.driver import Driver
from plugin_gateway.adapters.support.logs import log

os.environ["GRPC_VERBOSITY"] = "NONE"

pytest_plugins = ["leaks"]


@pytest.fixture(scope="session", autouse=True)
def an_interrupt_is_heeded() -> None:
    """Have what the tests start heed SIGINT: a shell that ran them in the background had it ignored by all of them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where every gateway of the test keeps what a restart must not forget: they are on one node, and not on ours."""
    directory = tmp_path / "state"
    monkeypatch.setenv("STATE_DIR", str(directory))
    return directory


@pytest.fixture
def kubelet_dir() -> Iterator[Path]:
    """A directory whose path is as short as the kubelet's own: unix sockets have room for 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="kubelet-") as folder:
        yield Path(folder)


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
