"""`run` with several backends, and the other commands beside it."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from driver.driver import Driver
from harness.process import Process, run_to_end, started
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release

GPUS, OTHERS = "nvidia.com/gpu", "nvidia.com/other"
SIMULATED = "simulated:2xH100,simulated:3xA100/name=other"
WITH_DRIVER = "nvml,simulated:3xA100/name=other"


@asynccontextmanager
async def gateway(
    kubelet_dir: Path, *more: str, backend: str = SIMULATED, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Process]:
    async with started(
        "--kubelet-dir", str(kubelet_dir), "--backend", backend, *more, environment=environment
    ) as process:
        await process.wait_for_control()
        yield process


async def offered(kubelet: FakeKubelet, gpus: int | None, others: int | None) -> None:
    def is_offered() -> bool:
        return (kubelet.allocatable(GPUS), kubelet.allocatable(OTHERS)) == (gpus, others)

    await kubelet.wait_for(is_offered, timeout=20, what=f"{gpus} and {others} devices")


async def test_a_driver_and_simulated_devices_are_served_by_one_process(
    kubelet_dir: Path, driver: Driver, state_dir: Path
) -> None:
    def both() -> AbstractAsyncContextManager[Process]:
        return gateway(
            kubelet_dir, "--driver-root", str(driver.root), backend=WITH_DRIVER, environment=driver.environment
        )

    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet:
        async with both() as process:
            await offered(kubelet, 8, 3)
            driver.xid(3, 79)
            await process.wait_for_event("device changed its health")
            await offered(kubelet, 7, 3)
            _, output, _ = await run_to_end("status", "--json")
            told = json.loads(output)
            assert [(each["name"], each["device_count"]) for each in told["backends"]] == [("nvml", 8), ("other", 3)]
            assert {each["backend"] for each in told["devices"]} == {"nvml", "other"}
            status, output, errors = await run_to_end("driver", "release", "other")
            assert (status, errors) == (0, ""), output
            await offered(kubelet, 7, 0)
            _, output, _ = await run_to_end("status")
            assert "backend other:\n" in output
            assert "waiting for the driver: an operator has released the driver for 120 s" in output
        assert (state_dir / "health.json").exists()
        assert (state_dir / "health-other.json").exists()
        async with both():  # what was released is on probation, as the file of its backend says
            await offered(kubelet, 7, 0)


async def test_a_driver_that_is_not_there_takes_no_other_device_out(kubelet_dir: Path, tmp_path: Path) -> None:
    arguments = ("--driver-root", str(tmp_path))
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        gateway(kubelet_dir, *arguments, backend=WITH_DRIVER) as process,
    ):
        await offered(kubelet, None, 3)
        line = await process.wait_for_event("waiting for the driver")
        assert line["backend"] == "nvml"
        status, output, _ = await run_to_end("doctor")
        assert status == 1
        assert "backend nvml: driver: " in output
        assert "backend other: the driver shows 3 devices" in output


async def test_a_successor_takes_over_the_resources_of_both(kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet:
        async with gateway(kubelet_dir):
            await offered(kubelet, 2, 3)
            async with gateway(kubelet_dir) as successor:
                await successor.wait_for_event("another gateway offers this resource, standing by", 2)
                before = kubelet.devices(GPUS), kubelet.devices(OTHERS)
            await offered(kubelet, 2, 3)
        async with gateway(kubelet_dir) as successor:
            await offered(kubelet, 2, 3)
            assert (kubelet.devices(GPUS), kubelet.devices(OTHERS)) == before


async def test_a_roll_out_keeps_the_devices_of_both(kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, gateway(kubelet_dir) as older:
        await offered(kubelet, 2, 3)
        begun = started("--kubelet-dir", str(kubelet_dir), "--backend", SIMULATED)
        successor = await begun.__aenter__()
        try:
            await successor.wait_for_event("another gateway offers this resource, standing by", 2)
            older._process.terminate()
            await older.ended()
            await successor.wait_for_event("registered", 2)
            await offered(kubelet, 2, 3)
        finally:
            await begun.__aexit__(None, None, None)


COLLISION = "version: v1\nresources: {rules: [{name: example.com/x}]}\n"


async def test_a_name_for_both_is_refused_at_the_start_and_at_a_reload(kubelet_dir: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(COLLISION)
    arguments = ("--config-file", str(config))
    status, _, errors = await run_to_end("run", "--kubelet-dir", str(kubelet_dir), "--backend", SIMULATED, *arguments)
    assert status == 2
    said = "is given to devices of backend simulated and of backend other; expected one backend for each resource"
    assert "resource example.com/x (file" in errors
    assert said in errors
    assert "Traceback" not in errors
    config.write_text("version: v1\nresources: {rules: [{backend: other, name: example.com/x}]}\n")
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        gateway(kubelet_dir, *arguments) as process,
    ):
        await kubelet.wait_for(lambda: kubelet.allocatable("example.com/x") == 3, timeout=20, what="3 devices")
        config.write_text(COLLISION)
        status, output, errors = await run_to_end("reload")
        assert status == 1
        assert said in output + errors
        await process.wait_for_event("configuration refused, the old one stays")
        assert (kubelet.allocatable(GPUS), kubelet.allocatable("example.com/x")) == (2, 3)
        config.write_text("version: v1\n")
        await run_to_end("reload")
        await offered(kubelet, 2, 3)


async def test_the_same_backend_twice_is_refused(kubelet_dir: Path) -> None:
    arguments = ("run", "--kubelet-dir", str(kubelet_dir), "--backend", "nvml,nvml")
    status, _, errors = await run_to_end(*arguments)
    assert status == 2
    assert "--backend: backend 'nvml' occurs twice; expected each one once" in errors


async def test_devices_shows_those_of_each() -> None:
    status, output, errors = await run_to_end("devices", "--json", "--links", "--backend", SIMULATED)
    assert (status, errors) == (0, "")
    told = json.loads(output)
    assert sorted((each["backend"], each["resource"]) for each in told["devices"]) == [
        *[("other", OTHERS)] * 3,
        *[("simulated", GPUS)] * 2,
    ]
    assert list(told["links_by_backend"]) == ["simulated", "other"]
    status, output, _ = await run_to_end("devices", "--explain", "--links", "--backend", SIMULATED)
    assert status == 0
    assert f"{OTHERS}: 3 devices" in output
    assert "its backend is 'other', and not 'simulated'" in output


async def test_what_is_recorded_of_both_plays(kubelet_dir: Path, tmp_path: Path) -> None:
    recording = tmp_path / "recording"
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, gateway(kubelet_dir, "--record", str(recording)):
        await offered(kubelet, 2, 3)
        await kubelet.allocate(GPUS, 1, pod="a")
        await kubelet.allocate(OTHERS, 2, pod="b")
        await run_to_end("driver", "release", "other")
        await offered(kubelet, 2, 0)
        await asyncio.sleep(0.2)
    lines = [json.loads(line) for line in recording.read_text().splitlines()]
    assert lines[0]["backends"] == ["simulated", "other"]
    assert {each["backend"] for each in lines[1:] if each["what"] == "seen"} == {"simulated", "other"}
    status, output, errors = await run_to_end("replay", str(recording))
    assert (status, errors) == (0, ""), output


@pytest.mark.parametrize("command", ["release", "take"])
async def test_a_backend_that_is_not_there_is_said(command: str, kubelet_dir: Path) -> None:
    async with gateway(kubelet_dir):
        status, output, errors = await run_to_end("driver", command, "network")
        assert status == 1
        assert "there is no backend 'network', there are: simulated, other" in output + errors


async def test_doctor_says_which_devices_have_no_name_left(kubelet_dir: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text('version: v1\nresources: {rules: [{product: "*NVIDIA*", name: example.com/x}]}\n')
    arguments = ("--backend", SIMULATED, "--config-file", str(config))
    _, output, _ = await run_to_end("doctor", "--kubelet-dir", str(kubelet_dir), *arguments)
    said = "backend simulated offers example.com/x, and a resource has devices of one backend only"
    assert f"3 devices of backend other are not offered: {said}" in output
    status, output, _ = await run_to_end("devices", *arguments)
    assert status == 0
    assert output.count(said) == 3
