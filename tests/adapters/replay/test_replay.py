"""A recording of a gateway and its kubelet plays again without a difference, and tells one where there is one."""

import asyncio
import json
import os
import re
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import grpc
import grpc.aio
import pytest

from adapters.replay.playing import PLAYED, edited, first, record
from driver.driver import Driver
from harness.node import RESOURCE, until
from harness.process import Process, run_to_end, started
from plugin_gateway.adapters.dialects.dialect import RegisterRequest
from plugin_gateway.adapters.dialects.v1beta1 import V1BETA1
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.replay.kubelet_side import KubeletSide


@pytest.mark.parametrize("releases", [("1.36", "1.8"), ("1.9", "1.37")])
async def test_a_recording_plays_again_without_a_difference(
    releases: tuple[str, ...], recording: Path, kubelet_dir: Path, driver: Driver
) -> None:
    await record(recording, kubelet_dir, driver, *releases, with_fault=True)
    lines = [json.loads(line) for line in recording.read_text().splitlines()]
    # A quiet time ends with a check, or with the time itself: whichever comes first.
    assert {line.get("what") for line in lines[1:]} - {"replaced", "waited"} == {
        "kubelet", "seen", "register", "answered", "opened", "list", "ended", "call", "stopping", "end",
    }  # fmt: skip
    assert recording.stat().st_mode & 0o777 == 0o600
    status, output, errors = await run_to_end("replay", str(recording))
    assert (status, errors) == (0, "")
    assert output == f"{len(lines) - 1} lines played, no difference\n"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: lines[0].update(device_id_strategy="index"), "Allocate differs"),
        (lambda lines: first(lines, "call", method="Allocate").update(answer=None, error="X: y"), "Allocate differs"),
        (lambda lines: first(lines, "list").update(message=""), "ListAndWatch differs"),
        (
            lambda lines: first(lines, "register").update(api_version="v1alpha2"),
            f"{RESOURCE} was registered as v1alpha2 then, {RESOURCE} as v1beta1 now",
        ),
        (
            # The gateway that replays can register before or after the kubelet's first call.
            lambda lines: lines.remove(first(lines, "register")),
            "is registered as v1beta1 once more than then|then, which is not registered now",
        ),
    ],
)
async def test_what_differs_is_told_with_its_line(
    change: Callable[[list[dict[str, object]]], object],
    words: str,
    recording: Path,
    kubelet_dir: Path,
    driver: Driver,
) -> None:
    await record(recording, kubelet_dir, driver, "1.36")
    edited(recording, change)
    status, output, errors = await run_to_end("replay", str(recording))
    assert (status, errors) == (1, "")
    assert re.search(words, output)
    assert output.startswith(f"{recording}:")


class Scene(NamedTuple):
    """A gateway that is recorded, and everybody around it."""

    kubelet: FakeKubelet
    process: Process
    driver: Driver
    folder: Path
    recording: Path


async def take_kubelets_place(scene: Scene) -> None:
    """Another kubelet's socket gets the name at one stroke; the first lives on without it."""
    other = scene.folder / "other"
    other.mkdir()
    async with FakeKubelet(other, release("1.37")):
        (other / "kubelet.sock").rename(scene.folder / "kubelet.sock")
        await until(lambda: scene.recording.read_text().count('"register"') == 2, "another registration")


async def touch_kubelets_socket(scene: Scene) -> None:
    os.utime(scene.folder / "kubelet.sock")
    await asyncio.sleep(1.2)  # it is looked at once a second
    await scene.kubelet.allocate(RESOURCE, 2, pod="after")


async def clear_by_hand(scene: Scene) -> None:
    scene.driver.xid(3, 79)
    await scene.kubelet.wait_for(lambda: scene.kubelet.allocatable(RESOURCE) == 7, timeout=10, what="7 devices")
    await scene.process.wait_for_control()
    assert (await run_to_end("health", "clear", "--all"))[0] == 0
    await scene.kubelet.wait_for(lambda: scene.kubelet.allocatable(RESOURCE) == 8, timeout=10, what="8 devices again")


async def configure_otherwise(scene: Scene) -> None:
    (scene.folder.parent / "config.yaml").write_text(CONFIG + "flags: {plugin: {deviceIDStrategy: index}}\n")
    scene.process.send(signal.SIGHUP)
    await scene.process.wait_for_event("configuration changed")
    await scene.kubelet.allocate(RESOURCE, 2, pod="after")


async def rename_what_a_pod_holds(scene: Scene) -> None:
    await scene.kubelet.allocate(RESOURCE, pod="before")
    (scene.folder.parent / "config.yaml").write_text(CONFIG + "resources: {gpus: [{pattern: '*', name: x/renamed}]}\n")
    scene.process.send(signal.SIGHUP)
    await scene.kubelet.wait_for(lambda: scene.kubelet.allocatable("x/renamed") == 7, timeout=10, what="7 devices")


CONFIG = "version: v1\n"
Meanwhile = Callable[[Scene], Awaitable[None]]


