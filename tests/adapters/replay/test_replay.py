"""A recording of a gateway and its kubelet plays again without a difference, and tells one where there is one."""

import asyncio
import json
import os
import re
import resource
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import grpc.aio
import pytest

from driver.driver import Driver
from harness.node import RESOURCE, WELL, until
from harness.process import PROGRAM, Process, run_to_end, started
from harness.recordings import (
    CALLED,
    DEVICES,
    VARIABLE,
    Line,
    conversation,
    head,
    inventory,
    line,
    listed,
    opened,
    registration,
    seen,
    write,
)
from plugin_gateway.adapters.dialects.v1beta1 import V1BETA1
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.gateway.health_file import encode
from plugin_gateway.adapters.recording import recorder
from plugin_gateway.adapters.recording.recorder import Recorder
from plugin_gateway.adapters.recording.values import plain
from plugin_gateway.adapters.registration.retry import JITTER, MAX_RETRY
from plugin_gateway.adapters.replay.kubelet_side import KubeletSide
from plugin_gateway.adapters.replay.pace import Pace
from plugin_gateway.adapters.replay.reading import Happening
from plugin_gateway.adapters.replay.report import socket_folder
from plugin_gateway.adapters.serving.resource import ServedResource
from plugin_gateway.adapters.support.signals import Interruption
from plugin_gateway.api.v1beta1.api_pb2 import AllocateRequest, ContainerAllocateRequest, RegisterRequest
from plugin_gateway.core.devices import Inventory
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.core.health.memory import Memory
from plugin_gateway.core.health.observations import DevicesChecked, DriverSilence, EvidenceReported, InventorySeen
from plugin_gateway.core.health.policy import HealthPolicy
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.policy import AllocationPolicy
from plugin_gateway.nvidia.evidence import HEALTH_POLICY, ROW_REMAP_FAILURE, xid_kind


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return tmp_path / "recording.jsonl"


async def record(recording: Path, kubelet_dir: Path, driver: Driver, *releases: str, with_fault: bool = False) -> None:
    """Let a gateway meet these kubelets, one after the other, perhaps with a fault in between."""
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root), "--quiet-time=1")
    async with (
        FakeKubelet(kubelet_dir, release(releases[0])) as kubelet,
        started(*arguments, f"--record={recording}", environment=driver.environment) as process,
    ):
        for number, name in enumerate(releases):
            if number:
                await kubelet.restart(release(name), kill=True)
            await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, timeout=10, what="8 devices")
            await process.wait_for_event("registered", times=number + 1)
            await kubelet.allocate(RESOURCE, 2, pod=f"p{number}")
            if with_fault:
                driver.xid(3, 1000)
                await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 7, timeout=10, what="7 devices")
                await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, timeout=15, what="8 devices again")
            await kubelet.remove(f"p{number}")


@pytest.mark.parametrize("releases", [("1.36", "1.8"), ("1.9", "1.37")])
async def test_a_recording_plays_again_without_a_difference(
    releases: tuple[str, ...], recording: Path, kubelet_dir: Path, driver: Driver
) -> None:
    await record(recording, kubelet_dir, driver, *releases, with_fault=True)
    lines = [json.loads(line) for line in recording.read_text().splitlines()]
    assert {line.get("what") for line in lines[1:]} - {"replaced"} == {
        "kubelet", "seen", "register", "answered", "opened", "list", "ended", "call", "waited", "stopping", "end",
    }  # fmt: skip
    assert recording.stat().st_mode & 0o777 == 0o600
    status, output, errors = await run_to_end("replay", str(recording))
    assert (status, errors) == (0, "")
    assert output == f"{len(lines) - 1} lines played, no difference\n"


def edited(recording: Path, change: Callable[[list[dict[str, object]]], object]) -> None:
    lines = [json.loads(line) for line in recording.read_text().splitlines()]
    change(lines)
    recording.write_text("".join(json.dumps(line) + "\n" for line in lines))


