"""An edited configuration file takes effect by a watch or by a word, and is never silently older than it looks."""

import asyncio
import json
import os
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harness.process import Process, run_to_end, started

SIMULATED = ("--backend", "simulated:2xH100")
FIRST = "version: v1\nflags: {logLevel: info}\n"
SECOND = "version: v1\nflags: {logLevel: debug}\n"
WRONG = "version: v1\nflags: {logLevel: loud, logFormat: xml}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A file as the kubelet keeps it for a ConfigMap: a link into a folder that a link names, which is replaced."""
    write(tmp_path, FIRST, 1)
    (tmp_path / "config.yaml").symlink_to("..data/config.yaml")
    return tmp_path / "config.yaml"


def write(folder: Path, text: str, number: int) -> None:
    made = folder / f"..{number}"
    made.mkdir()
    (made / "config.yaml").write_text(text)
    (folder / "..next").symlink_to(made.name)
    (folder / "..next").rename(folder / "..data")


@asynccontextmanager
async def gateway(kubelet_dir: Path, config: Path, *more: str) -> AsyncIterator[Process]:
    arguments = ("--kubelet-dir", str(kubelet_dir), *SIMULATED, "--config-file", str(config), *more)
    async with started(*arguments) as process:
        await process.wait_for_control()
        yield process


async def test_a_config_map_that_changes_takes_effect_by_itself(kubelet_dir: Path, config: Path) -> None:
    async with gateway(kubelet_dir, config, "--watch-config") as process:
        write(config.parent, SECOND, 2)
        line = await process.wait_for_event("configuration changed")
        assert line["changed"] == ["log_level: info -> debug"]
        write(config.parent, WRONG, 3)
        line = await process.wait_for_event("configuration refused, the old one stays")
        assert "logLevel: invalid value 'loud'" in line["problem"]
        (config.parent / "..data").unlink()
        line = await process.wait_for_event("configuration refused, the old one stays", 2)
        assert line["problem"].endswith("No such file or directory")
        write(config.parent, FIRST, 4)
        line = await process.wait_for_event("configuration changed", 2)
        assert line["changed"] == ["log_level: debug -> info"]
        assert process.events().count("configuration read again, nothing changed") == 0


async def test_a_file_that_is_written_in_place_is_seen_too(kubelet_dir: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(FIRST)
    async with gateway(kubelet_dir, config, "--watch-config") as process:
        config.write_text(SECOND)
        await process.wait_for_event("configuration changed")


async def test_without_a_watch_the_file_is_newer_until_somebody_says_the_word(kubelet_dir: Path, config: Path) -> None:
    newer = f"the configuration file {config} was changed after it was read; plugin-gateway reload reads it again"
    async with gateway(kubelet_dir, config) as process:
        assert newer not in (await run_to_end("status"))[1]
        status, output, errors = await run_to_end("reload")
        assert (status, output, errors) == (0, "the configuration was read again, nothing changed\n", "")
        write(config.parent, SECOND, 2)
        assert newer in (await run_to_end("status"))[1].splitlines()
        told = json.loads((await run_to_end("status", "--json"))[1])
        assert told["configuration_file"] == {"path": str(config), "changed": True}
        _, output, _ = await run_to_end("doctor")
        assert f"note  the configuration file {config} was changed after the gateway read it" in output
        assert process.events().count("configuration changed") == 0
        status, output, _ = await run_to_end("reload")
        assert (status, output) == (0, "the configuration was read again; changed:\n  log_level: info -> debug\n")
        assert newer not in (await run_to_end("status"))[1]


async def test_a_file_that_is_refused_changes_nothing_and_every_mistake_is_told(
    kubelet_dir: Path, config: Path
) -> None:
    async with gateway(kubelet_dir, config):
        write(config.parent, WRONG, 2)
        status, output, errors = await run_to_end("reload")
        assert (status, output) == (1, "")
        assert errors.splitlines() == [
            "plugin-gateway: the configuration is refused, the old one stays",
            (
                f"plugin-gateway: {config}:2:19: flags.logLevel: invalid value 'loud'; "
                "expected debug, info, warning, error"
            ),
            f"plugin-gateway: {config}:2:36: flags.logFormat: invalid value 'xml'; expected auto, json, json-gcp, text",
        ]
        told = (await run_to_end("status"))[1]
        assert "configuration refused, an older one is in force" in told
        assert "was changed after it was read" not in told, "what was refused was read"
        write(config.parent, SECOND, 3)
        assert "was changed after it was read" in (await run_to_end("status"))[1]


async def test_a_file_that_cannot_be_read_for_a_moment_is_read_after_it(kubelet_dir: Path, config: Path) -> None:
    async with gateway(kubelet_dir, config, "--watch-config") as process:
        write(config.parent, SECOND, 2)
        await process.wait_for_event("configuration changed", limit=20)
        before = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (3, before[1]))
        write(config.parent, FIRST, 3)
        line = await process.wait_for_event("configuration refused, the old one stays", limit=20)
        assert line["problem"] == f"configuration file {config}: Too many open files"
        await asyncio.sleep(2.5)
        assert process.events().count("configuration refused, the old one stays") == 1, "it is said once"
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, before)
        await process.wait_for_event("configuration changed", 2)


