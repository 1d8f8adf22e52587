"""`plugin-gateway labels` shows labels, or writes them as NVIDIA's GPU feature discovery does, also under its name."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from driver.driver import Driver
from harness.process import PROGRAM, run_to_end

GPUS = "--backend=simulated:3xH100+1xT4"
LIMIT = 20


@pytest.fixture
def machine(tmp_path: Path) -> str:
    (tmp_path / "product_name").write_text("DGX (H100)\n")
    return f"--machine-type-file={tmp_path}/product_name"


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    with contextlib.closing(Driver(tmp_path, gpus=2)) as made:
        yield made


async def shown(*flags: str) -> str:
    status, out, errors = await run_to_end("labels", *flags)
    assert (status, errors) == (0, "")
    return out


def read(path: Path) -> Mapping[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT):
        while not what():  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0.05)


@asynccontextmanager
async def discovery(
    tmp_path: Path, *flags: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The program under the name that it has in NVIDIA's image."""
    name = tmp_path / "gpu-feature-discovery"
    name.symlink_to(PROGRAM)
    child = await asyncio.create_subprocess_exec(
        name, f"--state-dir={tmp_path}", *flags, env={**os.environ, **(environment or {})},
        stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await asyncio.wait_for(child.wait(), LIMIT)


async def test_labels_are_shown_one_a_line_in_the_order_of_their_names(machine: str) -> None:
    lines = (await shown(GPUS, machine, "--no-timestamp", "--node-labels-own=gpu.healthy")).splitlines()
    assert lines == sorted(lines)
    assert "nvidia.com/gpu.machine=DGX-H100" in lines
    assert "nvidia.com/gpu.count=3" in lines
    assert "plugin-gateway/gpu.healthy=4" in lines
    assert "plugin-gateway/gpu.model.Tesla-T4=1" in lines
    assert not any("timestamp" in line for line in lines)


async def test_taints_are_shown_behind_them(machine: str) -> None:
    flags = ("--node-labels=patch", "--node-name=n", "--node-labels-by-product=*T4*=a.b/c=d:NoSchedule")
    lines = (await shown(GPUS, machine, *flags)).splitlines()
    assert lines[0] == "a.b/c=d"
    assert lines[-1] == "taint: a.b/c=d:NoSchedule"


async def test_json_says_why(machine: str) -> None:
    told = json.loads(await shown(GPUS, machine, "--json", "--node-labels-by-product=*T4*=a.b/c"))
    assert told["labels"]["nvidia.com/gpu.product"] == "NVIDIA-H100-80GB-HBM3"
    assert told["why"]["nvidia.com/gpu.product"] == "3 GPUs of NVIDIA H100 80GB HBM3; the node has Tesla T4 too"
    assert told["why"]["a.b/c"] == "the node has Tesla T4, which *T4* matches"
    assert (told["taints"], told["left_out"], told["is_complete"]) == ([], {}, True)
    assert "gfd.timestamp" in str(told["labels"])


async def test_a_machine_without_a_name_is_told_and_no_mistake(tmp_path: Path) -> None:
    status, out, errors = await run_to_end("labels", GPUS, f"--machine-type-file={tmp_path}/none")
    assert status == 0
    assert "nvidia.com/gpu.machine=unknown" in out
    assert errors.startswith("plugin-gateway: the model of the machine is not known: ")


async def test_without_a_driver_the_reason_is_told(tmp_path: Path, machine: str) -> None:
    status, out, errors = await run_to_end("labels", f"--driver-root={tmp_path}", machine)
    assert status == 1
    assert out == ""
    assert "libnvidia-ml.so.1 is neither in the loader's path" in errors


async def test_they_are_written_once_as_nvidias_program_does(tmp_path: Path, machine: str) -> None:
    path = tmp_path / "gfd"
    out = await shown(GPUS, machine, "--oneshot", "--no-timestamp", f"--output-file={path}")
    assert out == ""
    assert read(path)["nvidia.com/gpu.count"] == "3"
    assert await shown(GPUS, machine, "--no-timestamp") == path.read_text()


async def test_once_without_a_driver_is_an_error_and_the_file_stays(tmp_path: Path, machine: str) -> None:
    path = tmp_path / "gfd"
    path.write_text("a=b\n")
    flags = ("--oneshot", f"--output-file={path}", f"--driver-root={tmp_path}", machine)
    status, _, errors = await run_to_end("labels", *flags)
    assert status == 1
    assert errors.splitlines()[-1].endswith("no labels are written, because the driver did not tell of the devices")
    assert path.read_text() == "a=b\n"


async def test_a_file_that_cannot_be_written_is_told(tmp_path: Path, machine: str) -> None:
    status, _, errors = await run_to_end("labels", GPUS, machine, "--oneshot", f"--output-file={tmp_path}/none/gfd")
    assert (status, errors) == (
        1,
        f"plugin-gateway: {tmp_path}/none/gfd cannot be written: No such file or directory\n",
    )


async def test_the_node_feature_api_is_refused_with_what_does_it_here() -> None:
    status, _, errors = await run_to_end("labels", GPUS, environment={"GFD_USE_NODE_FEATURE_API": "true"})
    assert status == 2
    assert errors.count("\n") == 1
    assert "with --node-labels=nodefeature" in errors


async def test_under_nvidias_name_the_file_is_written_until_the_end_which_removes_it(
    tmp_path: Path, driver: Driver, machine: str
) -> None:
    path = tmp_path / "gfd"
    variables = {
        **driver.environment,
        "GFD_OUTPUT_FILE": str(path),
        "GFD_SLEEP_INTERVAL": "1s",
        "GFD_MIG_STRATEGY": "single",
    }
    async with discovery(tmp_path, f"--driver-root-ctr-path={driver.root}", machine, environment=variables) as child:
        await until(path.exists)
        assert read(path)["nvidia.com/gpu.count"] == "2"
        assert read(path)["nvidia.com/mig.strategy"] == "single"
        first = read(path)["nvidia.com/gfd.timestamp"]
        driver.add(2)
        await until(lambda: read(path)["nvidia.com/gpu.count"] == "3")
        assert read(path)["nvidia.com/gfd.timestamp"] == first
        child.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(child.wait(), LIMIT) == 0
    assert not path.exists()


async def test_under_nvidias_name_the_file_is_read_again_at_a_sighup(tmp_path: Path, machine: str) -> None:
    path, file = tmp_path / "gfd", tmp_path / "config.yaml"
    text = f"version: v1\nflags: {{gfd: {{outputFile: {path}, sleepInterval: infinite}}, other: 1}}\n"
    file.write_text(text)
    async with discovery(tmp_path, GPUS, machine, environment={"GFD_CONFIG_FILE": str(file)}) as child:
        await until(path.exists)
        assert read(path)["nvidia.com/gpu.replicas"] == "1"
        file.write_text("version: v3")
        child.send_signal(signal.SIGHUP)
        assert child.stderr is not None
        line = await asyncio.wait_for(child.stderr.readline(), LIMIT)
        assert b"version: invalid value 'v3'; expected v1" in line
        file.write_text(f"{text}sharing: {{mps: {{resources: [{{name: nvidia.com/gpu, replicas: 4}}]}}}}\n")
        child.send_signal(signal.SIGHUP)
        await until(lambda: read(path)["nvidia.com/gpu.replicas"] == "4")
        assert read(path)["nvidia.com/gpu.sharing-strategy"] == "mps"
        child.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(child.wait(), LIMIT) == 0


async def test_a_driver_that_goes_leaves_the_file_as_it_is_and_is_told_once(
    tmp_path: Path, driver: Driver, machine: str
) -> None:
    path = tmp_path / "gfd"
    flags = (f"--driver-root-ctr-path={driver.root}", machine, f"--output-file={path}", "--sleep-interval=1s")
    async with discovery(tmp_path, *flags, environment=driver.environment) as child:
        await until(path.exists)
        before = path.read_text()
        driver.uninstall()
        assert child.stderr is not None
        line = await asyncio.wait_for(child.stderr.readline(), LIMIT)
        assert b"libnvidia-ml.so.1 is neither" in line
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(child.stderr.readline(), 2.5)
        assert path.read_text() == before
        driver.install()
        driver.add(2)
        await until(lambda: read(path)["nvidia.com/gpu.count"] == "3")