def first(lines: list[dict[str, object]], what: str, **fields: object) -> dict[str, object]:
    return next(
        line for line in lines if line.get("what") == what and all(line[name] == each for name, each in fields.items())
    )


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
        (lambda lines: lines.remove(first(lines, "register")), "is registered as v1beta1 once more than then"),
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
    assert words in output
    assert output.startswith(f"{recording}:")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "No such file or directory"),
        ("", "empty"),
        ("hello", "1: not JSON"),
        ("[]", "1: [] where names with values belong"),
        ('{"recording": 99}', "1: a recording of version 99, this gateway knows"),
        ('{"recording": 1}', "1: at: None is no number"),
    ],
)
async def test_what_is_no_recording_is_one_line(text: str | None, words: str, recording: Path) -> None:
    if text is not None:
        recording.write_text(text)
    status, output, errors = await run_to_end("replay", str(recording))
    assert (status, output) == (2, "")
    assert words in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: text.replace('"what": "end"', '"what": "dance"'), "what: 'dance' is not known"),
    ],
)
async def test_a_recording_that_was_damaged_is_one_line(
    spoil: Callable[[str], str], words: str, recording: Path, kubelet_dir: Path, driver: Driver
) -> None:
    await record(recording, kubelet_dir, driver, "1.36")
    recording.write_text(spoil(recording.read_text()))
    status, _, errors = await run_to_end("replay", str(recording))
    assert status == 2
    assert words in errors
    assert errors.count("\n") == 1


async def test_what_strangers_said_has_no_control_over_the_terminal(recording: Path) -> None:
    call = line("call", **CALLED, method="Allocate", request="", answer=None, error="X: \x1b[31mred\x1b]0;a\x07\nb")
    elsewhere = line(
        "call", **{**CALLED, "resource": "\x1b[31m\nr.jsonl:1: a"}, method="Allocate", request="", answer="", error=None
    )
    write(recording, conversation(call, elsewhere))
    status, output, errors = await run_to_end("replay", str(recording))
    assert (status, errors) == (1, "")
    assert "-X: \\x1b[31mred\\x1b]0;a\\x07\n" in output
    assert f"{recording}:9: the kubelet called \\x1b[31m\\nr.jsonl:1: a then" in output
    assert output.endswith("9 lines played, 2 differences\n")


async def test_one_difference_is_one(recording: Path) -> None:
    write(recording, conversation(listed(1)))
    status, output, errors = await run_to_end("replay", str(recording))
    assert (status, errors) == (1, "")
    assert output == (f"{recording}:8: a list was sent then, and none is now\n8 lines played, 1 difference\n")


ENDED = line("ended", 9.0, stream="1", by="kubelet")
UNWELL = seen(EvidenceReported(xid_kind(1000), DEVICES[1].id), 5.0)
PLAYED = "lines played, "


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (conversation(UNWELL, ENDED), ":9: a list is sent now that was not sent then\n--- then\n"),
        (
            conversation(UNWELL, seen(EvidenceReported(xid_kind(1000), DEVICES[0].id), 6.0), ENDED),
            ":10: 2 more lists than then\n--- then\n",
        ),
        (conversation(UNWELL, line("end", 9.0))[:-1], ":9: a list is sent now that was not sent then\n"),
        (conversation(line("ended", 9.0, stream="1", by="gateway")), ":8: the gateway ended the stream then, and does"),
        (conversation(line("stopping"), ENDED), ":9: the kubelet ended the stream then, the gateway does now: "),
    ],
)
async def test_what_the_gateway_does_more_or_less_is_told(lines: list[Line], words: str, recording: Path) -> None:
    status, output, errors = await run_to_end("replay", str(write(recording, lines)))
    assert (status, errors) == (1, "")
    assert words in output
    assert output.endswith(f"{PLAYED}1 difference\n")


@pytest.mark.parametrize(
    "lines",
    [
        conversation(UNWELL, line("ended", 5.01, stream="1", by="kubelet")),
        conversation(line("stopping"), line("ended", stream="1", by="gateway")),
        conversation(line("kubelet", 1.0, is_there=False), UNWELL, listed(1, t=5.0), ENDED),
    ],
)
async def test_ends_of_every_kind_play_without_a_difference(lines: list[Line], recording: Path) -> None:
    status, output, errors = await run_to_end("replay", str(write(recording, lines)))
    assert (status, errors) == (0, "")
    assert output == f"{len(lines) - 1} {PLAYED}no difference\n"


async def test_the_whole_registration_is_compared(recording: Path) -> None:
    lines = conversation()
    then = RegisterRequest.FromString(bytes.fromhex(lines[3]["request"]))
    then.options.pre_start_required = True
    lines[3]["request"] = then.SerializeToString().hex()
    status, output, _ = await run_to_end("replay", str(write(recording, lines)))
    assert status == 1
    assert output.startswith(f"{recording}:4: Register differs\n--- then\n")
    assert '-    "preStartRequired": true,\n' in output


