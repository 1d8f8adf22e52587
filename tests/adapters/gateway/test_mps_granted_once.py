"""A GPU that a pod holds with, or without, MPS is given to no other pod in another form until that pod is gone."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from driver.driver import Driver
from harness.node import RESOURCE, until
from harness.process import started
from harness.sharing_daemon import SharingDaemon
from plugin_gateway.adapters.fake_kubelet import AdmissionError, FakeKubelet, release
from plugin_gateway.adapters.kubelet.checkpoint import read_checkpoint
from plugin_gateway.core.resources.names import ResourceName

from .test_shared_by_file import Setup, gateway, sliced

SHARED = ResourceName(f"{RESOURCE}.shared")


def by_mps(replicas: int, others: str = "") -> str:
    return sliced(replicas, others).replace("timeSlicing", "mps")


FORMS = [
    ("", "", by_mps(2), RESOURCE, 4, "nvidia.com/gpu (not shared)"),
    (by_mps(2), "::1", "", RESOURCE, 2, "nvidia.com/gpu (shared)"),
    (sliced(2), "::1", by_mps(2), RESOURCE, 4, "nvidia.com/gpu (shared without a daemon)"),
    (by_mps(2), "::1", sliced(2), RESOURCE, 4, "nvidia.com/gpu (shared through mps)"),
    (by_mps(2), "::1", by_mps(2, ", rename: gpu.shared"), SHARED, 4, "nvidia.com/gpu"),
]
IDS = ["exclusive to MPS", "MPS to exclusive", "time-slicing to MPS", "MPS to time-slicing", "MPS to another name"]


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    """A stand-in driver with two GPUs."""
    made = Driver(tmp_path, gpus=2)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def daemons(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Daemons for both names. The folder has a short name, because the path of a socket is limited."""
    with tempfile.TemporaryDirectory(prefix="mps-") as folder:
        monkeypatch.setenv("MPS_ROOT", folder)
        with SharingDaemon(Path(folder), RESOURCE), SharingDaemon(Path(folder), SHARED):
            yield


async def given_out(setup: Setup, count: int, name: ResourceName = RESOURCE) -> None:
    await setup.kubelet.wait_for(
        lambda: setup.kubelet.allocatable(name) == count, timeout=15, what=f"{count} of {name}"
    )


async def only_the_other_is_given_out(setup: Setup, name: ResourceName, count: int) -> None:
    """The GPU that the pod holds is unhealthy in the new form, and the other one is not."""
    await setup.kubelet.wait_for(
        lambda: len(setup.kubelet.devices(name)) == count
        and {each.partition("::")[0] for each in setup.unhealthy(name)} == {setup.ids[0]},
        timeout=15, what="the held GPU unhealthy, and only this one",
    )  # fmt: skip
    with pytest.raises(AdmissionError):
        await setup.kubelet.allocate(name, pod="uid-3", ids=[min(setup.unhealthy(name))])


async def is_free_without(setup: Setup, name: ResourceName, count: int) -> None:
    await setup.kubelet.remove("uid-1")
    free = next(each for each in setup.kubelet.devices(name) if each.startswith(setup.ids[1]))
    await setup.kubelet.allocate(name, pod="uid-2", ids=[free])  # only now the kubelet forgets the other pod
    await given_out(setup, count, name)


@pytest.mark.parametrize(("before", "held", "after", "name", "count", "words"), FORMS, ids=IDS)
async def test_at_a_reload(
    before: str, held: str, after: str, name: ResourceName, count: int, words: str,
    kubelet_dir: Path, driver: Driver, tmp_path: Path,
) -> None:  # fmt: skip
    async with gateway(kubelet_dir, driver, tmp_path, before) as setup:
        await given_out(setup, 4 if before else 2)
        await setup.kubelet.allocate(RESOURCE, pod="uid-1", container="main", ids=[f"{setup.ids[0]}{held}"])
        await setup.reload(after)
        line = await setup.process.wait_for_event("device is not given out")
        assert (line["devices"], line["what"]) == ([setup.ids[0]], f"held as {words} by uid-1 main")
        await only_the_other_is_given_out(setup, name, count)
        await is_free_without(setup, name, count)


@pytest.mark.parametrize(("before", "held", "after", "name", "count", "words"), FORMS, ids=IDS)
async def test_at_a_restart(
    before: str, held: str, after: str, name: ResourceName, count: int, words: str,
    kubelet_dir: Path, driver: Driver, tmp_path: Path,
) -> None:  # fmt: skip
    file = tmp_path / "config.yaml"
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root), "--config-file", str(file))
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet:
        file.write_text(f"version: v1\n{before}\n")
        async with started(*arguments, environment=driver.environment) as process:
            setup = Setup(kubelet, process, driver, file)
            await given_out(setup, 4 if before else 2)
            await kubelet.allocate(RESOURCE, pod="uid-1", container="main", ids=[f"{setup.ids[0]}{held}"])
        file.write_text(f"version: v1\n{after}\n")
        async with started(*arguments, environment=driver.environment) as process:
            setup = Setup(kubelet, process, driver, file)
            await only_the_other_is_given_out(setup, name, count)
            said = f"held as {words} by uid-1 main"
            await until(
                lambda: [setup.ids[0]] in [line["devices"] for line in process.lines if line.get("what") == said],
                "the line about the pod",
            )
            await is_free_without(setup, name, count)


@pytest.mark.parametrize(("text", "held"), [(by_mps(2), "::1"), (sliced(2), "::1"), ("", "")])
async def test_what_is_held_in_the_same_form_stands_in_the_way_of_nothing(
    text: str, held: str, kubelet_dir: Path, driver: Driver, tmp_path: Path
) -> None:
    async with gateway(kubelet_dir, driver, tmp_path, text) as setup:
        count = 4 if text else 2
        await given_out(setup, count)
        await setup.kubelet.allocate(RESOURCE, pod="uid-1", ids=[f"{setup.ids[0]}{held}"])
        assert read_checkpoint(kubelet_dir).answers  # type: ignore[union-attr]
        await setup.reload(f"{text}\nflags: {{plugin: {{numaHints: false}}}}")
        await setup.reload(f"resources: {{rules: [{{index: 1, never: true}}]}}\n{text}")
        await setup.kubelet.wait_for(
            lambda: len(setup.kubelet.devices(RESOURCE)) == count // 2, timeout=10, what="the list without GPU 1"
        )
        assert not setup.unhealthy()
        assert "device is not given out" not in setup.process.events()
