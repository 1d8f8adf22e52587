"""The kubelet, genuine or fake, does not answer one of three resources. The other two must not wait for it."""

import time
from pathlib import Path

import pytest

from driver.driver import Driver
from harness.node import until
from kubelets.fake import played
from kubelets.genuine import GENUINE
from kubelets.relay import relay
from kubelets.table import Column
from kubelets.test_gateway import Make, gateway
from plugin_gateway.core.registration import pauses

MODELS = ("H100", "A100", "L40S")
COUNTS = {"nvidia.com/h100": 8, "nvidia.com/a100": 1, "nvidia.com/l40s": 1}
"""The driver has eight GPUs of the first model, and gets one of each other."""
SOON = 5.0
"""Seconds from the first Register to the devices of the other two on a busy machine. Usual is 0.02 to 0.08."""
ALONE = pauses.ANSWER.seconds + SOON
"""The same with 1.8, where one Register follows the other. Usual is 25.3."""


def configured(folder: Path) -> Path:
    """Write a configuration with a resource for each model."""
    patterns = (f'    - {{pattern: "*{model}*", name: {model.lower()}}}\n' for model in MODELS)
    path = folder / "config.yaml"
    path.write_text(f"version: v1\nresources:\n  gpus:\n{''.join(patterns)}")
    return path


@pytest.mark.column(Column.UNANSWERED)
@pytest.mark.parametrize("release", GENUINE)
async def test_a_resource_that_is_not_answered_delays_no_other(
    make: Make, release: str, kubelet_dir: Path, driver: Driver, tmp_path: Path
) -> None:
    """With 1.8 the others come when the gateway gives up: two at the same instant can crash that kubelet."""
    for index, model in enumerate(MODELS[1:], start=8):
        driver.add(index, name=f"NVIDIA {model}")
    async with (
        make(kubelet_dir, release) as kubelet,
        relay(kubelet_dir, played(release)) as between,
        gateway(kubelet_dir, driver, f"--config-file={configured(tmp_path)}"),
    ):

        def missing() -> list[str]:
            return [name for name, count in COUNTS.items() if kubelet.allocatable(name) != count]

        await until(lambda: between.began > 0, "the first Register", 20)
        limit = ALONE if played(release).api_version == "0.1" else SOON
        await kubelet.wait_for(lambda: missing() == [between.kept], timeout=limit, what="devices of the other two")
        print(f"{release}: {time.monotonic() - between.began:.3f} s")
        for name in COUNTS.keys() - {between.kept}:
            assert len((await kubelet.allocate(name, pod=name)).ids) == 1
        between.answer()
        await kubelet.wait_for(lambda: not missing(), timeout=ALONE, what="devices of the third")
        assert not kubelet.complaints()
