"""The fake kubelet of a release behaves as the genuine one: the same scenario, the same lines."""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from kubelets.conftest import NoteCell
from kubelets.contract import SCENARIOS, Scenario
from kubelets.fake import FakeAsGenuine, played
from kubelets.genuine import GENUINE, GenuineKubelet
from kubelets.scene import SETTLED, Kubelet, Scene
from kubelets.table import COMPARED, Cell
from plugin_gateway.adapters.fake_kubelet.releases import Release

PATIENT = 5 * SETTLED
"""For a second look where the first one differs: on a busy machine a kubelet may take its time between two changes."""


async def seen(scenario: Scenario, of: Release, make: Callable[[Path], Kubelet], settled: float) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="kubelet-") as folder:
        async with make(Path(folder)) as kubelet:
            scene = Scene(kubelet, of, settled)
            await scenario(scene)
            return scene.lines


async def both(scenario: Scenario, name: str, settled: float) -> tuple[list[str], list[str]]:
    of = played(name)
    return await asyncio.gather(
        seen(scenario, of, lambda folder: FakeAsGenuine(folder, name), settled),
        seen(scenario, of, lambda folder: GenuineKubelet(folder, name), settled),
    )


@pytest.mark.parametrize("name", GENUINE)
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_both_kubelets_show_a_plugin_the_same(scenario: str, name: str, cell: NoteCell) -> None:
    cell(Cell(COMPARED, name, scenario, ""))
    fake, genuine = await both(SCENARIOS[scenario], name, SETTLED)
    if fake != genuine:
        fake, genuine = await both(SCENARIOS[scenario], name, PATIENT)
    assert fake == genuine
