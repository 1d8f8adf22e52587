"""With 16 GPUs and 64 replicas of each, what a user sees has a line for each GPU and not one for each replica."""

import json
from pathlib import Path

import pytest

from harness.process import run_to_end, started
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.nvidia.simulated import parse_spec

RESOURCE = "nvidia.com/gpu"
MAX_WIDTH = 240
"""Characters. The longest line is that of a message of the API."""
PODS = 40
SIMULATED = "--backend=simulated:16xH100"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "config.yaml"
    slicing = {"resources": [{"name": RESOURCE, "replicas": 64}]}
    found.write_text(json.dumps({"version": "v1", "sharing": {"timeSlicing": slicing}}))
    return found


async def shown(*arguments: str) -> list[str]:
    """Run a command, and return its lines. None is too long for a terminal."""
    status, output, errors = await run_to_end(*arguments)
    assert errors == ""
    assert status in {0, 1}, "1 is what doctor and replay say of a machine without GPUs, and of a difference"
    lines = output.splitlines()
    assert len(lines) < 100
    assert max(map(len, lines)) <= MAX_WIDTH, arguments
    return lines


async def test_what_commands_show_is_no_longer_than_for_whole_gpus(
    kubelet_dir: Path, file: Path, tmp_path: Path
) -> None:
    first, *_ = parse_spec("16xH100")
    config, directory = f"--config-file={file}", f"--kubelet-dir={kubelet_dir}"
    recording = tmp_path / "recording"
    async with (
        FakeKubelet(kubelet_dir, release("1.37")) as kubelet,
        started(SIMULATED, config, directory, f"--record={recording}") as process,
    ):
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 1024, timeout=15, what="1,024 replicas")
        for number in range(PODS):
            await kubelet.allocate(RESOURCE, pod=f"server-{number}", ids=[f"{first.id}::{number}"])
        await process.wait_for_control()
        status = await shown("status")
        inspected = await shown("inspect", directory, "--prefer=32")
        await shown("doctor", directory)
    (row,) = (line for line in status if line.startswith("0 "))
    assert f"{RESOURCE} x64" in row
    assert row.endswith(f", and {PODS - 3} more")
    assert sum(line.startswith("GPU-") for line in inspected) == 16
    assert any(line.startswith(f"{first.id}::0 to ::63 (64)  Healthy") for line in inspected)
    offered = await shown("devices", SIMULATED, config)
    assert f"{RESOURCE}: 16 devices, 1024 with their replicas" in offered[0]
    assert (await shown("replay", str(recording)))[-1].endswith(", no difference")
