"""What a recorder writes, and what it says where it cannot write."""

import json
import os
import resource
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from harness.node import Node, device, running, until
from harness.process import run_to_end, started
from plugin_gateway.adapters.recording import recorder
from plugin_gateway.adapters.recording.recorder import Recorder
from plugin_gateway.adapters.recording.values import VERSION
from plugin_gateway.adapters.support.tap import tap
from plugin_gateway.core.devices import PortOfDevice
from plugin_gateway.core.health.observations import InventorySeen, Observation, PortsSeen


async def test_a_file_that_is_there_is_not_written_over(recording: Path, kubelet_dir: Path) -> None:
    """A gateway that is started again offers its devices all the same, and is recorded beside the one before."""
    recording.write_text("mine")
    from_here = os.path.relpath(recording)
    arguments = ("--kubelet-dir", str(kubelet_dir), "--backend=simulated:1xT4", f"--record={from_here}")
    async with started(*arguments) as process:
        told = await process.wait_for_event("recording")
        assert (told["path"], told["instead_of"]) == (f"{recording}.1", str(recording))
        await process.wait_for_event("resource added")
    assert recording.read_text() == "mine"
    lines = [json.loads(each) for each in recording.with_name(f"{recording.name}.1").read_text().splitlines()]
    assert (lines[0]["recording"], lines[-1]["what"]) == (VERSION, "end")


async def test_too_many_recordings_cost_no_device(recording: Path, kubelet_dir: Path) -> None:
    names = [recording.name, *(f"{recording.name}.{number}" for number in range(1, 100))]
    for name in names:
        recording.with_name(name).touch()
    async with started(
        "--kubelet-dir", str(kubelet_dir), "--backend=simulated:1xT4", environment={"RECORD": str(recording)}
    ) as process:
        told = await process.wait_for_event("nothing is recorded: too many recordings are there already")
        assert told["path"] == str(recording)
        await process.wait_for_event("resource added")
    assert {each.name for each in recording.parent.iterdir() if each.is_file()} == set(names)


@pytest.mark.parametrize(
    ("arguments", "environment", "source"),
    [(("--record=/nowhere/at/all",), {}, "flag --record"), ((), {"RECORD": "/nowhere/at/all"}, "environment RECORD")],
)
async def test_a_file_that_cannot_be_made_is_said_with_where_its_name_came_from(
    arguments: tuple[str, ...], environment: dict[str, str], source: str, kubelet_dir: Path
) -> None:
    run = ("run", "--kubelet-dir", str(kubelet_dir), "--backend=simulated:1xT4", *arguments)
    said = f"plugin-gateway: {source}: /nowhere/at/all: No such file or directory\n"
    assert await run_to_end(*run, environment=environment) == (1, "", said)


async def test_a_start_that_fails_leaves_no_recording(recording: Path, kubelet_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, _, errors = await run_to_end(
            "run", "--kubelet-dir", str(kubelet_dir), "--backend=simulated:1xT4", f"--record={recording}",
            f"--listen={port}",
        )  # fmt: skip
    assert status == 1
    assert "--listen: cannot listen" in errors
    assert not recording.exists()


class Slow(Recorder):
    """A recorder whose disk takes nothing until it is told to."""

    def __init__(self, path: Path) -> None:
        self.go_on = threading.Event()
        super().__init__(str(path), os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), {})

    def _write_line(self, data: bytes) -> None:
        self.go_on.wait(10)
        super()._write_line(data)


def test_lines_that_were_lost_are_counted_and_told_where(
    recording: Path, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MAX_WAITING", 3)
    slow = Slow(recording)
    for number in range(5):
        slow.note("list", number=number)
    slow.go_on.set()
    while slow._waiting:
        time.sleep(0.001)
    slow.note("list", number=5)
    slow.close()
    lines = [json.loads(each) for each in recording.read_text().splitlines()[1:]]
    assert [(each["what"], each.get("number", each.get("lines"))) for each in lines] == [
        ("list", 0), ("list", 1), ("lost", 3), ("list", 5), ("end", None),
    ]  # fmt: skip
    assert [(each["event"], each["path"], each.get("lines_lost")) for each in told] == [
        ("the recording loses lines", str(recording), None),
        ("the recording is not whole", str(recording), 3),
    ]


def test_a_disk_that_stands_still_holds_nobody_up_and_what_is_not_written_is_counted(
    recording: Path, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "JOIN_TIMEOUT", 0.05)
    slow = Slow(recording)
    for number in range(5):
        slow.note("list", number=number)
    slow.close()
    slow.go_on.set()
    slow._thread.join(10)
    assert [(each["event"], each["lines_lost"]) for each in told] == [("the recording is not whole", 7)]


def test_a_disk_that_is_full_ends_the_recording_with_its_last_whole_line(
    recording: Path, told: list[dict[str, Any]]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, hard))
    try:
        full = Recorder(str(recording), os.open(recording, os.O_WRONLY | os.O_CREAT | os.O_EXCL), {})
        for _ in range(3):
            full.note("call", words="x" * 4096)
        full._thread.join(10)
        for _ in range(20_000):
            full.note("call", words="y")
        assert not full._waiting
        began = time.monotonic()
        full.close()
        assert time.monotonic() - began < 0.5
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [(each["event"], each["path"], each.get("problem"), each.get("lines_lost")) for each in told] == [
        ("recording ended", str(recording), "File too large", None),
        ("the recording is not whole", str(recording), None, 20_002),
    ]
    assert [json.loads(each).get("what") for each in recording.read_text().splitlines()] == [None, "call"]


async def test_the_ports_of_devices_are_not_recorded_because_nothing_follows_from_them(
    kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Observation | None] = []
    monkeypatch.setattr(tap, "note", lambda _what, **fields: seen.append(fields.get("observation")))
    port = PortOfDevice(device(0).physical.id, 1, "ethernet", is_up=True, words="ACTIVE", rate_gbps=100.0, changes=1)
    async with running(Node(kubelet_dir), devices=1) as node:
        await until(lambda: bool(node.backend.state.devices), "the devices")
        node.observations.put(PortsSeen((port,)))
        await until(lambda: node.backend.state.ports == (port,), "the port")
    assert [type(each) for each in seen if each is not None] == [InventorySeen]