async def test_names_that_are_refused_until_the_pods_are_seen_take_effect_then(kubelet_dir: Path, config: Path) -> None:
    checkpoint = kubelet_dir / "kubelet_internal_checkpoint"
    checkpoint.write_text("{")
    async with gateway(kubelet_dir, config, "--watch-config") as process:
        write(config.parent, f"{FIRST}resources: {{gpus: [{{pattern: '*', name: h100}}]}}\n", 2)
        line = await process.wait_for_event("configuration refused, the old one stays")
        assert "it cannot be seen which pods hold their devices" in line["problem"]
        checkpoint.unlink()
        await process.wait_for_event("configuration changed")


async def test_a_kubelet_that_never_answers_keeps_nobody_from_reloading(kubelet_dir: Path, config: Path) -> None:
    path = kubelet_dir.parent / "pod-resources" / "kubelet.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        async with gateway(kubelet_dir, config):
            write(config.parent, f"{FIRST}resources: {{gpus: [{{pattern: '*', name: h100}}]}}\n", 2)
            status, output, errors = await run_to_end("reload")
            assert (status, errors) == (0, "")
            assert "h100" in output


async def test_without_a_file_there_is_nothing_to_read(kubelet_dir: Path) -> None:
    async with started("--kubelet-dir", str(kubelet_dir), *SIMULATED) as process:
        await process.wait_for_control()
        status, _, errors = await run_to_end("reload")
        assert (status, errors) == (
            1,
            "plugin-gateway: this gateway was started without --config-file and --config-dir\n",
        )
        assert json.loads((await run_to_end("status", "--json"))[1])["configuration_file"] is None


async def test_many_words_at_once_are_heeded_one_after_the_other(kubelet_dir: Path, config: Path) -> None:
    async with gateway(kubelet_dir, config, "--watch-config") as process:
        for number in range(2, 8):
            write(config.parent, FIRST if number % 2 else SECOND, number)
            os.kill(process.pid, 1)
            assert (await run_to_end("reload"))[0] == 0
        await process.wait_for_event("configuration changed", 6)


SHARED = FIRST + "sharing: {timeSlicing: {resources: [{name: gpu, replicas: %s}]}}\n"


async def test_mistakes_about_sharing_end_the_start_and_change_nothing_later(kubelet_dir: Path, config: Path) -> None:
    write(config.parent, SHARED % "two, devices: [GPU]", 2)
    arguments = ("--kubelet-dir", str(kubelet_dir), *SIMULATED, "--config-file", str(config))
    status, _, errors = await run_to_end("run", *arguments)
    mistakes = [line.removeprefix("plugin-gateway: ").split(": ")[0:2] for line in errors.splitlines()]
    assert status == 2
    assert mistakes == [
        [f"{config}:3:59", "sharing.timeSlicing.resources.replicas"],
        [f"{config}:3:74", "sharing.timeSlicing.resources.devices"],
    ]
    write(config.parent, SHARED % "2", 3)
    async with gateway(kubelet_dir, config):
        write(config.parent, SHARED % "0", 4)
        assert (await run_to_end("reload"))[0] == 1
        told = json.loads((await run_to_end("status", "--json"))[1])
        assert told["configuration"]["resources"]["value"] == "*=nvidia.com/gpu x2"
        assert "invalid value '0'; expected 2 to 1024" in told["configuration_problem"]


async def test_what_has_no_effect_is_said_at_the_start_and_after_a_change(kubelet_dir: Path, config: Path) -> None:
    write(config.parent, (SHARED % 2).replace("gpu,", "other,"), 2)
    async with gateway(kubelet_dir, config) as process:
        line = await process.wait_for_event("this has no effect")
        remark = "sharing.timeSlicing shares nvidia.com/other, and no rule gives a device this name"
        assert line["problem"] == f"{config}:3:37: {remark}"
        write(config.parent, FIRST, 3)
        assert (await run_to_end("reload"))[0] == 0
        write(config.parent, (SHARED % 2).replace("gpu,", "other,"), 4)
        assert (await run_to_end("reload"))[0] == 0
        await process.wait_for_event("this has no effect", 2)
        assert process.events().count("this has no effect") == 2
