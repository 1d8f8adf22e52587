"""The IMEX channel that every container needs: no GPU is given out while the node lacks it. It can come and go."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from driver.driver import Driver
from harness.process import Process, run_to_end, started
from harness.recordings import said_of
from plugin_gateway.adapters.fake_kubelet import AdmissionError, FakeKubelet, release
from plugin_gateway.adapters.gateway.device_nodes import DeviceNodes
from plugin_gateway.adapters.gateway.required_nodes import NOT_LOOKED_FOR, RequiredNodes
from plugin_gateway.core.devices import Recipe
from plugin_gateway.core.health.observations import Observation, RequirementSeen
from plugin_gateway.nvidia.naming import RECIPES

GPU = "nvidia.com/gpu"
CHANNEL = "nvidia-caps-imex-channels/channel0"
PATH = f"/dev/{CHANNEL}"
GONE = f"{PATH}, which every container needs, is not there"
REQUIRED = "version: v1\nimex: {channelIDs: [0], required: true}\n"
OPTIONAL = "version: v1\nimex: {channelIDs: [0]}\n"


def test_it_is_looked_for_when_the_devices_are_known(tmp_path: Path) -> None:
    told: list[Observation] = []
    recipes: list[Recipe] = []
    watch, nodes = RequiredNodes(told.append, lambda: recipes), DeviceNodes(str(tmp_path))
    watch.require((), nodes)
    assert told == [RequirementSeen("")]
    watch.require(("imex-channel",), nodes)
    recipes.extend(RECIPES.values())
    watch.look()
    watch.look()
    add_channel(tmp_path)
    watch.look()
    recipes.clear()
    watch.require((), nodes)
    assert [told[1], told[2].problem, *told[3:]] == [NOT_LOOKED_FOR, GONE, RequirementSeen("")]  # type: ignore[union-attr]


def add_channel(root: Path) -> Path:
    channel = root / "dev" / CHANNEL
    channel.parent.mkdir(parents=True, exist_ok=True)
    channel.touch()
    return channel


@asynccontextmanager
async def gateway(
    kubelet_dir: Path, driver: Driver, file: Path, *flags: str
) -> AsyncIterator[tuple[FakeKubelet, Process]]:
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root), "--config-file", str(file))
    async with (
        FakeKubelet(kubelet_dir, release("1.37")) as kubelet,
        started(*arguments, *flags, environment=driver.environment) as process,
    ):
        yield kubelet, process


async def is_listed(kubelet: FakeKubelet, health: str) -> None:
    await kubelet.wait_for(lambda: list(kubelet.devices(GPU).values()) == [health] * 2, timeout=15, what=health)


async def test_a_channel_that_comes_and_goes_is_followed(kubelet_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(REQUIRED)
    with contextlib.closing(Driver(tmp_path, gpus=2)) as driver:
        async with gateway(kubelet_dir, driver, file) as (kubelet, process):
            await is_listed(kubelet, "Unhealthy")
            assert kubelet.allocatable(GPU) == 0
            line = await process.wait_for_event("devices are not given out, the node lacks what every container needs")
            assert (line["problem"], "nvidia-modprobe -i 0" in line["todo"]) == (GONE, True)
            await process.wait_for_control()
            _, shown, _ = await run_to_end("status")
            assert f"{GPU} is not given out: {GONE} since" in shown
            assert shown.count("healthy, not given out") == 2
            channel = add_channel(driver.root)
            await is_listed(kubelet, "Healthy")
            await process.wait_for_event("the node lacks nothing that every container needs")
            container = await kubelet.allocate(GPU, pod="a")
            assert container.environment["NVIDIA_IMEX_CHANNELS"] == "0"
            assert PATH in container.device_nodes
            channel.unlink()
            await is_listed(kubelet, "Unhealthy")
            file.write_text(OPTIONAL)
            process.send(signal.SIGHUP)
            await is_listed(kubelet, "Healthy")
            container = await kubelet.allocate(GPU, pod="b")
            assert "NVIDIA_IMEX_CHANNELS" not in container.environment
            file.write_text(REQUIRED)
            process.send(signal.SIGHUP)
            await is_listed(kubelet, "Unhealthy")


async def test_no_gpu_is_given_out_before_the_first_look(kubelet_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(REQUIRED)
    allocatable = []
    with contextlib.closing(Driver(tmp_path, gpus=2)) as driver:
        async with gateway(kubelet_dir, driver, file) as (kubelet, _):
            async with asyncio.timeout(15):
                while not kubelet.devices(GPU):
                    await asyncio.sleep(0.001)
                    allocatable.append(kubelet.allocatable(GPU))
            await is_listed(kubelet, "Unhealthy")
    assert not any(allocatable)


async def test_a_recording_of_it_plays_again(kubelet_dir: Path, tmp_path: Path) -> None:
    """Also where containers get no device nodes: the answer then shows whether the channel was there."""
    file, recording = tmp_path / "config.yaml", tmp_path / "recording.jsonl"
    file.write_text(REQUIRED + "flags: {gdsEnabled: true, plugin: {passDeviceSpecs: false, "
                    "deviceListStrategy: [volume-mounts, envvar]}}\n")  # fmt: skip
    with contextlib.closing(Driver(tmp_path, gpus=2)) as driver:
        channel = add_channel(driver.root)
        async with gateway(kubelet_dir, driver, file, "--record", str(recording)) as (kubelet, _):
            await is_listed(kubelet, "Healthy")
            container = await kubelet.allocate(GPU, pod="a")
            assert container.environment["NVIDIA_GDS"] == "enabled"
            assert [each for each in container.answer.mounts if each.endswith("/imex/0")]
            channel.unlink()
            with contextlib.suppress(AdmissionError):
                await kubelet.allocate(GPU, pod="b")
            await is_listed(kubelet, "Unhealthy")
            await asyncio.sleep(0.1)
    said = said_of(recording)
    assert (said.status, "no difference" in said.summary) == (0, True), said.output
