"""Under the names of NVIDIA's executables the program does what a manifest of NVIDIA's asks of them."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import pytest

from harness.process import PROGRAM, Process
from plugin_gateway.__main__ import COMMANDS, NAMES


@pytest.fixture
def names(tmp_path: Path) -> Path:
    """A folder in which the program has its other names, as in the image."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in NAMES:
        (folder / name).symlink_to(PROGRAM)
    return folder


async def ended(*command: str | Path, environment: Mapping[str, str] | None = None) -> tuple[int | None, str, str]:
    child = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **(environment or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await asyncio.wait_for(child.communicate(), 20)
    return child.returncode, out.decode(), errors.decode()


@asynccontextmanager
async def living(*command: str | Path) -> AsyncIterator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.terminate()
        await asyncio.wait_for(child.wait(), 20)


def test_every_name_calls_a_command_that_there_is() -> None:
    assert set(NAMES.values()) <= set(COMMANDS)


async def test_the_plugins_name_alone_runs_the_gateway(names: Path, kubelet_dir: Path) -> None:
    command = (names / "nvidia-device-plugin", "--backend=simulated:2xH100", f"--kubelet-dir={kubelet_dir}")
    async with living(*command) as child, asyncio.TaskGroup() as tasks:
        process = Process(child)
        tasks.create_task(process.read())
        assert (await process.wait_for_event("started", limit=20))["version"] == version("plugin-gateway")
        process.send(signal.SIGTERM)
        assert await process.ended(limit=20) == 0


async def test_the_plugins_name_has_the_flags_of_run(names: Path) -> None:
    plugin = names / "nvidia-device-plugin"
    assert await ended(plugin, "--version") == (0, f"plugin-gateway {version('plugin-gateway')}\n", "")
    status, _, errors = await ended(plugin, "--mig-strategy=both")
    assert (status, errors) == (
        2,
        "plugin-gateway: --mig-strategy: invalid value 'both'; expected none, single, mixed\n",
    )


async def test_the_mps_daemon_ends_with_one_sentence(names: Path) -> None:
    for arguments in ((), ("mount-shm",)):
        status, out, errors = await ended(names / "mps-control-daemon", *arguments)
        assert (status, out, errors.count("\n")) == (1, "", 1)
        assert "keep the image of NVIDIA's device plugin" in errors


async def test_config_manager_complains_in_one_line(names: Path) -> None:
    status, out, errors = await ended(names / "config-manager", environment={"ONESHOT": "true", "NODE_NAME": ""})
    assert (status, out) == (2, "")
    assert errors == ("plugin-gateway: environment variable NODE_NAME is empty; config-manager needs it with ONESHOT\n")


async def test_as_a_sidecar_config_manager_only_waits_for_its_end(names: Path) -> None:
    async with living(names / "config-manager") as child:
        assert child.stderr is not None
        line = await asyncio.wait_for(child.stderr.readline(), 20)
        assert b"does nothing as a sidecar" in line
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(child.wait(), 0.5)
        child.terminate()
        assert await asyncio.wait_for(child.wait(), 20) in {0, -signal.SIGTERM}