@pytest.mark.parametrize(
    ("meanwhile", "what"),
    [
        (take_kubelets_place, "replaced"),
        (touch_kubelets_socket, "replaced"),
        (clear_by_hand, "cleared"),
        (configure_otherwise, "configured"),
        (rename_what_a_pod_holds, "withheld"),
    ],
)
async def test_what_happens_beside_the_conversation_is_played_too(
    meanwhile: Meanwhile, what: str, recording: Path, kubelet_dir: Path, driver: Driver
) -> None:
    folder = kubelet_dir / "k"
    folder.mkdir()
    (kubelet_dir / "config.yaml").write_text(CONFIG)
    arguments = (
        "--kubelet-dir", str(folder), "--driver-root", str(driver.root), f"--config-file={kubelet_dir}/config.yaml",
    )  # fmt: skip
    async with (
        FakeKubelet(folder, release("1.37")) as kubelet,
        started(*arguments, f"--record={recording}", environment=driver.environment) as process,
    ):
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, timeout=10, what="8 devices")
        await process.wait_for_event("registered")
        await meanwhile(Scene(kubelet, process, driver, folder, recording))
    lines = [json.loads(each) for each in recording.read_text().splitlines()]
    assert [each["what"] for each in lines[1:]].count(what) == 1
    status, output, errors = await run_to_end("replay", str(recording))
    assert (output, status, errors) == (f"{len(lines) - 1} {PLAYED}no difference\n", 0, "")


async def test_what_an_earlier_instance_left_is_played_too(recording: Path, kubelet_dir: Path, driver: Driver) -> None:
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root))
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet:
        async with started(*arguments, environment=driver.environment) as process:
            await process.wait_for_event("registered")
            driver.xid(3, 79)
            await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 7, timeout=10, what="7 devices")
        async with started(*arguments, f"--record={recording}", environment=driver.environment) as process:
            await process.wait_for_event("registered")
            await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 7, timeout=10, what="7 devices")
    lines = [json.loads(each) for each in recording.read_text().splitlines()]
    assert lines[1]["what"] == "recalled"
    status, output, errors = await run_to_end("replay", str(recording))
    assert (output, status, errors) == (f"{len(lines) - 1} {PLAYED}no difference\n", 0, "")


async def test_a_kubelet_that_was_older_than_the_devices_is_so_again(
    recording: Path, kubelet_dir: Path, driver: Driver
) -> None:
    """It may know them, so that one of 1.10 gets a list of unhealthy devices first."""
    driver.init_delay(3000)
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root), f"--record={recording}")
    async with started(*arguments, environment=driver.environment) as process:
        await process.wait_for_event("started")
        await asyncio.sleep(0.3)
        async with FakeKubelet(kubelet_dir, release("1.10.0")) as kubelet:
            await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, timeout=10, what="8 devices")
    assert [json.loads(each)["what"] for each in recording.read_text().splitlines()[1:]].count("list") == 2
    status, output, errors = await run_to_end("replay", str(recording))
    assert (status, errors) == (0, "")
    assert output.endswith("no difference\n")


async def test_a_kubelet_that_comes_twice_is_one(recording: Path, kubelet_dir: Path, driver: Driver) -> None:
    await record(recording, kubelet_dir, driver, "1.36")
    lines = recording.read_text().splitlines(keepends=True)
    (comes,) = (line for line in lines if '"is_there": true' in line)
    recording.write_text("".join([*lines[:-1], comes, lines[-1]]))
    status, output, errors = await run_to_end("replay", str(recording))
    assert (status, errors) == (0, "")
    assert "no difference" in output


async def test_a_kubelet_that_went_before_it_answered_plays_again(
    recording: Path, kubelet_dir: Path, driver: Driver
) -> None:
    def leave_before_the_answer(lines: list[dict[str, object]]) -> None:
        answered = first(lines, "answered")
        place = lines.index(answered)
        gone = {"t": answered["t"], "what": "kubelet", "is_there": False}
        lines[place:] = [gone, {**answered, "code": "UNAVAILABLE", "words": "Socket closed"}]

    await record(recording, kubelet_dir, driver, "1.37")
    edited(recording, leave_before_the_answer)
    status, output, errors = await run_to_end("replay", str(recording))
    assert (status, errors) == (0, "")
    assert output.endswith(" lines played, no difference\n")


async def test_a_registration_that_was_given_up_takes_no_answer_of_the_next(kubelet_dir: Path) -> None:
    side = KubeletSide(kubelet_dir)
    await side.appear()
    expected = RegisterRequest(version="v1beta1", endpoint="e", resource_name=RESOURCE)
    request = V1BETA1.registration("e", RESOURCE)
    async with grpc.aio.insecure_channel(
        f"unix:{kubelet_dir}/kubelet.sock", options=(("grpc.default_authority", "localhost"),)
    ) as channel:
        register: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/v1beta1.Registration/Register")
        pending_dial = register(request, timeout=10)
        await side.expect_register("v1beta1", expected)
        pending_dial.cancel()
        await asyncio.sleep(0.2)
        side.answer(RESOURCE, grpc.StatusCode.DEADLINE_EXCEEDED, "")
        call = register(request, timeout=10)
        await side.expect_register("v1beta1", expected)
        side.answer(RESOURCE, grpc.StatusCode.OK, "")
        assert await call == b""
    await side.close()
