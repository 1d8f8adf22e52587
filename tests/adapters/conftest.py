"""What tests of more than one adapter need."""

from pathlib import Path

import pytest


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return tmp_path / "recording.jsonl"
