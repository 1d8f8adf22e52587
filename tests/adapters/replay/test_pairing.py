"""A replay pairs the devices of two backends as the gateway did that was recorded."""

from pathlib import Path

import pytest

from harness.node import until
from harness.process import run_to_end, started
from harness.several import GPUS, OTHERS
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release

MACHINE = "simulated:8xH100,simulated:8xA100/name=other"
CALL = '"GetPreferredAllocation"'


@pytest.mark.parametrize("switch", ["true", "false"])
async def test_the_replay_of_paired_devices_shows_no_difference(
    recording: Path, kubelet_dir: Path, switch: str
) -> None:
    arguments = (f"--kubelet-dir={kubelet_dir}", f"--backend={MACHINE}", f"--pair-devices={switch}")
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, started(*arguments, f"--record={recording}"):
        await kubelet.wait_for(lambda: kubelet.allocatable(GPUS) == kubelet.allocatable(OTHERS) == 8, what="devices")
        gpus, others = (sorted(kubelet.devices(name)) for name in (GPUS, OTHERS))
        taken = [*(await kubelet.allocate(GPUS, 5, pod="taker")).ids]
        first = await kubelet.allocate(GPUS, 1, pod="pod")
        second = await kubelet.allocate(OTHERS, 2, pod="pod", container="other")
        assert {*first.ids, *taken} <= set(gpus)
        assert set(second.ids) <= set(others)
        await until(lambda: recording.read_text().count(CALL) == 3, "the recorded questions")
    status, output, _ = await run_to_end("replay", str(recording))
    assert (status, "no difference" in output) == (0, True), output
    other = "false" if switch == "true" else "true"
    altered = recording.read_text().replace(f'"pair_devices": {switch}', f'"pair_devices": {other}')
    assert altered != recording.read_text()
    recording.write_text(altered)
    status, output, _ = await run_to_end("replay", str(recording))
    assert (status, "no difference" in output) == (1, False), "the test would see it"
