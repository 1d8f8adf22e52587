"""What every test of the whole may need."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["GRPC_VERBOSITY"] = "NONE"

pytest_plugins = ["leaks"]


@pytest.fixture
def kubelet_dir() -> Iterator[Path]:
    """A directory whose path is as short as the kubelet's own: unix sockets have room for 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="kubelet-") as folder:
        yield Path(folder)
