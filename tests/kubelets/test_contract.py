"""Tests that the fake kubelet behaves like the genuine one of its release: the same scenario, the same lines."""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from kubelets import calls, contract
from kubelets.conftest import NoteCell
from kubelets.fake import FakeAsGenuine, played
from kubelets.genuine import GENUINE, GenuineKubelet
from kubelets.scenarios import Scenario
from kubelets.scene import PATIENT, QUICK, Kubelet, Patience, Scene
from kubelets.table import COMPARED, Cell
from plugin_gateway.adapters.fake_kubelet.releases import Release

SCENARIOS = contract.SCENARIOS | calls.SCENARIOS


async def seen(scenario: Scenario, of: Release, make: Callable[[Path], Kubelet], patience: Patience) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="kubelet-") as folder:
        async with make(Path(folder)) as kubelet:
            scene = Scene(kubelet, of, patience)
            await scenario(scene)
            return scene.lines


async def both(scenario: Scenario, name: str, patience: Patience) -> tuple[list[str], list[str]]:
    of = played(name)
    return await asyncio.gather(
        seen(scenario, of, lambda folder: FakeAsGenuine(folder, name), patience),
        seen(scenario, of, lambda folder: GenuineKubelet(folder, name), patience),
    )


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", GENUINE)
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_both_kubelets_show_a_plugin_the_same(scenario: str, name: str, cell: NoteCell) -> None:
    cell(Cell(COMPARED, name, scenario, ""))
    fake, genuine = await both(SCENARIOS[scenario], name, QUICK)
    if fake != genuine:
        fake, genuine = await both(SCENARIOS[scenario], name, PATIENT)
    assert fake == genuine
