"""Recordings that gateways made, and what the replay says of them and of altered copies.

Each was taken from a gateway with a stand-in driver and fake kubelets. Of the decisions about evidence, only those are
kept that matter.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.node import RESOURCE
from harness.recordings import Line, said_of, write

RECORDINGS = Path(__file__).parent / "recordings"
NAMES = sorted(path.stem for path in RECORDINGS.iterdir())
Change = Callable[[list[Line]], object]


def read(name: str) -> list[Line]:
    return [json.loads(each) for each in (RECORDINGS / f"{name}.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", NAMES)
def test_what_a_gateway_recorded_plays_without_a_difference(name: str) -> None:
    said = said_of(RECORDINGS / f"{name}.jsonl")
    assert (said.output, said.status) == (f"{len(read(name)) - 1} lines played, no difference\n", 0)


def test_the_recordings_have_every_kind_of_line() -> None:
    assert {line["what"] for name in NAMES for line in read(name)[1:]} == {
        "answered", "call", "cleared", "configured", "end", "ended", "event", "kept_back", "kubelet", "list", "opened",
        "recalled", "register", "replaced", "seen", "stopping", "waited", "withheld",
    }  # fmt: skip


def set_(line: int, **fields: object) -> Change:
    """Give a line other fields. The first line is 1, as in what the replay prints."""
    return lambda lines: lines[line - 1].update(fields)


def drop(*numbers: int) -> Change:
    return lambda lines: [lines.pop(number - 1) for number in sorted(numbers, reverse=True)]


def twice(line: int) -> Change:
    return lambda lines: lines.insert(line, lines[line - 1])


def copy(field: str, source: int, line: int) -> Change:
    return lambda lines: lines[line - 1].update({field: lines[source - 1][field]})


NOT_NOW = (
    "{}: R was registered as v1beta1 then, and is not now, {}: the kubelet called R then, which is not registered now, "
    "{}: the kubelet called R then, which is not registered now"
)
ALTERED: Sequence[tuple[str, Change, str]] = [
    ("fault-and-recovery", set_(1, device_id_strategy="index"), "12: Allocate differs, 22: Allocate differs"),
    ("fault-and-recovery", set_(12, answer=None, error="X: y"), "12: Allocate differs"),
    ("fault-and-recovery", copy("answer", 22, 12), "12: Allocate differs"),
    ("fault-and-recovery", copy("answer", 21, 11), "11: GetPreferredAllocation differs"),
    ("fault-and-recovery", copy("message", 10, 14), "14: ListAndWatch differs"),
    ("fault-and-recovery", drop(14), "19: a list is sent now that was not sent then"),
    ("fault-and-recovery", drop(20), "23: a list is sent now that was not sent then"),
    ("fault-and-recovery", drop(13),
     "13: a list was sent then, and none is now, 19: a list was sent then, and none is now"),
    ("fault-and-recovery", twice(20), "21: a list was sent then, and none is now"),
    ("restarts", set_(8, api_version="0.1"), "8: R was registered as 0.1 then, R as v1alpha2 now"),
    ("restarts", copy("answer", 35, 25), "25: Allocate differs"),
    ("dropped-streams", set_(12, t=0.29), "12: R is registered 0.06 s later now"),
    ("dropped-streams", set_(11, by="gateway"), "11: the gateway ended the stream then, and does not now"),
    ("renamed", set_(14, devices=[]), "20: ListAndWatch differs"),
    ("renamed", drop(24), "24: a list is sent now that was not sent then"),
    ("renamed", set_(25, by="kubelet"), "25: the kubelet ended the stream then, the gateway does now"),
    ("two-resources-1.8", copy("message", 17, 21), "21: ListAndWatch differs"),
    ("two-resources-1.8", lambda lines: lines.insert(15, lines.pop(17)),
     "16: x/second is registered after another resource now"),
    ("two-resources", copy("answer", 9, 32), "32: Allocate differs"),
    ("settings", drop(14),
     ("14: the gateway ended the stream then, and does not now, "
     "15: R was registered as v1alpha2 then, R as v1beta1 now, "
     "17: R was registered as 0.1 then, R as v1alpha2 now, "
     "19: R was registered as v1alpha2 then, R as 0.1 now, "
     "21: R was registered as 0.1 then, R as v1beta1 now, "
     "27: R was registered as v1alpha2 then, R as v1beta1 now, "
     "29: R was registered as 0.1 then, R as v1alpha2 now, "
     "31: R is registered as 0.1 once more than then")),
    ("refused", set_(1, api_version="auto"),
     ("6: R was registered as v1alpha2 then, R as v1beta1 now, "
     "8: R was registered as 0.1 then, R as v1alpha2 now, "
     "10: R was registered as v1alpha2 then, R as 0.1 now, "
     "12: R was registered as 0.1 then, R as v1beta1 now, "
     "18: R was registered as v1alpha2 then, R as v1beta1 now, "
     "20: R was registered as 0.1 then, R as v1alpha2 now, "
     "22: R was registered as v1alpha2 then, R as 0.1 now, "
     "24: R was registered as 0.1 then, R as v1beta1 now")),
    ("replaced", drop(14), "14: R was registered as v1beta1 then, and is not now"),
    ("replaced", set_(14, is_same_file=True), "15: R was registered as v1beta1 then, and is not now"),
    ("remembered", drop(2), "10: ListAndWatch differs, 12: a list was sent then, and none is now"),
    ("remembered", drop(12), "12: a list was sent then, and none is now"),
    ("vanished", drop(19), "21: a list is sent now that was not sent then"),
    ("vanished", copy("message", 19, 22), "22: ListAndWatch differs"),
    ("unhealthy-first", drop(10), "10: a list is sent now that was not sent then"),
    ("unhealthy-first", drop(11), "12: a list is sent now that was not sent then"),
    ("unhealthy-first", set_(1, unhealthy_first="never"),
     "10: ListAndWatch differs, 11: a list was sent then, and none is now"),
    ("handed-over", drop(11), "14: the gateway ended the stream then, and does not now"),
    ("handed-over", drop(14), "14: the gateway ended the stream then, and does not now"),
    ("took-over", drop(7), NOT_NOW.format(7, 8, 10) + ", 21: R is registered as v1beta1 once more than then"),
    ("took-over", drop(15),
     "15: a list was sent then, and none is now, 22: a list is sent now that was not sent then"),
    ("took-over", drop(16), "22: a list is sent now that was not sent then"),
    ("repeated", drop(12, 13), "12: a list was sent then, and none is now"),
    ("went-on", drop(14), "14: a list was sent then, and none is now"),
    ("went-on", drop(15), "18: a list is sent now that was not sent then"),
    ("stood-by", drop(6), "11: R is registered 6.41 s earlier now"),
    ("stood-by", drop(10, 11), NOT_NOW.format(10, 11, 13)),
]  # fmt: skip
"""Name, change, and the differences. The resource is R there."""


@pytest.mark.parametrize(("name", "change", "differences"), ALTERED)
def test_what_was_altered_is_found(name: str, change: Change, differences: str, recording: Path) -> None:
    lines: list[Any] = read(name)
    change(lines)
    said = said_of(write(recording, lines))
    assert (", ".join(said.remarks).replace(RESOURCE, "R"), said.status) == (differences, 1)
