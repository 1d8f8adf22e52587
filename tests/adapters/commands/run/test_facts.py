"""The gateway knows what labels tell of its devices where labels are on, and asks for nothing where they are off."""

from pathlib import Path

import pytest

from driver.driver import Call, Driver
from harness.node import until
from harness.process import started


@pytest.mark.parametrize("way", ["off", "file"])
async def test_facts_are_asked_for_where_labels_are_on(
    way: str, kubelet_dir: Path, tmp_path: Path, driver: Driver
) -> None:
    recording, last = tmp_path / "recording", "LinksSeen" if way == "off" else "FactsSeen"
    flags = (f"--kubelet-dir={kubelet_dir}", f"--driver-root={driver.root}", f"--record={recording}")
    file = f"--output-file={tmp_path}/gfd"
    async with started(*flags, file, f"--node-labels={way}", environment=driver.environment) as process:
        await process.wait_for_event("started")
        await until(lambda: recording.exists() and last in recording.read_text(), last)
    assert driver.calls(Call.CUDA) == (0 if way == "off" else 1)
