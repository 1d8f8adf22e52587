"""Recordings that are made by hand: what counts as a difference in a conversation, and what does not."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.replay.playing import ENDED, PLAYED, UNWELL
from harness.node import RESOURCE, WELL
from harness.process import run_to_end
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
from plugin_gateway.adapters.gateway.health_document import encode
from plugin_gateway.adapters.recording.values import plain
from plugin_gateway.adapters.replay.pace import Pace
from plugin_gateway.adapters.replay.reading import Happening
from plugin_gateway.api.v1beta1.api_pb2 import AllocateRequest, ContainerAllocateRequest, RegisterRequest
from plugin_gateway.core.devices import Inventory
from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.core.health.memory import Memory
from plugin_gateway.core.health.observations import DevicesChecked, DriverSilence, EvidenceReported, InventorySeen
from plugin_gateway.core.health.policy import HealthPolicy
from plugin_gateway.core.registration import pauses
from plugin_gateway.core.registration.retry import JITTER
from plugin_gateway.core.resources.allocation import allocate
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.policy import AllocationPolicy
from plugin_gateway.nvidia.evidence import HEALTH_POLICY, ROW_REMAP_FAILURE, xid_kind


async def test_one_difference_is_one(recording: Path) -> None:
    write(recording, conversation(listed(1)))
    status, output, errors = await run_to_end("replay", str(recording))
    assert (status, errors) == (1, "")
    assert output == (f"{recording}:8: a list was sent then, and none is now\n8 lines played, 1 difference\n")


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
    assert '-    "pre_start_required": true,\n' in output


async def test_a_recording_of_the_first_version_plays(recording: Path) -> None:
    first_end = line("ended", 9.0, stream="1")
    lines = [{**head(), "recording": 1}, *conversation(UNWELL, listed(1, t=5.0), first_end)[1:-1]]
    status, output, errors = await run_to_end("replay", str(write(recording, lines)))
    assert (status, errors) == (0, "")
    assert output.endswith(f"9 {PLAYED}no difference\n")


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

    def generation(self) -> int:
        return 0

    def is_visible(self) -> bool:
        return True


def granted(index: int, shared: tuple[str, ...] = (), t: float = 0.0) -> Line:
    """One device for one container."""
    told = Advertisement(devices=DEVICES, unhealthy=frozenset(), shared_nodes=shared, visibility_variable=VARIABLE)
    asked = AllocateRequest(container_requests=[ContainerAllocateRequest(devices_ids=[DEVICES[index].id])])
    request = asked.SerializeToString()
    answer = V1BETA1.allocation.write_answer([allocate(told, [DEVICES[index].id], AllocationPolicy(), Nodes())])
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
    shortest = pauses.MAX_RETRY.seconds * (1 - JITTER)
    assert pace.timeout(100.0 + shortest) > pauses.MAX_RETRY.seconds * (1 + JITTER)
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
