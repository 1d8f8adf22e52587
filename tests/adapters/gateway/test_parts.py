"""Parts of physical devices in what people and programs read, and an operator's word about them."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.devices import device, inventory, part
from harness.node import Node, running, until
from harness.pages import page_of, process_status, status_of
from harness.statuses import assert_valid
from plugin_gateway.adapters.control.handover import Successors
from plugin_gateway.adapters.control.operator_commands import OperatorCommands, RefusedError
from plugin_gateway.adapters.gateway.device_counter import DeviceCounter, Given
from plugin_gateway.adapters.gateway.device_status import DeviceStatus
from plugin_gateway.adapters.gateway.status_document import encode
from plugin_gateway.core.devices import FaultId
from plugin_gateway.core.health.faults import Stage
from plugin_gateway.core.health.observations import EvidenceReported, InventorySeen
from plugin_gateway.nvidia.evidence import xid_kind

CUT, WHOLE, EMPTY = device(0), device(1), device(2)
PARTS = tuple(part(CUT, number) for number in range(2))
FIRST, SECOND = PARTS


@pytest.fixture
async def node(kubelet_dir: Path) -> AsyncIterator[Node]:
    node = Node(kubelet_dir)
    async with running(node, devices=0):
        node.observations.put(InventorySeen(inventory(*PARTS, WHOLE, physical=[EMPTY.physical])))
        await until(lambda: len(node.gateway.state.devices) == 3, "the devices")
        yield node


async def fail(node: Node, *scopes: FaultId) -> None:
    for scope in scopes:
        node.observations.put(EvidenceReported(xid_kind(79), scope))
    await until(lambda: set(scopes) <= node.gateway.state.faults.keys(), "the faults")


def devices_of(node: Node) -> Mapping[str, DeviceStatus]:
    status = status_of(node, process_status())
    assert_valid(json.loads(json.dumps(encode(status))))
    return {each.id: each for each in status.devices}


async def test_the_status_says_what_a_part_is_a_part_of(node: Node) -> None:
    told = devices_of(node)
    assert list(told) == [FIRST.id, SECOND.id, WHOLE.id, EMPTY.id]
    first, whole, empty = told[FIRST.id], told[WHOLE.id], told[EMPTY.id]
    assert (first.physical, first.kind, first.profile, first.index) == (CUT.id, "mig", "1g.10gb", 0)
    assert (whole.physical, whole.kind, whole.profile, whole.index) == (None, "gpu", None, 1)
    assert (first.place_words, first.product_words) == ("0:0", "NVIDIA H100 80GB HBM3 1g.10gb")
    assert (whole.place, whole.place_words, whole.product_words) == ("1", "1", "NVIDIA H100 80GB HBM3")
    assert (empty.kind, empty.place, empty.place_words) == (None, None, "2")
    assert (whole.resource, empty.resource) == ("nvidia.com/gpu", None)
    assert (empty.index, empty.pci_address) == (2, EMPTY.physical.pci_address)


async def test_a_fault_of_a_physical_device_is_shown_at_each_of_its_parts(node: Node) -> None:
    await fail(node, CUT.physical.id, EMPTY.physical.id)
    told = devices_of(node)
    assert {each for each, device in told.items() if not device.is_healthy} == {FIRST.id, SECOND.id, EMPTY.id}
    assert (told[FIRST.id].reason, told[FIRST.id].id) == ("XID 79", FIRST.id)
    document = json.loads((await page_of(node, "/health")).body)
    assert {each["id"]: each["health"] for each in document["devices"]} == {
        CUT.id: "unhealthy",
        FIRST.id: "unhealthy",
        SECOND.id: "unhealthy",
        EMPTY.id: "unhealthy",
        WHOLE.id: "healthy",
    }
    assert document["device_count"] == 3, "those of the machine are counted"


async def test_a_fault_of_a_part_is_its_own(node: Node) -> None:
    await fail(node, FIRST.id)
    told = devices_of(node)
    assert [each for each, device in told.items() if device.health is Stage.UNHEALTHY] == [FIRST.id]


def commands(node: Node) -> OperatorCommands:
    counter = DeviceCounter(Path("/nonexistent"), "GPU", Given(None, ""), lambda *_: None)
    nothing: Any = None
    successors: Successors = nothing
    return OperatorCommands(node.gateway, counter, process_status, nothing, {}, successors)


async def test_an_operator_clears_what_has_the_fault(node: Node) -> None:
    await fail(node, FIRST.id, CUT.physical.id)
    operator = commands(node)
    with pytest.raises(RefusedError, match=f"{SECOND.id} is a part of {CUT.id}, which is not healthy and can be clear"):
        operator.answer({"command": "clear", "devices": [SECOND.id]})
    operator.answer({"command": "clear", "devices": [CUT.id]})
    assert [each for each, device in devices_of(node).items() if not device.is_healthy] == [FIRST.id]
    operator.answer({"command": "clear", "devices": [FIRST.id]})
    assert all(device.is_healthy for device in devices_of(node).values())
    with pytest.raises(RefusedError, match=f"{SECOND.id} is healthy already"):
        operator.answer({"command": "clear", "devices": [SECOND.id]})


async def test_an_inventory_that_waits_in_the_queue_is_of_the_backend_from_before(node: Node) -> None:
    """It comes with other rules, and its parts must not be given out under them."""
    await until(lambda: bool(node.gateway.offered), "the list")
    node.observations.put(InventorySeen(inventory(FIRST, WHOLE, physical=[EMPTY.physical])))
    node.gateway.apply(node.serving_policy, is_recut=True)
    await until(lambda: len(node.gateway.state.devices) == 2, "the inventory that waited")
    assert list(node.gateway.withheld) == [FIRST.id]
    node.observations.put(InventorySeen(inventory(FIRST, WHOLE, physical=[EMPTY.physical])))
    await until(lambda: not node.gateway.withheld, "the inventory of the new one")
