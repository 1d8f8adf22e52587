"""Fixtures for all tests."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from driver.driver import Driver
from plugin_gateway.adapters.support.logs import log

os.environ["GRPC_VERBOSITY"] = "NONE"

# Property tests look for wrong results, not for slow ones: the machine may have other things to do.
settings.register_profile("plugin-gateway", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("plugin-gateway")

pytest_plugins = ["leaks"]


@pytest.fixture(scope="session", autouse=True)
def an_interrupt_is_heeded() -> None:
    """Restore the handling of SIGINT: a shell ignores it for background processes, and their children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def state_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Set the state directory of all gateways of the test, so that none uses the one of this machine.

    It has a short path, because it has unix sockets.
    """
    with tempfile.TemporaryDirectory(prefix="state-") as folder:
        directory = Path(folder) / "state"
        monkeypatch.setenv("STATE_DIR", str(directory))
        yield directory


@pytest.fixture
def kubelet_dir() -> Iterator[Path]:
    """A directory with a short path, in one of its own, in which the kubelet has more folders.

    The path of a unix socket has at most 107 bytes.
    """
    with tempfile.TemporaryDirectory(prefix="kubelet-") as folder:
        directory = Path(folder) / "dp"
        directory.mkdir(mode=0o700)
        yield directory


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    """A stand-in driver with eight GPUs."""
    made = Driver(tmp_path, gpus=8)
    yield made
    made.close()


@pytest.fixture
def told() -> Iterator[list[dict[str, Any]]]:
    """The log lines of the test, as dicts with level and fields."""
    lines: list[dict[str, Any]] = []
    log.write_to(lambda level, line: lines.append({"level": level, **line}))
    lines.clear()  # from earlier tests
    yield lines
    log.write_to(None)