async def test_lines_that_cannot_be_played_are_counted_and_told_why(recording: Path) -> None:
    other = {**opened("2"), "agent": "grpcurl/1.9"}
    lines = conversation(other, listed(stream="2"), listed(stream="3"))
    status, output, errors = await run_to_end("replay", str(write(recording, lines)))
    assert (status, errors) == (0, "")
    reasons = "2: of another client than the kubelet; 1: no such stream in this recording"
    assert output == f"7 {PLAYED}3 skipped ({reasons}), no difference\n"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([head(), line("end")], "1 line played, nothing was compared\n"),
        (
            [head(), line("kubelet", is_there=False), inventory(), *registration(), line("end")],
            f"4 {PLAYED}1 skipped (no kubelet in this recording), nothing was compared\n",
        ),
    ],
)
async def test_a_recording_with_nothing_to_compare_is_no_success(
    lines: list[Line], words: str, recording: Path
) -> None:
    assert await run_to_end("replay", str(write(recording, lines))) == (1, words, "")


async def test_a_recording_that_was_cut_says_so(recording: Path) -> None:
    status, output, errors = await run_to_end("replay", str(write(recording, conversation(UNWELL)[:-1])))
    assert (status, errors) == (0, "")
    remark = f"{recording}:8: the recording does not end in order: it was cut, or its gateway was killed"
    assert output == f"{remark}\n7 {PLAYED}no difference\n"


async def test_a_recording_of_the_first_version_plays(recording: Path) -> None:
    first_end = line("ended", 9.0, stream="1")
    lines = [{**head(), "recording": 1}, *conversation(UNWELL, listed(1, t=5.0), first_end)[1:-1]]
    status, output, errors = await run_to_end("replay", str(write(recording, lines)))
    assert (status, errors) == (0, "")
    assert output.endswith(f"9 {PLAYED}no difference\n")


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


CONFIG = "version: v1\n"
Meanwhile = Callable[[Scene], Awaitable[None]]


