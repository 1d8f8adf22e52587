"""Recordings that are made by hand: what counts as a difference in a conversation, and what does not."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.devices import RECIPE, advertised, altered
from harness.devices import inventory as inventory_of
from harness.hosts import EveryNode
from harness.node import RESOURCE, WELL
from harness.recordings import (
    CALLED,
    DEVICES,
    Line,
    conversation,
    head,
    inventory,
    line,
    listed,
    opened,
    registration,
    said_of,
    seen,
    write,
)
from plugin_gateway.adapters.dialects.v1beta1 import V1BETA1
from plugin_gateway.adapters.gateway.health_document import encode
from plugin_gateway.adapters.recording.values import plain
from plugin_gateway.api.v1beta1.api_pb2 import AllocateRequest, ContainerAllocateRequest, RegisterRequest
from plugin_gateway.core.health.memory import Memory
from plugin_gateway.core.health.observations import DevicesChecked, DriverSilence, EvidenceReported, InventorySeen
from plugin_gateway.core.registration.failures import Reason
from plugin_gateway.core.registration.values import OnNode, Renewed, SocketDeleted
from plugin_gateway.core.resources.allocation import allocate
from plugin_gateway.core.resources.policy import AllocationPolicy
from plugin_gateway.nvidia.evidence import HEALTH_POLICY, xid_kind


def evidence(index: int, t: float) -> Line:
    return seen(EvidenceReported(xid_kind(1000), DEVICES[index].id), t)


class Nodes(EveryNode):
    """Those of a node without nvidia-uvm, but with nvidia-uvm-tools."""

    def present(self, paths: Sequence[str]) -> frozenset[str]:
        return frozenset(paths) - {"/dev/nvidia-uvm"}


UNWELL = evidence(1, 5.0)
ENDED = line("ended", 9.0, stream="1", by="kubelet")
KUBELET = line("kubelet", is_there=True)
MORE = "a list is sent now that was not sent then"
NONE = "a list was sent then, and none is now"
SHARED = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")
MEMORY = encode(Memory("this", None, {}, {DEVICES[0].id: (1.0,)}, frozenset()))
FORGETFUL = {"agent": f"{V1BETA1.forgetful_agent}.2"}
TWO = {"a/first": DEVICES[0], "a/second": altered(DEVICES[1], product="NVIDIA T4")}


def probation(*more: Line) -> list[Line]:
    """A quiet time of 1 s, and a device whose probation begins at 5.0, when the driver gives its last sign."""
    lines = conversation(
        evidence(1, 4.0), listed(1, t=4.001), seen(DevicesChecked({each.id: WELL for each in DEVICES}), 5.0), *more
    )
    return [head(health=plain(replace(HEALTH_POLICY, quiet_time=1.0))), *lines[1:-1], line("end", more[-1]["t"] + 0.01)]


def two_resources(*order: str) -> list[Line]:
    rules = [{"pattern": "*T4", "name": "a/second"}, {"pattern": "*", "name": "a/first"}]
    lines = [head(rules=rules), KUBELET, inventory(list(TWO.values()))]
    for number, name in enumerate(order):
        lines += [*registration(name), opened(str(number), name), listed(devices=[TWO[name]], stream=str(number))]
    return [*lines, line("end", 1.0)]


def lived(seconds: float) -> list[Line]:
    """A kubelet that did not live for long, before another one."""
    gone = line("kubelet", 1.0 + seconds, is_there=False)
    return [head(), line("kubelet", is_there=False), inventory(), {**KUBELET, "t": 1.0}, gone, *conversation()[1:]]


def other_shared_nodes() -> list[Line]:
    """One of two devices is allocated with the shared nodes that are there."""
    told = advertised(DEVICES, recipe=replace(RECIPE, shared_nodes=SHARED))
    asked = AllocateRequest(container_requests=[ContainerAllocateRequest(devices_ids=[DEVICES[0].id])])
    answer = V1BETA1.allocation.write_answer([allocate(told, [DEVICES[0].id], AllocationPolicy(), Nodes())])
    messages: Line = {"request": asked.SerializeToString().hex(), "answer": answer.hex()}
    lines = conversation(line("call", **CALLED, method="Allocate", **messages, error=None))
    lines[2] = seen(InventorySeen(inventory_of(*DEVICES, recipe=replace(RECIPE, shared_nodes=SHARED))))
    return lines


def happened(event: OnNode, t: float) -> Line:
    return line("event", t, resource=RESOURCE, instance="b", event=plain(event))


RENEWED = happened(Renewed(Reason.OTHER_PLUGIN_LEFT), 5.0)


def again(t: float) -> list[Line]:
    return [*registration(t=t), opened("2", t=t), listed(stream="2", t=t)]


def end_of(t: float) -> Line:
    return {**ENDED, "t": t}


@pytest.mark.parametrize(
    ("lines", "differences"),
    [
        (conversation(), ""),
        (conversation(*[listed(1)] * 2), f"8: {NONE}, 9: {NONE}"),
        (conversation(UNWELL, evidence(0, 6.0), ENDED), "10: 2 more lists than then"),
        (conversation(UNWELL, line("end", 9.0))[:-1], f"9: {MORE}"),
        (conversation(UNWELL, end_of(5.01)), ""),
        (conversation(line("stopping"), ENDED), "9: the kubelet ended the stream then, the gateway does now"),
        (conversation(line("kubelet", 1.0, is_there=False), UNWELL, listed(1, t=5.0), ENDED), ""),
        # Two observations that were read at once, and led to one list.
        (conversation(evidence(0, 3.0), evidence(1, 3.001), listed(0, 1, t=3.002), ENDED), ""),
        # The kubelet refuses the registration, and opens a stream all the same.
        ([*conversation()[:3], *registration(code="UNKNOWN", words="no"), opened(t=0.6), listed(t=0.6),
          line("end", 1.0)],
         "7: a list was sent then, the stream ends now"),
        # The kubelet opens its stream while the gateway stops: on a node with much load it still gets a list, or none.
        ([*conversation()[:5], line("stopping"), opened(t=0.1), listed(t=0.1), line("end", 0.2)], ""),
        ([*conversation()[:5], line("stopping"), opened(t=0.1), line("end", 0.2)], ""),
        # A kubelet that comes twice is one, and one that goes before it answers is answered by nobody.
        (conversation(KUBELET), ""),
        ([*conversation()[:4], line("kubelet", is_there=False), registration(code="UNAVAILABLE")[1], line("end")], ""),
        # A registration that was given up takes no answer of the next one.
        ([*conversation()[:4], *conversation()[3:]], f"5: {RESOURCE} was registered as v1beta1 then, and is not now"),
        (lived(0.01), ""),
        (lived(5.0), f"5: {RESOURCE} is registered as v1beta1 once more than then"),
        ([*conversation()[:3], *registration(t=9.0), *conversation()[5:]],
         f"4: {RESOURCE} is registered 9.00 s earlier now"),
        # Somebody asked for another registration, and somebody deleted the socket before the kubelet dialed it.
        (conversation(RENEWED, {**end_of(5.001), "by": "gateway"}, *again(5.08)), ""),
        (conversation(RENEWED, {**end_of(5.001), "by": "gateway"}, line("end", 6.0))[:-1],
         f"10: {RESOURCE} is registered as v1beta1 once more than then"),
        ([*conversation()[:5], happened(SocketDeleted(1), 0.5), *again(0.7), line("end", 1.0)], ""),
        # A kubelet that was there before may know the devices, whatever else is recorded before it.
        ([head(), line("recalled", uptime=5.0, memory=MEMORY), KUBELET, inventory(), *registration(),
          {**opened(), **FORGETFUL}, listed(0, 1), listed(), line("end", 1.0)], ""),
        # The driver gave no sign after 5.0, so nobody knows that the device is quiet until the wait is over.
        (probation(evidence(1, 7.0), evidence(0, 7.2), listed(0, 1, t=7.201)), ""),
        (probation(line("waited", 9.0, silence=0.1), listed(t=9.001), end_of(10.0)), ""),
        (probation(line("waited", 9.0, silence=0.1), end_of(10.0)), f"12: {MORE}"),
        (probation(end_of(10.0)), ""),
        (probation(seen(DriverSilence(40.0), 45.0), listed(0, 1, t=45.001)), ""),
        # A node whose name begins like another one is another one.
        (other_shared_nodes(), ""),
        # Of two resources, either one may be registered first.
        (two_resources("a/second", "a/first"), ""),
    ],
)  # fmt: skip
def test_what_is_a_difference(lines: list[Line], differences: str, recording: Path) -> None:
    said = said_of(write(recording, lines))
    assert (", ".join(said.remarks), said.status) == (differences, int(bool(differences)))


def test_the_whole_registration_is_compared(recording: Path) -> None:
    lines = conversation()
    then = RegisterRequest.FromString(bytes.fromhex(lines[3]["request"]))
    then.options.pre_start_required = True
    lines[3]["request"] = lines[4]["request"] = then.SerializeToString().hex()
    said = said_of(write(recording, lines))
    assert said.remarks == ("4: Register differs",)
    assert '-    "pre_start_required": true,\n' in said.output


CUT = "the recording does not end in order: it was cut, or its gateway was killed"
LOST = "3 lines were lost here: nothing after them can be compared"
NO_KUBELET = [head(), line("kubelet", is_there=False), inventory(), *registration(), line("end")]
OTHERS = [{**opened("2"), "agent": "grpcurl/1.9"}, listed(stream="2"), listed(stream="3")]
FIRST = "whether the recording is whole cannot be told: none of version 1 says it"


@pytest.mark.parametrize(
    ("lines", "remarks", "summary"),
    [
        ([head(), line("end")], (), "1 line played, nothing was compared"),
        (NO_KUBELET, (), "4 lines played, 1 skipped (no kubelet in this recording), nothing was compared"),
        (conversation(*OTHERS), (), ("7 lines played, 3 skipped (2: of another client than the kubelet; "
         "1: no such stream in this recording), no difference")),
        (conversation(UNWELL)[:-1], (f"8: {CUT}",), "7 lines played, no difference"),
        (conversation(line("lost", lines=3), listed(1)), (f"8: {LOST}",),
         "7 lines played, 2 skipped (after lines that were lost), no difference"),
        ([{**head(), "recording": 1}, *conversation(UNWELL, listed(1, t=5.0), line("ended", 9.0, stream="1"))[1:-1]],
         (f"10: {FIRST}",), "9 lines played, no difference"),
    ],
)  # fmt: skip
def test_what_cannot_be_played_is_counted(
    lines: list[Line], remarks: tuple[str, ...], summary: str, recording: Path
) -> None:
    said = said_of(write(recording, lines))
    assert (said.remarks, said.summary, said.status) == (
        remarks,
        summary,
        int("nothing" in summary.rsplit(", ", maxsplit=1)[-1]),
    )


def test_every_whole_line_before_one_that_was_cut_is_played(recording: Path) -> None:
    write(recording, conversation())
    recording.write_text(recording.read_text()[:-5])
    said = said_of(recording)
    assert said.remarks == ("8: the line is cut: the disk was full, or this copy is not whole",)
    assert said.summary == "6 lines played, 1 skipped (cut), no difference"
