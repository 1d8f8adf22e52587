"""What somebody sends as a recording is read whole, or refused in one line with its place."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.resources import cards
from core.strategies import IDS, INVENTORIES, ONE_RULE, machine_links
from harness.any_values import SIMPLE, values_of
from harness.devices import device, inventory, part
from harness.recordings import CALLED, Line, conversation, head, line, seen, write
from plugin_gateway.adapters.recording.values import Configuration, plain
from plugin_gateway.adapters.replay.reading import read_recording
from plugin_gateway.core.devices import DeviceId, Inventory, Links, Pair, PhysicalId, Recipe
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.observations import FactsSeen, LinksSeen, Observation
from plugin_gateway.core.health.policy import EvidenceKind, HealthPolicy
from plugin_gateway.core.registration.values import OnNode
from plugin_gateway.core.resources.container_options import ContainerOptions, DeviceVariable, FileMounts
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule, Selector
from plugin_gateway.core.resources.sharing import Sharing

PARTS = inventory(
    part(device(0), 1),
    part(device(0), 3),
    device(1),
    physical=[device(2).physical],
    recipe=Recipe(shared_nodes=("/dev/x",), optional_nodes=("/dev/y",), environment={"A": "b"}, permissions="r"),
)
CARDS = cards.inventory(cards.card(0), cards.card(1))
RULE = cards.rule(
    Sharing(replicas=63, is_pool=True),
    ContainerOptions(
        requested_nodes=("fabric",),
        variables=(DeviceVariable("NAMES", "name", "=="),),
        details_variable="INFO",
        environment={"MODE": "fast"},
        files=(FileMounts("/opt/x", ("libx.so*",), "/usr/lib64"),),
    ),
    selector=Selector(attributes={"driver": ("x_core", "y*")}),
)
SOME = {
    **SIMPLE,
    str: st.text("ab", min_size=1, max_size=2),
    int: st.integers(1, 2**63 - 1),
    float: st.floats(0.1, 1e11),
    DeviceId: st.sampled_from(IDS),
    EvidenceKind: st.sampled_from(("code-79", "link-down")),
    ResourceName: st.sampled_from(("a/b", "a/c")),
    PhysicalId: st.sampled_from(IDS).map(PhysicalId),
    Links: machine_links(),
    Inventory: INVENTORIES | st.sampled_from((PARTS, CARDS)),
    ResourceRule: ONE_RULE | st.just(RULE),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda parts: st.lists(parts, max_size=2) | st.dictionaries(st.text(max_size=5), parts, max_size=2),
    max_leaves=4,
)
CALL = line("call", **CALLED, method="Allocate", request="", answer="", error=None)
on_one_file = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@on_one_file
@given(
    configuration=values_of(Configuration, SOME),
    observation=values_of(Observation, SOME),
    event=values_of(OnNode, SOME),
)
def test_what_is_recorded_is_read_as_it_was(
    configuration: Configuration, observation: Observation, event: OnNode, recording: Path
) -> None:
    settings = {**plain(configuration), "api_version": "auto"}
    happened = {"resource": "a/b", "instance": "b", "event": event}
    lines = [head(**settings), seen(observation), line("configured", **settings), line("event", **plain(happened))]
    again = read_recording(write(recording, lines))
    assert again.began == 1.7e9
    assert {**plain(again.configuration)} == settings
    assert [each.fields for each in again.happenings] == [
        {"backend": "", "observation": observation},
        {"configuration": again.configuration},
        happened,
    ]


def places(part: Any) -> Iterator[tuple[Any, Any]]:
    """Each place in the lines: what it is in, and its key there."""
    for key, each in part.items() if isinstance(part, dict) else enumerate(part):
        yield part, key
        if isinstance(each, dict | list):
            yield from places(each)


@on_one_file
@given(version=st.sampled_from((1, 2, 3, 99)), data=st.data())
def test_whatever_stands_anywhere_it_is_read_or_refused_in_one_line(
    version: int, data: st.DataObject, recording: Path
) -> None:
    pair = Pair(50, 2)
    links = seen(LinksSeen(Links((PhysicalId(IDS[0]),), ((pair,),))))
    facts = seen(FactsSeen({"a": "1"}, {PhysicalId(IDS[0]): {"b": "2"}}))
    lines: list[Any] = conversation({**CALL}, links, facts, line("recalled", uptime=1.0, memory={"faults": {}}))
    lines[0] = {**head(health=plain(HealthPolicy())), "recording": version}
    part, key = data.draw(st.sampled_from(list(places(lines))))
    part[key] = data.draw(JSON)
    refusal = ""
    try:
        read_recording(write(recording, lines))
    except InvalidValueError as error:
        refusal = str(error)
    assert refusal == "" or refusal.startswith(f"{recording}:")
    assert "\n" not in refusal


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
    (put([], 0, "api_version"), "1: api_version: [] is not known; expected auto, v1beta1"),
    (put([{"patern": "*", "name": "a/b"}], 0, "rules"), "1: rules[0]: no 'selector'"),
    (put("!!", 0, "rules", 0, "name"), "1: rules[0].name: resource name '!!': it must have the form DOMAIN/NAME"),
    (put({"x": None}, 0, "health", "kinds"), "1: health.kinds['x']: None where names with values belong"),
    (put(-1, 0, "health", "quiet_time"), "1: health.quiet_time: -1 is no number from 0 to 1e+11"),
    (put(0, 0, "health", "flap_count"), "1: health: health: quiet time 60.0, "),
    (put("Dream", *OBSERVED, "kind"), "3: observation: an observation of the kind 'Dream', which this version does"),
    (
        put("\ud800", *OBSERVED, "inventory", "recipes", "gpu", "visibility_variable"),
        "'\\ud800' has half a surrogate pair",
    ),
    (put({}, *OBSERVED, "inventory", "recipes"), "observation.inventory: device GPU-00000000-"),
    (put(0, *OBSERVED, "inventory", "physical", 1, "index"), "observation.inventory: devices out of order"),
    (put([0], *OBSERVED, "inventory", "devices", 1, "place"), "devices[1]: device GPU-00000001-"),
    (put(7, *OBSERVED, "inventory", "devices", 1, "physical", "memory_bytes"), "is a part of GPU-00000001-"),
    (put({"devices": [5]}, *OBSERVED, "inventory"), "observation.inventory.devices[0]: 5 where names with values"),
    (put({"devices": [{}]}, *OBSERVED, "inventory"), "observation.inventory.physical[0]: no 'id'"),
    (put({"kind": "DevicesChecked", "checkups": []}, *OBSERVED), "3: observation.checkups: [] where names with"),
    (put({"kind": "XidReported", "xid": "x", "device": None, "place": ""}, *OBSERVED), "3: observation.xid: 'x' is no"),
    (put("x" * 20_000, 4, "words"), "5: words: 20000 characters; expected at most 16384"),
    (put("grpc-go/1\n", 5, "agent"), "6: agent: 'grpc-go/1\\n' has other than printable ASCII characters"),
    (put("xx", 6, "message"), "7: message: 'xx' are no bytes in hexadecimal"),
    (put("ff", 3, "request"), "4: request: 'ff' is no RegisterRequest"),
    (put("FINE", 4, "code"), "5: code: 'FINE' is no status of gRPC, such as UNAVAILABLE"),
    (put({}, 6, "what"), "7: what: {} is not known; expected kubelet, replaced, recalled"),
    (lambda lines: lines.insert(3, {**CALL, "answer": None}), "4: a call has either an answer or an error"),
    (lambda lines: lines.insert(3, {**CALL, "error": "X: y"}), "4: a call has either an answer or an error"),
    (lambda lines: lines.insert(3, ""), "4: an empty line"),
    (lambda lines: lines.insert(3, "[" * 100_000), "4: not JSON"),
    (lambda lines: lines.insert(0, "hello"), "1: not JSON"),
    (lambda lines: lines.insert(0, "[]"), "1: [] where names with values belong"),
    (lambda lines: lines.insert(0, "\ufeff"), "1: a byte order mark, which the recorder does not write"),
    (lambda lines: lines.pop(0), "1: no head of a recording, which its first line is"),
    (put(0, 0, "recording"), "1: a recording of version 0, versions are numbers from 1 on"),
    (put(True, 0, "recording"), "1: a recording of version True, versions are numbers from 1 on"),
    (lambda lines: lines.append(lines[-1]), "9: a line after the last one"),
]


@pytest.mark.parametrize(("change", "words"), DAMAGES, ids=[words for _, words in DAMAGES])
def test_what_is_wrong_is_told_with_its_place(
    change: Callable[[list[Any]], object], words: str, recording: Path
) -> None:
    lines: list[Line | str] = [*conversation()]
    change(lines)
    path = write(recording, lines)
    with pytest.raises(InvalidValueError) as raised:
        read_recording(path)
    assert words in str(raised.value)
    assert str(raised.value).startswith(f"{path}:")


def test_only_a_regular_file_is_read(recording: Path) -> None:
    os.mkfifo(recording)
    for path in (recording, Path("/dev/zero")):
        with pytest.raises(InvalidValueError, match="it is no regular file"):
            read_recording(path)


def test_a_line_that_does_not_end_is_not_read_to_its_end(recording: Path) -> None:
    path = write(recording, [head()])
    os.truncate(path, 100 * 1024 * 1024)  # a file with a hole, as a disk that broke leaves one
    with pytest.raises(InvalidValueError, match=":2: the line has more than"):
        read_recording(path)
