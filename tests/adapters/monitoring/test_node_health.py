"""The document of `/health`: what a program that mends nodes reads in it."""

import json
from pathlib import Path

from harness.devices import device as simple_device
from harness.devices import inventory
from harness.node import Node, device, running, until
from harness.pages import page_of
from plugin_gateway.adapters.monitoring.node_health import MAX_DEVICES, MAX_SUMMARY, describe_health
from plugin_gateway.adapters.monitoring.pages import JSON
from plugin_gateway.core.health.faults import Checkup, Moment
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverSeen,
    DriverSilence,
    DriverUnavailable,
    EvidenceReported,
    InventorySeen,
    Observation,
)
from plugin_gateway.core.health.policy import RECOVERY_ACTION
from plugin_gateway.core.health.state import State
from plugin_gateway.core.health.state_function import advance
from plugin_gateway.nvidia.checkup import report
from plugin_gateway.nvidia.evidence import HEALTH_POLICY, xid_kind
from plugin_gateway.nvidia.remedies import remedy_for

GPU, OTHER = device(0).id, device(1).id
SEEN = InventorySeen(inventory(device(0), device(1)))


def after(*observations: Observation, state: State | None = None) -> State:
    state = state or State()
    for number, observation in enumerate(observations):
        state, _ = advance(state, observation, Moment(1.0 + number, 101.0 + number), HEALTH_POLICY)
    return state


def test_each_device_has_all_causes_with_what_the_vendor_says() -> None:
    asks = DevicesChecked({OTHER: report(recovery_action=4)})
    state = after(SEEN, *(EvidenceReported(xid_kind(xid), OTHER) for xid in (145, 145, 171)), asks)
    document = describe_health(state, remedy_for, "GPU")
    assert (document["version"], document["healthy"], document["device_count"]) == (1, False, 2)
    first, second = document["devices"]
    assert (first["id"], first["index"], first["pci_address"]) == (OTHER, 1, "0000:02:00.0")
    assert (first["health"], first["since"]) == ("unhealthy", 102.0)
    assert first["needs"] == "what the driver asks for: drain and reset"
    told = {"source": "driver event", "kind": "xid-145", "first": 102.0, "last": 103.0}
    nvlink = {"action": "WORKFLOW_NVLINK5_ERR", "investigation": "WORKFLOW_NVLINK5_ERR"}
    asked = "the driver asks for recovery: drain and reset"
    assert first["causes"] == [
        {"what": "XID 145", **told, **nvlink},
        {
            "what": "XID 171",
            **told,
            "kind": "xid-171",
            "first": 104.0,
            "last": 104.0,
            "action": None,
            "investigation": None,
        },
        {
            "what": asked,
            "source": "check",
            "kind": RECOVERY_ACTION,
            "first": 105.0,
            "last": 105.0,
            "action": "drain and reset",
            "investigation": None,
        },
    ]
    assert second == {
        "id": GPU,
        "index": 0,
        "pci_address": "0000:01:00.0",
        "health": "healthy",
        "since": None,
        "needs": None,
        "causes": [],
    }
    assert document["summary"] == f"{OTHER}: XID 145 (WORKFLOW_NVLINK5_ERR), XID 171, {asked} (drain and reset)"


def test_it_tells_a_node_that_is_well_from_one_that_nobody_knows() -> None:
    unknown = describe_health(after(DriverUnavailable("no driver")), remedy_for, "GPU")
    assert (unknown["healthy"], unknown["summary"]) == (None, "no GPU is known yet: no driver")
    assert unknown["driver"] == {"version": None, "problem": "no driver", "events_problem": None}
    well = describe_health(after(SEEN, DriverSeen("575", None)), remedy_for, "GPU")
    assert (well["healthy"], well["summary"]) == (True, "every GPU is healthy")
    assert well["driver"]["version"] == "575"
    silent = describe_health(after(SEEN, DriverSilence(20.0)), remedy_for, "GPU")
    assert silent["driver"]["problem"] == "it does not answer"


def test_a_device_that_is_not_there_is_listed_and_no_problem_of_the_node() -> None:
    state = after(SEEN, EvidenceReported(xid_kind(79), GPU))
    without = InventorySeen(inventory(device(1)))
    document = describe_health(after(without, state=state), remedy_for, "GPU")
    assert document["healthy"] is True
    assert document["device_count"] == 1
    assert [(each["id"], each["index"], each["health"]) for each in document["devices"]] == [
        (GPU, None, "unhealthy"),
        (OTHER, 1, "healthy"),
    ]


def test_it_is_bounded_and_those_that_are_not_healthy_come_first() -> None:
    many = tuple(simple_device(number) for number in range(8000))
    seen = InventorySeen(inventory(*many))
    sick = [EvidenceReported(xid_kind(xid), each.id) for each in many[-200:] for xid in (79, 48, 95)]
    document = describe_health(after(seen, *sick), remedy_for, "GPU")
    assert (len(document["devices"]), document["devices_left_out"]) == (MAX_DEVICES, 8000 - MAX_DEVICES)
    assert [each["health"] for each in document["devices"]].count("unhealthy") == 200
    assert len(document["summary"]) <= MAX_SUMMARY
    assert len(json.dumps(document)) < 512 * 1024


async def test_it_is_a_page(kubelet_dir: Path) -> None:
    node = Node(kubelet_dir)
    async with running(node):
        await until(lambda: len(node.gateway.state.devices) == 8, "8 devices")
        node.check(Checkup({}, asks_for_recovery=False))
        page = await page_of(node, "/health")
    assert (page.status, page.content_type) == (200, JSON)
    assert json.loads(page.body)["healthy"] is True


def test_the_page_about_it_names_every_field() -> None:
    page = (Path(__file__).parents[3] / "docs" / "observe.md").read_text()
    shown = json.loads(page.partition("```json\n")[2].partition("```")[0])
    document = describe_health(after(SEEN, EvidenceReported(xid_kind(79), GPU)), remedy_for, "GPU")
    assert shown.keys() == document.keys()
    assert shown["driver"].keys() == document["driver"].keys()
    assert shown["devices"][0].keys() == document["devices"][0].keys()
    assert shown["devices"][0]["causes"][0].keys() == document["devices"][0]["causes"][0].keys()
