"""The status as JSON: what is written is read again, and statuses of older and newer gateways are read, too."""

import json
import math
from collections.abc import Callable
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from core.strategies import ONE_RULE
from harness.any_values import SIMPLE, values_of
from harness.node import Node
from harness.pages import status_of
from harness.statuses import assert_valid
from plugin_gateway.adapters.gateway.device_status import DeviceStatus
from plugin_gateway.adapters.gateway.status import (
    VERSION,
    CountStatus,
    DriverStatus,
    GatewayIdentity,
    InForce,
    ProcessStatus,
    Status,
)
from plugin_gateway.adapters.gateway.status_document import decode, encode
from plugin_gateway.adapters.support.strict_json import MisfitError
from plugin_gateway.core.health.faults import Evidence, Source, Stage
from plugin_gateway.core.resources.rules import ResourceRule

OLDER = json.loads((Path(__file__).parent / "forms" / "status-0.json").read_text())
"""Of a gateway from before the form had a version, with devices in every state."""
SOME = {**SIMPLE, ResourceRule: ONE_RULE}


def changed(change: Callable[[Any], object]) -> Any:
    """What an older gateway says, after a change of it."""
    document = json.loads(json.dumps(OLDER))
    change(document)
    return document


@settings(deadline=None)
@given(values_of(Status, SOME))
def test_what_is_written_is_valid_and_read_again(status: Status) -> None:
    document = json.loads(json.dumps(encode(status)))
    assert_valid(document)
    again = decode(document)
    assert {**encode(again), "version": status.version} == document
    assert is_dataclass(again)
    assert again.version == VERSION


@given(values_of(ProcessStatus, SOME))
def test_the_status_has_all_that_the_process_knows_of_itself(process: ProcessStatus) -> None:
    status = status_of(Node(Path("/nonexistent")), process)
    assert encode(process).items() <= encode(status).items()


def test_a_status_without_a_version_is_read_and_written_in_the_form_of_today() -> None:
    status = decode(OLDER)
    assert [(each.index, each.health, each.reason) for each in status.unhealthy] == [
        (3, Stage.UNHEALTHY, "XID 79"),
        (None, Stage.UNHEALTHY, "XID 79"),
    ]
    assert [each.times for device in status.devices for each in device.repeated] == [1]
    assert [each for device in status.devices for each in device.reported] == [
        "its hardware slows it down: it is too hot"
    ]
    document = encode(status)
    assert_valid(document)
    assert document["version"] == VERSION
    for group in ("devices", "absent"):
        assert all(before.items() <= now.items() for before, now in zip(OLDER[group], document[group], strict=True))
    assert document["driver"] == {**OLDER["driver"], "todo": None}
    assert document["rejected"] == [{**each, "todo": "", "physical": None} for each in OLDER["rejected"]]
    rules = [{**rule, "rule": None} for rule in OLDER["in_force"]["resources"]]
    assert document["in_force"] == {**OLDER["in_force"], "resources": rules, "host_root": None}
    assert document["device_count"] == {**OLDER["device_count"], "lost_with": None, "word": ""}
    assert document["resources"] == [{**each, "fallback": None} for each in OLDER["resources"]]
    changed = {"devices", "absent", "gateway", "driver", "device_count", "in_force", "rejected", "resources"}
    same = OLDER.keys() - changed
    assert {name: document[name] for name in same} == {name: OLDER[name] for name in same}


def test_what_a_gateway_before_that_leaves_out_has_a_default() -> None:
    """Fields that came one after the other, and that `status` and `doctor` could do without."""

    def leave_out(document: Any) -> None:
        for name in ("gateway", "conflicts", "device_count", "rejected", "set_aside", "in_force", "configuration_file"):
            del document[name]
        del document["driver"]["kernel_log"], document["driver"]["released"]
        for device in (*document["devices"], *document["absent"]):
            for name in ("reported", "repeated", "quiet_left", "clear_helps", "hides_reset"):
                device.pop(name, None)
            device["evidence"] = [{name: each[name] for name in ("what", "at")} for each in device.get("evidence", ())]

    status = decode(changed(leave_out))
    assert (status.gateway, status.in_force, status.device_count) == (GatewayIdentity(), InForce(), CountStatus())
    assert (status.conflicts, status.rejected, status.set_aside, status.configuration_file) == ((), (), (), None)
    assert status.driver == DriverStatus(version="575.57.08", problem=None, events_problem=None)
    sick = status.unhealthy[-1]
    assert (sick.clear_helps, sick.hides_reset, sick.quiet_left) == (True, False, None)
    assert sick.evidence == (Evidence("XID 79", OLDER["absent"][0]["since"], source=Source.UNKNOWN),)
    assert_valid(encode(status))


def test_what_only_a_newer_gateway_knows_is_left_out() -> None:
    def add(document: Any) -> None:
        document |= {"version": VERSION + 1, "colour": "red"}
        document["devices"][0]["colour"] = "red"
        document["absent"][0]["evidence"][0]["source"] = "a new source"

    status = decode(changed(add))
    assert status.absent[0].evidence[0].source is Source.UNKNOWN
    assert "colour" not in json.dumps(encode(status))


def wrong(*place: str | int, value: Any) -> Callable[[Any], object]:
    def change(document: Any) -> None:
        for each in place[:-1]:
            document = document[each]
        document[place[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda document: document.pop("devices"), r"^no 'devices'; "),
        (wrong("driver", value="none"), r"^driver: 'none' where names with values belong$"),
        (
            wrong("devices", 2, "health", value="ill"),
            r"^devices\[2\]\.health: 'ill' is not known; expected healthy, ",
        ),
        (wrong("devices", 0, "index", value=True), r"^devices\[0\]\.index: True is no whole number"),
        (wrong("devices", 0, "index", value=-1), r"^devices\[0\]\.index: -1 is no whole number"),
        (wrong("resources", 0, "stands_by", value=0), r"^resources\[0\]\.stands_by: 0 is neither true nor false$"),
        (wrong("resources", 0, "stream_opened", value=math.inf), r"^resources\[0\]\.stream_opened: inf is no number"),
        (
            wrong("resources", 0, "registrations", 0, "took_ms", value="1"),
            r"registrations\[0\]\.took_ms: '1' is no numb",
        ),
        (wrong("absent", 0, "evidence", value={}), r"^absent\[0\]\.evidence: \{\} is no list$"),
        (wrong("in_force", "resources", value=[{}]), r"^in_force\.resources\[0\]: no 'pattern'; pattern, name belong"),
        (wrong("configuration", "x", value={"value": 5, "source": ""}), r"^configuration\['x'\]\.value: 5 is no text$"),
        (
            lambda document: document.update(version=2, driver=5),
            r"^driver: 5 where names .* belong; its form is version 2, known is 1$",
        ),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(change: Callable[[Any], object], words: str) -> None:
    with pytest.raises(MisfitError, match=words):
        decode(changed(change))


@pytest.mark.parametrize("value", [None, 5, "x", [], {}, {"version": 1}])
def test_what_is_no_status_is_told(value: Any) -> None:
    with pytest.raises(MisfitError):
        decode(value)


def test_a_healthy_device_says_so_with_nothing_more() -> None:
    device = decode(OLDER).devices[0]
    bare = DeviceStatus(
        id=device.id,
        health=Stage.HEALTHY,
        index=1,
        product=device.product,
        pci_address="0000:11:00.0",
        resource="nvidia.com/gpu",
    )
    assert device == bare
