"""What somebody sends as a recording is read whole, or refused in one line with its place."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.node import device
from harness.recordings import Line, conversation, head, line, opened, seen, write
from plugin_gateway.adapters.replay.reading import read_recording
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.faults import Checkup, Source
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverSeen,
    DriverSilence,
    DriverUnavailable,
    EventsAwaited,
    EvidenceRefined,
    EvidenceReported,
    KernelLogRead,
    Observation,
)
from plugin_gateway.core.health.policy import NOT_ANSWERING, Action, numbered
from plugin_gateway.nvidia.evidence import GPU_UNAVAILABLE, HEALTH_POLICY, ROW_REMAP_FAILURE, xid_kind

VERSIONS = ("auto", "v1beta1")
DEVICE = device(0).id


@pytest.mark.parametrize(
    "observation",
    [
        EvidenceReported(xid_kind(79), DEVICE),
        EvidenceReported(xid_kind(79), None, "0000:10:00.0"),
        EvidenceReported(xid_kind(145), DEVICE, times=3, source=Source.KERNEL_LOG),
        EvidenceReported(GPU_UNAVAILABLE, None),
        EvidenceReported(numbered("sxid", 12028), None, "0000:c3:00.0 (fatal)", of_node=True),
        EvidenceRefined(xid_kind(145), DEVICE, Action.IGNORE, "harmless"),
        KernelLogRead("forbidden"),
        DevicesChecked({DEVICE: Checkup({NOT_ANSWERING: "gone"}, None, frozenset({ROW_REMAP_FAILURE}))}),
        DriverSeen("575.57.08", None),
        DriverUnavailable("no driver"),
        DriverSilence(3.5),
        EventsAwaited(None),
    ],
)
def test_an_observation_is_read_as_it_was(observation: Observation, tmp_path: Path) -> None:
    recording = read_recording(write(tmp_path / "r", [head(), seen(observation)]), VERSIONS)
    assert recording.happenings[0].fields == {"observation": observation}


def test_the_head_is_read_as_it_was(tmp_path: Path) -> None:
    recording = read_recording(write(tmp_path / "r", [head(dev_root="/driver")]), VERSIONS)
    assert recording.began == 1.7e9
    assert recording.configuration.health == HEALTH_POLICY
    assert recording.configuration.policy.dev_root == "/driver"


def put(value: object, *place: Any) -> Callable[[list[Any]], object]:
    """Have another value at a place in the lines."""

    def change(lines: list[Any]) -> None:
        part: Any = lines
        for step in place[:-1]:
            part = part[step]
        part[place[-1]] = value

    return change


OBSERVED = (2, "observation")
DAMAGES: list[tuple[Callable[[list[Any]], object], str]] = [
    (put(10**400, 0, "at"), "1: at: a number of 401 digits is no number from 0 to 1e+11"),
    (put(float("nan"), 0, "at"), "1: NaN is no number"),
    (put(None, 0, "at"), "1: at: None is no number from 0 to 1e+11"),
    (put(5, 0, "dev_root"), "1: dev_root: 5 is no text"),
    (put("false", 0, "pass_device_specs"), "1: pass_device_specs: 'false' is neither true nor false"),
    (put("v9", 0, "api_version"), "1: api_version: 'v9' is not known, allowed are auto, v1beta1"),
    (put([], 0, "api_version"), "1: api_version: [] is not known, allowed are auto, v1beta1"),
    (put(None, 0, "rules"), "1: rules: None is no list"),
    (
        put([{"patern": "*", "name": "a/b"}], 0, "rules"),
        "1: rules[0]: no 'pattern'; pattern, name belong here",
    ),
    (put([{"pattern": "*"}], 0, "rules"), "1: rules[0]: no 'name'; pattern, name belong here"),
    (put("!!", 0, "rules", 0, "name"), "1: rules[0].name: resource name '!!': it must have the form DOMAIN/NAME"),
    (put(5, 0, "rules", 0, "name"), "1: rules[0].name: 5 is no text"),
    (put([], 0, "health", "kinds"), "1: health.kinds: [] where names with values belong"),
    (put({"x": None}, 0, "health", "kinds"), "1: health.kinds['x']: None where names with values belong"),
    (put([], 0, "health", "families"), "1: health.families: [] where names with values belong"),
    (put("x", 0, "health", "quiet_time"), "1: health.quiet_time: 'x' is no number from 0 to 1e+11"),
    (put(1.5, 0, "health", "flap_count"), "1: health.flap_count: 1.5 is no whole number from 0 to 2^63 - 1"),
    (put(True, 3, "t"), "4: t: True is no number from 0 to 1e+11"),
    (put(float("inf"), 3, "t"), "4: Infinity is no number"),
    (put(-1, 3, "t"), "4: t: -1 is no number from 0 to 1e+11"),
    (put(5, *OBSERVED), "3: observation: 5 where names with values belong"),
    (
        put("Dream", *OBSERVED, "kind"),
        "3: observation: an observation of the kind 'Dream', which this version does not",
    ),
    (
        put(5, *OBSERVED, "inventory", "visibility_variable"),
        "3: observation.inventory.visibility_variable: 5 is no text",
    ),
    (put("\ud800", *OBSERVED, "inventory", "visibility_variable"), "'\\ud800' has half a surrogate pair"),
    (put(["x"], *OBSERVED, "inventory", "devices", 0, "nodes"), ".devices[0].nodes[0]: 'x' is no absolute path"),
    (
        put(2**80, *OBSERVED, "inventory", "devices", 1, "numa_node"),
        "devices[1].numa_node: a number of 25 digits is no",
    ),
    (put(0, *OBSERVED, "inventory", "devices", 1, "index"), "observation.inventory: devices out of order"),
    (put({"kind": "DevicesChecked", "checkups": []}, *OBSERVED), "3: observation.checkups: [] where names with"),
    (put("x" * 20_000, 4, "words"), "5: words: 20000 characters, allowed are 16384"),
    (put("grpc-go/1\n", 5, "agent"), "6: agent: 'grpc-go/1\\n' has other than printable ASCII characters"),
    (put("xx", 6, "message"), "7: message: 'xx' are no bytes in hexadecimal"),
    (put("ff", 3, "request"), "4: request: 'ff' is no RegisterRequest"),
    (put("FINE", 4, "code"), "5: code: 'FINE' is no status of gRPC, such as UNAVAILABLE"),
    (put({}, 6, "what"), "7: what: {} is not known, allowed are kubelet, replaced, recalled"),
    (lambda lines: lines.insert(3, ""), "4: an empty line"),
    (lambda lines: lines.insert(3, "[" * 100_000), "4: not JSON"),
    (lambda lines: lines.insert(0, "\ufeff"), "1: a byte order mark, which the recorder does not write"),
    (lambda lines: lines.pop(0), "1: no head of a recording, which its first line is"),
    (put(None, 0, "recording"), "1: a recording of version None, versions are numbers from 1 on"),
    (put(True, 0, "recording"), "1: a recording of version True, versions are numbers from 1 on"),
]


@pytest.mark.parametrize(("change", "words"), DAMAGES, ids=[words for _, words in DAMAGES])
def test_what_is_wrong_is_told_with_its_place(
    change: Callable[[list[Any]], object], words: str, tmp_path: Path
) -> None:
    lines: list[Line | str] = [*conversation()]
    change(lines)
    path = write(tmp_path / "r", lines)
    with pytest.raises(InvalidValueError) as raised:
        read_recording(path, VERSIONS)
    assert words in str(raised.value)
    assert str(raised.value).startswith(f"{path}:")


@pytest.mark.parametrize(
    ("answer", "error"),
    [(None, None), ("", "X: y")],
)
def test_a_call_has_an_answer_or_an_error(answer: str | None, error: str | None, tmp_path: Path) -> None:
    about = {each: value for each, value in opened().items() if each in {"service", "resource", "agent"}}
    call = line("call", **about, method="Allocate", request="", answer=answer, error=error)
    with pytest.raises(InvalidValueError, match="8: a call has either an answer or an error"):
        read_recording(write(tmp_path / "r", conversation(call)), VERSIONS)


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(InvalidValueError, match="it is no regular file"):
            read_recording(path, VERSIONS)


def test_a_line_that_does_not_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = write(tmp_path / "r", [head()])
    os.truncate(path, 100 * 1024 * 1024)  # a file with a hole, as a disk that broke leaves one
    with pytest.raises(InvalidValueError, match=":2: the line has more than"):
        read_recording(path, VERSIONS)
