"""What support gets of a node: what is in the file, what is not and why, and what becomes of it where things fail."""

import io
import json
import os
import signal
import stat
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from driver.driver import Driver
from harness.node import RESOURCE
from harness.process import run_to_end, started
from plugin_gateway.adapters.commands.bundle.collecting import (
    Content,
    UnavailableError,
    command,
    file,
    within,
)
from plugin_gateway.adapters.commands.bundle.parts import checkpoint, log, recording
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release

FOLDER = "plugin-gateway-bundle/"


def contents(path: Path) -> dict[str, bytes]:
    """The files of a bundle, in their order."""
    with tarfile.open(path) as archive:
        assert all(member.isreg() and member.mode == 0o600 for member in archive)
        return {
            member.name.removeprefix(FOLDER): archive.extractfile(member).read()  # type: ignore[union-attr]
            for member in archive
        }


def parts(found: dict[str, bytes]) -> dict[str, Any]:
    return {part["name"]: part for part in json.loads(found["manifest.json"])["parts"]}


async def test_a_bundle_has_what_support_needs_and_names_what_is_absent(
    kubelet_dir: Path, driver: Driver, tmp_path: Path
) -> None:
    target, recorded = tmp_path / "bundle.tar.gz", tmp_path / "recording.jsonl"
    arguments = (f"--kubelet-dir={kubelet_dir}", f"--driver-root={driver.root}", f"--record={recorded}")
    secret = {"API_TOKEN": "nobody-should-see-this"}
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        started(*arguments, environment={**driver.environment, **secret}) as process,
    ):
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, timeout=10, what="8 devices")
        await process.wait_for_control()
        _, output, _ = await run_to_end("bundle", str(target))
    found = contents(target)
    told = parts(found)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert list(found) == [*(name for name, part in told.items() if part["outcome"] == "included"), "manifest.json"]
    assert all(told[name]["size"] == len(data) for name, data in found.items() if name != "manifest.json")
    assert json.loads(found["settings.json"])["settings"]["record"] == {
        "value": str(recorded),
        "source": "flag --record",
    }
    assert len(json.loads(found["status.json"])["devices"]) == 8
    assert json.loads(found["recording.jsonl"].splitlines()[0])["recording"]
    assert told["metrics.txt"]["outcome"] == "absent"
    assert "--listen" in told["metrics.txt"]["remark"]
    assert "kubectl logs" in told["gateway.log"]["remark"]
    assert all(name in output for name in told)
    assert not any(b"nobody-should-see-this" in data for data in found.values())


@pytest.mark.timeout(120)
async def test_of_a_gateway_that_hangs_everything_else_is_collected(
    kubelet_dir: Path, driver: Driver, tmp_path: Path
) -> None:
    target = tmp_path / "bundle.tar.gz"
    arguments = (f"--kubelet-dir={kubelet_dir}", f"--driver-root={driver.root}")
    async with started(*arguments, environment=driver.environment) as process:
        await process.wait_for_control()
        process.send(signal.SIGSTOP)
        try:
            status, _, _ = await run_to_end("bundle", str(target), f"--kubelet-dir={kubelet_dir}", limit=90)
        finally:
            process.send(signal.SIGCONT)
    found = contents(target)
    told = parts(found)
    assert status == 1
    assert (told["status.json"]["outcome"], told["process.txt"]["outcome"]) == ("failed", "included")
    assert "the gateway at " in told["status.json"]["remark"]
    assert b"stopped" in found["process.txt"]
    assert found["doctor.txt"]


async def test_a_file_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    target, link = tmp_path / "bundle.tar.gz", tmp_path / "link"
    target.write_text("mine")
    link.symlink_to(tmp_path / "elsewhere")
    for path in (target, link):
        status, _, errors = await run_to_end("bundle", str(path))
        assert (status, "exists already" in errors) == (1, True)
    assert target.read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()


async def test_a_folder_that_is_none_is_an_error_in_words() -> None:
    status, _, errors = await run_to_end("bundle", "/dev/full/bundle.tar.gz")
    assert (status, "Not a directory" in errors) == (1, True)


def test_a_part_that_hangs_ends_with_its_limit() -> None:
    with pytest.raises(UnavailableError, match="not finished after 0 s"):
        within(0.05, lambda: time.sleep(0.5))


def test_what_a_command_printed_until_its_limit_is_kept() -> None:
    found = command(("-c", "echo some; exec sleep 60"), 0.5, ("/bin/sh",))
    assert (found.data, found.remark) == (b"some\n", "not finished after 0 s")


def test_of_a_command_that_prints_nothing_the_reason_is_told() -> None:
    with pytest.raises(UnavailableError, match="no way"):
        command(("-c", "echo no way >&2; exit 1"), 5, ("/bin/sh",))


def test_neither_links_nor_pipes_are_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="symbolic links"):
        file(tmp_path / "link")
    with pytest.raises(UnavailableError, match="no regular file"):
        file(tmp_path / "pipe")


def test_a_file_that_is_too_long_is_cut_and_the_bundle_says_so(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"x" * 100)
    assert file(tmp_path / "long", 10) == Content(b"x" * 10, "the first 10 of 100 bytes")


def test_the_latest_of_several_recordings_is_taken(tmp_path: Path) -> None:
    for number, name in enumerate(("r", "r.1", "r.2")):
        (tmp_path / name).write_text(str(number))
    found = recording(str(tmp_path / "r"))
    assert (found.data, "r.2, the latest of several" in found.remark) == (b"2", True)


def test_answers_of_device_plugins_are_left_out_of_the_checkpoint(tmp_path: Path) -> None:
    answer = {"PodUID": "u", "ResourceName": "other.example/nic", "AllocResp": "c2VjcmV0"}
    (tmp_path / "kubelet_internal_checkpoint").write_text(json.dumps({"Data": {"PodDeviceEntries": [answer]}}))
    data = checkpoint(tmp_path).data
    assert b"other.example/nic" in data
    assert b"c2VjcmV0" not in data


def test_a_checkpoint_that_is_cut_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "kubelet_internal_checkpoint").write_text('{"Data": {"AllocResp": "c2Vj')
    with pytest.raises(UnavailableError, match="is no JSON; it has 28 bytes"):
        checkpoint(tmp_path)


def test_the_log_of_a_process_that_writes_it_into_a_file_is_had() -> None:
    with io.FileIO(os.memfd_create("log"), "w") as written:
        written.write(b"a line\n")
        saved = os.dup(2)
        os.dup2(written.fileno(), 2)
        try:
            found = log(os.getpid())
        finally:
            os.dup2(saved, 2)
            os.close(saved)
    assert found == Content(b"a line\n")