@pytest.mark.parametrize(
    ("meanwhile", "what"),
    [
        (take_kubelets_place, "replaced"),
        (touch_kubelets_socket, "replaced"),
        (clear_by_hand, "cleared"),
        (configure_otherwise, "configured"),
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
    driver.init_delay(1500)
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


async def test_a_kubelet_that_was_there_before_may_know_the_devices_whatever_was_left(recording: Path) -> None:
    memory = encode(Memory("this", None, {}, {DEVICES[0].id: (1.0,)}, frozenset()))
    forgetful = {"agent": f"{V1BETA1.forgetful_agent}.2"}
    lines = [
        head(), line("recalled", uptime=5.0, memory=memory), line("kubelet", is_there=True), inventory(),
        *registration(), {**opened(), **forgetful}, listed(0, 1), listed(), line("end", 1.0),
    ]  # fmt: skip
    status, output, errors = await run_to_end("replay", str(write(recording, lines)))
    assert (output, status, errors) == (f"{len(lines) - 1} {PLAYED}no difference\n", 0, "")


PROBATION = replace(HEALTH_POLICY, quiet_time=1.0)


def again(index: int, t: float) -> Line:
    return seen(EvidenceReported(xid_kind(1000), DEVICES[index].id), t)


WELL_AGAIN = seen(DevicesChecked({each.id: WELL for each in DEVICES}), 5.0)


def conversation_with(policy: HealthPolicy, *more: Line) -> list[Line]:
    return [head(health=plain(policy)), *conversation(*more)[1:]]


@pytest.mark.parametrize(
    ("more", "differs"),
    [
        # The driver gave no sign after 5.0: nobody knows that the device is quiet, until the wait is over.
        ((again(1, 7.0), again(0, 7.2), listed(0, 1, t=7.201)), False),
        ((line("waited", 9.0, silence=0.1), listed(t=9.001), line("ended", 10.0, stream="1", by="kubelet")), False),
        ((line("waited", 9.0, silence=0.1), line("ended", 10.0, stream="1", by="kubelet")), True),
        ((line("ended", 10.0, stream="1", by="kubelet"),), False),
        # It is silent for so long that every device is lost.
        ((seen(DriverSilence(40.0), 45.0), listed(0, 1, t=45.001)), False),
    ],
)
async def test_the_driver_is_as_silent_as_it_was(more: tuple[Line, ...], differs: bool, recording: Path) -> None:
    lines = conversation_with(
        PROBATION, seen(EvidenceReported(xid_kind(1000), DEVICES[1].id), 4.0), listed(1, t=4.001), WELL_AGAIN
    )
    status, output, errors = await run_to_end(
        "replay", str(write(recording, [*lines[:-1], *more, line("end", more[-1]["t"] + 0.01)]))
    )
    assert (status, errors) == (int(differs), "")
    assert ("a list is sent now that was not sent then" in output) is differs


async def test_what_a_device_did_not_answer_is_not_an_answer(recording: Path) -> None:
    """Its problem lasts for as long as it does not say that there is none."""
    source = ROW_REMAP_FAILURE
    broken = seen(DevicesChecked({DEVICES[1].id: Checkup({source: "broken"}, None)}), 1.0)
    unsaid = seen(DevicesChecked({DEVICES[1].id: Checkup({}, None, frozenset({source}))}), 5.0)
    later = seen(DevicesChecked({DEVICES[1].id: Checkup({}, None, frozenset({source}))}), 10.0)
    lines = conversation_with(PROBATION, broken, listed(1, t=1.001), unsaid, later)
    status, output, errors = await run_to_end("replay", str(write(recording, lines)))
    assert (output, status, errors) == (f"{len(lines) - 1} {PLAYED}no difference\n", 0, "")


@pytest.mark.parametrize(("lived", "differs"), [(0.01, False), (5.0, True)])
async def test_a_kubelet_that_lived_for_a_moment_need_not_have_been_registered_with(
    lived: float, differs: bool, recording: Path
) -> None:
    lines = [
        head(), line("kubelet", is_there=False), inventory(),
        line("kubelet", 1.0, is_there=True), line("kubelet", 1.0 + lived, is_there=False),
        *conversation()[1:],
    ]  # fmt: skip
    status, output, errors = await run_to_end("replay", str(write(recording, lines)))
    assert (status, errors) == (int(differs), "")
    assert (f":5: {RESOURCE} is registered as v1beta1 once more than then\n" in output) is differs


async def test_two_things_that_were_told_together_are_so_again(recording: Path) -> None:
    both = [seen(EvidenceReported(xid_kind(1000), each.id), 3.0 + each.index / 1000) for each in DEVICES]
    lines = conversation(*both, listed(0, 1, t=3.002), ENDED)
    status, output, errors = await run_to_end("replay", str(write(recording, lines)))
    assert (output, status, errors) == (f"{len(lines) - 1} {PLAYED}no difference\n", 0, "")


class Nodes:
    """Those of a node without nvidia-uvm, but with nvidia-uvm-tools."""

    def present(self, paths: Sequence[str]) -> frozenset[str]:
        return frozenset(paths) - {"/dev/nvidia-uvm"}


def granted(index: int, shared: tuple[str, ...] = (), t: float = 0.0) -> Line:
    """One device for one container."""
    told = Advertisement(devices=DEVICES, unhealthy=frozenset(), shared_nodes=shared, visibility_variable=VARIABLE)
    asked = AllocateRequest(container_requests=[ContainerAllocateRequest(devices_ids=[DEVICES[index].id])])
    request = asked.SerializeToString()
    answer = V1BETA1.calls["Allocate"](request, ServedResource(RESOURCE, told, AllocationPolicy(), Nodes()))
    return line("call", t, **CALLED, method="Allocate", request=request.hex(), answer=answer.hex(), error=None)


async def test_a_node_whose_name_begins_like_another_is_another(recording: Path) -> None:
    shared = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")
    lines = conversation(granted(0, shared))
    lines[2] = seen(InventorySeen(Inventory(devices=DEVICES, shared_nodes=shared, visibility_variable=VARIABLE)))
    status, output, errors = await run_to_end("replay", str(write(recording, lines)))
    assert (output, status, errors) == (f"{len(lines) - 1} {PLAYED}no difference\n", 0, "")


async def test_a_device_that_was_granted_long_ago_leaves_at_once(recording: Path) -> None:
    lines = conversation(granted(0), inventory(DEVICES[1:], t=20.0), listed(devices=DEVICES[1:], t=20.001))
    status, output, errors = await run_to_end("replay", str(write(recording, lines)))
    assert (output, status, errors) == (f"{len(lines) - 1} {PLAYED}no difference\n", 0, "")


@pytest.mark.parametrize("order", [("a/first", "a/second"), ("a/second", "a/first")])
async def test_two_resources_register_in_the_order_of_then(order: tuple[str, str], recording: Path) -> None:
    devices = {"a/first": DEVICES[0], "a/second": replace(DEVICES[1], product="NVIDIA T4")}
    rules = [{"pattern": "*T4", "name": "a/second"}, {"pattern": "*", "name": "a/first"}]
    lines = [head(rules=rules), line("kubelet", is_there=True), inventory(list(devices.values()))]
    for number, name in enumerate(order):
        lines += [*registration(name), opened(str(number), name), listed(devices=[devices[name]], stream=str(number))]
    lines.append(line("end", 1.0))
    status, output, errors = await run_to_end("replay", str(write(recording, lines)))
    assert (output, status, errors) == (f"{len(lines) - 1} {PLAYED}no difference\n", 0, "")


def test_a_registration_is_waited_for_as_long_as_its_pause_can_last() -> None:
    pace = Pace()
    pace.note(Happening(2, 100.0, "answered", {}))
    shortest = MAX_RETRY * (1 - JITTER)
    assert pace.timeout(100.0 + shortest) > MAX_RETRY * (1 + JITTER)
    assert pace.timeout(100.0) < 10
    assert pace.timeout(1e9) <= 40


async def test_lists_that_never_come_are_not_waited_for_one_by_one(recording: Path) -> None:
    began = time.monotonic()
    status, output, _ = await run_to_end("replay", str(write(recording, conversation(*[listed(1)] * 20))))
    assert status == 1
    assert output.count("a list was sent then, and none is now\n") == 20
    assert time.monotonic() - began < 15


async def test_a_stream_that_ends_is_told_in_words(recording: Path) -> None:
    """The kubelet refuses the registration and opens a stream all the same: there is nobody any more."""
    lines = conversation()
    lines[3:5] = registration(code="UNKNOWN", words="no")
    write(recording, lines)
    status, output, errors = await run_to_end("replay", str(recording))
    assert (status, errors) == (1, "")
    assert f"{recording}:7: a list was sent then, the stream ends now: UNAVAILABLE: " in output
    assert "AioRpcError" not in output


async def test_a_folder_that_is_too_long_for_sockets_is_said(recording: Path, kubelet_dir: Path) -> None:
    write(recording, conversation())
    long = kubelet_dir / ("d" * 60)
    long.mkdir()
    status, output, errors = await run_to_end("replay", str(recording), environment={"TMPDIR": str(long)})
    assert (status, output) == (2, "")
    assert "bytes, allowed are 55, since the path of a unix socket in it has at most 107; set TMPDIR" in errors
    assert errors.count("\n") == 1
    assert not list(long.iterdir())


def test_no_folder_at_all_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", find_none)
    said = "no folder for the sockets: No usable temporary directory found in ['/tmp']; set TMPDIR to one"
    with pytest.raises(InvalidValueError, match=re.escape(said)), socket_folder(Interruption()):
        raise AssertionError


@pytest.mark.parametrize("numbers", [(signal.SIGINT,), (signal.SIGINT, signal.SIGINT), (signal.SIGTERM,)])
async def test_a_signal_ends_it_in_order_and_what_was_found_is_told(
    numbers: tuple[signal.Signals, ...], recording: Path, kubelet_dir: Path
) -> None:
    never = registration("nvidia.com/other")[0]
    write(recording, conversation(line("call", **CALLED, method="Allocate", request="", answer="", error=None), never))
    child = await asyncio.create_subprocess_exec(
        PROGRAM, "replay", str(recording), env={**os.environ, "TMPDIR": str(kubelet_dir)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    first_line = await asyncio.wait_for(child.stdout.readline(), 10)
    assert first_line == f"{recording}:8: Allocate differs\n".encode()
    for number in numbers:
        child.send_signal(number)
    output, errors = await asyncio.wait_for(child.communicate(), 4)
    assert child.returncode == 128 + numbers[0]
    assert errors == b""
    assert output.endswith(b"7 lines played, 1 difference until it was interrupted\n")
    assert not list(kubelet_dir.iterdir())


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
    request = expected.SerializeToString()
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
    assert (lines[0]["recording"], lines[-1]["what"]) == (2, "end")


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


async def test_nothing_is_compared_after_lines_that_were_lost(recording: Path) -> None:
    lines = conversation(line("lost", lines=3), listed(1))
    status, output, errors = await run_to_end("replay", str(write(recording, lines)))
    assert (status, errors) == (0, "")
    remark = f"{recording}:8: 3 lines were lost here: nothing after them can be compared"
    assert output == f"{remark}\n7 {PLAYED}2 skipped (after lines that were lost), no difference\n"


async def test_every_whole_line_before_one_that_was_cut_is_played(recording: Path) -> None:
    write(recording, conversation())
    recording.write_text(recording.read_text()[:-5])
    status, output, errors = await run_to_end("replay", str(recording))
    assert (status, errors) == (0, "")
    remark = f"{recording}:8: the line is cut: the disk was full, or this copy is not whole"
    assert output == f"{remark}\n6 {PLAYED}1 skipped (cut), no difference\n"


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
